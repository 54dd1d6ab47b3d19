//! The log: messages, appended and read.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::BoxFuture;
use pushpull_domain::{
    AppNo, Channel, EndpointNo, EventId, EventTypeName, Message, MessageId, MessageKey, NewMessage, Position,
    Tag, Timestamp,
};

use crate::{Error, Page, PageQuery};

/// A caller's key for a request that may be repeated.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The key, as it was given; unique in the application for 12 h.
    pub key: Arc<str>,
    /// The hash of the request, to know another one by.
    pub request_hash: [u8; 32],
}

/// One endpoint that a new message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which.
    pub endpoint: EndpointNo,
    /// Whether the dispatcher brings it there (push), or a reader comes (pull, held).
    pub pushed: bool,
}

/// A message to be appended.
#[derive(Clone, Debug)]
pub struct Append {
    /// Whose log.
    pub app: AppNo,
    /// The version of the snapshot that it was matched against.
    pub version: u64,
    /// What it says.
    pub message: NewMessage,
    /// Where it goes.
    pub targets: Vec<Target>,
    /// The caller's key, if it gave one.
    pub idempotency: Option<Idempotency>,
}

/// What became of an append.
#[derive(Clone, Debug)]
pub enum Appended {
    /// It is in the log, on stable storage.
    Stored(Arc<Message>),
    /// The same request came before: this is what it stored.
    Repeated(Arc<Message>),
    /// The idempotency key was used for another request. Nothing was stored.
    KeyReused,
    /// The event id belongs to another message that is kept. Nothing was stored.
    EventIdTaken,
    /// The application changed since it was matched: match again. Nothing was stored.
    Stale,
    /// The application is gone. Nothing was stored.
    AppGone,
}

/// Which messages a list shows.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// Only these event types; empty: all.
    pub event_types: HashSet<EventTypeName>,
    /// Only those in this channel.
    pub channel: Option<Channel>,
    /// Only those with this tag.
    pub tag: Option<Tag>,
    /// Only those made before this moment.
    pub before: Option<Timestamp>,
    /// Only those made after this moment.
    pub after: Option<Timestamp>,
}

impl MessageFilter {
    /// Whether a message is shown, but for its time.
    pub fn matches(&self, message: &Message) -> bool {
        (self.event_types.is_empty() || self.event_types.contains(&message.event_type))
            && self.channel.as_ref().is_none_or(|c| message.channels.contains(c))
            && self.tag.as_ref().is_none_or(|t| message.tags.contains(t))
    }

    /// Whether a message was made in the time that is shown.
    pub fn is_of_its_time(&self, message: &Message) -> bool {
        self.after.is_none_or(|after| message.created_at > after)
            && self.before.is_none_or(|before| message.created_at < before)
    }
}

/// Told of what was committed, from a thread of the store's: must not block. What it does not care for it need not name.
pub trait CommitListener: Send + Sync {
    /// These messages are in the log, with their deliveries (`fanout`). In commit order for each application.
    fn appended(&self, messages: &[Arc<Message>]);
    /// This endpoint may be owed more than a moment ago: by hand, by a recovery that was started, because it was
    /// enabled, or since another node appended something for it.
    fn rescheduled(&self, app: AppNo, endpoint: EndpointNo) {
        _ = (app, endpoint);
    }
    /// An application or one of its endpoints was changed or deleted.
    fn configured(&self, app: AppNo) {
        _ = app;
    }
    /// Which applications this process brings what they are owed has changed, or nobody can say what the other nodes
    /// did meanwhile: everything is to be looked at again.
    fn moved(&self) {}
    /// Whether attempts for some applications are under way, or their outcomes not yet written. Asked before another
    /// process is given these applications, which would begin the same attempts.
    fn is_busy(&self, with: &dyn Fn(AppNo) -> bool) -> bool {
        _ = with;
        false
    }
}

/// The log of each application.
pub trait MessageLog: Send + Sync {
    /// Appends a message with its deliveries, in one transaction, on stable storage when it returns.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, Error>>;
    /// Adds a listener, told after each commit and before those who wait for it.
    fn listen(&self, listener: Arc<dyn CommitListener>);

    /// A message by its id.
    fn message(&self, app: AppNo, id: MessageId) -> BoxFuture<'_, Result<Option<Arc<Message>>, Error>>;
    /// A message by the user's own id of it.
    fn message_by_event_id(
        &self,
        app: AppNo,
        id: EventId,
    ) -> BoxFuture<'_, Result<Option<Arc<Message>>, Error>>;
    /// One page of an application's messages.
    fn messages(
        &self,
        app: AppNo,
        filter: MessageFilter,
        page: PageQuery<Position>,
    ) -> BoxFuture<'_, Result<Page<Arc<Message>>, Error>>;
    /// Erases a message's payload; what is still owed of it is cancelled. Safe to repeat.
    fn expunge_message(&self, key: MessageKey) -> BoxFuture<'_, Result<(), Error>>;
}
