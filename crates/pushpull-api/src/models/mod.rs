//! What requests say and answers show, and how it becomes the domain's words and back.

pub mod attempt_out;
pub mod custom_headers;
pub mod destination_in;
pub mod destination_out;
pub mod endpoint_in;
pub mod endpoint_message_out;
pub mod endpoint_out;
pub mod endpoint_patch;
pub mod example;
pub(crate) mod feed_item;
pub(crate) mod json;
pub mod message_in;
pub mod message_out;
pub(crate) mod schema;
pub mod status;
