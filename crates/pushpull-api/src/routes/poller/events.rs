//! Server-sent events (WHATWG HTML, "Server-sent events"): a browser's `EventSource` reads an endpoint's queue.

use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use pushpull_domain::Seq;
use pushpull_feed::{Page, Patience, ReadError, Reading};
use tokio::time::Instant;

use super::{streamed, unreadable};
use crate::{models::feed_item, problem::Problem, state::Api};

/// How often something is said when there is nothing to say: proxies close what is silent for half a minute, and an id
/// without data moves the client's place along what a filter leaves out.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After so long, give or take a tenth, a stream ends and the client comes back: so a key's end counts, and readers
/// spread over servers.
const LIFE: Duration = Duration::from_mins(10);
/// How long a client waits before it comes back.
const RETRY: &str = "retry: 3000\n\n";
/// Most messages of one piece: what a reader that does not read holds in memory.
const PIECE_MAX: usize = 50;

struct Stream {
    api: Api,
    reading: Reading,
    after: Seq,
    /// What was read before the answer began.
    first: Option<Page>,
    ends: Instant,
}

/// The stream. What cannot be read at all is told by status, before it begins.
pub(super) async fn stream(api: &Api, reading: Reading, after: Seq) -> Result<Response, Problem> {
    let first = api.feed.read(&reading, after, PIECE_MAX, Patience::NONE).await.map_err(unreadable)?;
    let life = LIFE.mul_f64(0.9 + 0.2 * api.chance.fraction());
    let state = Stream { api: api.clone(), reading, after, first: Some(first), ends: Instant::now() + life };
    let begin = stream::once(std::future::ready(Ok(Bytes::from_static(RETRY.as_bytes()))));
    let pieces = stream::unfold(Some(state), |state| async move { state?.next().await });
    Ok(streamed("text/event-stream", futures_util::StreamExt::chain(begin, pieces)))
}

impl Stream {
    /// The next piece, and what follows it.
    async fn next(mut self) -> Option<(Result<Bytes, std::io::Error>, Option<Self>)> {
        let page = match self.first.take() {
            // The place is told at once: whoever is cut off before the first message goes on from there.
            Some(page) => page,
            None if Instant::now() >= self.ends => return None,
            None => {
                let patience = Patience { wait: KEEP_ALIVE, min: 1 };
                let asked_at = Instant::now();
                match self.api.feed.read(&self.reading, self.after, PIECE_MAX, patience).await {
                    // Nobody is to wait, or as many do as may: to ask on and on would keep it all busy for nothing.
                    Ok(page) if page.reached == self.after && asked_at.elapsed() < KEEP_ALIVE => return None,
                    Ok(page) => page,
                    // The client comes back with its last id, and is told by status what is the matter.
                    Err(ReadError::Overtaken { .. } | ReadError::Gone) => return None,
                    Err(ReadError::Store(error)) => return Some((Err(std::io::Error::other(error)), None)),
                }
            }
        };
        let out = self.write(&page);
        self.after = page.reached;
        let is_over = self.reading.is_over_at(page.reached) || self.api.feed.is_closed();
        Some((Ok(out.into()), (!is_over).then_some(self)))
    }

    fn write(&self, page: &Page) -> Vec<u8> {
        let iterators = self.api.feed.iterators();
        let size =
            page.items.iter().map(|item| feed_item::size_hint(&item.message) + 128).sum::<usize>() + 64;
        let (mut out, mut json) = (Vec::with_capacity(size), Vec::new());
        for item in &page.items {
            field(&mut out, "id", iterators.make(self.reading.endpoint, item.seq).as_bytes());
            field(&mut out, "event", item.message.event_type.as_bytes());
            json.clear();
            feed_item::write(&mut json, item);
            // JSON has line ends only between its tokens, so that a value is the same with any other kind of them.
            for line in json.split(|byte| matches!(byte, b'\n' | b'\r')) {
                field(&mut out, "data", line);
            }
            out.push(b'\n');
        }
        if page.items.last().is_none_or(|last| last.seq < page.reached) {
            // Without data it is no event, but the id counts.
            field(&mut out, "id", iterators.make(self.reading.endpoint, page.reached).as_bytes());
            out.push(b'\n');
        }
        out
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}
