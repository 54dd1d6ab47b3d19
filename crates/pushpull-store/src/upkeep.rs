//! What keeps a store in order.

use std::{path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;
use pushpull_domain::{AppId, EndpointId, Seq, Timestamp};

use crate::{ConsumerKey, Error, Retention, Trimmed};

/// The books: accepted = delivered + owed + exhausted + cancelled (invariant I13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Deliveries that were ever written and are still kept.
    pub accepted: u64,
    /// Answered 2xx.
    pub delivered: u64,
    /// Still owed.
    pub owed: u64,
    /// Every attempt failed.
    pub exhausted: u64,
    /// Given up.
    pub cancelled: u64,
}

impl Ledger {
    /// Whether the books balance.
    pub fn balances(&self) -> bool {
        self.accepted == self.delivered + self.owed + self.exhausted + self.cancelled
    }
}

/// What waits to be pushed, and what never arrived: cheap enough to be asked for at each scrape of the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Deliveries that are owed and pushed, due now or later; those of disabled endpoints too.
    pub pending: u64,
    /// When the earliest of them is due that an enabled endpoint is owed.
    pub oldest_due_at: Option<Timestamp>,
    /// Deliveries of which every attempt failed (dead letters), as long as their messages are kept.
    pub exhausted: u64,
}

/// How big a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes on disk, write-ahead log included.
    pub bytes: u64,
    /// Bytes that can still be written; `None`: unknown.
    pub free_bytes: Option<u64>,
}

/// A consumer that retention is about to overtake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BehindConsumer {
    /// Which.
    pub key: ConsumerKey,
    /// Whose application.
    pub app: AppId,
    /// Whose queue it reads.
    pub endpoint: EndpointId,
    /// What it has done.
    pub committed: Seq,
    /// When the message was made that it reads next.
    pub next_at: Timestamp,
}

/// A part of the consumers, looked at.
#[derive(Clone, Debug, Default)]
pub struct Behind {
    /// Those that are behind.
    pub consumers: Vec<BehindConsumer>,
    /// After which to go on; `None`: that were all.
    pub next: Option<ConsumerKey>,
}

/// Upkeep.
pub trait Upkeep: Send + Sync {
    /// Removes some of what is older than it is kept: one bounded step.
    fn trim(&self, retention: Retention) -> BoxFuture<'_, Result<Trimmed, Error>>;
    /// Writes a consistent copy to a new file, while serving.
    fn backup(&self, to: PathBuf) -> BoxFuture<'_, Result<(), Error>>;
    /// Adds up the books.
    fn ledger(&self) -> BoxFuture<'_, Result<Ledger, Error>>;
    /// What waits to be pushed, without counting much: exact up to 10,000; more than that may be what was counted some
    /// minutes ago.
    fn backlog(&self) -> BoxFuture<'_, Result<Backlog, Error>>;
    /// How big it is.
    fn size(&self) -> BoxFuture<'_, Result<Size, Error>>;
    /// Consumers whose next message is older than this: one bounded step, after the consumer that the one before came to.
    /// Of several processes each is told of those of the applications that it brings what they are owed.
    fn consumers_behind(
        &self,
        age: Duration,
        after: Option<ConsumerKey>,
    ) -> BoxFuture<'_, Result<Behind, Error>>;
    /// Whether it answers: a read and, unless it is full, a write.
    fn check(&self) -> BoxFuture<'_, Result<(), Error>>;
    /// Whether other processes may change what is stored: what one remembers of it may be old.
    fn is_shared(&self) -> bool {
        false
    }
    /// Which history this is; another after a restore. Part of every position that leaves the house.
    fn history(&self) -> u64;
    /// Writes out what waits and closes. What is asked afterwards is refused with [`Error::Closing`].
    fn close(&self) -> BoxFuture<'_, ()>;
}
