//! One read of a queue: what there is, or what comes while the reader is patient.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{Endpoint, Payload, Seq};
use pushpull_store::{Error, QueueEnds, QueueItem, QueueQuery};

use crate::{
    Feed, Reading,
    waiting::{NOTHING_JOINS, Waiting},
};

/// Reads for one page when nobody waits: what a filter leaves out may be much, and each read is bounded.
const READS_MAX: usize = 10;

/// How long a reader waits for news, and for how much.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest wait; zero: what there is.
    pub wait: Duration,
    /// Fewest items that end the wait: at least 1.
    pub min: usize,
}

impl Patience {
    /// Takes what there is.
    pub const NONE: Self = Self { wait: Duration::ZERO, min: 1 };
}

/// A part of a queue.
#[derive(Clone, Debug)]
pub struct Page {
    /// What was read, in the order of the queue.
    pub items: Vec<QueueItem>,
    /// Everything up to here is read: the next page begins after it.
    pub reached: Seq,
    /// Whether there was nothing beyond when it was read.
    pub done: bool,
    /// How many deliveries there were beyond, whatever a filter makes of them.
    pub pending: u64,
}

/// Why nothing is read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Retention removed what comes next.
    #[error("what comes after seq {} is not kept any more; the earliest that is kept is seq {}", .after.0, .earliest.0)]
    Overtaken {
        /// Where the reader was.
        after: Seq,
        /// What is kept begins here.
        earliest: Seq,
    },
    /// The endpoint was deleted while the reader waited.
    #[error("the endpoint is gone")]
    Gone,
    /// Storage did not do what was asked.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Page {
    /// Nothing yet of what comes after a seq.
    fn begin(after: Seq) -> Self {
        Self { items: Vec::new(), reached: after, done: false, pending: 0 }
    }

    /// Adds what was read on from where it ends.
    fn extend(&mut self, next: Self) {
        let items = std::mem::take(&mut self.items);
        *self = next;
        if !items.is_empty() {
            self.items.splice(..0, items);
        }
    }

    /// Bytes of payloads in it.
    fn bytes(&self) -> usize {
        let payloads = self.items.iter().map(|item| &item.message.payload);
        payloads.map(|payload| if let Payload::Kept(bytes) = payload { bytes.len() } else { 0 }).sum()
    }
}

impl Feed {
    /// Reads what comes after a seq: at most so many, and, if that is less than `patience.min`, also what comes while
    /// it lasts. Each item once, in order; never past one that is not committed yet, or not known to be undelivered if
    /// that is what is wanted.
    pub async fn read(
        &self,
        reading: &Reading,
        after: Seq,
        limit: usize,
        patience: Patience,
    ) -> Result<Page, ReadError> {
        // Before the first look, so that nothing is missed between that and the wait.
        let mut waiting = Waiting::new(self, (reading.app, reading.endpoint), patience.wait);
        let min = patience.min.min(limit);
        let mut page = Page::begin(after);
        let mut rest = reading.clone();
        let mut reads = 0;
        loop {
            let drains_for = self.drains_for(reading).await?;
            if drains_for.is_none() {
                rest.bytes = reading.bytes.saturating_sub(page.bytes());
                page.extend(self.look(&rest, page.reached, limit - page.items.len()).await?);
                reads += 1;
                if page.items.len() >= min || page.bytes() >= reading.bytes {
                    return Ok(page);
                }
                if !page.done && (reads < READS_MAX || !waiting.is_over()) {
                    continue;
                }
            } else {
                page.pending = self.beyond(reading, page.reached).await?;
                page.done = page.pending == 0;
            }
            // What a filter leaves out counts here: it takes at least so many more.
            let missing = (min - page.items.len()) as u64;
            let before = match drains_for {
                Some(_) => NOTHING_JOINS,
                None => Seq(page.reached.0.saturating_add(missing - 1)),
            };
            if reading.is_over_at(page.reached) || !waiting.more(before, drains_for).await {
                return Ok(page);
            }
            self.is_there(reading).await?;
        }
    }

    /// One read.
    pub(crate) async fn look(&self, reading: &Reading, after: Seq, limit: usize) -> Result<Page, ReadError> {
        let query = QueueQuery {
            endpoint: reading.endpoint,
            after,
            until: reading.until,
            filter: reading.filter.clone(),
            undelivered: reading.undelivered,
            limit,
            bytes: reading.bytes,
        };
        let found = self.log.store().read_queue(query).await?;
        let pending = pending(reading, &found.ends, after, found.reached)?;
        Ok(Page { items: found.items, reached: found.reached, done: pending == 0, pending })
    }

    /// How many deliveries there are after a seq.
    async fn beyond(&self, reading: &Reading, after: Seq) -> Result<u64, ReadError> {
        pending(reading, &self.ends(reading.endpoint).await?, after, after)
    }

    /// How long it is not known what a push has brought, if that matters and there was one.
    async fn drains_for(&self, reading: &Reading) -> Result<Option<Duration>, ReadError> {
        if !reading.undelivered {
            return Ok(None);
        }
        let now = reading.clock.now();
        let drained = self.is_there(reading).await?.drains_until();
        Ok(drained.filter(|until| *until > now).map(|until| until.since(now)))
    }

    async fn is_there(&self, reading: &Reading) -> Result<Arc<Endpoint>, ReadError> {
        let app = self.log.app_by_no(reading.app).await?.ok_or(ReadError::Gone)?;
        let found = app.endpoints.iter().find(|endpoint| endpoint.no == reading.endpoint);
        found.cloned().ok_or(ReadError::Gone)
    }
}

/// How many deliveries there are beyond what was read after a seq, whatever a filter makes of them.
fn pending(reading: &Reading, ends: &QueueEnds, after: Seq, reached: Seq) -> Result<u64, ReadError> {
    if after < ends.trimmed {
        return Err(ReadError::Overtaken { after, earliest: Seq(ends.trimmed.0 + 1) });
    }
    Ok(ends.last.min(reading.last()).0.saturating_sub(reached.0))
}
