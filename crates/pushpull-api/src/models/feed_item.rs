//! Messages as a reader of an endpoint's queue gets them.

use pushpull_store::QueueItem;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    json::Object,
    message_out::{self, MessageOut},
};

// [`write`] is what writes it; this says how it looks.
/// A message in an endpoint's queue.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PollingEndpointMessageOut")]
pub struct FeedItemOut {
    /// The message.
    #[serde(flatten)]
    pub message: MessageOut,
    /// Where it stands in the endpoint's queue: from 1, without gaps.
    pub seq: u64,
    /// Where it stands in the application's log: from 1, without gaps.
    pub position: u64,
}

/// Writes an item.
pub(crate) fn write(out: &mut Vec<u8>, item: &QueueItem) {
    let mut object = Object::begin(out);
    message_out::write_fields(&mut object, &item.message, true);
    object.field("seq", &item.seq.0).field("position", &item.message.key.position.0);
    object.end();
}

/// About how many bytes an item takes when it is written.
pub(crate) fn size_hint(item: &QueueItem) -> usize {
    /// Names and numbers of seq and position.
    const BESIDES: usize = 48;
    message_out::size_hint(&item.message, true) + BESIDES
}
