//! Consumers as they are set up and as they stand.

use std::time::Duration;

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use pushpull_domain::ConsumerName;
use pushpull_feed::{ConsumeError, Place, Reader};
use pushpull_store::{Consumer, ConsumerSettings, ConsumerStatus, Lease, Order, Refused};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AtConsumer, GapOut, refused};
use crate::{
    extract::{Json, Query},
    models::{endpoint_in::invalid, json, schema},
    paging::{self, Ordering},
    path::AtEndpoint,
    problem::Problem,
    routes::poller::query::place,
    state::Api,
};

/// Most times that an item is handed out before it is parked.
const MAX_DELIVER_MAX: u32 = 1_000;

/// A lease.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConsumerLease")]
pub struct LeaseOut {
    /// What its holder calls itself.
    pub holder: Option<String>,
    /// When what is not committed comes back.
    #[schemars(extend("format" = "date-time"))]
    pub until: String,
}

impl From<&Lease> for LeaseOut {
    fn from(lease: &Lease) -> Self {
        Self { holder: lease.holder.as_ref().map(ToString::to_string), until: lease.until.to_string() }
    }
}

/// A named reader of an endpoint's queue.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ConsumerOut")]
pub struct ConsumerOut {
    /// Its name.
    #[schemars(with = "schema::Uid")]
    pub name: String,
    /// Everything up to this seq is done.
    pub committed: u64,
    /// The lease that holds.
    pub lease: Option<LeaseOut>,
    /// It is removed when it was not seen for so many seconds.
    pub idle: u64,
    /// Work queue: handed out so often, an item is parked; 0: never.
    pub max_deliver: u32,
    /// When it last read or committed, to a minute.
    #[schemars(extend("format" = "date-time"))]
    pub seen_at: String,
    /// When it is removed unless it is seen before.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: String,
    /// When it was made.
    #[schemars(extend("format" = "date-time"))]
    pub created_at: String,
}

impl ConsumerOut {
    fn of(consumer: &Consumer, api: &Api) -> Self {
        Self {
            name: consumer.key.name.to_string(),
            committed: consumer.committed.0,
            lease: consumer.lease_at(api.now()).map(LeaseOut::from),
            idle: consumer.settings.idle.as_secs(),
            max_deliver: consumer.settings.max_deliver,
            seen_at: consumer.seen_at.to_string(),
            expires_at: consumer.expires_at().to_string(),
            created_at: consumer.created_at.to_string(),
        }
    }
}

/// What is before a consumer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConsumerLag")]
pub struct LagOut {
    /// Seqs that are not done, but for what is parked.
    pub messages: u64,
    /// How old the oldest of them is, in seconds.
    pub seconds: u64,
}

/// How a consumer stands.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConsumerStatus")]
pub struct StatusOut {
    /// The consumer.
    #[serde(flatten)]
    pub consumer: ConsumerOut,
    /// The newest seq of the queue.
    pub head: u64,
    /// What is before it.
    pub lag: LagOut,
    /// Work queue: taken and not done.
    pub taken: u64,
    /// Work queue: parked.
    pub parked: u64,
    /// What retention removed before it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapOut>,
}

impl StatusOut {
    fn of(status: &ConsumerStatus, api: &Api) -> Self {
        let oldest = status.oldest_at.filter(|_| status.behind > 0);
        Self {
            consumer: ConsumerOut::of(&status.consumer, api),
            head: status.head.0,
            lag: LagOut {
                messages: status.behind,
                seconds: oldest.map_or(0, |oldest| api.now().since(oldest).as_secs()),
            },
            taken: status.taken,
            parked: status.parked,
            gap: status.gap.map(GapOut::from),
        }
    }
}

/// What a list of consumers shows.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ListQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// Where the page begins: the `iterator` of the page before.
    iterator: Option<String>,
    /// Which way the list goes, by name.
    #[schemars(with = "Option<schema::Ordering>")]
    order: Option<Ordering>,
}

pub(crate) async fn list(
    State(api): State<Api>,
    AtEndpoint { endpoint, .. }: AtEndpoint,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let order = query.order.map_or(Order::Ascending, Order::from);
    let page = paging::query::<ConsumerName>(query.limit, query.iterator.as_deref(), order)?;
    let found = api.store().consumers(endpoint.no, page).await?;
    let size = found.items.len() * 320;
    Ok(paging::answer(
        &found,
        query.iterator.as_deref(),
        |c| c.key.name.clone(),
        size,
        |out, consumer| {
            json::write(out, &ConsumerOut::of(consumer, &api));
        },
    ))
}

pub(crate) async fn status(
    State(api): State<Api>,
    AtConsumer { reader, .. }: AtConsumer,
) -> Result<Answer<StatusOut>, Problem> {
    let status = api.feed.status(&reader).await.map_err(|error| refused(error, &["path"]))?;
    Ok(Answer(StatusOut::of(&status, &api)))
}

/// What is set of a consumer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ConsumerIn")]
pub struct ConsumerIn {
    /// Where it begins if it is new: `earliest`, `latest`, a seq, or a moment (RFC 3339). One that is there stays where
    /// it is. Absent: where readers had got to when the endpoint was last pushed; if it is pushed now, at the first
    /// message that is kept.
    from: Option<String>,
    /// It is removed when it was not seen for so many seconds: 60 to 31,622,400 (366 days). Absent: 2,592,000 (30 days).
    #[schemars(range(min = 60, max = 31_622_400))]
    idle: Option<u64>,
    /// Work queue: handed out so often, an item is parked. Absent or 0: never.
    #[schemars(range(min = 0, max = 1_000))]
    max_deliver: Option<u32>,
}

impl ConsumerIn {
    fn settings(&self) -> Result<ConsumerSettings, Problem> {
        let default = ConsumerSettings::default();
        let (shortest, longest) = ConsumerSettings::IDLE;
        let idle = self.idle.map_or(default.idle, Duration::from_secs);
        if !(shortest..=longest).contains(&idle) {
            let range = format!("must be {} to {} seconds", shortest.as_secs(), longest.as_secs());
            return Err(invalid("idle", range));
        }
        let max_deliver = self.max_deliver.unwrap_or(default.max_deliver);
        if max_deliver > MAX_DELIVER_MAX {
            return Err(invalid("maxDeliver", format!("must be 0 to {MAX_DELIVER_MAX}")));
        }
        Ok(ConsumerSettings { idle, max_deliver })
    }
}

pub(crate) async fn put(
    State(api): State<Api>,
    AtConsumer { reader, .. }: AtConsumer,
    Json(given): Json<ConsumerIn>,
) -> Result<Response, Problem> {
    let settings = given.settings()?;
    let start = given.from.as_deref().map(|text| place(&["body", "from"], text, api.now())).transpose()?;
    let (status, consumer) = match api.store().set_consumer(reader.key(), settings).await? {
        Ok(set) => (StatusCode::OK, set),
        Err(Refused::Gone) => (StatusCode::CREATED, make(&api, &reader, start, settings).await?),
        Err(other) => return Err(refused(other.into(), &["body"])),
    };
    Ok((status, Answer(ConsumerOut::of(&consumer, &api))).into_response())
}

async fn make(
    api: &Api,
    reader: &Reader,
    start: Option<Place>,
    settings: ConsumerSettings,
) -> Result<Consumer, Problem> {
    let made = api.feed.make_consumer(reader, start, settings).await.map_err(|error| match error {
        ConsumeError::Ahead(last) => {
            invalid("from", format!("must be at most {}, the next there will be", last.0 + 1))
        }
        error => refused(error, &["body", "from"]),
    })?;
    if made.settings == settings {
        return Ok(made);
    }
    // Another was faster.
    let set = api.store().set_consumer(reader.key(), settings).await?;
    set.map_err(|error| refused(error.into(), &["body"]))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    AtConsumer { reader, .. }: AtConsumer,
) -> Result<StatusCode, Problem> {
    if api.store().delete_consumer(reader.key()).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::NotFound("consumer"))
    }
}
