//! Which kinds of work a step does.

/// Kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    ExpiredPayloads,
    PayloadsByAge,
    PayloadsOfDeleted,
    Day,
    DeletedEndpoints,
    DeletedApps,
    Keys,
    Recoveries,
    Idempotency,
}

/// In the order in which they are done.
pub(super) const ALL: [Work; 9] = [
    Work::ExpiredPayloads,
    Work::PayloadsByAge,
    Work::PayloadsOfDeleted,
    Work::Day,
    Work::DeletedEndpoints,
    Work::DeletedApps,
    Work::Keys,
    Work::Recoveries,
    Work::Idempotency,
];

/// In so many steps, some seconds, everything is looked at once at least: a payload with a time of its own does not stay
/// until a day is gone.
const STEPS_MAX: u8 = 100;

/// Steps that follow each other without a pause. What has found nothing more to do is left out of them until the rest
/// has come to its end, or for some seconds, and is looked for once more then: a day is removed in thousands of steps,
/// and to look at everything else in each of them would take longer than they do.
#[derive(Clone, Copy, Default)]
pub(super) struct Round {
    /// A bit for each kind that rests.
    resting: u16,
    /// Those that rested when the step began.
    left_out: u16,
    /// Steps since everything was looked at, that one too.
    steps: u8,
}

impl Round {
    /// What the next step does.
    pub(super) fn begin(&mut self) -> impl Iterator<Item = Work> + use<> {
        self.left_out = self.resting;
        let left_out = self.left_out;
        ALL.into_iter().filter(move |work| left_out & bit(*work) == 0)
    }

    /// One kind has nothing more to do.
    pub(super) fn rest(&mut self, work: Work) {
        self.resting |= bit(work);
    }

    /// The step is done; whether another is to follow at once.
    pub(super) fn goes_on(&mut self) -> bool {
        let all_rest = ALL.iter().all(|work| self.resting & bit(*work) != 0);
        if !all_rest {
            self.steps += 1;
            if self.steps == STEPS_MAX {
                *self = Self::default();
            }
            return true;
        }
        let was_whole = self.left_out == 0;
        *self = Self::default();
        !was_whole
    }
}

fn bit(work: Work) -> u16 {
    1 << work as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_nothing_to_do_is_looked_at_first_and_last() {
        let mut round = Round::default();
        // `busy`: what has more to do after the step.
        let mut step = |busy: &[Work]| {
            let done: Vec<Work> = round.begin().collect();
            done.iter().filter(|work| !busy.contains(work)).for_each(|work| round.rest(*work));
            (done, round.goes_on())
        };
        assert_eq!(step(&[Work::Day, Work::Keys]), (ALL.to_vec(), true));
        assert_eq!(step(&[Work::Day]), (vec![Work::Day, Work::Keys], true));
        assert_eq!(step(&[Work::Day]), (vec![Work::Day], true));
        assert_eq!(step(&[]), (vec![Work::Day], true));
        assert_eq!(step(&[Work::DeletedApps]), (ALL.to_vec(), true), "what the day left");
        assert_eq!(step(&[]), (vec![Work::DeletedApps], true));
        assert_eq!(step(&[]), (ALL.to_vec(), false));
        assert_eq!(step(&[]), (ALL.to_vec(), false), "and so on, each time it is asked for");
    }

    #[test]
    fn what_rests_does_not_rest_until_a_day_is_gone() {
        let mut round = Round::default();
        let mut whole = 0;
        for _ in 0..3 * u32::from(STEPS_MAX) {
            let done: Vec<Work> = round.begin().collect();
            assert!(done.contains(&Work::Day));
            whole += u32::from(done == ALL);
            done.iter().filter(|work| **work != Work::Day).for_each(|work| round.rest(*work));
            assert!(round.goes_on());
        }
        assert_eq!(whole, 3);
    }
}
