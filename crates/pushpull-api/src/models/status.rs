//! How deliveries and attempts stand, in the API's numbers.

use std::borrow::Cow;

use pushpull_domain::attempt::Outcome;
use pushpull_store::DeliveryStatus;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How a message stands with an endpoint, or how an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageStatus {
    /// Answered 2xx.
    Success = 0,
    /// Owed, not yet attempted.
    Pending = 1,
    /// Every attempt failed; of one attempt: it failed.
    Fail = 2,
    /// Owed, after a failure.
    Sending = 3,
    /// Given up.
    Canceled = 4,
}

impl MessageStatus {
    const ALL: [Self; 5] = [Self::Success, Self::Pending, Self::Fail, Self::Sending, Self::Canceled];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Pending => "pending",
            Self::Fail => "fail",
            Self::Sending => "sending",
            Self::Canceled => "canceled",
        }
    }

    /// As it is shown to a client that knows `Canceled` (`expanded`), or to one that does not: the
    /// published API shows those `Success`.
    pub(crate) fn shown(self, expanded: bool) -> Self {
        if self == Self::Canceled && !expanded { Self::Success } else { self }
    }

    /// The deliveries that a list filtered by this status shows.
    pub(crate) fn of_deliveries(self) -> DeliveryStatus {
        match self {
            Self::Success => DeliveryStatus::Success,
            Self::Pending => DeliveryStatus::Pending,
            Self::Fail => DeliveryStatus::Fail,
            Self::Sending => DeliveryStatus::Sending,
            Self::Canceled => DeliveryStatus::Cancelled,
        }
    }
}

impl From<DeliveryStatus> for MessageStatus {
    fn from(status: DeliveryStatus) -> Self {
        match status {
            DeliveryStatus::Success => Self::Success,
            DeliveryStatus::Pending => Self::Pending,
            DeliveryStatus::Fail => Self::Fail,
            DeliveryStatus::Sending => Self::Sending,
            DeliveryStatus::Cancelled => Self::Canceled,
        }
    }
}

impl From<&Outcome> for MessageStatus {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered { .. } => Self::Success,
            Outcome::Refused { .. } | Outcome::Failed { .. } => Self::Fail,
        }
    }
}

impl Serialize for MessageStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl<'de> Deserialize<'de> for MessageStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        Self::ALL.into_iter().find(|status| *status as u8 == number).ok_or_else(|| {
            de::Error::custom("must be 0 (success), 1 (pending), 2 (fail), 3 (sending) or 4 (canceled)")
        })
    }
}

impl JsonSchema for MessageStatus {
    fn schema_name() -> Cow<'static, str> {
        "MessageStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How it stands: success (0), pending (1), fail (2), sending (3) or canceled (4)",
            "type": "integer",
            "enum": [0, 1, 2, 3, 4],
        })
    }
}

/// A class of HTTP status codes; 0: no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCodeClass(u16);

impl StatusCodeClass {
    /// 1 to 5 for 1xx to 5xx; 0: no answer.
    pub(crate) fn hundreds(self) -> u16 {
        self.0
    }
}

impl<'de> Deserialize<'de> for StatusCodeClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u16::deserialize(deserializer)? {
            code @ (0 | 100 | 200 | 300 | 400 | 500) => Ok(Self(code / 100)),
            _ => Err(de::Error::custom("must be 0 (no answer), 100, 200, 300, 400 or 500")),
        }
    }
}

impl JsonSchema for StatusCodeClass {
    fn schema_name() -> Cow<'static, str> {
        "StatusCodeClass".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A class of HTTP status codes; 0: no answer",
            "type": "integer",
            "enum": [0, 100, 200, 300, 400, 500],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers() {
        for status in MessageStatus::ALL {
            let text = serde_json::to_string(&status).unwrap();
            assert_eq!(serde_json::from_str::<MessageStatus>(&text).unwrap(), status);
            assert_eq!(MessageStatus::from(status.of_deliveries()), status);
        }
        assert!(serde_json::from_str::<MessageStatus>("5").is_err());
        assert_eq!(serde_json::from_str::<StatusCodeClass>("400").unwrap().hundreds(), 4);
        assert!(serde_json::from_str::<StatusCodeClass>("404").is_err());
    }

    #[test]
    fn clients_that_do_not_know_canceled_are_shown_success() {
        assert_eq!(MessageStatus::Canceled.shown(false), MessageStatus::Success);
        assert_eq!(MessageStatus::Canceled.shown(true), MessageStatus::Canceled);
        assert_eq!(MessageStatus::Sending.shown(false), MessageStatus::Sending);
    }
}
