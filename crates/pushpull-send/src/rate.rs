//! Rate limits, enforced: GCRA (the leaky bucket as a clock), one for each endpoint and application.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

/// How far ahead of an even pace a burst may run: a tenth of a second's worth.
const BURST: Duration = Duration::from_millis(100);

/// Hands out starting times no closer together than a limit allows.
#[derive(Debug, Default)]
pub(crate) struct Rate(Mutex<Option<Instant>>);

impl Rate {
    /// When the next may start; at the earliest now. The place is taken.
    pub(crate) fn take(&self, per_second: u16, now: Instant) -> Instant {
        let interval = Duration::from_secs(1) / u32::from(per_second.max(1));
        let mut even = self.0.lock().expect("nobody panics while holding this lock");
        let planned = even.unwrap_or(now).max(now);
        *even = Some(planned + interval);
        // One at a time is always in time; a burst of more than its worth waits.
        let burst = BURST.saturating_sub(interval);
        planned.checked_sub(burst).map_or(now, |start| start.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_than_the_limit_and_a_burst() {
        let rate = Rate::default();
        let start = Instant::now();
        let starts: Vec<_> = (0..300).map(|_| rate.take(100, start) - start).collect();
        assert_eq!(starts[0], Duration::ZERO);
        for second in 0..2_u64 {
            let window = Duration::from_secs(second)..Duration::from_secs(second + 1);
            let within = starts.iter().filter(|s| window.contains(s)).count();
            assert!((90..=110).contains(&within), "{within} in second {second}");
        }
    }

    #[test]
    fn a_pause_earns_no_more_than_a_burst() {
        let rate = Rate::default();
        let start = Instant::now();
        rate.take(10, start);
        let later = start + Duration::from_mins(1);
        let starts: Vec<_> = (0..5).map(|_| rate.take(10, later) - later).collect();
        assert_eq!(starts[1], Duration::from_millis(100));
        assert_eq!(starts[4], Duration::from_millis(400));
    }
}
