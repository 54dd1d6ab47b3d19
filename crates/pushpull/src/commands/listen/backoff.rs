//! How long to wait before something is tried again.

use std::time::Duration;

/// Waits that double, up to a longest one.
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// For the server: one that restarts is back within a second or two.
    pub(super) fn for_server() -> Self {
        Self { next: Duration::from_millis(250), max: Duration::from_secs(10) }
    }

    /// For the program: whoever works on it wants to see its next answer soon.
    pub(super) fn for_target() -> Self {
        Self { next: Duration::from_millis(500), max: Duration::from_secs(15) }
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait
    }
}

/// A wait for people.
pub(super) fn shown(wait: Duration) -> String {
    if wait < Duration::from_secs(1) {
        format!("{} ms", wait.as_millis())
    } else {
        format!("{} s", wait.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::for_server();
        let waits: Vec<String> = (0..8).map(|_| shown(backoff.next())).collect();
        assert_eq!(waits, ["250 ms", "500 ms", "1 s", "2 s", "4 s", "8 s", "10 s", "10 s"]);
    }
}
