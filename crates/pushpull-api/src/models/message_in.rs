//! Messages as they are handed in: the hot path.
//!
//! The body is read once. The payload is found in it, checked to be JSON, and copied as it came, once.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use pushpull_domain::{Channel, EventId, EventTypeName, NewMessage, Tag, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    endpoint_in::{CHANNELS_MAX, check_list, check_unique, invalid},
    schema,
};
use crate::{
    extract::{plain, read_json, refuse_list},
    problem::Problem,
};

/// Most tags of a message.
pub const TAGS_MAX: usize = 5;
/// Longest that a message may wait to be delivered: a day, what the Svix API allows.
pub const DELIVER_AT_MAX: Duration = Duration::from_hours(24);
/// Longest that the payload of one message may be told to be kept: 90 days, in hours.
const RETENTION_HOURS_MAX: u64 = 2160;
/// Longest content type of a raw payload, in bytes.
const CONTENT_TYPE_MAX: usize = 256;

/// A new message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageIn<'a> {
    /// What happened.
    #[schemars(with = "schema::Name")]
    pub event_type: EventTypeName,
    /// What is sent, byte for byte: any JSON, usually an object.
    #[serde(borrow)]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub payload: &'a RawValue,
    /// The user's own id of it: unique in the application while the message is kept.
    #[schemars(with = "Option<schema::Uid>")]
    pub event_id: Option<EventId>,
    /// Dimensions of filtering.
    #[schemars(with = "Option<Vec<schema::Channel>>", length(min = 1, max = 10), extend("uniqueItems" = true))]
    pub channels: Option<Vec<Channel>>,
    /// Labels to find it by.
    #[schemars(with = "Option<Vec<schema::Tag>>", length(max = 5), extend("uniqueItems" = true))]
    pub tags: Option<Vec<Tag>>,
    /// Makes this application, if the one in the path is not there.
    #[serde(borrow)]
    #[schemars(with = "Option<crate::routes::app::ApplicationIn>")]
    pub application: Option<&'a RawValue>,
    /// Sends something else than JSON: `rawPayload` is sent in place of the payload, as it is, with the
    /// `content-type` given under `headers`.
    #[serde(borrow)]
    #[schemars(with = "Option<TransformationsParams>")]
    pub transformations_params: Option<&'a RawValue>,
    /// Not delivered before this moment, at most 24 hours ahead.
    #[schemars(extend("format" = "date-time"))]
    pub deliver_at: Option<String>,
    /// How many days the payload is kept. Not together with `payloadRetentionHours`.
    #[schemars(range(min = 1, max = 90))]
    pub payload_retention_period: Option<u64>,
    /// How many hours the payload is kept.
    #[schemars(range(min = 1, max = 2160))]
    pub payload_retention_hours: Option<u64>,
}

/// How something else than JSON is sent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransformationsParams {
    /// Sent in place of the payload, as it is.
    pub raw_payload: Option<String>,
    /// Only `content-type`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

impl<'a> MessageIn<'a> {
    /// Reads a request's body.
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Problem> {
        // Where a fault is costs time to know: only a body that has one is read again for it.
        refuse_list(body)?;
        serde_json::from_slice(body).or_else(|_| read_json(body))
    }

    /// Checks what is asked; `payload_max` in bytes. A request that may be repeated (`is_repeatable`) may come
    /// again when its `deliverAt` is over: it must be answered as it was.
    pub(crate) fn check(
        self,
        now: Timestamp,
        payload_max: usize,
        is_repeatable: bool,
    ) -> Result<NewMessage, Problem> {
        let (payload, content_type) = match self.transformations_params {
            Some(params) => read_raw(self.payload, params)?,
            None => (kept(self.payload), None),
        };
        if payload.len() > payload_max {
            return Err(Problem::too_large(payload_max));
        }
        let tags = self.tags.unwrap_or_default();
        check_unique("tags", &tags, TAGS_MAX)?;
        Ok(NewMessage {
            event_type: self.event_type,
            payload,
            content_type,
            channels: check_list("channels", self.channels, CHANNELS_MAX)?.unwrap_or_default(),
            tags,
            event_id: self.event_id,
            deliver_at: self
                .deliver_at
                .map(|text| check_deliver_at(&text, now, is_repeatable))
                .transpose()?,
            payload_expires_at: check_retention(self.payload_retention_period, self.payload_retention_hours)?
                .map(|hours| now.after(Duration::from_hours(hours))),
        })
    }
}

/// The bytes of a payload, as they came.
///
/// Copied rather than shared with the request: a share would keep the connection's whole read buffer, and
/// the connection would make itself a new one for each request.
fn kept(payload: &RawValue) -> Bytes {
    Bytes::copy_from_slice(payload.get().as_bytes())
}

/// What is sent, and its content type; `None`: it is JSON.
fn read_raw(payload: &RawValue, params: &RawValue) -> Result<(Bytes, Option<String>), Problem> {
    let params: TransformationsParams = serde_json::from_str(params.get())
        .map_err(|error| invalid("transformationsParams", plain(&error)))?;
    let mut content_type = None;
    for (name, value) in params.headers {
        if !name.eq_ignore_ascii_case("content-type") {
            let message =
                "only `content-type` can be set for one message; other headers belong to the endpoint";
            return Err(Problem::invalid(&["body", "transformationsParams", "headers", &name], message));
        }
        if !is_content_type(&value) {
            let message = format!("a content type has 1 to {CONTENT_TYPE_MAX} visible ASCII characters");
            return Err(Problem::invalid(&["body", "transformationsParams", "headers", &name], message));
        }
        content_type = Some(value);
    }
    let Some(raw) = params.raw_payload else { return Ok((kept(payload), content_type)) };
    if content_type.is_none() && serde_json::from_str::<serde::de::IgnoredAny>(&raw).is_err() {
        // Sent as it is all the same; that it carries a type says that it was not checked to be JSON.
        content_type = Some("application/json".to_owned());
    }
    Ok((raw.into(), content_type))
}

/// Visible ASCII and spaces (RFC 9110 s. 8.3).
fn is_content_type(value: &str) -> bool {
    (1..=CONTENT_TYPE_MAX).contains(&value.len())
        && value.bytes().all(|c| (b' '..=b'~').contains(&c))
        && value.trim() == value
}

fn check_deliver_at(text: &str, now: Timestamp, may_be_over: bool) -> Result<Timestamp, Problem> {
    let at =
        Timestamp::parse(text).ok_or_else(|| invalid("deliverAt", "must be an RFC 3339 date and time"))?;
    if (at < now && !may_be_over) || at > now.after(DELIVER_AT_MAX) {
        return Err(invalid("deliverAt", "must be in the future, by at most 24 hours"));
    }
    Ok(at)
}

/// How long the payload is kept, in hours.
fn check_retention(days: Option<u64>, hours: Option<u64>) -> Result<Option<u64>, Problem> {
    let (field, hours) = match (days, hours) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let message = "cannot be given together with payloadRetentionPeriod";
            return Err(invalid("payloadRetentionHours", message));
        }
        (Some(days), None) => ("payloadRetentionPeriod", days.saturating_mul(24)),
        (None, Some(hours)) => ("payloadRetentionHours", hours),
    };
    if (1..=RETENTION_HOURS_MAX).contains(&hours) {
        Ok(Some(hours))
    } else {
        Err(invalid(field, "must be 1 hour to 90 days"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_513_560_000);

    fn parse(body: &str) -> Result<NewMessage, Problem> {
        MessageIn::read(body.as_bytes())?.check(NOW, 1_000, false)
    }

    #[test]
    fn a_message_with_everything_is_read() {
        let message = parse(
            r#"{"eventType": "invoice.paid", "eventId": "e-1", "channels": ["a:1", "b"], "tags": ["t"],
                "payload": { "n" : 1.10 }, "deliverAt": "2026-11-24T09:47:00Z", "payloadRetentionHours": 2,
                "application": {"name": "a"}, "transformationsParams": null, "unknown": 1}"#,
        )
        .unwrap();
        assert_eq!(&message.payload[..], br#"{ "n" : 1.10 }"#);
        assert_eq!((message.channels.len(), message.tags.len()), (2, 1));
        assert_eq!(message.deliver_at, Some(NOW.after(Duration::from_mins(1))));
        assert_eq!(message.payload_expires_at, Some(NOW.after(Duration::from_hours(2))));
        assert_eq!(message.content_type, None);
    }

    #[test]
    fn a_raw_payload_is_taken_in_place_of_the_payload() {
        #[track_caller]
        fn check(params: &str, payload: &str, content_type: Option<&str>) {
            let body = format!(r#"{{"eventType":"a","payload":{{}},"transformationsParams":{params}}}"#);
            let message = parse(&body).unwrap();
            assert_eq!(
                (&message.payload[..], message.content_type.as_deref()),
                (payload.as_bytes(), content_type)
            );
        }
        check(r#"{"rawPayload":"<a/>","headers":{"Content-Type":"text/xml"}}"#, "<a/>", Some("text/xml"));
        check(r#"{"rawPayload":"{\"b\":1}"}"#, r#"{"b":1}"#, None);
        check(r#"{"rawPayload":"{broken"}"#, "{broken", Some("application/json"));
        check("{}", "{}", None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        #[track_caller]
        fn check(fields: &str, field: &str) {
            let problem = parse(&format!(r#"{{"eventType":"a","payload":{{}},{fields}}}"#)).unwrap_err();
            assert!(format!("{problem:?}").contains(field), "{problem:?}");
        }
        check(r#""eventId":"a b""#, "eventId");
        check(r#""channels":[]"#, "channels");
        check(r#""channels":["a","b","c","a"]"#, "channels");
        check(r#""channels":["a b"]"#, "channels");
        check(r#""tags":["1","2","3","4","5","6"]"#, "tags");
        check(r#""deliverAt":"2026-11-23T09:47:00Z""#, "deliverAt");
        check(r#""deliverAt":"2026-11-26T09:47:00Z""#, "deliverAt");
        check(r#""deliverAt":"tomorrow""#, "deliverAt");
        check(r#""payloadRetentionPeriod":91"#, "payloadRetentionPeriod");
        check(r#""payloadRetentionPeriod":0"#, "payloadRetentionPeriod");
        check(r#""payloadRetentionHours":2161"#, "payloadRetentionHours");
        check(r#""payloadRetentionHours":1,"payloadRetentionPeriod":1"#, "payloadRetentionHours");
        check(r#""transformationsParams":{"script":"x"}"#, "script");
        check(r#""transformationsParams":{"headers":{"x-a":"1"}}"#, "x-a");
        check(r#""transformationsParams":{"headers":{"content-type":"a\r\nb: c"}}"#, "content-type");
        check(r#""eventType":"b""#, "eventType");
        assert!(format!("{:?}", parse(r#"{"payload":{}}"#).unwrap_err()).contains("eventType"));
        assert!(format!("{:?}", parse(r#"{"eventType":"a"}"#).unwrap_err()).contains("payload"));
        assert!(parse(r#"{"eventType":"a","payload":{"a":}}"#).is_err());
    }

    #[test]
    fn a_payload_over_the_limit_is_too_large() {
        let body = |n: usize| format!(r#"{{"eventType":"a","payload":"{}"}}"#, "x".repeat(n - 2));
        assert!(parse(&body(1_000)).is_ok());
        assert!(parse(&body(1_001)).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..6).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_bytes_of_any_payload_are_kept(value in any_json(), pretty: bool) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let body = format!(r#"{{ "payload" : {text} , "eventType":"a"}}"#);
            let message = MessageIn::read(body.as_bytes()).unwrap().check(NOW, usize::MAX, false).unwrap();
            prop_assert_eq!(&message.payload[..], text.as_bytes());
        }

        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>) {
            let _ = MessageIn::read(&body);
        }
    }
}
