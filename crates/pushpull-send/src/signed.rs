//! The headers of a push: its id, its signature, and where it stands.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header, header::InvalidHeaderValue};
use pushpull_domain::{Timestamp, signature::Signer};

// Standard Webhooks 1.0.0 names them `webhook-*`; receivers built for Svix look for `svix-*`. Both are sent.
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const SVIX_ID: HeaderName = HeaderName::from_static("svix-id");
const SVIX_TIMESTAMP: HeaderName = HeaderName::from_static("svix-timestamp");
const SVIX_SIGNATURE: HeaderName = HeaderName::from_static("svix-signature");
// Where it stands in the endpoint's queue, without gaps, and in the application's log: by these a receiver sees
// what it missed, and reads it from there. In headers, since the body is the sender's to the byte.
const SEQ: HeaderName = HeaderName::from_static("pushpull-seq");
const POSITION: HeaderName = HeaderName::from_static("pushpull-position");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is pushed.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// What a receiver knows a repetition by.
    pub id: &'a str,
    /// The type of the body, unless it is JSON.
    pub content_type: Option<&'a str>,
    /// Where it stands in the endpoint's queue.
    pub seq: u64,
    /// Where it stands in the application's log.
    pub position: u64,
    /// The body.
    pub body: &'a Bytes,
}

/// The headers of a push, signed at one moment.
#[derive(Debug)]
pub struct Signed {
    id: HeaderValue,
    timestamp: HeaderValue,
    signature: HeaderValue,
    content_type: HeaderValue,
    seq: HeaderValue,
    position: HeaderValue,
}

impl Signed {
    /// Signs it now: receivers refuse old signatures.
    ///
    /// # Errors
    /// The id or the type of the body cannot stand in a header. Those that the store gives can.
    pub fn new(push: Push<'_>, signer: &Signer, now: Timestamp) -> Result<Self, InvalidHeaderValue> {
        Ok(Self {
            id: push.id.try_into()?,
            timestamp: now.as_secs().into(),
            signature: signer.sign(push.id, now, push.body).try_into()?,
            content_type: push.content_type.map_or(Ok(JSON), HeaderValue::try_from)?,
            seq: push.seq.into(),
            position: push.position.into(),
        })
    }

    /// Puts them among the headers of a request, in the place of those of the same names.
    pub fn put_into(&self, headers: &mut HeaderMap) {
        for (name, value) in [
            (header::CONTENT_TYPE, &self.content_type),
            (WEBHOOK_ID, &self.id),
            (WEBHOOK_TIMESTAMP, &self.timestamp),
            (WEBHOOK_SIGNATURE, &self.signature),
            (SVIX_ID, &self.id),
            (SVIX_TIMESTAMP, &self.timestamp),
            (SVIX_SIGNATURE, &self.signature),
            (SEQ, &self.seq),
            (POSITION, &self.position),
        ] {
            headers.insert(name, value.clone());
        }
    }
}
