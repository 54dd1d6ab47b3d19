//! What an endpoint is sent by hand, and how its deliveries stand: example, recover, stats.

use std::time::Duration;

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::StatusCode;
use pushpull_domain::{EventTypeName, NewMessage, TaskId, Timestamp, chance};
use pushpull_store::Recovery;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    auth::Caller,
    extract::{Json, Query},
    models::{
        endpoint_in::invalid,
        example::{self, NoExample},
        schema,
    },
    path::AtEndpoint,
    problem::Problem,
    routes::{event_type::is_seen_by, message},
    state::Api,
};

/// How far back statistics go when nothing is said: 28 days.
const STATS_DEFAULT: Duration = Duration::from_hours(24 * 28);

/// Which example to send.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventExampleIn {
    /// The event type whose example it is.
    #[schemars(with = "schema::Name")]
    pub event_type: EventTypeName,
    /// Which of the schema's examples.
    #[serde(default)]
    pub example_index: usize,
    /// Sent in place of the example.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub payload: Option<Box<RawValue>>,
}

pub(crate) async fn send_example(
    State(api): State<Api>,
    caller: Caller,
    AtEndpoint { app, endpoint }: AtEndpoint,
    Json(given): Json<EventExampleIn>,
) -> Result<Response, Problem> {
    let payload = match &given.payload {
        Some(payload) if payload.get().len() > api.payload_max => {
            return Err(Problem::too_large(api.payload_max));
        }
        Some(payload) => Bytes::copy_from_slice(payload.get().as_bytes()),
        None => example(&api, caller, &given).await?,
    };
    let message = NewMessage {
        event_type: given.event_type,
        payload,
        content_type: None,
        channels: Vec::new(),
        tags: Vec::new(),
        event_id: None,
        deliver_at: None,
        payload_expires_at: None,
    };
    let published = api.log.publish_to(&app, endpoint.no, message, None).await?;
    message::accepted(published, true)
}

/// The example asked for, as it stands in the event type's schema.
async fn example(api: &Api, caller: Caller, given: &EventExampleIn) -> Result<Bytes, Problem> {
    if &*given.event_type == example::PING {
        return Ok(Bytes::from_static(example::PING_PAYLOAD.as_bytes()));
    }
    let found = api.store().event_type(caller.environment, given.event_type.clone()).await?;
    let found = found.filter(|event_type| is_seen_by(&caller, event_type));
    let event_type = found.ok_or(Problem::NotFound("event type"))?;
    let schemas = event_type.schemas.as_deref();
    match schemas.map_or(Err(NoExample::None), |schemas| example::find(schemas, given.example_index)) {
        Ok(example) => Ok(Bytes::copy_from_slice(example.get().as_bytes())),
        Err(missing) => Err(invalid("exampleIndex", missing)),
    }
}

/// What is to be sent again.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct RecoverIn {
    /// Messages made from this moment on.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// ... and before this one; absent: now.
    #[schemars(extend("format" = "date-time"))]
    pub until: Option<String>,
}

/// A task that goes on in the background.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoverOut {
    /// The task's id.
    #[schemars(with = "String", regex(pattern = "^qtask_[A-Za-z0-9]{27}$"))]
    pub id: TaskId,
    /// How it stands: it has just begun.
    #[schemars(extend("enum" = ["running"]))]
    pub status: &'static str,
    /// What it does.
    #[schemars(extend("enum" = ["endpoint.recover"]))]
    pub task: &'static str,
    /// When it was last worked on.
    #[schemars(extend("format" = "date-time"))]
    pub updated_at: String,
}

pub(crate) async fn recover(
    State(api): State<Api>,
    AtEndpoint { app, endpoint }: AtEndpoint,
    Json(given): Json<RecoverIn>,
) -> Result<Response, Problem> {
    let now = api.now();
    let since = moment("since", &given.since)?;
    let until = given.until.map_or(Ok(now), |text| moment("until", &text))?;
    if since >= until {
        return Err(invalid("since", "must be before `until`, and in the past"));
    }
    let task = TaskId::new(now, chance::bytes(&*api.chance));
    let recovery = Recovery { task, app: app.app.no, endpoint: endpoint.no, since, until, updated_at: now };
    api.store().start_recovery(recovery).await?;
    let out =
        RecoverOut { id: task, status: "running", task: "endpoint.recover", updated_at: now.to_string() };
    Ok((StatusCode::ACCEPTED, Answer(out)).into_response())
}

fn moment(field: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text).ok_or_else(|| invalid(field, "must be an RFC 3339 date and time"))
}

/// Over which messages statistics go.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct StatsQuery {
    /// Messages made from this moment on; absent: 28 days before `until`.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// ... and before this one; absent: now.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
}

/// How many deliveries stand how.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EndpointStats {
    /// Answered 2xx.
    pub success: u64,
    /// Owed, not yet attempted.
    pub pending: u64,
    /// Owed, after a failure.
    pub sending: u64,
    /// Every attempt failed.
    pub fail: u64,
    /// Given up.
    pub canceled: u64,
}

pub(crate) async fn stats(
    State(api): State<Api>,
    AtEndpoint { endpoint, .. }: AtEndpoint,
    Query(query): Query<StatsQuery>,
) -> Result<Answer<EndpointStats>, Problem> {
    let at = |field: &'static str, text: Option<&str>| text.map(|t| query_moment(field, t)).transpose();
    let until =
        at("until", query.until.as_deref())?.unwrap_or_else(|| api.now().after(Duration::from_millis(1)));
    let since = at("since", query.since.as_deref())?.unwrap_or_else(|| until.before(STATS_DEFAULT));
    let counts = api.store().delivery_counts(endpoint.no, since, until).await?;
    Ok(Answer(EndpointStats {
        success: counts.success,
        pending: counts.pending,
        sending: counts.sending,
        fail: counts.fail,
        canceled: counts.cancelled,
    }))
}

/// A moment in a query.
pub(crate) fn query_moment(field: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text)
        .ok_or_else(|| Problem::invalid(&["query", field], "must be an RFC 3339 date and time"))
}

/// An answer that says nothing but that it was taken.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EmptyResponse {}
