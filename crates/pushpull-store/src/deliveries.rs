//! Deliveries and attempts: what is owed, what was tried, how it ended.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use pushpull_domain::{
    AppNo, AttemptId, Delivery, DeliveryKey, EndpointNo, Message, MessageKey, Seq, TaskId, Timestamp,
    attempt::Attempt,
};

use crate::{Error, MessageFilter, Page, PageQuery};

/// What is due for an endpoint, and how to go through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueOrder {
    /// By due time: what is due up to this moment.
    ByTime {
        /// The latest due time wanted.
        until: Timestamp,
    },
    /// By seq: what is owed from this place on, due or not (FIFO endpoints).
    BySeq {
        /// The first place wanted.
        from: Seq,
    },
}

/// A delivery that is owed and pushed.
#[derive(Clone, Debug)]
pub struct DueDelivery {
    /// How it stands.
    pub delivery: Delivery,
    /// Its message.
    pub message: Arc<Message>,
}

/// An endpoint that is owed pushed deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwedEndpoint {
    /// Which.
    pub endpoint: EndpointNo,
    /// Whose.
    pub app: AppNo,
    /// When its earliest is due.
    pub due_at: Timestamp,
}

/// What was found of what is due.
#[derive(Clone, Debug, Default)]
pub struct DuePage {
    /// The deliveries, in order.
    pub items: Vec<DueDelivery>,
    /// Asked by time and with nothing left out: when the endpoint's next delivery is due after that.
    pub next_due_at: Option<Timestamp>,
}

/// One attempt and what follows from it, to be written together.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The delivery as it stands after the attempt.
    pub delivery: Delivery,
    /// The attempt and the URL it went to. `None` when a delivery ends, or is put off, without one.
    pub attempt: Option<(Attempt, Arc<str>)>,
}

/// An attempt as it is stored.
#[derive(Clone, Debug)]
pub struct StoredAttempt {
    /// Its id.
    pub id: AttemptId,
    /// Its delivery.
    pub delivery: DeliveryKey,
    /// The message it carried.
    pub message: MessageKey,
    /// The URL it went to.
    pub url: Arc<str>,
    /// What happened. The answer's body is empty if it was expunged or not asked for.
    pub attempt: Attempt,
}

/// An attempt and the message it carried.
pub type AttemptWithMessage = (StoredAttempt, Arc<Message>);

/// Which attempts a list shows.
#[derive(Clone, Debug, Default)]
pub struct AttemptFilter {
    /// Only attempts of these messages. Its times are the attempts'.
    pub message: MessageFilter,
    /// Only successes (`true`) or failures (`false`).
    pub delivered: Option<bool>,
    /// Only answers of this class: 1 to 5 for 1xx to 5xx; 0: no answer.
    pub status_class: Option<u16>,
    /// Only to this endpoint.
    pub endpoint: Option<EndpointNo>,
}

/// Which deliveries a list shows, by how they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// Answered 2xx.
    Success,
    /// Owed, not yet attempted.
    Pending,
    /// Owed, after a failure.
    Sending,
    /// Every attempt failed.
    Fail,
    /// Given up.
    Cancelled,
}

impl DeliveryStatus {
    /// How a delivery stands.
    pub fn of(delivery: &Delivery) -> Self {
        use pushpull_domain::DeliveryState as State;
        match delivery.state {
            State::Delivered => Self::Success,
            State::Owed { .. } if delivery.attempts == 0 => Self::Pending,
            State::Owed { .. } => Self::Sending,
            State::Exhausted => Self::Fail,
            State::Cancelled(_) => Self::Cancelled,
        }
    }
}

/// How many deliveries of an endpoint stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Answered 2xx.
    pub success: u64,
    /// Owed, not yet attempted.
    pub pending: u64,
    /// Owed, after a failure.
    pub sending: u64,
    /// Every attempt failed.
    pub fail: u64,
    /// Given up.
    pub cancelled: u64,
}

/// What became of a message that was to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resent {
    /// It is owed; if the endpoint is not pushed, it has joined its queue.
    Owed,
    /// The endpoint is not pushed and has it in its queue already: whoever reads it goes back there.
    Queued,
    /// The message is gone, or its payload is erased, or there is no such endpoint.
    Gone,
}

/// Sends again what an endpoint did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Which task this is.
    pub task: TaskId,
    /// Whose application.
    pub app: AppNo,
    /// Which endpoint.
    pub endpoint: EndpointNo,
    /// Messages made from this moment on.
    pub since: Timestamp,
    /// ... and before this one.
    pub until: Timestamp,
    /// When the task was last worked on.
    pub updated_at: Timestamp,
}

/// Which deliveries a task looks for; as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryKind {
    /// What failed for good, and what failed and waits for its next attempt.
    Failed = 0,
    /// What gathered while nobody pushed it.
    Gathered = 1,
    /// What is due although nobody pushes it any more, or is to be pushed again from a later place on.
    Withdrawn = 2,
}

impl RecoveryKind {
    /// What was written as this number.
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Gathered,
            2 => Self::Withdrawn,
            _ => Self::Failed,
        }
    }
}

/// One step of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryStep {
    /// Deliveries that are owed again.
    pub reopened: u64,
    /// Whether that was the last step.
    pub done: bool,
}

/// What is owed and how it went.
pub trait Deliveries: Send + Sync {
    /// Whether this process brings an application what it is owed, now. One process alone always does; of several,
    /// one does, and [`CommitListener::moved`](crate::CommitListener::moved) tells when that has become another. To be
    /// asked before each attempt: one that was paused may not begin what another has taken over.
    fn owns(&self, app: AppNo) -> bool {
        _ = app;
        true
    }
    /// Endpoints that are owed pushed deliveries by this process, each with its earliest due time.
    fn owed_endpoints(&self) -> BoxFuture<'_, Result<Vec<OwedEndpoint>, Error>>;
    /// At most `limit` pushed deliveries that an endpoint is owed, with their messages, but for those in `skip`.
    /// A delivery whose payload is erased is not among them.
    fn due(
        &self,
        endpoint: EndpointNo,
        order: DueOrder,
        skip: Vec<Seq>,
        limit: usize,
    ) -> BoxFuture<'_, Result<DuePage, Error>>;
    /// Writes what came of attempts. Written in one transaction, in the order given, after what was handed in
    /// before. A delivery that was cancelled meanwhile stays so, unless the attempt succeeded. A failure at an
    /// endpoint that is not pushed any more is owed without a due time, whatever its schedule says; only what an
    /// endpoint that keeps order was held for stays exhausted. What another process brings by now is not written.
    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<(), Error>>;

    /// The deliveries of a message.
    fn deliveries_of(&self, message: MessageKey) -> BoxFuture<'_, Result<Vec<Delivery>, Error>>;
    /// One page of an endpoint's deliveries with their messages. The filter's times are the messages'.
    fn endpoint_deliveries(
        &self,
        endpoint: EndpointNo,
        status: Option<DeliveryStatus>,
        filter: MessageFilter,
        page: PageQuery<Seq>,
    ) -> BoxFuture<'_, Result<Page<DueDelivery>, Error>>;
    /// How many of an endpoint's deliveries for messages made in this span stand how.
    fn delivery_counts(
        &self,
        endpoint: EndpointNo,
        since: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'_, Result<DeliveryCounts, Error>>;
    /// Owes a message to an endpoint, now, by hand: again, or for the first time.
    fn resend(&self, message: MessageKey, endpoint: EndpointNo) -> BoxFuture<'_, Result<Resent, Error>>;

    /// Starts a task that owes an endpoint again what it did not get.
    fn start_recovery(&self, recovery: Recovery) -> BoxFuture<'_, Result<(), Error>>;
    /// Tasks that are not done.
    fn recoveries(&self) -> BoxFuture<'_, Result<Vec<Recovery>, Error>>;
    /// Goes on with a task: one bounded step, in one transaction. Safe to repeat.
    fn step_recovery(&self, task: TaskId) -> BoxFuture<'_, Result<RecoveryStep, Error>>;

    /// An attempt by its id.
    fn attempt(
        &self,
        message: MessageKey,
        id: AttemptId,
    ) -> BoxFuture<'_, Result<Option<StoredAttempt>, Error>>;
    /// One page of the attempts made at an endpoint, each with its message.
    fn attempts_at(
        &self,
        endpoint: EndpointNo,
        filter: AttemptFilter,
        page: PageQuery<AttemptId>,
    ) -> BoxFuture<'_, Result<Page<AttemptWithMessage>, Error>>;
    /// One page of the attempts made for a message.
    fn attempts_for(
        &self,
        message: MessageKey,
        filter: AttemptFilter,
        page: PageQuery<AttemptId>,
    ) -> BoxFuture<'_, Result<Page<StoredAttempt>, Error>>;
    /// Erases the answer kept of an attempt; `false`: there is no such attempt.
    fn expunge_attempt(&self, message: MessageKey, id: AttemptId) -> BoxFuture<'_, Result<bool, Error>>;
}

/// How long things are kept. A store may remove messages by the day: then some are kept up to a day longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Messages, with their deliveries and attempts.
    pub messages: Duration,
    /// The least a payload is kept, if a message does not say.
    pub payloads: Duration,
    /// Idempotency keys.
    pub idempotency: Duration,
}

/// What one step of upkeep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Messages.
    pub messages: u64,
    /// Payloads of messages that are still kept.
    pub payloads: u64,
    /// Deliveries that were still owed: cancelled.
    pub cancelled: u64,
    /// Whether there is more to remove.
    pub more: bool,
}
