//! One read of a queue: what there is, or what comes while the reader is patient.

use std::time::Duration;

use pushpull_domain::Seq;
use pushpull_store::{Error, QueueItem, QueueQuery};
use tokio::time::Instant;

use crate::{Feed, Reading, news::Event};

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

impl Feed {
    /// Reads what comes after a seq: at most so many, and, if that is less than `patience.min`, also what comes while
    /// it lasts. Each item once, in order; never past one that is not committed yet.
    pub async fn read(
        &self,
        reading: &Reading,
        mut after: Seq,
        limit: usize,
        patience: Patience,
    ) -> Result<Page, ReadError> {
        let deadline = Instant::now() + patience.wait;
        let mut news = if patience.wait.is_zero() {
            None
        } else {
            // Before the first look, so that nothing is missed between that and the wait.
            self.news.subscribe(reading.app, reading.endpoint)
        };
        let mut reads = 0;
        loop {
            let page = self.look(reading, after, limit).await?;
            reads += 1;
            if page.items.is_empty() {
                after = page.reached;
            }
            if page.items.len() >= patience.min.min(limit) {
                return Ok(page);
            }
            if !page.done {
                if page.items.is_empty() && (reads < READS_MAX || Instant::now() < deadline) {
                    continue;
                }
                return Ok(page);
            }
            let is_over = reading.until.is_some_and(|until| page.reached.0 + 1 >= until.0);
            let Some(news) = news.as_mut().filter(|_| !is_over) else { return Ok(page) };
            // What a filter leaves out counts here: it takes at least so many more.
            let missing = patience.min.min(limit) - page.items.len();
            let before = Seq(page.reached.0.saturating_add(missing as u64 - 1));
            match tokio::time::timeout_at(deadline, news.after(before)).await {
                Ok(Event::Joined) => {}
                Ok(Event::Changed) => self.is_there(reading).await?,
                Ok(Event::Closed) | Err(_) => return Ok(page),
            }
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
        if after < found.ends.trimmed {
            return Err(ReadError::Overtaken { after, earliest: Seq(found.ends.trimmed.0 + 1) });
        }
        let last =
            reading.until.map_or(found.ends.last.0, |until| found.ends.last.0.min(until.0.saturating_sub(1)));
        let pending = last.saturating_sub(found.reached.0);
        Ok(Page { items: found.items, reached: found.reached, done: pending == 0, pending })
    }

    async fn is_there(&self, reading: &Reading) -> Result<(), ReadError> {
        let snapshot = self.log.app_by_no(reading.app).await?;
        let there = snapshot.is_some_and(|app| app.endpoints.iter().any(|e| e.no == reading.endpoint));
        if there { Ok(()) } else { Err(ReadError::Gone) }
    }
}
