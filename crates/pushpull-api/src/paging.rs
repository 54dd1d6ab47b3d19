//! Lists, a page at a time.
//!
//! An iterator is the id of the last item that was seen; with a `-` before it, of the first, to go back.

use std::{fmt::Display, str::FromStr};

use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http::{HeaderValue, header};
use pushpull_store::{Error, Order, Page, PageQuery};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    models::json::{Object, write_list},
    problem::Problem,
};

/// Items of a page when nothing else is asked.
const LIMIT_DEFAULT: usize = 50;
/// Most items of a page.
const LIMIT_MAX: usize = 250;

/// Which way a list goes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Oldest first; of event types: by name.
    Ascending,
    /// Newest first.
    Descending,
}

impl From<Ordering> for Order {
    fn from(ordering: Ordering) -> Self {
        match ordering {
            Ordering::Ascending => Self::Ascending,
            Ordering::Descending => Self::Descending,
        }
    }
}

// [`answer`] is what writes it; this says how it looks.
/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ListResponse_{T}_")]
pub(crate) struct ListOut<T> {
    /// The items.
    pub data: Vec<T>,
    /// Where the next page begins; `null`: the list is empty.
    #[schemars(required, extend("nullable" = true))]
    pub iterator: Option<String>,
    /// Where the page before begins.
    pub prev_iterator: Option<String>,
    /// Whether there is nothing more in the direction that was read.
    pub done: bool,
}

/// How many items a page is to have at most.
pub(crate) fn limit(given: Option<usize>) -> Result<usize, Problem> {
    let limit = given.unwrap_or(LIMIT_DEFAULT);
    if (1..=LIMIT_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::invalid(&["query", "limit"], format!("must be 1 to {LIMIT_MAX}")))
    }
}

/// Reads what a request asks of a list. `key` makes a place in the list of an iterator's text.
pub(crate) fn query<K: FromStr>(
    limit: Option<usize>,
    iterator: Option<&str>,
    order: Order,
) -> Result<PageQuery<K>, Problem> {
    let limit = self::limit(limit)?;
    let (backwards, text) = match iterator.map(|text| (text, text.strip_prefix('-'))) {
        None | Some(("", _)) => (false, None),
        Some((_, Some(rest))) => (true, Some(rest)),
        Some((text, None)) => (false, Some(text)),
    };
    let beyond = text.map(str::parse).transpose();
    let beyond =
        beyond.map_err(|_| Problem::invalid(&["query", "iterator"], "is not an iterator of this list"))?;
    Ok(PageQuery { beyond, backwards, order, limit })
}

/// Most reads for one page. One read looks at so many rows at most, and a filter that hardly anything passes may
/// need many: a few here spare the caller empty pages, more would hold a reader for long.
const READS_MAX: usize = 10;

/// Reads a page. Reads again, from where the one before got, while there was nothing to show: an empty page in
/// the middle of a list is only given when that has gone on for long, and says where to go on (`reached`).
pub(crate) async fn read<'a, K: Clone, T>(
    mut page: PageQuery<K>,
    read: impl Fn(PageQuery<K>) -> BoxFuture<'a, Result<Page<T>, Error>>,
    place: impl Fn(u64) -> K,
) -> Result<Page<T>, Error> {
    let mut found = read(page.clone()).await?;
    for _ in 1..READS_MAX {
        let Some(reached) = found.reached.filter(|_| found.items.is_empty()) else { break };
        page.beyond = Some(place(reached));
        found = read(page.clone()).await?;
    }
    Ok(found)
}

/// A page without what must not be shown. Pages are read until there is something to show, since a page must
/// not be empty while the list goes on: it would have no place to go on from.
pub(crate) async fn visible<'a, K: Clone, T, U>(
    mut page: PageQuery<K>,
    read: impl Fn(PageQuery<K>) -> BoxFuture<'a, Result<Page<T>, Error>>,
    key: impl Fn(&T) -> K,
    show: impl Fn(T) -> Option<U>,
) -> Result<Page<U>, Error> {
    loop {
        let found = read(page.clone()).await?;
        let farthest = if page.backwards { found.items.first() } else { found.items.last() };
        let Some(beyond) = farthest.map(&key) else {
            return Ok(Page { items: Vec::new(), done: found.done, reached: found.reached });
        };
        page.beyond = Some(beyond);
        let items: Vec<U> = found.items.into_iter().filter_map(&show).collect();
        if found.done || !items.is_empty() {
            return Ok(Page { items, done: found.done, reached: None });
        }
    }
}

/// The iterator that goes on beyond a place without an item.
pub(crate) fn beyond(backwards: bool, id: impl Display) -> String {
    if backwards { format!("-{id}") } else { id.to_string() }
}

/// The answer with a page. `id` names an item in iterators; an empty page gives back the one that was asked for.
pub(crate) fn answer<T, I: Display>(
    page: &Page<T>,
    asked: Option<&str>,
    id: impl Fn(&T) -> I,
    size_hint: usize,
    write_item: impl FnMut(&mut Vec<u8>, &T),
) -> Response {
    let mut out = Vec::with_capacity(size_hint + 160);
    let mut object = Object::begin(&mut out);
    write_list(object.value("data"), &page.items, write_item);
    let asked = asked.filter(|text| !text.is_empty()).map(str::to_owned);
    let (back, on) = asked.map_or((None, None), |text| {
        if text.starts_with('-') { (Some(text), None) } else { (None, Some(text)) }
    });
    let last = page.items.last().map(|item| id(item).to_string()).or(on);
    let first = page.items.first().map(|item| format!("-{}", id(item))).or(back);
    object.field("iterator", &last).field("prevIterator", &first).field("done", &page.done);
    object.end();
    json(out)
}

/// An answer of JSON that is written already.
pub(crate) fn json(body: Vec<u8>) -> Response {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([content_type], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iterator_with_a_dash_goes_back() {
        let read = |text| query::<u32>(None, text, Order::Ascending).map(|q| (q.backwards, q.beyond));
        assert_eq!(read(None).unwrap(), (false, None));
        assert_eq!(read(Some("7")).unwrap(), (false, Some(7)));
        assert_eq!(read(Some("-7")).unwrap(), (true, Some(7)));
        assert!(read(Some("x")).unwrap_err().to_string().starts_with("query.iterator"));
    }

    #[test]
    fn a_page_has_1_to_250_items() {
        let read = |limit| query::<u32>(Some(limit), None, Order::Ascending).map(|q| q.limit).ok();
        assert_eq!([0, 1, 250, 251].map(read), [None, Some(1), Some(250), None]);
    }

    #[tokio::test]
    async fn an_empty_page_keeps_the_place_in_its_direction() {
        let page = Page::<u32> { items: Vec::new(), done: true, reached: None };
        for (asked, body) in [
            (None, r#"{"data":[],"iterator":null,"prevIterator":null,"done":true}"#),
            (Some("7"), r#"{"data":[],"iterator":"7","prevIterator":null,"done":true}"#),
            (Some("-7"), r#"{"data":[],"iterator":null,"prevIterator":"-7","done":true}"#),
        ] {
            let response = answer(&page, asked, |n| *n, 0, |_, _| {});
            let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
            assert_eq!(bytes, body);
        }
    }

    #[tokio::test]
    async fn a_page_is_read_until_there_is_something_or_it_takes_too_long() {
        let reads = |first_full: u64| {
            move |page: PageQuery<u64>| -> BoxFuture<'static, Result<Page<u64>, Error>> {
                let at = page.beyond.unwrap_or(0) + 1;
                let items = if at == first_full { vec![at] } else { Vec::new() };
                Box::pin(async move { Ok(Page { items, done: false, reached: Some(at) }) })
            }
        };
        let page = query::<u64>(None, None, Order::Ascending).unwrap();
        assert_eq!(read(page.clone(), reads(3), |n| n).await.unwrap().items, [3]);
        let found = read(page, reads(1_000), |n| n).await.unwrap();
        assert_eq!((found.items.len(), found.reached), (0, Some(READS_MAX as u64)));
    }
}
