//! Chance that can be had again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use pushpull_domain::{Chance, SeededChance};

use super::{say, variable};

/// Chance with a seed that is printed.
pub(crate) struct Dice(SeededChance);

impl Dice {
    /// A new seed, or that of `PUSHPULL_TORTURE_SEED`.
    pub(crate) fn new(test: &str) -> Self {
        let seed = match variable("PUSHPULL_TORTURE_SEED") {
            Some(text) => text.parse().expect("PUSHPULL_TORTURE_SEED is a number"),
            None => RandomState::new().hash_one(test),
        };
        say(format!("{test}: PUSHPULL_TORTURE_SEED={seed}"));
        Self(SeededChance::new(seed))
    }

    /// Chance of its own for a part of the test: its order does not depend on the other parts.
    pub(crate) fn fork(&self) -> Self {
        Self(SeededChance::new(self.0.word()))
    }

    /// A number below a bound.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.0.word() % bound
    }

    /// True once in so many times.
    pub(crate) fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// A time between two, in milliseconds.
    pub(crate) fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }
}
