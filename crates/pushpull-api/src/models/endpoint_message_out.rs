//! Messages of an endpoint, and how they stand with it.

use pushpull_domain::DeliveryState;
use pushpull_store::{DeliveryStatus, DueDelivery};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    json::Object,
    message_out::{self, MessageOut},
    schema,
    status::MessageStatus,
};

// `write` is what writes it; this says how it looks.
/// A message and how it stands with an endpoint.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointMessageOut {
    /// The message.
    #[serde(flatten)]
    pub message: MessageOut,
    /// How it stands.
    pub status: MessageStatus,
    /// The same as a word.
    #[schemars(with = "schema::StatusText")]
    pub status_text: String,
    /// When the next attempt is due; absent: there is none to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub next_attempt: Option<String>,
}

/// Writes a delivery with its message. `expanded`: the client knows the status `Canceled`.
pub(crate) fn write(out: &mut Vec<u8>, owed: &DueDelivery, with_content: bool, expanded: bool) {
    let status = MessageStatus::from(DeliveryStatus::of(&owed.delivery)).shown(expanded);
    let mut object = Object::begin(out);
    message_out::write_fields(&mut object, &owed.message, with_content);
    object.field("status", &status).plain("statusText", status.as_str());
    if let DeliveryState::Owed { due_at: Some(at), .. } = owed.delivery.state {
        object.plain("nextAttempt", at);
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pushpull_domain::{CancelReason, Delivery, DeliveryKey, EndpointNo, Payload, Seq, attempt::Trigger};

    use super::*;

    #[track_caller]
    fn check(state: DeliveryState, attempts: u32, expanded: bool, expected: &str) {
        let message = message_out::tests::message(Payload::Expunged);
        let key = DeliveryKey { endpoint: EndpointNo(1), seq: Seq(1) };
        let delivery = Delivery { key, message: message.key, state, attempts };
        let mut out = Vec::new();
        write(&mut out, &DueDelivery { delivery, message: Arc::new(message) }, false, expanded);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_message_is_shown_with_how_it_stands() {
        let due_at = Some(message_out::tests::message(Payload::Expunged).created_at);
        let owed = DeliveryState::Owed { due_at, trigger: Trigger::Scheduled };
        let next = r#""nextAttempt":"2026-11-24T09:46:00.124Z"}"#;
        check(owed, 0, false, &format!(r#""status":1,"statusText":"pending",{next}"#));
        check(owed, 1, false, &format!(r#""status":3,"statusText":"sending",{next}"#));
        let held = DeliveryState::Owed { due_at: None, trigger: Trigger::Scheduled };
        check(held, 0, false, r#","status":1,"statusText":"pending"}"#);
        check(DeliveryState::Exhausted, 8, false, r#","status":2,"statusText":"fail"}"#);
        let cancelled = DeliveryState::Cancelled(CancelReason::Expunged);
        check(cancelled, 1, true, r#","status":4,"statusText":"canceled"}"#);
        check(cancelled, 1, false, r#","status":0,"statusText":"success"}"#);
    }
}
