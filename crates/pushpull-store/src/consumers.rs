//! Consumers: named readers of an endpoint's queue, whose place the store keeps.
//!
//! A consumer has done everything up to its committed seq, but for what a work queue holds of it (see
//! [`WorkQueue`](crate::WorkQueue)). What it was handed beyond that comes back when its lease ends. A lease only
//! spares duplicate work: what was read stays owed until it is committed.

use std::time::Duration;

use futures_util::future::BoxFuture;
use pushpull_domain::{AppId, ConsumerName, EndpointId, EndpointNo, Holder, Seq, Timestamp};

use crate::{Error, Page, PageQuery};

/// Most consumers of an endpoint.
pub const CONSUMERS_MAX: usize = 1_000;
/// How often a consumer that only reads is noted as seen: a write for each read would cost more than the read.
pub const SEEN_EVERY: Duration = Duration::from_mins(1);
/// A clock that is put back by less than this makes a lease longer; nobody minds.
const CLOCK_STEP: Duration = Duration::from_mins(1);

/// Which consumer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerKey {
    /// Whose queue it reads.
    pub endpoint: EndpointNo,
    /// Its name there.
    pub name: ConsumerName,
}

/// Who was handed something, and how long it is theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The holder, if it was named.
    pub holder: Option<Holder>,
    /// When what is not committed comes back.
    pub until: Timestamp,
}

/// What an owner may set of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// It is removed when it was not seen for so long, or up to [`SEEN_EVERY`] later.
    pub idle: Duration,
    /// Work queue: handed out so often, an item is parked; 0: never.
    pub max_deliver: u32,
}

impl ConsumerSettings {
    /// Least and longest time without being seen after which a consumer is removed.
    pub const IDLE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(366 * 24));
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self { idle: Duration::from_hours(30 * 24), max_deliver: 0 }
    }
}

/// A named reader of an endpoint's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Which.
    pub key: ConsumerKey,
    /// Every seq up to here is done.
    pub committed: Seq,
    /// Handed out up to here; at least `committed`.
    pub handed: Seq,
    /// The last lease, unless all of it was committed; it may have ended.
    pub lease: Option<Lease>,
    /// What its owner set.
    pub settings: ConsumerSettings,
    /// When it last read or committed, to a minute.
    pub seen_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Consumer {
    /// The lease that holds at a moment. One from before a clock was put back holds no more: nobody knows when it
    /// would end, and a lease only spares duplicate work.
    pub fn lease_at(&self, now: Timestamp) -> Option<&Lease> {
        let put_back = self.seen_at > now.after(CLOCK_STEP);
        self.lease.as_ref().filter(|lease| lease.until > now && !put_back)
    }

    /// When it is removed unless it is seen before. It may have been seen for [`SEEN_EVERY`] without a note of it.
    pub fn expires_at(&self) -> Timestamp {
        self.seen_at.after(SEEN_EVERY).after(self.settings.idle)
    }
}

/// What retention removed before a reader got to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first seq that is gone.
    pub from: Seq,
    /// The last one.
    pub until: Seq,
}

impl Gap {
    /// What a reader misses that has done everything up to `committed`, when everything up to `trimmed` is gone.
    pub fn between(committed: Seq, trimmed: Seq) -> Option<Self> {
        (trimmed > committed).then_some(Self { from: Seq(committed.0 + 1), until: trimmed })
    }
}

/// How a consumer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// It.
    pub consumer: Consumer,
    /// The newest seq of the queue there is or was.
    pub head: Seq,
    /// What is before it: seqs not done, but for what is parked or was removed.
    pub behind: u64,
    /// When the oldest message of these was made.
    pub oldest_at: Option<Timestamp>,
    /// Work queue: taken and not done.
    pub taken: u64,
    /// Work queue: parked.
    pub parked: u64,
    /// What retention removed before it was read.
    pub gap: Option<Gap>,
}

/// A part of the queue to be handed out.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// The committed and the handed seq as they were read: if they have moved, nothing is handed out.
    pub read: (Seq, Seq),
    /// Hand out up to here.
    pub upto: Seq,
    /// Who asks, if it says so.
    pub holder: Option<Holder>,
    /// For how long.
    pub lease: Duration,
}

impl LeaseRequest {
    /// Shortest and longest lease.
    pub const LEASE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(12));
    /// The lease of who does not say.
    pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);
}

/// Why a consumer was not changed. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such consumer, or its endpoint is gone.
    Gone,
    /// It moved since it was read: read it and try again.
    Stale,
    /// Another holds a lease.
    Held(Lease),
    /// That is ahead of what was handed out, or of what there is, which is up to this seq.
    Ahead(Seq),
    /// Items of its work queue are not done: until they are, it cannot be read as a stream.
    WorkQueue,
    /// The endpoint has [`CONSUMERS_MAX`] consumers.
    TooMany,
}

/// What was asked of a consumer, or why it was refused.
pub type Asked<T> = Result<Result<T, Refused>, Error>;

/// A consumer that was removed since it was not seen for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredConsumer {
    /// Whose application.
    pub app: AppId,
    /// Whose queue it read.
    pub endpoint: EndpointId,
    /// Its name.
    pub name: ConsumerName,
    /// What it had done.
    pub committed: Seq,
    /// When it was last seen.
    pub seen_at: Timestamp,
}

/// What one step of expiry removed.
#[derive(Clone, Debug, Default)]
pub struct Expired {
    /// The consumers.
    pub consumers: Vec<ExpiredConsumer>,
    /// Whether there are more.
    pub more: bool,
}

/// Consumers. They go with their endpoint.
pub trait Consumers: Send + Sync {
    /// The consumer of this name.
    fn consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<Option<Consumer>, Error>>;
    /// One page of an endpoint's consumers, by name.
    fn consumers(
        &self,
        endpoint: EndpointNo,
        page: PageQuery<ConsumerName>,
    ) -> BoxFuture<'_, Result<Page<Consumer>, Error>>;
    /// How a consumer stands.
    fn consumer_status(&self, key: ConsumerKey) -> BoxFuture<'_, Result<Option<ConsumerStatus>, Error>>;

    /// Makes a consumer, or gives the one there is, unchanged. A new one begins after `start`; `None`: where readers
    /// had got to when the endpoint was last pushed, or if it is pushed now, at the beginning. A start beyond the queue's
    /// end is refused: what joins it there would be missed.
    fn create_consumer(
        &self,
        key: ConsumerKey,
        start: Option<Seq>,
        settings: ConsumerSettings,
    ) -> BoxFuture<'_, Asked<Consumer>>;
    /// Writes what its owner sets. It counts as seen.
    fn set_consumer(&self, key: ConsumerKey, settings: ConsumerSettings) -> BoxFuture<'_, Asked<Consumer>>;
    /// Removes a consumer; `false`: there is none.
    fn delete_consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<bool, Error>>;
    /// Notes that a consumer was seen, unless it was within [`SEEN_EVERY`].
    fn touch_consumer(&self, key: ConsumerKey) -> BoxFuture<'_, Result<(), Error>>;

    /// Hands a part of the queue out. Of two who read the same place, one gets it; a named holder gets again what it
    /// has not committed.
    fn lease(&self, key: ConsumerKey, request: LeaseRequest) -> BoxFuture<'_, Asked<Consumer>>;
    /// Everything up to `upto` is done. What is committed stays so: less than that is no change. More than was
    /// handed out is refused; if it is `shown`, since the reader brings what proves that it was given it, only more
    /// than there is. When all that was handed out is done, the lease ends.
    fn commit(
        &self,
        key: ConsumerKey,
        upto: Seq,
        holder: Option<Holder>,
        shown: bool,
    ) -> BoxFuture<'_, Asked<Consumer>>;
    /// Puts a consumer to a place, back or forth: its lease ends, and its work queue is forgotten. A place beyond the
    /// queue's end is refused: what joins it there would be missed.
    fn seek(&self, key: ConsumerKey, to: Seq) -> BoxFuture<'_, Asked<Consumer>>;

    /// Removes consumers that were not seen for as long as they may not be: one bounded step.
    fn expire_consumers(&self) -> BoxFuture<'_, Result<Expired, Error>>;
}
