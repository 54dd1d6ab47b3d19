//! Consumers: named readers of an endpoint's queue, whose place the server keeps.

pub mod lease;
pub mod poll;
pub mod settings;
pub mod work;

use std::sync::Arc;

use axum::{extract::FromRequestParts, response::Response};
use http::request::Parts;
use pushpull_domain::{ConsumerName, Endpoint};
use pushpull_feed::{ConsumeError, ConsumerPage, Reader};
use pushpull_store::{Gap, QueueItem};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    models::{
        feed_item,
        json::{Object, write_list},
    },
    paging,
    path::{self, AtEndpoint},
    problem::{Conflict, Problem, Unreadable},
    state::Api,
};

/// The consumer in the path, whether or not there is one.
pub(crate) struct AtConsumer {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) reader: Reader,
}

impl FromRequestParts<Api> for AtConsumer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let AtEndpoint { endpoint, .. } = AtEndpoint::from_request_parts(parts, api).await?;
        let text = path::param(parts, "consumer_id").await.ok_or(Problem::NotFound("consumer"))?;
        let name =
            ConsumerName::new(&text).map_err(|error| Problem::invalid(&["path", "consumer_id"], error))?;
        let reader = Reader { app: endpoint.app, endpoint: endpoint.no, name, clock: Arc::clone(&api.clock) };
        Ok(Self { endpoint, reader })
    }
}

/// What retention removed before it was read.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConsumerGap")]
pub struct GapOut {
    /// The first seq that is gone.
    pub from: u64,
    /// The last one.
    pub until: u64,
}

impl From<Gap> for GapOut {
    fn from(gap: Gap) -> Self {
        Self { from: gap.from.0, until: gap.until.0 }
    }
}

/// A page as a consumer gets it; with an iterator, if that is how it says what it has handled.
pub(crate) fn answer(
    read: &ConsumerPage,
    iterator: Option<String>,
    write_item: impl FnMut(&mut Vec<u8>, &QueueItem),
) -> Response {
    /// Bytes of an item beside what it is to every reader.
    const BESIDES: usize = 24;
    let page = &read.page;
    let size =
        page.items.iter().map(|item| feed_item::size_hint(&item.message) + BESIDES).sum::<usize>() + 220;
    let mut out = Vec::with_capacity(size);
    let mut object = Object::begin(&mut out);
    write_list(object.value("data"), &page.items, write_item);
    if let Some(iterator) = iterator {
        object.plain("iterator", iterator);
    }
    object.field("done", &page.done).field("pending", &page.pending);
    if let Some(gap) = read.gap {
        object.field("gap", &GapOut::from(gap));
    }
    object.end();
    paging::json(out)
}

/// Why a consumer does not get what it asks for; `place` names the seq that it gave.
pub(crate) fn refused(error: ConsumeError, place: &[&str]) -> Problem {
    match error {
        ConsumeError::Gone => Problem::NotFound("endpoint"),
        ConsumeError::NoConsumer => Problem::NotFound("consumer"),
        // Here never 410: the official clients go on without an iterator after this word, and after no other.
        ConsumeError::Overtaken => Problem::Unreadable(Unreadable::Invalid),
        ConsumeError::Held(lease) => Problem::LeaseHeld(lease),
        ConsumeError::Ahead(handed) => {
            Problem::invalid(place, format!("is ahead of what was handed out, which is up to {}", handed.0))
        }
        ConsumeError::WorkQueue => Problem::Conflict(Conflict::WorkQueueNotDone),
        ConsumeError::TooMany => Problem::Conflict(Conflict::TooManyConsumers),
        ConsumeError::Store(error) => Problem::Store(error),
    }
}
