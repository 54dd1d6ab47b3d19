//! Reading as a consumer: the server keeps the place.
//!
//! What is read stays owed until it is committed: by an iterator that comes back, or by the last offset that was
//! handled. What nobody is owed (a push has brought it) is passed over and committed on the way.

use std::sync::Arc;

use pushpull_domain::{AppNo, Clock, ConsumerName, Endpoint, EndpointNo, Holder, Mode, Seq};
use pushpull_store::{
    Consumer, ConsumerKey, ConsumerSettings, ConsumerStatus, Error, Gap, Lease, MessageFilter, Refused,
    consumers::SEEN_EVERY,
};

use crate::{
    Feed, PAGE_BYTES, Place, Reading,
    reader::{Page, Patience, ReadError},
    waiting::{NOTHING_JOINS, Waiting},
};

/// How often something is tried again because another reader was faster.
pub(crate) const TRIES_MAX: usize = 10;
/// Reads for one answer in which everything was passed over: each is bounded.
pub(crate) const PASSES_MAX: usize = 10;

/// Who reads.
#[derive(Clone)]
pub struct Reader {
    /// Whose endpoint it is.
    pub app: AppNo,
    /// The endpoint whose queue is read.
    pub endpoint: EndpointNo,
    /// The consumer's name.
    pub name: ConsumerName,
    /// Where the time comes from: a lease ends by it.
    pub clock: Arc<dyn Clock>,
}

/// What was read as a consumer.
#[derive(Clone, Debug)]
pub struct ConsumerPage {
    /// The part of the queue.
    pub page: Page,
    /// What retention removed before it was read; told until something beyond it is committed.
    pub gap: Option<Gap>,
}

/// Why a consumer does not get what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The endpoint is gone.
    #[error("the endpoint is gone")]
    Gone,
    /// There is no consumer of this name.
    #[error("there is no such consumer")]
    NoConsumer,
    /// Retention removed what comes after the iterator.
    #[error("what comes after the iterator is not kept any more")]
    Overtaken,
    /// Another holds a lease.
    #[error("another holds a lease until {}", .0.until)]
    Held(Lease),
    /// A commit, or an answer, of what was not handed out.
    #[error("it was handed out up to seq {} only", .0.0)]
    Ahead(Seq),
    /// Items of its work queue are not done.
    #[error("items of its work queue are not done")]
    WorkQueue,
    /// The endpoint has as many consumers as it may have.
    #[error("the endpoint has as many consumers as it may have")]
    TooMany,
    /// Storage did not do what was asked.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<Refused> for ConsumeError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Gone => Self::NoConsumer,
            // Only after as many tries as there are: whoever asks may ask again.
            Refused::Stale => Self::Store(Error::Busy),
            Refused::Held(lease) => Self::Held(lease),
            Refused::Ahead(handed) => Self::Ahead(handed),
            Refused::WorkQueue => Self::WorkQueue,
            Refused::TooMany => Self::TooMany,
        }
    }
}

impl Reader {
    /// Which consumer it is to the store.
    pub fn key(&self) -> ConsumerKey {
        ConsumerKey { endpoint: self.endpoint, name: self.name.clone() }
    }

    /// What a consumer of this endpoint reads: while it is not pushed, what a push has not brought; else a copy of all.
    pub(crate) fn reading(&self, endpoint: &Endpoint) -> Reading {
        Reading {
            app: self.app,
            endpoint: self.endpoint,
            filter: MessageFilter::default(),
            undelivered: endpoint.mode != Mode::Push,
            until: None,
            bytes: PAGE_BYTES,
            clock: Arc::clone(&self.clock),
        }
    }
}

impl Feed {
    /// The endpoint as it is now.
    pub(crate) async fn endpoint_of(&self, reader: &Reader) -> Result<Arc<Endpoint>, ConsumeError> {
        let app = self.log.app_by_no(reader.app).await?.ok_or(ConsumeError::Gone)?;
        let found = app.endpoints.iter().find(|endpoint| endpoint.no == reader.endpoint);
        found.cloned().ok_or(ConsumeError::Gone)
    }

    /// The consumer, made if there is none.
    pub(crate) async fn find_or_make(
        &self,
        reader: &Reader,
        start: Option<Place>,
    ) -> Result<Consumer, ConsumeError> {
        if let Some(found) = self.log.store().consumer(reader.key()).await? {
            return Ok(found);
        }
        self.make_consumer(reader, start, ConsumerSettings::default()).await
    }

    /// Makes a consumer that begins at a place, or gives the one there is, unchanged.
    pub async fn make_consumer(
        &self,
        reader: &Reader,
        start: Option<Place>,
        settings: ConsumerSettings,
    ) -> Result<Consumer, ConsumeError> {
        let start = match start {
            Some(place) => Some(self.find(reader.endpoint, place).await?),
            None => None,
        };
        match self.log.store().create_consumer(reader.key(), start, settings).await? {
            Ok(made) => Ok(made),
            Err(Refused::Gone) => Err(ConsumeError::Gone),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Reads what comes after an iterator's place, which says that everything up to there was handled; without one,
    /// what is not committed. Nothing is handed out: who reads again gets it again.
    pub async fn consume(
        &self,
        reader: &Reader,
        handled: Option<Seq>,
        limit: usize,
        patience: Patience,
    ) -> Result<ConsumerPage, ConsumeError> {
        let mut waiting = Waiting::new(self, (reader.app, reader.endpoint), patience.wait);
        let committed = self.acknowledge(reader, handled).await?;
        let mut after = handled.unwrap_or(committed);
        let min = patience.min.min(limit);
        let mut passes = 0;
        loop {
            let endpoint = self.endpoint_of(reader).await?;
            let now = reader.clock.now();
            if let Some(drained) = endpoint.drains_until().filter(|until| *until > now) {
                if waiting.more(NOTHING_JOINS, Some(drained.since(now))).await {
                    continue;
                }
                return Ok(nothing(after));
            }
            let (page, gap) = self.look_past_gap(&reader.reading(&endpoint), after, limit).await?;
            if gap.is_some() && handled.is_some() {
                return Err(ConsumeError::Overtaken);
            }
            if page.items.len() >= min {
                return Ok(ConsumerPage { page, gap });
            }
            // A gap is told until it was heard of, so it is not passed over; alone it ends no wait, or who waits would
            // be told of it without end.
            if page.items.is_empty() && page.reached > after && gap.is_none() {
                self.pass_over(reader, page.reached, None).await?;
                after = page.reached;
            }
            passes += 1;
            if !page.done && page.items.is_empty() && gap.is_none() && passes < PASSES_MAX {
                continue;
            }
            // What is passed over counts here: it takes at least so many more.
            let missing = (min - page.items.len()) as u64;
            if !page.done || !waiting.more(Seq(page.reached.0.saturating_add(missing - 1)), None).await {
                return Ok(ConsumerPage { page, gap });
            }
            // Only a seek puts it back, and who waits would undo that with its next iterator.
            if let Some(consumer) = self.log.store().consumer(reader.key()).await? {
                after = after.min(consumer.committed);
            }
        }
    }

    /// Puts a consumer, made if there is none, after a seq.
    pub async fn seek(&self, reader: &Reader, to: Seq) -> Result<Consumer, ConsumeError> {
        self.find_or_make(reader, Some(Place::At(Seq(to.0 + 1)))).await?;
        let moved = self.log.store().seek(reader.key(), to).await??;
        self.news.look_again(reader.endpoint);
        Ok(moved)
    }

    /// How a consumer stands.
    pub async fn status(&self, reader: &Reader) -> Result<ConsumerStatus, ConsumeError> {
        self.log.store().consumer_status(reader.key()).await?.ok_or(ConsumeError::NoConsumer)
    }

    /// Commits what a reader says it has handled; what is committed then. Its place, if it is new, is there.
    async fn acknowledge(&self, reader: &Reader, handled: Option<Seq>) -> Result<Seq, ConsumeError> {
        let start = handled.map(|seq| Place::At(Seq(seq.0 + 1)));
        let consumer = self.find_or_make(reader, start).await?;
        if let Some(held) = consumer.lease_at(reader.clock.now()) {
            return Err(ConsumeError::Held(held.clone()));
        }
        if let Some(seq) = handled.filter(|seq| *seq > consumer.committed) {
            return Ok(self.log.store().commit(reader.key(), seq, None, true).await??.committed);
        }
        // Handed out without a lease: to a work queue.
        if consumer.handed > consumer.committed && consumer.lease.is_none() {
            let status = self.status(reader).await?;
            if status.taken + status.parked > 0 {
                return Err(ConsumeError::WorkQueue);
            }
        }
        self.touch(reader, &consumer).await?;
        Ok(consumer.committed)
    }

    /// Commits what nobody is owed. Who holds a lease meanwhile does it for itself.
    pub(crate) async fn pass_over(
        &self,
        reader: &Reader,
        upto: Seq,
        holder: Option<Holder>,
    ) -> Result<(), ConsumeError> {
        match self.log.store().commit(reader.key(), upto, holder, true).await? {
            Ok(_) | Err(Refused::Held(_)) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    pub(crate) async fn touch(&self, reader: &Reader, consumer: &Consumer) -> Result<(), ConsumeError> {
        if reader.clock.now().since(consumer.seen_at) >= SEEN_EVERY {
            self.log.store().touch_consumer(reader.key()).await?;
        }
        Ok(())
    }

    /// Reads what comes after a place, past what retention removed, and says what that was.
    pub(crate) async fn look_past_gap(
        &self,
        reading: &Reading,
        after: Seq,
        limit: usize,
    ) -> Result<(Page, Option<Gap>), ConsumeError> {
        let mut from = after;
        for _ in 0..TRIES_MAX {
            match self.look(reading, from, limit).await {
                Ok(page) => return Ok((page, Gap::between(after, from))),
                Err(ReadError::Overtaken { earliest, .. }) => from = Seq(earliest.0 - 1),
                Err(ReadError::Gone) => return Err(ConsumeError::Gone),
                Err(ReadError::Store(error)) => return Err(error.into()),
            }
        }
        Err(Error::Busy.into())
    }
}

/// An empty part of a queue.
pub(crate) fn nothing(after: Seq) -> ConsumerPage {
    let page = Page { items: Vec::new(), reached: after, done: true, pending: 0 };
    ConsumerPage { page, gap: None }
}
