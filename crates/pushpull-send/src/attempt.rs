//! One signed request, and what came back.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use pushpull_domain::{
    DeliveryState, Timestamp,
    attempt::{Attempt, ErrorClass, Outcome, Timings, Trigger},
};
use pushpull_net::{Answer, Client, Request};

use crate::{
    endpoint::Ready,
    parcel::Parcel,
    signed::{Push, Signed},
};

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
    let push = Push {
        id: &parcel.id(),
        content_type: parcel.content_type(),
        seq: parcel.first.delivery.key.seq.0,
        position: parcel.first.message.key.position.0,
        body,
    };
    // Ids and checked content types are valid in a header.
    let Ok(signed) = Signed::new(push, &ready.signer, now) else {
        return failed(ErrorClass::Internal, "a header could not be built".into());
    };
    match client.send(Request { target, headers: &|| headers(ready, &signed), body }).await {
        Ok(answer) => {
            let timings = answer.timings;
            (outcome(answer, now), timings)
        }
        Err(failure) => (Outcome::Failed { class: failure.class, detail: failure.detail }, failure.timings),
    }
}

/// The endpoint's own headers, and over them those of the push.
fn headers(ready: &Ready, signed: &Signed) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(14 + ready.headers.len());
    headers.extend(ready.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    signed.put_into(&mut headers);
    headers
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
