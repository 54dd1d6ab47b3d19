//! The server as a process, a client, a receiver with a ledger, and chance with a seed.

mod client;
mod dice;
pub(crate) mod faulty;
mod lives;
pub(crate) mod network;
mod posts;
mod server;
mod sink;

use std::time::Duration;

pub(crate) use client::{Answer, Client, json};
pub(crate) use dice::Dice;
pub(crate) use lives::{Lives, Visitor};
pub(crate) use posts::{Burst, Posted, post};
pub(crate) use server::{Home, Server, client_of};
pub(crate) use sink::{Arrival, Ledger, Sink, hash, is_one_in};

/// How long a test waits for what must come: long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// How long between two looks at what cannot be waited for otherwise.
const TICK: Duration = Duration::from_millis(20);

/// What a look gives, as soon as it gives something.
///
/// # Panics
/// It never does.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    let Ok(found) = tokio::time::timeout(PATIENCE, wait).await else { panic!("never came: {what}") };
    found
}

/// Lets time pass that is part of an attack: when to kill, how late to answer. Never to wait for a state.
pub(crate) async fn let_pass(time: Duration) {
    tokio::time::sleep_until(tokio::time::Instant::now() + time).await;
}

/// Says what was measured, beside the verdict of the test.
#[expect(clippy::print_stderr, reason = "seeds and figures are what these tests are read for")]
pub(crate) fn say(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// A variable of the environment that changes how a test runs.
#[expect(clippy::disallowed_methods, reason = "tests have no settings but these")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A share of measured times, which are sorted here.
pub(crate) fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
}
