//! An endpoint's queue, read at the reader's own pace: pages, long poll, server-sent events, bulk export.

mod events;
mod export;
pub(crate) mod query;

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, header};
use pushpull_domain::Seq;
use pushpull_feed::{PAGE_BYTES, PIECE_BYTES, Page, ReadError, Reading};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    accept::accepted,
    extract::Query,
    models::{
        feed_item::{self, FeedItemOut},
        json::{Object, write_list},
    },
    paging,
    path::AtEndpoint,
    problem::{Problem, Unreadable},
    state::Api,
};

pub(crate) use query::PollQuery;

// [`answer`] is what writes it; this says how it looks.
/// A part of an endpoint's queue.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PollingEndpointOut")]
pub struct PollOut {
    /// The messages, in the order of the queue.
    pub data: Vec<FeedItemOut>,
    /// Where the next page begins.
    pub iterator: String,
    /// Whether there was nothing beyond when it was read.
    pub done: bool,
    /// How many deliveries there were beyond, before filters.
    pub pending: u64,
}

/// How an answer is wanted, by the `Accept` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Page,
    Events,
    Lines,
}

pub(crate) async fn poll(
    State(api): State<Api>,
    AtEndpoint { endpoint, .. }: AtEndpoint,
    Query(query): Query<PollQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let form = form(&headers);
    let asked = match (form, headers.get("last-event-id")) {
        // One that cannot be read is none of ours, and to begin anew would be a jump.
        (Form::Events, Some(id)) if !id.is_empty() => {
            Some(id.to_str().map_err(|_| Problem::Unreadable(Unreadable::Invalid))?.to_owned())
        }
        _ => query.iterator.clone(),
    };
    let (after, until) = query.place(&api, endpoint.no, asked.as_deref()).await?;
    let reading = Reading {
        app: endpoint.app,
        endpoint: endpoint.no,
        filter: query.filter()?,
        undelivered: query.delivered == Some(false),
        until,
        bytes: if form == Form::Page { PAGE_BYTES } else { PIECE_BYTES },
        clock: Arc::clone(&api.clock),
    };
    match form {
        Form::Page => {
            let limit = query.limit()?;
            // They hold the whole head as it was read, and who waits, waits long.
            drop(headers);
            let page =
                api.feed.read(&reading, after, limit, query.patience(limit)?).await.map_err(unreadable)?;
            Ok(answer(&api, &reading, &page))
        }
        Form::Events => events::stream(&api, reading, after).await,
        Form::Lines => export::stream(&api, reading, after, &headers).await,
    }
}

/// The first form of those that are given, in the order in which they are given.
fn form(headers: &HeaderMap) -> Form {
    accepted(headers, header::ACCEPT)
        .find_map(|name| match &*name {
            "text/event-stream" => Some(Form::Events),
            "application/x-ndjson" => Some(Form::Lines),
            "application/json" | "*/*" => Some(Form::Page),
            _ => None,
        })
        .unwrap_or(Form::Page)
}

/// A page as it is answered.
fn answer(api: &Api, reading: &Reading, page: &Page) -> Response {
    let size = page.items.iter().map(|item| feed_item::size_hint(&item.message)).sum::<usize>() + 160;
    let mut out = Vec::with_capacity(size);
    let mut object = Object::begin(&mut out);
    write_list(object.value("data"), &page.items, feed_item::write);
    object.plain("iterator", api.feed.iterators().make(reading.endpoint, page.reached));
    object.field("done", &page.done).field("pending", &page.pending);
    object.end();
    paging::json(out)
}

/// A stream of bytes as an answer, never kept by anybody on the way.
fn streamed(
    content_type: &'static str,
    body: impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies of a common kind hold a stream back to fill their buffers, unless told so.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, axum::body::Body::from_stream(body)).into_response()
}

/// Why a plain read gives nothing.
pub(crate) fn unreadable(error: ReadError) -> Problem {
    match error {
        ReadError::Overtaken { earliest, .. } => Problem::Unreadable(Unreadable::Overtaken { earliest }),
        ReadError::Gone => Problem::NotFound("endpoint"),
        ReadError::Store(error) => Problem::Store(error),
    }
}

/// The seq after which an iterator points.
fn read_iterator(api: &Api, endpoint: pushpull_domain::EndpointNo, text: &str) -> Result<Seq, Problem> {
    api.feed.iterators().read(endpoint, text).map_err(|error| Problem::Unreadable(error.into()))
}
