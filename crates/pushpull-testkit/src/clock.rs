//! Time in tests.

use std::time::Duration;

use pushpull_domain::{Clock, Timestamp};
use tokio::time::Instant;

/// A clock that starts at a fixed moment and goes with tokio's: paused when that is paused.
#[derive(Debug)]
pub struct TokioClock {
    start: Instant,
    base: Timestamp,
}

impl TokioClock {
    /// Starts on 2026-11-24, now.
    pub fn start() -> Self {
        Self { start: Instant::now(), base: Timestamp::from_millis(1_795_513_560_000) }
    }

    /// How long it has been going.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.base.after(self.start.elapsed())
    }
}
