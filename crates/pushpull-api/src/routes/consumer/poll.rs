//! Reading as a consumer with iterators: one that comes back says that everything before it was handled.

use axum::{Json as Answer, extract::State, response::Response};
use pushpull_domain::{Endpoint, Seq, Timestamp};
use pushpull_feed::{ConsumeError, Place};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AtConsumer, GapOut, answer, refused};
use crate::{
    extract::{Json, Query},
    models::{
        endpoint_in::invalid,
        feed_item::{self, FeedItemOut},
    },
    paging,
    problem::{Problem, Unreadable},
    routes::poller::query::{future, patience},
    state::Api,
};

/// What a consumer reads.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ConsumerPollQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// The `iterator` of the page before: everything on that page was handled. Absent: what is not handled.
    iterator: Option<String>,
    /// Longest wait for news, in seconds, if there is nothing: 0 to 60.
    #[schemars(range(min = 0, max = 60))]
    wait: Option<u64>,
    /// With `wait`: fewest items that end it.
    #[schemars(range(min = 1, max = 250))]
    min: Option<usize>,
}

// [`answer`] is what writes it; this says how it looks.
/// A part of an endpoint's queue, read as a consumer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PollingEndpointConsumerOut")]
pub struct ConsumerPollOut {
    /// The messages, in the order of the queue.
    pub data: Vec<FeedItemOut>,
    /// Where the next page begins; given back, it says that this one was handled.
    pub iterator: String,
    /// Whether there was nothing beyond when it was read.
    pub done: bool,
    /// How many deliveries there were beyond.
    pub pending: u64,
    /// What retention removed before it was read; told until something beyond it is handled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapOut>,
}

pub(crate) async fn poll(
    State(api): State<Api>,
    AtConsumer { endpoint, reader }: AtConsumer,
    Query(query): Query<ConsumerPollQuery>,
) -> Result<Response, Problem> {
    let limit = paging::limit(query.limit)?;
    let patience = patience(query.wait, query.min, limit)?;
    let iterator = query.iterator.as_deref().filter(|text| !text.is_empty());
    let handled = iterator.map(|text| read_iterator(&api, &endpoint, text)).transpose()?;
    let read = api.feed.consume(&reader, handled, limit, patience).await;
    let read = read.map_err(|error| match error {
        // Of a plain read that began beyond the end, where nothing was handled.
        ConsumeError::Ahead(_) => Problem::Unreadable(Unreadable::Invalid),
        error => refused(error, &["query", "iterator"]),
    });
    let read = read?;
    let iterator = api.feed.iterators().make(endpoint.no, read.page.reached);
    Ok(answer(&read, Some(iterator), feed_item::write))
}

/// The seq after which an iterator points. Here whatever is wrong with it is the same: the official clients go on
/// without one then.
fn read_iterator(api: &Api, endpoint: &Endpoint, text: &str) -> Result<Seq, Problem> {
    api.feed.iterators().read(endpoint.no, text).map_err(|_| Problem::Unreadable(Unreadable::Invalid))
}

/// Where a consumer is to go on: one of these.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PollingEndpointConsumerSeekIn")]
pub struct SeekIn {
    /// With the first message made after this moment.
    #[schemars(extend("format" = "date-time"))]
    after: Option<String>,
    /// With this seq.
    seq: Option<u64>,
    /// Where this iterator points.
    iterator: Option<String>,
}

/// Where a consumer goes on.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PollingEndpointConsumerSeekOut")]
pub struct SeekOut {
    /// Where the next page begins.
    pub iterator: String,
}

pub(crate) async fn seek(
    State(api): State<Api>,
    AtConsumer { endpoint, reader }: AtConsumer,
    Json(given): Json<SeekIn>,
) -> Result<Answer<SeekOut>, Problem> {
    let to = match (&given.after, given.seq, &given.iterator) {
        (Some(text), None, None) => {
            let after = moment(text, api.now())?;
            let place = Place::Since(Timestamp::from_millis(after.as_millis() + 1));
            api.feed.find(endpoint.no, place).await?
        }
        (None, Some(seq), None) => {
            let last = api.feed.ends(endpoint.no).await?.last;
            if !(1..=last.0 + 1).contains(&seq) {
                return Err(invalid("seq", format!("must be 1 to {}, the next there will be", last.0 + 1)));
            }
            Seq(seq - 1)
        }
        (None, None, Some(text)) => {
            let after = read_iterator(&api, &endpoint, text)?;
            let ends = api.feed.ends(endpoint.no).await?;
            if !(ends.trimmed..=ends.last).contains(&after) {
                return Err(Problem::Unreadable(Unreadable::Invalid));
            }
            after
        }
        _ => return Err(invalid("after", "must be given, or else one of `seq` and `iterator`")),
    };
    api.feed.seek(&reader, to).await.map_err(|error| refused(error, &["body", "seq"]))?;
    Ok(Answer(SeekOut { iterator: api.feed.iterators().make(endpoint.no, to) }))
}

fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let at = Timestamp::parse(text).ok_or_else(|| invalid("after", "must be an RFC 3339 date and time"))?;
    if at > now { Err(future(&["body", "after"])) } else { Ok(at) }
}
