//! Faults on demand, for the tests that must see their checks fail, or what is right hold when it is slow. Only in
//! builds with the feature `faults`, which cannot be released.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pushpull_domain::{Chance, SeededChance};

#[cfg(not(debug_assertions))]
compile_error!("the feature `faults` loses data on purpose: it is for tests, and cannot be released");

static ACKNOWLEDGE_EARLY: AtomicBool = AtomicBool::new(false);
static DELAYS: OnceLock<SeededChance> = OnceLock::new();

/// How long the commit comes after the acknowledgement.
const LATE: Duration = Duration::from_millis(20);
/// Longest delay before a commit, and before anybody is told of it, in microseconds.
const DELAY_MAX: f64 = 5_000.0;

/// From now on, acknowledges messages before it commits them.
pub fn acknowledge_early() {
    ACKNOWLEDGE_EARLY.store(true, Ordering::Relaxed);
}

/// From now on, commits late, and tells late of what it committed. Nothing is lost by it.
pub fn delay_commits(seed: u64) {
    DELAYS.get_or_init(|| SeededChance::new(seed));
}

pub(crate) fn acknowledges_early() -> bool {
    ACKNOWLEDGE_EARLY.load(Ordering::Relaxed)
}

pub(crate) fn be_late() {
    sleep(LATE);
}

/// Waits for a random while, if commits are to be delayed.
pub(crate) fn delay() {
    if let Some(chance) = DELAYS.get() {
        sleep(Duration::from_micros((chance.fraction() * DELAY_MAX) as u64));
    }
}

#[expect(clippy::disallowed_methods, reason = "being late is the fault")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}
