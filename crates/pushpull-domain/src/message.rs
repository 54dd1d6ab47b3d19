//! Messages: what the log holds.

use bytes::Bytes;

use crate::{AppNo, Channel, EndpointNo, EventId, EventTypeName, MessageId, Seq, Tag, Timestamp};

/// Where a message stands in its application's log: from 1, without gaps, in commit order; under 2^40.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Where a message is: its application and its position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// Whose log.
    pub app: AppNo,
    /// Where in it.
    pub position: Position,
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The bytes as they came.
    Kept(Bytes),
    /// Erased: by a call, or because its time was over.
    Expunged,
}

/// What a new message says.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// What happened.
    pub event_type: EventTypeName,
    /// The bytes, as they came; JSON unless `content_type` says otherwise.
    pub payload: Bytes,
    /// The content type sent with it; `None`: `application/json`.
    pub content_type: Option<String>,
    /// Dimensions of filtering.
    pub channels: Vec<Channel>,
    /// Labels to find it by.
    pub tags: Vec<Tag>,
    /// The user's own id of it.
    pub event_id: Option<EventId>,
    /// Not delivered before this moment; `None`: at once.
    pub deliver_at: Option<Timestamp>,
    /// When its payload is erased; `None`: as the environment's messages are.
    pub payload_expires_at: Option<Timestamp>,
}

/// One event in an application's log.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it is.
    pub key: MessageKey,
    /// Its id.
    pub id: MessageId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// What happened.
    pub event_type: EventTypeName,
    /// What it carries.
    pub payload: Payload,
    /// The content type sent with it; `None`: `application/json`.
    pub content_type: Option<String>,
    /// Dimensions of filtering.
    pub channels: Vec<Channel>,
    /// Labels to find it by.
    pub tags: Vec<Tag>,
    /// The user's own id of it.
    pub event_id: Option<EventId>,
    /// Not delivered before this moment.
    pub deliver_at: Option<Timestamp>,
    /// When its payload is erased, if that differs from the environment's messages.
    pub payload_expires_at: Option<Timestamp>,
    /// Its deliveries: one for each endpoint that matched at commit, and for those it was sent to since.
    pub fanout: Vec<(EndpointNo, Seq)>,
}
