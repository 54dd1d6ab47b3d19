//! Messages as they are shown.

use std::fmt;

use pushpull_domain::{Message, Payload};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{json::Object, schema};

/// What stands for a payload that was not asked for.
const LEFT_OUT: &[u8] = b"{}";
/// The member of what stands for text.
const RAW_PAYLOAD: &str = "rawPayload";
/// What stands for a payload that is erased.
const EXPIRED: &[u8] = br#"{"expired":true}"#;

// `write` is what writes it; this says how it looks.
/// A message.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "MessageOut")]
pub struct MessageOut {
    /// The message's id.
    #[schemars(regex(pattern = "^msg_[A-Za-z0-9]{27}$"))]
    pub id: String,
    /// The user's own id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Uid>")]
    pub event_id: Option<String>,
    /// What happened.
    #[schemars(with = "schema::Name")]
    pub event_type: String,
    /// The payload as it came. `{}` if it was not asked for, `{"expired": true}` if it is erased,
    /// `{"rawPayload": "..."}` if it came as text that could not be had back from here to the byte: no JSON object,
    /// or one with spaces around it, or one of this very form.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub payload: Box<RawValue>,
    /// Dimensions of filtering.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<schema::Channel>>")]
    pub channels: Option<Vec<String>>,
    /// Labels to find it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<schema::Tag>>")]
    pub tags: Option<Vec<String>>,
    /// When it was accepted.
    #[schemars(extend("format" = "date-time"))]
    pub timestamp: String,
    /// Not delivered before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub deliver_at: Option<String>,
}

/// Writes a message.
pub(crate) fn write(out: &mut Vec<u8>, message: &Message, with_content: bool) {
    let mut object = Object::begin(out);
    write_fields(&mut object, message, with_content);
    object.end();
}

/// Writes a message's fields into an object that may have others.
pub(crate) fn write_fields(object: &mut Object<'_>, message: &Message, with_content: bool) {
    object.plain("id", message.id);
    if let Some(event_id) = &message.event_id {
        object.plain("eventId", event_id);
    }
    object.plain("eventType", &message.event_type);
    write_payload(object.value("payload"), message, with_content);
    if !message.channels.is_empty() {
        object.field("channels", &message.channels);
    }
    if !message.tags.is_empty() {
        object.field("tags", &message.tags);
    }
    object.plain("timestamp", message.created_at);
    if let Some(at) = message.deliver_at {
        object.plain("deliverAt", at);
    }
}

/// About how many bytes a message takes when it is written.
pub(crate) fn size_hint(message: &Message, with_content: bool) -> usize {
    /// Field names, id, time, and names of usual length.
    const BESIDES: usize = 320;
    match &message.payload {
        Payload::Kept(bytes) if with_content => BESIDES + bytes.len(),
        Payload::Kept(_) | Payload::Expunged => BESIDES,
    }
}

fn write_payload(out: &mut Vec<u8>, message: &Message, with_content: bool) {
    if !with_content {
        out.extend_from_slice(LEFT_OUT);
        return;
    }
    match &message.payload {
        Payload::Expunged => out.extend_from_slice(EXPIRED),
        // Without a content type it is JSON, checked when it came.
        Payload::Kept(bytes) if message.content_type.is_none() || stands_for_itself(bytes) => {
            out.extend_from_slice(bytes);
        }
        // Strict clients insist on an object here.
        Payload::Kept(bytes) => {
            let mut object = Object::begin(out);
            object.field(RAW_PAYLOAD, &String::from_utf8_lossy(bytes));
            object.end();
        }
    }
}

/// Whether text is a JSON object that a reader gets back to the byte, and does not take for a wrapping.
fn stands_for_itself(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'{')
        && bytes.last() == Some(&b'}')
        && std::str::from_utf8(bytes).is_ok()
        && serde_json::from_slice::<IsWrapping>(bytes).is_ok_and(|is_wrapping| !is_wrapping.0)
}

/// Whether a JSON object has [`RAW_PAYLOAD`] and no other member. Read without keeping any: a payload may have many.
struct IsWrapping(bool);

impl<'de> Deserialize<'de> for IsWrapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = IsWrapping;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<IsWrapping, A::Error> {
        let (mut wrapping, mut others) = (false, false);
        while let Some(IsRawPayload(is_it)) = members.next_key()? {
            members.next_value::<IgnoredAny>()?;
            wrapping |= is_it;
            others |= !is_it;
        }
        Ok(IsWrapping(wrapping && !others))
    }
}

/// Whether a member's name is [`RAW_PAYLOAD`], however it is written.
struct IsRawPayload(bool);

impl<'de> Deserialize<'de> for IsRawPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Name)
    }
}

struct Name;

impl Visitor<'_> for Name {
    type Value = IsRawPayload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<IsRawPayload, E> {
        Ok(IsRawPayload(name == RAW_PAYLOAD))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use pushpull_domain::{
        AppNo, Channel, EventId, EventTypeName, MessageId, MessageKey, Position, Tag, Timestamp,
    };

    use super::*;

    pub(crate) fn message(payload: Payload) -> Message {
        let created_at = Timestamp::from_millis(1_795_513_560_124);
        Message {
            key: MessageKey { app: AppNo(1), position: Position(7) },
            id: MessageId::of(created_at, 7, 1),
            created_at,
            event_type: EventTypeName::new("invoice.paid").unwrap(),
            payload,
            content_type: None,
            channels: Vec::new(),
            tags: Vec::new(),
            event_id: None,
            deliver_at: None,
            payload_expires_at: None,
            fanout: Vec::new(),
        }
    }

    fn written(message: &Message, with_content: bool) -> String {
        let mut out = Vec::new();
        write(&mut out, message, with_content);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_written_is_what_serde_would_write() {
        let mut full = message(Payload::Kept(Bytes::from_static(br#"{ "a" : [1.50, "\u00e9"] }"#)));
        full.channels = vec![Channel::new("project:1").unwrap()];
        full.tags = vec![Tag::new(r"a\b").unwrap(), Tag::new("c").unwrap()];
        full.event_id = Some(EventId::new("evt-1").unwrap());
        full.deliver_at = Some(full.created_at);
        for message in [full, message(Payload::Expunged)] {
            let text = written(&message, true);
            let read: MessageOut = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
    }

    #[test]
    fn a_payload_is_shown_as_it_is_kept() {
        #[track_caller]
        fn check(payload: &'static [u8], content_type: Option<&str>, shown: &str) {
            let mut message = message(Payload::Kept(Bytes::from_static(payload)));
            message.content_type = content_type.map(str::to_owned);
            assert!(written(&message, true).contains(&format!(r#""payload":{shown},"#)));
            assert!(written(&message, false).contains(r#""payload":{},"#));
        }
        check(b"[1,  2]", None, "[1,  2]");
        check(br#"{ "a":1}"#, Some("application/cloudevents+json"), r#"{ "a":1}"#);
        check(br#" {"a":1}"#, Some("application/cloudevents+json"), r#"{"rawPayload":" {\"a\":1}"}"#);
        check(br#"{"rawPayload":1}"#, Some("application/json"), r#"{"rawPayload":"{\"rawPayload\":1}"}"#);
        check(
            br#"{"rawPayload":1,"rawPayload":2}"#,
            Some("a/b"),
            r#"{"rawPayload":"{\"rawPayload\":1,\"rawPayload\":2}"}"#,
        );
        for itself in ["{}", r#"{"rawPayload":1,"a":2}"#, r#"{"a":{"rawPayload":1}}"#] {
            check(itself.as_bytes(), Some("a/b"), itself);
        }
        check(br#"{"\ud800":1}"#, Some("a/b"), r#"{"rawPayload":"{\"\\ud800\":1}"}"#);
        check(b"{} }", Some("a/b"), r#"{"rawPayload":"{} }"}"#);
        check(b"{broken", Some("text/plain"), r#"{"rawPayload":"{broken"}"#);
        check(b"<a b=\"c\"/>", Some("application/xml"), r#"{"rawPayload":"<a b=\"c\"/>"}"#);
        check(b"\xff", Some("application/octet-stream"), "{\"rawPayload\":\"\u{fffd}\"}");
        assert!(written(&message(Payload::Expunged), true).contains(r#""payload":{"expired":true},"#));
    }

    proptest! {
        #[test]
        fn any_text_that_is_no_json_stays_within_its_string(raw: Vec<u8>) {
            let mut message = message(Payload::Kept(raw.into()));
            message.content_type = Some("text/plain".into());
            prop_assert!(serde_json::from_str::<MessageOut>(&written(&message, true)).is_ok());
        }
    }
}
