//! Reading as a consumer with leases: what was handed out and not committed comes back.

use std::time::Duration;

use axum::{extract::State, response::Response};
use http::StatusCode;
use pushpull_domain::{Holder, Seq};
use pushpull_feed::{Place, Receive};
use pushpull_store::{LeaseRequest, QueueItem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AtConsumer, GapOut, answer, refused};
use crate::{
    extract::{Json, Query},
    models::{
        feed_item::{self, FeedItemOut},
        json::Object,
        schema,
    },
    paging,
    problem::Problem,
    routes::poller::query::patience,
    state::Api,
};

/// Where a new consumer begins.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Before the first message that is kept.
    Earliest,
    /// After the newest.
    Latest,
}

/// What is to be handed out.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ReceiveQuery {
    /// Most messages: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// How long they are the reader's, in milliseconds: 1,000 to 43,200,000 (12 h). Absent: 30,000.
    #[schemars(range(min = 1_000, max = 43_200_000))]
    lease_duration_ms: Option<u64>,
    /// Where a consumer begins that is new.
    #[schemars(with = "Option<schema::StartingPosition>")]
    starting_position: Option<Start>,
    /// What the reader calls itself: it is handed again what it did not commit, and told if another holds the lease.
    #[schemars(with = "Option<schema::Uid>")]
    holder: Option<Holder>,
    /// Longest wait for something to be handed out, in seconds: 0 to 60.
    #[schemars(range(min = 0, max = 60))]
    wait: Option<u64>,
}

// [`write_item`] is what writes it; this says how it looks.
/// A message that was handed out.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PollerV2PollMessageOut")]
pub struct HandedOut {
    /// The message.
    #[serde(flatten)]
    pub item: FeedItemOut,
    /// What it is committed by: its seq.
    pub offset: u64,
}

// [`answer`] is what writes it; this says how it looks.
/// What was handed out.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PollerV2PollOut")]
pub struct ReceiveOut {
    /// The messages, in the order of the queue.
    pub data: Vec<HandedOut>,
    /// Whether there is nothing beyond that could be handed out now.
    pub done: bool,
    /// How many deliveries there were beyond.
    pub pending: u64,
    /// What retention removed before it was read; told until something beyond it, or its end, is committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapOut>,
}

pub(crate) async fn receive(
    State(api): State<Api>,
    AtConsumer { reader, .. }: AtConsumer,
    Query(query): Query<ReceiveQuery>,
) -> Result<Response, Problem> {
    let limit = paging::limit(query.limit)?;
    let (shortest, longest) = LeaseRequest::LEASE;
    let lease = query.lease_duration_ms.map_or(LeaseRequest::LEASE_DEFAULT, Duration::from_millis);
    if !(shortest..=longest).contains(&lease) {
        let range = format!("must be {} to {}", shortest.as_millis(), longest.as_millis());
        return Err(Problem::invalid(&["query", "lease_duration_ms"], range));
    }
    let ask = Receive {
        limit,
        lease,
        start: query.starting_position.map(|start| match start {
            Start::Earliest => Place::Earliest,
            Start::Latest => Place::Latest,
        }),
        holder: query.holder,
        wait: patience(query.wait, None, limit)?.wait,
    };
    let read = api.feed.receive(&reader, &ask).await.map_err(|error| refused(error, &["query"]))?;
    Ok(answer(&read, None, write_handed_out))
}

fn write_handed_out(out: &mut Vec<u8>, item: &QueueItem) {
    let mut object = Object::begin(out);
    feed_item::write_fields(&mut object, item.seq, &item.message);
    object.field("offset", &item.seq.0);
    object.end();
}

/// Up to where everything was handled.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PollerV2CommitIn")]
pub struct CommitIn {
    /// The `offset` of the last message that was handled.
    offset: u64,
    /// What the reader calls itself.
    #[schemars(with = "Option<schema::Uid>")]
    holder: Option<Holder>,
}

/// Who commits.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct CommitQuery {
    /// What the reader calls itself; the body may say it too.
    #[schemars(with = "Option<schema::Uid>")]
    holder: Option<Holder>,
}

pub(crate) async fn commit(
    State(api): State<Api>,
    AtConsumer { reader, .. }: AtConsumer,
    Query(query): Query<CommitQuery>,
    Json(given): Json<CommitIn>,
) -> Result<StatusCode, Problem> {
    let holder = given.holder.or(query.holder);
    let committed = api.feed.commit(&reader, Seq(given.offset), holder).await;
    committed.map_err(|error| refused(error, &["body", "offset"]))?;
    Ok(StatusCode::NO_CONTENT)
}
