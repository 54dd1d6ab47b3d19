//! Bulk export: an endpoint's queue as one line of JSON for each message, compressed if the reader takes it.

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use pushpull_domain::{Seq, endpoint::DRAINING_MAX};
use pushpull_feed::{Page, Patience, ReadError, Reading};
use tokio_util::io::{ReaderStream, StreamReader};

use super::{streamed, unreadable};
use crate::{
    accept::accepted,
    models::{feed_item, json::Object},
    problem::Problem,
    state::Api,
};

/// Messages of one read.
const PIECE_MAX: usize = 500;
/// An export waits only until it is known what a push has brought, which takes [`DRAINING_MAX`] at most.
const UNTIL_KNOWN: Patience = Patience { wait: DRAINING_MAX.saturating_add(Duration::from_secs(5)), min: 1 };
/// Said when it could not wait so long: the server is on its way out, or as many wait as may.
const UNKNOWN: &str = "it is not known yet what a push has brought: go on from `iterator` in a minute";
/// Bytes of a compressed piece.
const COMPRESSED_PIECE: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
    Zstd,
}

impl Coding {
    /// The best that a reader takes.
    fn accepted(headers: &HeaderMap) -> Self {
        let given: Vec<String> = accepted(headers, header::ACCEPT_ENCODING).collect();
        let takes = |coding: &str| given.iter().any(|given| given == coding);
        if takes("zstd") {
            Self::Zstd
        } else if takes("gzip") {
            Self::Gzip
        } else {
            Self::Plain
        }
    }
}

struct Export {
    api: Api,
    reading: Reading,
    after: Seq,
    first: Option<Page>,
    count: u64,
}

/// The stream. What cannot be read at all is told by status, before it begins. It ends at the queue's end of that
/// moment, with a line that says where to go on.
pub(super) async fn stream(
    api: &Api,
    mut reading: Reading,
    after: Seq,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    if reading.until.is_none() {
        reading.until = Some(Seq(api.feed.ends(reading.endpoint).await?.last.0 + 1));
    }
    let first = api.feed.read(&reading, after, PIECE_MAX, Patience::NONE).await.map_err(unreadable)?;
    let first = Some(first).filter(|page| page.done || page.reached > after);
    let export = Export { api: api.clone(), reading, after, first, count: 0 };
    let lines = stream::unfold(Some(export), |export| async move { export?.next().await });
    let coding = Coding::accepted(headers);
    let mut response = encoded(coding, lines);
    let fields = response.headers_mut();
    fields.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    match coding {
        Coding::Plain => {}
        Coding::Gzip => drop(fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))),
        Coding::Zstd => drop(fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"))),
    }
    Ok(response)
}

fn encoded(
    coding: Coding,
    lines: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
) -> Response {
    use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
    const TYPE: &str = "application/x-ndjson";
    match coding {
        Coding::Plain => streamed(TYPE, lines),
        Coding::Gzip => {
            let encoder =
                GzipEncoder::with_quality(StreamReader::new(lines), async_compression::Level::Fastest);
            streamed(TYPE, ReaderStream::with_capacity(encoder, COMPRESSED_PIECE).into_stream())
        }
        Coding::Zstd => {
            let encoder =
                ZstdEncoder::with_quality(StreamReader::new(lines), async_compression::Level::Fastest);
            streamed(TYPE, ReaderStream::with_capacity(encoder, COMPRESSED_PIECE).into_stream())
        }
    }
}

impl Export {
    /// The next lines, and what follows them.
    async fn next(mut self) -> Option<(Result<Bytes, std::io::Error>, Option<Self>)> {
        let patience = if self.reading.undelivered { UNTIL_KNOWN } else { Patience::NONE };
        let page = match self.first.take() {
            Some(page) => Ok(page),
            None => self.api.feed.read(&self.reading, self.after, PIECE_MAX, patience).await,
        };
        let page = match page {
            // Whatever else there is, a read that is not the last gets on.
            Ok(page) if !page.done && page.reached == self.after => {
                let mut out = Vec::new();
                self.end(&mut out, false, Some(UNKNOWN.into()));
                return Some((Ok(out.into()), None));
            }
            Ok(page) => page,
            Err(ReadError::Store(error)) => return Some((Err(std::io::Error::other(error)), None)),
            // Retention, or a deletion, was faster: what was sent is right, and the end says that it is not all.
            Err(error) => {
                let mut out = Vec::new();
                self.end(&mut out, false, Some(error.to_string()));
                return Some((Ok(out.into()), None));
            }
        };
        let size = page.items.iter().map(|item| feed_item::size_hint(&item.message) + 1).sum::<usize>() + 160;
        let mut out = Vec::with_capacity(size);
        for item in &page.items {
            let start = out.len();
            feed_item::write(&mut out, item);
            // JSON has line ends only between its tokens: one message is one line.
            for byte in &mut out[start..] {
                if matches!(byte, b'\n' | b'\r') {
                    *byte = b' ';
                }
            }
            out.push(b'\n');
        }
        self.count += page.items.len() as u64;
        self.after = page.reached;
        if page.done {
            self.end(&mut out, true, None);
        }
        Some((Ok(out.into()), (!page.done).then_some(self)))
    }

    fn end(&self, out: &mut Vec<u8>, done: bool, error: Option<String>) {
        let mut object = Object::begin(out);
        object.plain("iterator", self.api.feed.iterators().make(self.reading.endpoint, self.after));
        object.field("done", &done).field("count", &self.count);
        if let Some(error) = error {
            object.field("error", &error);
        }
        object.end();
        out.push(b'\n');
    }
}
