//! Where looks begin: nothing alive is due before.

use std::sync::Mutex;

use moka::sync::Cache;
use pushpull_domain::{EndpointNo, Timestamp};

/// Endpoints that are remembered.
const KNOWN_MAX: u64 = 100_000;
/// More than clocks of nodes differ and a transaction that makes something due lasts.
const SLACK_MILLIS: i64 = 30_000;
/// So long after a look from the beginning there is another.
const BEGIN_ANEW_MILLIS: i64 = 10 * 60_000;

/// From which moment, and from which day on, something is due for each endpoint.
///
/// What becomes due is due by the clock of the node that writes it, and seen when that has committed. So no look begins
/// later than a while ago. It lies on the newest day, but for what becomes due again or anew: then its own day counts,
/// or all do. And from time to time a look begins at the beginning.
pub(crate) struct DueFrom {
    moments: Cache<EndpointNo, Known<i64>>,
    days: Cache<EndpointNo, Known<i32>>,
    /// Counts what became due on a day before the newest. A day that was found by a look that began before is not
    /// learnt.
    changes: Mutex<u64>,
}

#[derive(Clone, Copy)]
struct Known<T> {
    first: T,
    learnt_at: Timestamp,
}

/// Where a look begins.
#[derive(Clone, Copy)]
pub(super) struct From {
    pub(super) due_at: i64,
    /// [`i32::MIN`]: all days are looked at.
    pub(super) day: i32,
    changes: u64,
}

impl Default for DueFrom {
    fn default() -> Self {
        Self { moments: Cache::new(KNOWN_MAX), days: Cache::new(KNOWN_MAX), changes: Mutex::default() }
    }
}

impl DueFrom {
    /// Every look begins at the beginning again.
    pub(crate) fn forget(&self) {
        self.moments.invalidate_all();
        self.changing(|| self.days.invalidate_all());
    }

    /// Something of an endpoint became due that was not, on whatever day.
    pub(crate) fn forget_day(&self, endpoint: EndpointNo) {
        self.changing(|| self.days.invalidate(&endpoint));
    }

    /// Something of an endpoint that lies on this day is due again.
    pub(crate) fn due_again(&self, endpoint: EndpointNo, day: i32) {
        if self.days.get(&endpoint).is_none_or(|known| known.first > day) {
            self.forget_day(endpoint);
        }
    }

    fn changing(&self, change: impl FnOnce()) {
        let mut changes = self.changes.lock().expect("nobody panics while holding this lock");
        *changes += 1;
        change();
    }

    /// Something alive was seen that is due then.
    pub(super) fn lower(&self, endpoint: EndpointNo, due_at: Timestamp) {
        if let Some(known) = self.moments.get(&endpoint)
            && known.first > due_at.as_millis()
        {
            self.moments.insert(endpoint, Known { first: due_at.as_millis(), ..known });
        }
    }

    /// Where a look begins now.
    pub(super) fn get(&self, endpoint: EndpointNo, now: Timestamp) -> From {
        let changes = *self.changes.lock().expect("nobody panics while holding this lock");
        let day = fresh(self.days.get(&endpoint), now).map_or(i32::MIN, |known| known.first);
        let due_at = fresh(self.moments.get(&endpoint), now)
            .map_or(i64::MIN, |known| known.first.min(now.as_millis() - SLACK_MILLIS));
        From { due_at, day, changes }
    }

    /// A look found that nothing alive is due before.
    pub(super) fn learn(&self, endpoint: EndpointNo, due_at: i64, now: Timestamp) {
        let known = fresh(self.moments.get(&endpoint), now);
        let learnt_at = known.map_or(now, |known| known.learnt_at);
        self.moments.insert(endpoint, Known { first: due_at, learnt_at });
    }

    /// A look at all days found that nothing is or becomes due on an earlier one.
    pub(super) fn learn_day(&self, endpoint: EndpointNo, day: i32, from: &From, now: Timestamp) {
        let changes = self.changes.lock().expect("nobody panics while holding this lock");
        if *changes == from.changes {
            self.days.insert(endpoint, Known { first: day, learnt_at: now });
        }
    }
}

/// What is not too old to be relied on.
fn fresh<T>(known: Option<Known<T>>, now: Timestamp) -> Option<Known<T>> {
    known.filter(|known| (0..BEGIN_ANEW_MILLIS).contains(&(now.as_millis() - known.learnt_at.as_millis())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: EndpointNo = EndpointNo(1);
    const NOW: Timestamp = Timestamp::from_millis(1_795_513_560_000);

    fn day(from: &DueFrom) -> i32 {
        from.get(ONE, NOW).day
    }

    #[test]
    fn a_day_counts_until_something_before_it_is_due_again() {
        let from = DueFrom::default();
        from.learn_day(ONE, 7, &from.get(ONE, NOW), NOW);
        from.due_again(ONE, 7);
        assert_eq!(day(&from), 7);
        from.due_again(ONE, 6);
        assert_eq!(day(&from), i32::MIN);
    }

    #[test]
    fn what_changed_during_a_look_is_not_overlooked() {
        let from = DueFrom::default();
        for change in
            [DueFrom::forget as fn(&DueFrom), |from| from.forget_day(ONE), |from| from.due_again(ONE, 3)]
        {
            let began = from.get(ONE, NOW);
            change(&from);
            from.learn_day(ONE, 7, &began, NOW);
            assert_eq!(day(&from), i32::MIN);
        }
        from.learn_day(ONE, 7, &from.get(ONE, NOW), NOW);
        assert_eq!(day(&from), 7);
        let later = NOW.after(std::time::Duration::from_millis(BEGIN_ANEW_MILLIS.cast_unsigned()));
        assert_eq!(from.get(ONE, later).day, i32::MIN);
    }
}
