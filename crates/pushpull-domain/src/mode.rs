//! Who takes an endpoint's deliveries, and what a change of that means for its queue.

use serde::{Deserialize, Serialize};

use crate::{ConsumerName, Seq};

/// Who moves along the endpoint's deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The dispatcher: a receiver is told.
    #[default]
    Push = 0,
    /// A reader: it asks.
    Pull = 1,
    /// Nobody, for now: deliveries gather.
    Held = 2,
}

/// Where the dispatcher goes on when an endpoint is pushed again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PushFrom {
    /// Where its readers are: after what its only consumer has committed; without one, after what readers were done
    /// with before.
    #[default]
    Readers,
    /// After what the consumer of this name has committed.
    Consumer(ConsumerName),
    /// With everything that is still owed. What is exhausted is sent again by a recovery.
    Earliest,
    /// With what comes from now on.
    Latest,
}

impl PushFrom {
    /// Up to where readers are done with what is pushed from then on: `consumers` are the endpoint's, by name, with what
    /// each has committed; `read` is what readers were done with before, `last` the newest seq of the queue. An error:
    /// the names that there are, as none of them is named or it is left open which.
    pub fn place(&self, consumers: &[(String, Seq)], read: Seq, last: Seq) -> Result<Seq, Vec<String>> {
        let found = match self {
            Self::Earliest => Some(Seq(0)),
            Self::Latest => Some(last),
            Self::Consumer(wanted) => {
                consumers.iter().find(|(name, _)| **name == **wanted).map(|(_, committed)| *committed)
            }
            Self::Readers => match consumers {
                [] => Some(read),
                [(_, committed)] => Some(*committed),
                _ => None,
            },
        };
        found.ok_or_else(|| consumers.iter().map(|(name, _)| name.clone()).collect())
    }
}

/// How an endpoint's mode changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeChange {
    /// Nobody pushes it now who did not before, and nobody stops.
    None,
    /// It leaves push.
    Left,
    /// It is pushed again.
    Resumed,
}

impl ModeChange {
    /// From one mode to another.
    pub fn of(before: Mode, after: Mode) -> Self {
        match (before == Mode::Push, after == Mode::Push) {
            (true, false) => Self::Left,
            (false, true) => Self::Resumed,
            (true, true) | (false, false) => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_goes_on_where_it_is_said_and_says_what_is_left_open() {
        let consumers = |all: &[(&str, u64)]| -> Vec<(String, Seq)> {
            all.iter().map(|(name, seq)| ((*name).to_owned(), Seq(*seq))).collect()
        };
        let two = consumers(&[("a", 3), ("b", 5)]);
        let place = |from: PushFrom, all: &[(String, Seq)]| from.place(all, Seq(2), Seq(9));
        let named = |name: &str| PushFrom::Consumer(name.parse().unwrap());
        assert_eq!(place(PushFrom::Earliest, &two), Ok(Seq(0)));
        assert_eq!(place(PushFrom::Latest, &two), Ok(Seq(9)));
        assert_eq!(place(named("b"), &two), Ok(Seq(5)));
        assert_eq!(place(named("c"), &two), Err(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(place(PushFrom::Readers, &two), Err(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(place(PushFrom::Readers, &two[..1]), Ok(Seq(3)));
        assert_eq!(place(PushFrom::Readers, &[]), Ok(Seq(2)));
    }
}
