//! What goes out in one request: a message, or, to an endpoint that asks for it, several in order.

use bytes::Bytes;
use pushpull_domain::{Message, Payload};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::queue::Job;

/// One request's deliveries, in order.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// The first, or only one.
    pub(crate) first: Job,
    /// Those after it.
    pub(crate) rest: Vec<Job>,
    /// Whether the body is a list, be it of one.
    is_batch: bool,
}

/// A message in the list that a batch is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    id: String,
    event_type: &'a str,
    payload: Content<'a>,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'a str>,
    seq: u64,
    position: u64,
}

/// A payload: JSON as it came, or, if it is of another type, as a text.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

impl Parcel {
    /// A message by itself.
    pub(crate) fn single(job: Job) -> Self {
        Self { first: job, rest: Vec::new(), is_batch: false }
    }

    /// A list.
    pub(crate) fn batch(first: Job, rest: Vec<Job>) -> Self {
        Self { first, rest, is_batch: true }
    }

    /// What a receiver knows a repetition by. A list's says how long it is: after a crash more may follow the same
    /// first message, and who took the shorter one has not got them.
    pub(crate) fn id(&self) -> String {
        let id = &self.first.message.id;
        if self.is_batch { format!("{id}_{}", 1 + self.rest.len()) } else { id.to_string() }
    }

    /// The type of the body, unless it is JSON.
    pub(crate) fn content_type(&self) -> Option<&str> {
        self.first.message.content_type.as_deref().filter(|_| !self.is_batch)
    }

    /// The body; `None`: a payload is gone.
    pub(crate) fn body(&self) -> Option<Bytes> {
        if !self.is_batch {
            return kept(&self.first.message).cloned();
        }
        let items: Option<Vec<Item<'_>>> = std::iter::once(&self.first).chain(&self.rest).map(item).collect();
        serde_json::to_vec(&items?).ok().map(Bytes::from)
    }
}

fn kept(message: &Message) -> Option<&Bytes> {
    match &message.payload {
        Payload::Kept(bytes) => Some(bytes),
        Payload::Expunged => None,
    }
}

fn item(job: &Job) -> Option<Item<'_>> {
    let message = &*job.message;
    let bytes = kept(message)?;
    Some(Item {
        id: message.id.to_string(),
        event_type: &message.event_type,
        payload: match &message.content_type {
            None => Content::Json(serde_json::from_slice(bytes).ok()?),
            Some(_) => Content::Text(std::str::from_utf8(bytes).ok()?),
        },
        timestamp: message.created_at.to_string(),
        content_type: message.content_type.as_deref(),
        event_id: message.event_id.as_deref(),
        channels: message.channels.iter().map(|channel| &**channel).collect(),
        tags: message.tags.iter().map(|tag| &**tag).collect(),
        seq: job.delivery.key.seq.0,
        position: message.key.position.0,
    })
}
