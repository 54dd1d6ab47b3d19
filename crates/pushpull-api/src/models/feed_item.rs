//! Messages as a reader of an endpoint's queue gets them.

use pushpull_domain::{Message, Payload, Seq};
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
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PollingEndpointMessageOut")]
pub struct FeedItemOut {
    /// The message.
    #[serde(flatten)]
    pub message: MessageOut,
    /// Where it stands in the endpoint's queue: from 1, without gaps.
    pub seq: u64,
    /// Where it stands in the application's log: from 1, without gaps.
    pub position: u64,
    /// What the payload is if it is not JSON: then `{"rawPayload": "..."}` alone stands for that text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Whether the payload is erased, and `{"expired": true}` stands for it; absent: it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_expired: Option<bool>,
}

/// Writes an item.
pub(crate) fn write(out: &mut Vec<u8>, item: &QueueItem) {
    let mut object = Object::begin(out);
    write_fields(&mut object, item.seq, &item.message);
    object.end();
}

/// Writes an item's fields into an object that may have others.
pub(crate) fn write_fields(object: &mut Object<'_>, seq: Seq, message: &Message) {
    message_out::write_fields(object, message, true);
    object.field("seq", &seq.0).field("position", &message.key.position.0);
    if let Some(content_type) = &message.content_type {
        object.field("contentType", content_type);
    }
    if message.payload == Payload::Expunged {
        object.field("payloadExpired", &true);
    }
}

/// About how many bytes an item takes when it is written.
pub(crate) fn size_hint(message: &Message) -> usize {
    /// Names and numbers of seq and position.
    const BESIDES: usize = 48;
    message_out::size_hint(message, true) + BESIDES
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json, value::RawValue};

    use super::*;
    use crate::models::message_out::tests::message;

    fn written(payload: Payload, content_type: Option<&str>) -> String {
        let mut message = message(payload);
        message.content_type = content_type.map(str::to_owned);
        let mut out = Vec::new();
        write(&mut out, &QueueItem { seq: Seq(3), message: message.into() });
        String::from_utf8(out).unwrap()
    }

    /// The payload as a reader makes it out of an item.
    fn read(item: &str) -> String {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Item<'a> {
            #[serde(borrow)]
            payload: &'a RawValue,
            content_type: Option<String>,
        }
        let Item { payload, content_type } = serde_json::from_str(item).unwrap();
        let members: Value = serde_json::from_str(payload.get()).unwrap();
        match members.as_object() {
            Some(members) if content_type.is_some() && members.keys().eq(["rawPayload"]) => {
                members["rawPayload"].as_str().unwrap().to_owned()
            }
            _ => payload.get().to_owned(),
        }
    }

    #[test]
    fn a_reader_has_every_payload_back_to_the_byte() {
        for json in
            [r#"{ "a" : 1.50 }"#, "[1,\n2]", r#"{"rawPayload":"x"}"#, r#""text""#, r#"{"expired":true}"#]
        {
            assert_eq!(read(&written(Payload::Kept(Bytes::from_static(json.as_bytes())), None)), json);
        }
        for text in [
            "plain",
            r#" {"a":1}"#,
            "{\"a\":1}\n",
            r#"{"rawPayload":"x"}"#,
            r#"{"raw\u0050ayload":1}"#,
            "{",
            "",
        ] {
            let item = written(Payload::Kept(Bytes::from_static(text.as_bytes())), Some("text/plain"));
            assert_eq!(read(&item), text, "{item}");
        }
    }

    #[test]
    fn an_erased_payload_says_so() {
        let item: Value = serde_json::from_str(&written(Payload::Expunged, None)).unwrap();
        assert_eq!((&item["payload"], &item["payloadExpired"]), (&json!({"expired": true}), &json!(true)));
        let item = written(Payload::Kept(Bytes::from_static(br#"{"expired":true}"#)), None);
        assert!(!item.contains("payloadExpired") && !item.contains("contentType"), "{item}");
    }
}
