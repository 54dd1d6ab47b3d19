//! Destinations as they are shown.

use pushpull_domain::{
    Batch, Channel, Endpoint, EndpointId, EndpointState, EventTypeName, Metadata, Mode, Timestamp, Uid,
    attempt::Outcome,
    endpoint::{DisabledReason, FAILING_MAX},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{destination_in::DestinationKind, schema};
use crate::routes::endpoint_headers::EndpointHeadersOut;

/// A day, in seconds.
const DAY: u64 = 24 * 3600;

/// How a destination stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DestinationStatus {
    /// It takes messages.
    Enabled,
    /// Its messages gather: its endpoint is `held`.
    Paused,
    /// It takes no messages.
    Disabled,
    /// Its last attempt failed, and it is tried again.
    Retrying,
}

/// Where a `fifoEndpoint` sends, and how.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DestinationConfigOut {
    /// Where webhooks go.
    #[schemars(extend("format" = "uri"))]
    pub url: String,
    /// Custom headers.
    pub headers: EndpointHeadersOut,
}

/// A destination: an endpoint that is read, or pushed in order.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationOut {
    /// Its id, which is the endpoint's.
    #[schemars(with = "String", regex(pattern = "^ep_[A-Za-z0-9]{27}$"))]
    pub id: EndpointId,
    /// The user's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<schema::Uid>")]
    pub uid: Option<Uid>,
    /// What it is: `pollingEndpoint` or `fifoEndpoint`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where it sends, and how; absent: it is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<DestinationConfigOut>,
    /// How it stands.
    pub status: DestinationStatus,
    /// Its place in its queue, as the poller takes it: of a `fifoEndpoint`, after what it is done with; of a
    /// `pollingEndpoint`, where a new reader begins: before the earliest that is kept and was not pushed before.
    pub current_iterator: String,
    /// Why it is disabled or tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub next_retry_at: Option<String>,
    /// Messages of one request.
    pub batch_size: u16,
    /// How long is waited for a batch to be full, in seconds.
    pub max_wait_secs: u16,
    /// Only these event types; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<schema::Name>>", extend("uniqueItems" = true))]
    pub event_types: Option<Vec<EventTypeName>>,
    /// Only messages in one of these channels; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<schema::Channel>>", extend("uniqueItems" = true))]
    pub channels: Option<Vec<Channel>>,
    /// Free pairs of text.
    pub metadata: Metadata,
    /// When it was made.
    #[schemars(extend("format" = "date-time"))]
    pub created_at: String,
    /// When it was last changed.
    #[schemars(extend("format" = "date-time"))]
    pub updated_at: String,
}

/// What is tried again.
#[derive(Debug)]
pub(crate) struct Retry {
    /// When.
    pub(crate) due_at: Timestamp,
    /// What came of the last attempt.
    pub(crate) outcome: Outcome,
}

impl DestinationOut {
    /// An endpoint as a destination of this kind.
    pub(crate) fn new(
        endpoint: &Endpoint,
        kind: DestinationKind,
        current_iterator: String,
        retry: Option<&Retry>,
    ) -> Self {
        let status = status(endpoint, retry.is_some());
        let retry = retry.filter(|_| status == DestinationStatus::Retrying);
        let batch = if kind == DestinationKind::Fifo { endpoint.batch } else { Batch::SINGLE };
        Self {
            id: endpoint.id,
            uid: endpoint.uid.clone(),
            kind: kind.as_str(),
            config: (kind == DestinationKind::Fifo).then(|| DestinationConfigOut {
                url: endpoint.url.clone(),
                headers: EndpointHeadersOut::from(&endpoint.headers),
            }),
            status,
            current_iterator,
            failure_reason: failure_reason(endpoint.state, retry),
            next_retry_at: retry.map(|retry| retry.due_at.to_string()),
            batch_size: batch.size,
            max_wait_secs: batch.wait_secs,
            event_types: endpoint.filter.event_types.clone(),
            channels: endpoint.filter.channels.clone(),
            metadata: endpoint.metadata.clone(),
            created_at: endpoint.created_at.to_string(),
            updated_at: endpoint.updated_at.to_string(),
        }
    }
}

fn status(endpoint: &Endpoint, has_retry: bool) -> DestinationStatus {
    match (endpoint.state, endpoint.mode) {
        (EndpointState::Disabled { .. }, _) => DestinationStatus::Disabled,
        (EndpointState::Enabled, Mode::Held) => DestinationStatus::Paused,
        (EndpointState::Enabled, Mode::Push) if has_retry => DestinationStatus::Retrying,
        (EndpointState::Enabled, Mode::Push | Mode::Pull) => DestinationStatus::Enabled,
    }
}

fn failure_reason(state: EndpointState, retry: Option<&Retry>) -> Option<String> {
    match state {
        EndpointState::Disabled { reason, .. } => match reason {
            DisabledReason::Owner => None,
            DisabledReason::Gone => Some("it answered 410 Gone".into()),
            DisabledReason::Failing => {
                Some(format!("nothing but failures for {} days", FAILING_MAX.as_secs() / DAY))
            }
        },
        EndpointState::Enabled => match &retry?.outcome {
            Outcome::Refused { status, .. } => Some(format!("the last attempt was answered {status}")),
            Outcome::Failed { class, detail } => {
                Some(format!("the last attempt failed ({}): {detail}", class.as_str()))
            }
            Outcome::Delivered { .. } => None,
        },
    }
}
