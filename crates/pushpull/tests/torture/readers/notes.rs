//! What a reader wrote down.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::support::hash;

/// A message as a reader gets it.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) seq: u64,
    pub(crate) position: u64,
    pub(crate) payload: Box<RawValue>,
}

/// What is kept of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) position: u64,
    /// Of the payload.
    pub(crate) hash: [u8; 32],
}

/// A page of any kind.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) data: Vec<Item>,
    /// Not of a consumer with leases.
    #[serde(default)]
    pub(crate) iterator: String,
    pub(crate) gap: Option<Gap>,
}

/// A mark of what retention removed.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// A reader's notes.
pub(crate) struct Notes {
    pub(crate) who: &'static str,
    /// Of the pulled endpoint.
    pub(crate) is_pulled: bool,
    /// By seq.
    pub(crate) seen: BTreeMap<u64, Seen>,
    /// What it was told it misses, and when.
    pub(crate) gaps: Vec<(Gap, Instant)>,
    /// The last seq that it knows of.
    pub(crate) last: u64,
    /// Items that came again.
    pub(crate) again: usize,
    /// What must not be.
    pub(crate) faults: Vec<String>,
}

impl Notes {
    pub(crate) fn new(who: &'static str, is_pulled: bool) -> Self {
        let (seen, gaps, faults) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { who, is_pulled, seen, gaps, last: 0, again: 0, faults }
    }

    pub(crate) fn wrong(&mut self, what: String) {
        self.faults.push(what);
    }

    pub(crate) fn gap(&mut self, from: u64, until: u64, told: Instant) {
        if from > until {
            self.wrong(format!("a gap from {from} until {until}"));
        }
        self.gaps.push((Gap { from, until }, told));
        self.last = self.last.max(until);
    }

    /// Notes what must be the next of all, seen by a reader that is to see each once.
    pub(crate) fn next(&mut self, item: Item) {
        if item.seq != self.last + 1 {
            self.wrong(format!("seq {} came after {}", item.seq, self.last));
        }
        self.item(item);
    }

    /// Notes an item that may have come before. Then it must be the same.
    pub(crate) fn item(&mut self, item: Item) {
        let seq = item.seq;
        let seen = Seen { hash: hash(item.payload.get().as_bytes()), id: item.id, position: item.position };
        let before = self.seen.range(..seq).next_back().map(|(_, seen)| seen.position);
        if before.is_some_and(|before| before >= seen.position) {
            self.wrong(format!("position {} of seq {seq} came after {before:?}", seen.position));
        }
        self.last = self.last.max(seq);
        match self.seen.get(&seq) {
            None => drop(self.seen.insert(seq, seen)),
            Some(known) if *known == seen => self.again += 1,
            Some(known) => self.wrong(format!("seq {seq} was {known:?}, and is {seen:?}")),
        }
    }

    /// Notes a part of the queue that begins after a seq: without a hole, but for what is marked.
    pub(crate) fn part(&mut self, after: u64, items: Vec<Item>) {
        for (item, expected) in items.into_iter().zip(after + 1..) {
            if item.seq != expected {
                self.wrong(format!("seq {} stands where {expected} belongs", item.seq));
            }
            self.item(item);
        }
    }
}

/// Up to where a consumer has committed, as far as it knows: a commit that was not answered may have counted.
pub(crate) struct Committed {
    /// It was told.
    sure: u64,
    /// It asked.
    perhaps: u64,
}

impl Committed {
    pub(crate) fn nothing() -> Self {
        Self { sure: 0, perhaps: 0 }
    }

    /// It asks for this.
    pub(crate) fn asked(&mut self, seq: u64) {
        self.perhaps = self.perhaps.max(seq);
    }

    /// It was told that this is so.
    pub(crate) fn told(&mut self, seq: u64) {
        (self.sure, self.perhaps) = (seq, seq);
    }

    /// What it is, as the first seq shows that was given next; `None`: nothing was given, so all there is is committed.
    pub(crate) fn shown_by(&mut self, first: Option<u64>) -> Result<u64, String> {
        let Self { sure, perhaps } = *self;
        let committed = first.map_or(perhaps, |first| first - 1);
        self.told(committed);
        if committed == sure || committed == perhaps {
            Ok(committed)
        } else {
            Err(format!("went on after seq {committed}, and had committed {sure}, or {perhaps}"))
        }
    }
}
