//! Endpoints as they are shown.

use pushpull_domain::{
    Channel, Endpoint, EndpointId, EventTypeName, Metadata, Mode, RetrySchedule, Timestamp, Uid,
};
use pushpull_store::DeliveryStatus;
use schemars::JsonSchema;
use serde::Serialize;

use super::{schema, status::MessageStatus};

/// An endpoint. Carries what both generations of the SDKs insist on.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointOut {
    /// The endpoint's id.
    #[schemars(with = "String", regex(pattern = "^ep_[A-Za-z0-9]{27}$"))]
    pub id: EndpointId,
    /// The user's own name for it, unique in the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Uid>")]
    pub uid: Option<Uid>,
    /// Where webhooks go; empty: it has no URL, and is not pushed.
    #[schemars(extend("format" = "uri"))]
    pub url: String,
    /// For people.
    pub description: String,
    /// Whether it takes no messages.
    pub disabled: bool,
    /// Only these event types; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<schema::Name>>", extend("uniqueItems" = true))]
    pub event_types: Option<Vec<EventTypeName>>,
    /// The same under its older name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<schema::Name>>", extend("uniqueItems" = true))]
    pub filter_types: Option<Vec<EventTypeName>>,
    /// Only messages in one of these channels; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<schema::Channel>>", extend("uniqueItems" = true))]
    pub channels: Option<Vec<Channel>>,
    /// Most deliveries a second; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle_rate: Option<u16>,
    /// The same under its older name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u16>,
    /// Always 1; older SDKs insist on it.
    pub version: u16,
    /// Free pairs of text.
    pub metadata: Metadata,
    /// Who moves along its deliveries; absent: the dispatcher (`push`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Mode>")]
    pub mode: Option<Mode>,
    /// It left push a moment ago: what was in flight then may still be answered. Readers get nothing until it is over,
    /// so that they get nothing twice. Absent: that is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// Its own waits between attempts, in seconds; absent: the event type's, else the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<f64>>")]
    pub retry_schedule: Option<RetrySchedule>,
    /// One at a time, in order; absent: it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fifo: bool,
    /// It is held where it would be disabled for failing; absent: it is disabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold_when_failing: bool,
    /// When it was made.
    #[schemars(extend("format" = "date-time"))]
    pub created_at: String,
    /// When it was last changed.
    #[schemars(extend("format" = "date-time"))]
    pub updated_at: String,
}

impl From<&Endpoint> for EndpointOut {
    fn from(endpoint: &Endpoint) -> Self {
        let event_types = endpoint.filter.event_types.clone();
        Self {
            id: endpoint.id,
            uid: endpoint.uid.clone(),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            disabled: !endpoint.is_enabled(),
            filter_types: event_types.clone(),
            event_types,
            channels: endpoint.filter.channels.clone(),
            throttle_rate: endpoint.rate_limit,
            rate_limit: endpoint.rate_limit,
            version: 1,
            metadata: endpoint.metadata.clone(),
            mode: Some(endpoint.mode).filter(|mode| *mode != Mode::Push),
            draining: endpoint.draining_since.is_some(),
            retry_schedule: endpoint.retry_schedule.clone(),
            fifo: endpoint.fifo,
            hold_when_failing: endpoint.hold_when_failing,
            created_at: endpoint.created_at.to_string(),
            updated_at: endpoint.updated_at.to_string(),
        }
    }
}

/// An endpoint that a message goes to, and how the message stands with it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageEndpointOut {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: EndpointOut,
    /// How the message stands with it.
    pub status: MessageStatus,
    /// The same as a word.
    #[schemars(with = "schema::StatusText")]
    pub status_text: &'static str,
    /// When the next attempt is due; absent: there is none to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub next_attempt: Option<String>,
}

impl MessageEndpointOut {
    /// An endpoint with a delivery to it.
    pub(crate) fn new(endpoint: &Endpoint, status: DeliveryStatus, next_attempt: Option<Timestamp>) -> Self {
        let status = MessageStatus::from(status).shown(true);
        Self {
            endpoint: endpoint.into(),
            status,
            status_text: status.as_str(),
            next_attempt: next_attempt.map(|at| at.to_string()),
        }
    }
}
