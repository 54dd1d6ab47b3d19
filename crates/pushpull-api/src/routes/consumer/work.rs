//! A consumer as a work queue: items are taken by many workers, and each is answered for by itself.

use std::{ops::RangeInclusive, time::Duration};

use axum::{Json as Answer, extract::State, response::Response};
use pushpull_domain::{Holder, Message, Seq};
use pushpull_store::{Answers, LeaseRequest, Nack, Order, Take};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AtConsumer, GapOut, refused};
use crate::{
    extract::{Json, Query},
    models::{
        endpoint_in::invalid,
        feed_item::{self, FeedItemOut},
        json::{Object, write_list},
        schema,
    },
    paging,
    problem::Problem,
    routes::poller::query::WAIT_MAX,
    state::Api,
};

/// Most items that are taken at once, and what is taken when nothing is said.
const MAX_MAX: usize = 250;
const MAX_DEFAULT: usize = 50;
/// Most answers in one request.
const ANSWERS_MAX: usize = 1_000;
/// Longest delay before an item comes back, in seconds: as long as a lease may be.
const DELAY_MAX: u64 = LeaseRequest::LEASE.1.as_secs();

/// What is to be taken.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ConsumerPullIn")]
pub struct PullIn {
    /// Most items: 1 to 250. Absent: 50.
    #[schemars(range(min = 1, max = 250))]
    max: Option<usize>,
    /// How long they are the worker's, in seconds: 1 to 43,200 (12 h). Absent: 30.
    #[schemars(range(min = 1, max = 43_200))]
    lease: Option<u64>,
    /// Longest wait for the first, in seconds: 0 to 60.
    #[schemars(range(min = 0, max = 60))]
    wait: Option<u64>,
    /// What the worker calls itself: nobody else can put its items back or keep them longer.
    #[schemars(with = "Option<schema::Uid>")]
    holder: Option<Holder>,
}

// [`write_item`] is what writes it; this says how it looks.
/// An item of a work queue.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConsumerItemOut")]
pub struct ItemOut {
    /// The message. It is answered for by its seq.
    #[serde(flatten)]
    pub item: FeedItemOut,
    /// How often it was handed out, this time counted.
    pub attempt: u32,
}

// [`pull`] is what writes it; this says how it looks.
/// What was taken.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConsumerPullOut")]
pub struct PullOut {
    /// Items that came back first, then new ones.
    pub data: Vec<ItemOut>,
    /// Whether nothing more could be taken at once.
    pub done: bool,
    /// What retention removed before it was taken; told until its last seq, or something beyond it, is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapOut>,
}

fn write_item(out: &mut Vec<u8>, seq: Seq, message: &Message, attempt: u32) {
    let mut object = Object::begin(out);
    feed_item::write_fields(&mut object, seq, message);
    object.field("attempt", &attempt);
    object.end();
}

/// About how many bytes an item takes when it is written.
fn size_hint(message: &Message) -> usize {
    /// What it has beside what it is to every reader.
    const BESIDES: usize = 16;
    feed_item::size_hint(message) + BESIDES
}

fn check<T: PartialOrd + std::fmt::Display>(
    place: &[&str],
    value: T,
    range: RangeInclusive<T>,
) -> Result<T, Problem> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(Problem::invalid(place, format!("must be {} to {}", range.start(), range.end())))
    }
}

fn lease(place: &[&str], secs: u64) -> Result<Duration, Problem> {
    let (shortest, longest) = LeaseRequest::LEASE;
    check(place, secs, shortest.as_secs()..=longest.as_secs()).map(Duration::from_secs)
}

pub(crate) async fn pull(
    State(api): State<Api>,
    AtConsumer { reader, .. }: AtConsumer,
    Json(given): Json<PullIn>,
) -> Result<Response, Problem> {
    let secs = given.lease.unwrap_or(LeaseRequest::LEASE_DEFAULT.as_secs());
    let take = Take {
        max: check(&["body", "max"], given.max.unwrap_or(MAX_DEFAULT), 1..=MAX_MAX)?,
        lease: lease(&["body", "lease"], secs)?,
        holder: given.holder,
    };
    let wait = check(&["body", "wait"], given.wait.unwrap_or(0), 0..=WAIT_MAX)?;
    let taken = api.feed.pull(&reader, &take, Duration::from_secs(wait)).await;
    let taken = taken.map_err(|error| refused(error, &["body"]))?;
    let size = taken.items.iter().map(|item| size_hint(&item.message)).sum::<usize>() + 160;
    let mut out = Vec::with_capacity(size);
    let mut object = Object::begin(&mut out);
    write_list(object.value("data"), &taken.items, |out, item| {
        write_item(out, item.seq, &item.message, item.delivered);
    });
    object.field("done", &!taken.more);
    if let Some(gap) = taken.gap {
        object.field("gap", &GapOut::from(gap));
    }
    object.end();
    Ok(paging::json(out))
}

/// What becomes of an item that could not be worked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ConsumerNackAction", inline)]
pub enum Action {
    /// It comes back.
    #[default]
    Retry,
    /// It is handed out no more until it is replayed.
    Park,
    /// It is done with.
    Skip,
}

/// An item that is not done.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ConsumerNackIn")]
pub struct NackIn {
    /// Which.
    seq: u64,
    /// After how many seconds it comes back: 0 to 43,200 (12 h). Absent: 0.
    #[schemars(range(min = 0, max = 43_200))]
    delay: Option<u64>,
    /// What becomes of it.
    #[serde(default, rename = "do")]
    action: Action,
}

/// An item that is still worked on.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ConsumerExtendIn")]
pub struct ExtendIn {
    /// Which.
    seq: u64,
    /// For how many seconds from now: 1 to 43,200 (12 h).
    #[schemars(range(min = 1, max = 43_200))]
    lease: u64,
}

/// What a worker says of items, together at most 1,000; all of it counts, or nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ConsumerAckIn")]
pub struct AckIn {
    /// Done, by seq.
    #[serde(default)]
    ack: Vec<u64>,
    /// Not done.
    #[serde(default)]
    nack: Vec<NackIn>,
    /// Still worked on.
    #[serde(default)]
    extend: Vec<ExtendIn>,
    /// What the worker calls itself.
    #[schemars(with = "Option<schema::Uid>")]
    holder: Option<Holder>,
}

/// What became of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConsumerAckOut")]
pub struct AckOut {
    /// Every seq up to here is done.
    pub committed: u64,
    /// Items that were to be put back or kept longer and were not in the worker's hands any more.
    pub lost: Vec<u64>,
}

impl AckIn {
    fn answers(self) -> Result<Answers, Problem> {
        if self.ack.len() + self.nack.len() + self.extend.len() > ANSWERS_MAX {
            return Err(invalid(
                "ack",
                format!("must have at most {ANSWERS_MAX} items, nack and extend counted"),
            ));
        }
        let nack = |(n, nack): (usize, NackIn)| {
            let place = ["body", "nack", &n.to_string(), "delay"];
            let action = match (nack.action, nack.delay) {
                (Action::Retry, delay) => {
                    Nack::Retry(Duration::from_secs(check(&place, delay.unwrap_or(0), 0..=DELAY_MAX)?))
                }
                (Action::Park | Action::Skip, Some(_)) => {
                    return Err(Problem::invalid(&place, "counts only for an item that is retried"));
                }
                (Action::Park, None) => Nack::Park,
                (Action::Skip, None) => Nack::Skip,
            };
            Ok((Seq(nack.seq), action))
        };
        let extend = |(n, extend): (usize, ExtendIn)| {
            Ok((Seq(extend.seq), lease(&["body", "extend", &n.to_string(), "lease"], extend.lease)?))
        };
        Ok(Answers {
            ack: self.ack.into_iter().map(Seq).collect(),
            nack: self.nack.into_iter().enumerate().map(nack).collect::<Result<_, Problem>>()?,
            extend: self.extend.into_iter().enumerate().map(extend).collect::<Result<_, Problem>>()?,
            holder: self.holder,
        })
    }
}

pub(crate) async fn ack(
    State(api): State<Api>,
    AtConsumer { reader, .. }: AtConsumer,
    Json(given): Json<AckIn>,
) -> Result<Answer<AckOut>, Problem> {
    let answered = api.feed.answer(&reader, given.answers()?).await;
    let answered = answered.map_err(|error| refused(error, &["body", "ack"]))?;
    let lost = answered.lost.iter().map(|seq| seq.0).collect();
    Ok(Answer(AckOut { committed: answered.committed.0, lost }))
}

/// Which parked items are shown.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ParkedQuery {
    /// Items of a page: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    limit: Option<usize>,
    /// Where the page begins: the `iterator` of the page before.
    iterator: Option<String>,
}

pub(crate) async fn parked(
    State(api): State<Api>,
    AtConsumer { reader, .. }: AtConsumer,
    Query(query): Query<ParkedQuery>,
) -> Result<Response, Problem> {
    let page = paging::query::<u64>(query.limit, query.iterator.as_deref(), Order::Ascending)?;
    let page = pushpull_store::PageQuery {
        beyond: page.beyond.map(Seq),
        backwards: page.backwards,
        order: page.order,
        limit: page.limit,
    };
    api.store().consumer(reader.key()).await?.ok_or(Problem::NotFound("consumer"))?;
    let found = paging::read(page, |page| api.store().parked(reader.key(), page), Seq).await?;
    let size = found.items.iter().map(|item| size_hint(&item.message)).sum();
    Ok(paging::answer(
        &found,
        query.iterator.as_deref(),
        |item| item.seq.0,
        size,
        |out, item| {
            write_item(out, item.seq, &item.message, item.delivered);
        },
    ))
}

/// Which parked items are put back.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ConsumerReplayIn")]
pub struct ReplayIn {
    /// These, at most 1,000. Absent: all.
    seqs: Option<Vec<u64>>,
}

/// What was put back.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConsumerReplayOut")]
pub struct ReplayOut {
    /// How many items are handed out again.
    pub replayed: u64,
}

pub(crate) async fn replay(
    State(api): State<Api>,
    AtConsumer { reader, .. }: AtConsumer,
    Json(given): Json<ReplayIn>,
) -> Result<Answer<ReplayOut>, Problem> {
    if given.seqs.as_ref().is_some_and(|seqs| seqs.len() > ANSWERS_MAX) {
        return Err(invalid("seqs", format!("must have at most {ANSWERS_MAX} items")));
    }
    let only = given.seqs.map(|seqs| seqs.into_iter().map(Seq).collect());
    let replayed = api.feed.replay(&reader, only).await.map_err(|error| refused(error, &["body"]))?;
    Ok(Answer(ReplayOut { replayed }))
}
