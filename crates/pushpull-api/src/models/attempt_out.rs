//! Attempts as they are shown.

use std::time::Duration;

use pushpull_domain::{
    AttemptId, EndpointId, Message, MessageId,
    attempt::{Attempt, ErrorClass, Outcome, Timings},
};
use pushpull_store::StoredAttempt;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{message_out, schema, status::MessageStatus};

/// An attempt.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "MessageAttemptOut")]
pub struct AttemptOut {
    /// The attempt's id.
    #[schemars(with = "String", regex(pattern = "^atmpt_[A-Za-z0-9]{27}$"))]
    pub id: AttemptId,
    /// The endpoint it was made at.
    #[schemars(with = "String", regex(pattern = "^ep_[A-Za-z0-9]{27}$"))]
    pub endpoint_id: EndpointId,
    /// The message it carried.
    #[schemars(with = "String", regex(pattern = "^msg_[A-Za-z0-9]{27}$"))]
    pub msg_id: MessageId,
    /// The URL it went to.
    #[schemars(extend("format" = "uri"))]
    pub url: String,
    /// What was answered, as text; why there was no answer; empty if it was erased or not asked for.
    pub response: String,
    /// The HTTP status of the answer; 0: no answer.
    pub response_status_code: u16,
    /// From its start to its end, in milliseconds.
    pub response_duration_ms: u64,
    /// How it ended.
    pub status: MessageStatus,
    /// The same as a word.
    #[schemars(with = "schema::StatusText")]
    pub status_text: &'static str,
    /// Who asked for it: the schedule (0), or somebody by hand (1).
    #[schemars(extend("enum" = [0, 1]))]
    pub trigger_type: u8,
    /// When it started.
    #[schemars(extend("format" = "date-time"))]
    pub timestamp: String,
    /// Why it failed; absent if it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_class: Option<&'static str>,
    /// Where the time went.
    pub timings: TimingsOut,
    /// The message it carried, without its payload; absent if it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<message_out::MessageOut>")]
    pub msg: Option<Box<RawValue>>,
}

/// Where the time of an attempt went, in milliseconds. Absent: that step did not happen.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AttemptTimingsOut")]
pub struct TimingsOut {
    /// From when it was due until it started.
    pub wait_ms: f64,
    /// Resolving the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_ms: Option<f64>,
    /// The TCP handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<f64>,
    /// The TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ms: Option<f64>,
    /// Until the first byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    /// Until its end.
    pub total_ms: f64,
}

/// What is shown of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    /// The endpoint it was made at.
    pub(crate) endpoint: EndpointId,
    /// The message it carried.
    pub(crate) message: &'a Message,
    /// Whether what was answered is shown.
    pub(crate) with_content: bool,
    /// Whether the message is shown, without its payload.
    pub(crate) with_message: bool,
}

impl AttemptOut {
    /// An attempt with what it belongs to.
    pub(crate) fn new(stored: &StoredAttempt, shown: Shown<'_>) -> Self {
        let Attempt { started_at, trigger, outcome, timings } = &stored.attempt;
        let status = MessageStatus::from(outcome);
        Self {
            id: stored.id,
            endpoint_id: shown.endpoint,
            msg_id: shown.message.id,
            url: stored.url.to_string(),
            response: if shown.with_content { response(outcome) } else { String::new() },
            response_status_code: outcome.status().unwrap_or(0),
            response_duration_ms: u64::try_from(timings.total.as_millis()).unwrap_or(u64::MAX),
            status,
            status_text: status.as_str(),
            trigger_type: *trigger as u8,
            timestamp: started_at.to_string(),
            error_class: outcome.class().map(ErrorClass::as_str),
            timings: timings.into(),
            msg: shown.with_message.then(|| message_json(shown.message)),
        }
    }
}

/// What was answered, as text; bytes that are none are replaced.
fn response(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered { body, .. } | Outcome::Refused { body, .. } => {
            String::from_utf8_lossy(body).into_owned()
        }
        Outcome::Failed { detail, .. } => detail.clone(),
    }
}

fn message_json(message: &Message) -> Box<RawValue> {
    let mut out = Vec::with_capacity(message_out::size_hint(message, false));
    message_out::write(&mut out, message, false);
    let text = String::from_utf8(out).expect("ids, names and times are text");
    RawValue::from_string(text).expect("what `write` writes is JSON")
}

impl From<&Timings> for TimingsOut {
    fn from(timings: &Timings) -> Self {
        Self {
            wait_ms: millis(timings.wait),
            dns_ms: timings.dns.map(millis),
            connect_ms: timings.connect.map(millis),
            tls_ms: timings.tls.map(millis),
            first_byte_ms: timings.first_byte.map(millis),
            total_ms: millis(timings.total),
        }
    }
}

/// Milliseconds, to the microsecond.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use pushpull_domain::{DeliveryKey, EndpointNo, Payload, Seq, Timestamp, attempt::Trigger};

    use super::*;

    fn stored(outcome: Outcome, message: &Message) -> StoredAttempt {
        let at = Timestamp::from_millis(1_795_513_560_124);
        StoredAttempt {
            id: AttemptId::of(at, 1, 2),
            delivery: DeliveryKey { endpoint: EndpointNo(3), seq: Seq(1) },
            message: message.key,
            url: Arc::from("https://example.com/"),
            attempt: Attempt {
                started_at: at,
                trigger: Trigger::Manual,
                outcome,
                timings: Timings {
                    connect: Some(Duration::from_micros(1_250)),
                    total: Duration::from_millis(20),
                    ..Timings::default()
                },
            },
        }
    }

    fn shown(outcome: Outcome, with_content: bool) -> AttemptOut {
        let message = message_out::tests::message(Payload::Kept(Bytes::from_static(b"{\"secret\":1}")));
        let endpoint = EndpointId::new(message.created_at, [0; 15]);
        AttemptOut::new(
            &stored(outcome, &message),
            Shown { endpoint, message: &message, with_content, with_message: true },
        )
    }

    #[test]
    fn an_answer_that_is_no_text_is_shown_as_far_as_it_is() {
        let outcome =
            Outcome::Refused { status: 500, body: Bytes::from_static(b"no\xff"), retry_after: None };
        let out = shown(outcome.clone(), true);
        assert_eq!(out.response, "no\u{fffd}");
        assert_eq!((out.status, out.response_status_code), (MessageStatus::Fail, 500));
        assert_eq!((out.error_class, out.trigger_type), (Some("status"), 1));
        assert_eq!(shown(outcome, false).response, "");
    }

    #[test]
    fn an_attempt_without_an_answer_tells_why() {
        let out = shown(Outcome::Failed { class: ErrorClass::Dns, detail: "no such name".into() }, true);
        assert_eq!((out.response_status_code, &*out.response), (0, "no such name"));
        let json = serde_json::to_value(&out).unwrap();
        assert_eq!(json["timings"], serde_json::json!({ "waitMs": 0.0, "connectMs": 1.25, "totalMs": 20.0 }));
        assert_eq!(json["errorClass"], "dns");
    }

    #[test]
    fn an_attempts_message_is_shown_without_its_payload() {
        let out = shown(Outcome::Delivered { status: 204, body: Bytes::new() }, true);
        assert_eq!((out.status_text, out.error_class), ("success", None));
        assert!(out.msg.unwrap().get().contains(r#""payload":{},"#));
    }
}
