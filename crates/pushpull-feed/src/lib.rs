//! The log, read: an endpoint's queue in pages and as it grows, at the reader's own pace.
//!
//! What is pushed can be pulled, from the same place: a reader goes along an endpoint's deliveries in the order of
//! their seqs and writes none of them. Absent on purpose: any driver, any web framework, and delivery by push.

mod consumer;
mod lease;
mod news;
mod reader;
mod waiting;
mod work_queue;

use std::sync::Arc;

use pushpull_domain::{AppNo, Clock, EndpointNo, Iterators, Seq, Timestamp};
use pushpull_store::{Error, Log, MessageFilter, QueueEnds};

use crate::news::{News, WAITING_MAX};

pub use consumer::{ConsumeError, ConsumerPage, Reader};
pub use lease::Receive;
pub use reader::{Page, Patience, ReadError};

/// Reads queues, and knows who waits for what joins them.
pub struct Feed {
    log: Arc<Log>,
    iterators: Iterators,
    news: Arc<News>,
}

/// What a reader reads.
#[derive(Clone)]
pub struct Reading {
    /// Whose endpoint it is.
    pub app: AppNo,
    /// The endpoint's queue.
    pub endpoint: EndpointNo,
    /// Only these messages of it.
    pub filter: MessageFilter,
    /// Not what a push had answered 2xx. Who waits also waits until that is known: an endpoint that left push drains.
    pub undelivered: bool,
    /// What comes before this seq; `None`: all there is and will be.
    pub until: Option<Seq>,
    /// Bytes of payloads from which on a page is full; one message comes whatever it holds.
    pub bytes: usize,
    /// Where the time comes from: draining ends by it.
    pub clock: Arc<dyn Clock>,
}

impl Reading {
    /// The last seq that is wanted, whatever there is.
    fn last(&self) -> Seq {
        self.until.map_or(Seq(u64::MAX), |until| Seq(until.0.saturating_sub(1)))
    }

    /// Whether whoever has read up to here has read all that there will be of it.
    pub fn is_over_at(&self, reached: Seq) -> bool {
        reached >= self.last()
    }
}

/// Bytes of payloads of a whole page: 2 MiB. It is held until it is taken, or its reader is cut off.
pub const PAGE_BYTES: usize = 2 << 20;
/// Bytes of payloads of a piece of a stream: 256 KiB. That much, and what is made of it, is held for who has stopped
/// reading, until it is cut off.
pub const PIECE_BYTES: usize = 256 << 10;

/// A place in a queue, as a reader may name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the first delivery that is kept.
    Earliest,
    /// After the newest.
    Latest,
    /// Before this seq.
    At(Seq),
    /// Before the first delivery of a message made then or later.
    Since(Timestamp),
}

impl Feed {
    /// Reads the queues of this log.
    pub fn new(log: Arc<Log>, iterators: Iterators) -> Self {
        Self::with_waiting_max(log, iterators, WAITING_MAX)
    }

    /// The same, with so many readers that may wait at a time; beyond that they are answered at once.
    pub fn with_waiting_max(log: Arc<Log>, iterators: Iterators, waiting_max: usize) -> Self {
        let news = Arc::new(News::new(waiting_max));
        log.store().listen(Arc::clone(&news) as _);
        Self { log, iterators, news }
    }

    /// The iterators of its queues.
    pub fn iterators(&self) -> &Iterators {
        &self.iterators
    }

    /// The log behind it.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The seq after which a place lies.
    pub async fn find(&self, endpoint: EndpointNo, place: Place) -> Result<Seq, Error> {
        let store = self.log.store();
        match place {
            Place::Earliest => Ok(self.ends(endpoint).await?.trimmed),
            Place::Latest => Ok(self.ends(endpoint).await?.last),
            Place::At(seq) => Ok(Seq(seq.0.saturating_sub(1))),
            Place::Since(at) => store.queue_at(endpoint, at).await,
        }
    }

    /// Where a queue begins and ends.
    pub async fn ends(&self, endpoint: EndpointNo) -> Result<QueueEnds, Error> {
        self.log.store().queue_ends(endpoint).await
    }

    /// Readers that wait now.
    pub fn waiting(&self) -> usize {
        self.news.waiting()
    }

    /// Whether nobody is to wait any more.
    pub fn is_closed(&self) -> bool {
        self.news.is_closed()
    }

    /// Nobody waits any more: who waits is answered with what there is.
    pub fn close(&self) {
        self.news.close();
    }
}
