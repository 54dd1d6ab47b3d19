//! The machine's clock: read here and nowhere else.

use std::time::{SystemTime, UNIX_EPOCH};

use pushpull_domain::{Clock, Timestamp};

/// The time of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
    fn now(&self) -> Timestamp {
        // A machine whose clock stands before 1970 has no time to speak of: zero, and `doctor` says so.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
