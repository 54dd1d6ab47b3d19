//! One signed request, and what came back.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use pushpull_domain::{
    DeliveryState, Timestamp,
    attempt::{Attempt, ErrorClass, Outcome, Timings, Trigger},
};
use pushpull_net::{Answer, Client, Request};

use crate::{endpoint::Ready, parcel::Parcel};

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

/// Makes one attempt. Bounded by the client's deadline for everything.
pub(crate) async fn perform(client: &Client, ready: &Ready, parcel: &Parcel, now: Timestamp) -> Attempt {
    let (trigger, wait) = match parcel.first.delivery.state {
        DeliveryState::Owed { due_at, trigger } => (trigger, now.since(due_at.unwrap_or(now))),
        DeliveryState::Delivered | DeliveryState::Exhausted | DeliveryState::Cancelled(_) => {
            (Trigger::Scheduled, Duration::ZERO)
        }
    };
    let (outcome, timings) = exchange(client, ready, parcel, now).await;
    Attempt { started_at: now, trigger, outcome, timings: Timings { wait, ..timings } }
}

async fn exchange(client: &Client, ready: &Ready, parcel: &Parcel, now: Timestamp) -> (Outcome, Timings) {
    let failed = |class, detail: String| (Outcome::Failed { class, detail }, Timings::default());
    let target = match &ready.target {
        Ok(target) => target,
        Err(error) => return failed(ErrorClass::BlockedAddress, error.clone()),
    };
    let Some(body) = &parcel.body() else {
        return failed(ErrorClass::Internal, "the payload is gone".into());
    };
    let Some(signed) = Signed::new(ready, parcel, body, now) else {
        return failed(ErrorClass::Internal, "a header could not be built".into());
    };
    match client.send(Request { target, headers: &|| signed.headers(ready), body }).await {
        Ok(answer) => {
            let timings = answer.timings;
            (outcome(answer, now), timings)
        }
        Err(failure) => (Outcome::Failed { class: failure.class, detail: failure.detail }, failure.timings),
    }
}

/// What is told of a message in the headers of an attempt.
struct Signed {
    id: HeaderValue,
    timestamp: HeaderValue,
    signature: HeaderValue,
    content_type: HeaderValue,
    seq: HeaderValue,
    position: HeaderValue,
}

impl Signed {
    /// `None` cannot happen: ids, numbers and base 64 are valid in a header, and so is a checked content type.
    fn new(ready: &Ready, parcel: &Parcel, body: &Bytes, now: Timestamp) -> Option<Self> {
        let id = parcel.id();
        Some(Self {
            signature: HeaderValue::try_from(ready.signer.sign(&id, now, body)).ok()?,
            id: HeaderValue::try_from(id).ok()?,
            timestamp: HeaderValue::from(now.as_secs()),
            content_type: match parcel.content_type() {
                Some(given) => HeaderValue::try_from(given).ok()?,
                None => JSON,
            },
            seq: HeaderValue::from(parcel.first.delivery.key.seq.0),
            position: HeaderValue::from(parcel.first.message.key.position.0),
        })
    }

    fn headers(&self, ready: &Ready) -> http::HeaderMap {
        let mut headers = http::HeaderMap::with_capacity(14 + ready.headers.len());
        headers.extend(ready.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        for (name, value) in [
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
        headers
    }
}

fn outcome(answer: Answer, now: Timestamp) -> Outcome {
    let Answer { status, headers, body, .. } = answer;
    if (200..300).contains(&status) {
        return Outcome::Delivered { status, body };
    }
    let retry_after = headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value, now));
    Outcome::Refused { status, body, retry_after }
}

/// Both forms of `Retry-After` (RFC 9110 s. 10.2.3): seconds, or a date. What is neither says nothing.
fn retry_after(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(secs) => Some(Duration::from_secs(secs)),
        Err(_) => Timestamp::parse_http_date(text).map(|at| at.since(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_comes_as_seconds_or_as_a_date() {
        let now = Timestamp::from_millis(1_795_513_560_000);
        let read = |text: &'static str| retry_after(&HeaderValue::from_static(text), now);
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read("Tue, 24 Nov 2026 09:47:00 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(read("Tue, 24 Nov 2026 09:45:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-5"), None);
    }
}
