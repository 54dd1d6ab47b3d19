//! What one endpoint was, and when.

use tokio::time::Instant;

/// The event types that there are.
pub(super) const TYPES: [&str; 4] = ["a", "b", "c", "d"];

/// What an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It takes these event types.
    Enabled(Vec<&'static str>),
    /// It takes nothing, and would take these.
    Disabled(Vec<&'static str>),
    Deleted,
}

impl State {
    fn takes(&self, event_type: &str) -> bool {
        matches!(self, Self::Enabled(types) if types.contains(&event_type))
    }
}

/// Whether a message that was committed somewhere in a span of time matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verdict {
    Matched,
    NotMatched,
    /// It met a change.
    Unknown,
}

/// A change: somewhere between its request and its answer the state came into force.
#[derive(Debug)]
struct Change {
    from: Instant,
    to: Instant,
    state: State,
}

/// Everything that an endpoint ever was.
#[derive(Debug)]
pub(super) struct History {
    pub(super) id: String,
    /// The path that it is called at.
    pub(super) path: String,
    changes: Vec<Change>,
}

impl History {
    pub(super) fn begin(id: String, path: String, from: Instant, to: Instant, state: State) -> Self {
        Self { id, path, changes: vec![Change { from, to, state }] }
    }

    pub(super) fn note(&mut self, from: Instant, to: Instant, state: State) {
        self.changes.push(Change { from, to, state });
    }

    /// What it is after all changes so far.
    pub(super) fn now(&self) -> State {
        self.changes.last().expect("it began").state.clone()
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.now() == State::Deleted
    }

    /// Whether it was never disabled or deleted, so that whatever it was owed it got.
    pub(super) fn always_takes(&self) -> bool {
        self.changes.iter().all(|change| matches!(change.state, State::Enabled(_)))
    }

    /// What can be said of a message that was committed between two moments.
    pub(super) fn verdict(&self, event_type: &str, from: Instant, to: Instant) -> Verdict {
        let mut verdict = None;
        // Before it was made it took nothing.
        if self.changes[0].to >= from {
            verdict = Some(join(verdict, false));
        }
        for (n, change) in self.changes.iter().enumerate() {
            let ends = self.changes.get(n + 1).map(|next| next.to);
            if change.from <= to && ends.is_none_or(|ends| ends >= from) {
                verdict = Some(join(verdict, change.state.takes(event_type)));
            }
        }
        verdict.expect("there is always a state in force")
    }
}

fn join(so_far: Option<Verdict>, takes: bool) -> Verdict {
    let this = if takes { Verdict::Matched } else { Verdict::NotMatched };
    if so_far.is_none_or(|verdict| verdict == this) { this } else { Verdict::Unknown }
}
