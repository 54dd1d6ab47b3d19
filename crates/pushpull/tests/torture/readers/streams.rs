//! Streams: server-sent events, and exports; cut by the server's end, and by the reader itself.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    desk::Desk,
    notes::{Item, Notes},
    plain::{end, note},
};

/// Longest silence of a stream: it says something every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// So many items come before a reader cuts a stream, about.
const CUT_EVERY: u64 = 400;

/// Reads as a browser's `EventSource` does, which comes back with the id of the last event that was whole.
pub(crate) async fn events(mut desk: Desk) -> Notes {
    let (mut source, mut from, mut overtaken) = (Source::default(), "1", false);
    loop {
        let head = desk.head();
        let until = head.map_or(String::new(), |head| format!("&until={}", head + 1));
        let path = format!("{}?from={from}{until}", desk.path());
        let headers = [("accept", "text/event-stream"), ("last-event-id", &*source.last_id)];
        let Some(response) = desk.open(&path, &headers).await else { continue };
        if response.status() == 410 {
            (source, from, overtaken) = (Source::default(), "earliest", true);
            continue;
        }
        assert_eq!(response.status(), 200);
        let mut lines = Lines::new(response.into_body());
        source.begin();
        let is_whole = loop {
            let line = tokio::select! {
                line = lines.next() => line,
                // What waits for news for ever is asked for its end.
                () = desk.end(), if head.is_none() => break false,
            };
            match line {
                Ok(Some(line)) => {
                    let Some(item) = source.take(&line) else { continue };
                    note(&mut desk, item, &mut overtaken);
                    if is_enough(&desk) {
                        break false;
                    }
                }
                Ok(None) => break true,
                Err(Cut) => break false,
            }
        };
        match head {
            Some(head) if is_whole => return end(desk, head, overtaken),
            _ => desk.pause().await,
        }
    }
}

/// What an `EventSource` makes of lines (WHATWG HTML, "Interpreting an event stream").
#[derive(Default)]
struct Source {
    last_id: String,
    /// Of the event that is not whole yet.
    id: String,
    data: String,
}

impl Source {
    /// A stream begins.
    fn begin(&mut self) {
        self.id.clone_from(&self.last_id);
        self.data.clear();
    }

    /// Takes a line; the item, if an event is whole with it.
    fn take(&mut self, line: &str) -> Option<Item> {
        match line.split_once(": ") {
            Some(("id", value)) => value.clone_into(&mut self.id),
            Some(("data", value)) => self.data.push_str(value),
            Some(("retry" | "event", _)) => {}
            Some(_) | None => {
                assert_eq!(line, "", "a line of no kind");
                // Only now its id counts.
                self.last_id.clone_from(&self.id);
                let data = std::mem::take(&mut self.data);
                return (!data.is_empty()).then(|| serde_json::from_str(&data).unwrap());
            }
        }
        None
    }
}

/// The last line of an export.
#[derive(Deserialize)]
struct End {
    iterator: String,
    done: bool,
    count: usize,
}

/// Exports again and again: from an export's end, or, if it was cut, from its last line.
pub(crate) async fn export(mut desk: Desk) -> Notes {
    let (mut place, mut overtaken) = ("from=1".to_owned(), false);
    loop {
        let head = desk.head();
        let path = format!("{}?{place}", desk.path());
        let Some(response) = desk.open(&path, &[("accept", "application/x-ndjson")]).await else { continue };
        if response.status() == 410 {
            (place, overtaken) = ("from=earliest".into(), true);
            continue;
        }
        assert_eq!(response.status(), 200);
        let mut lines = Lines::new(response.into_body());
        let (mut items, mut is_whole) = (0, false);
        while let Ok(Some(line)) = lines.next().await {
            if let Ok(item) = serde_json::from_str::<Item>(&line) {
                items += 1;
                place = format!("from={}", item.seq + 1);
                note(&mut desk, item, &mut overtaken);
                if is_enough(&desk) {
                    break;
                }
            } else {
                let End { iterator, done, count } = serde_json::from_str(&line).unwrap();
                if count != items {
                    desk.notes.wrong(format!("an export of {items} says that it is one of {count}"));
                }
                (place, is_whole) = (format!("iterator={iterator}"), done);
            }
        }
        match head {
            Some(head) if is_whole => return end(desk, head, overtaken),
            _ => desk.pause().await,
        }
    }
}

/// Whether the reader cuts its stream here.
fn is_enough(desk: &Desk) -> bool {
    desk.head().is_none() && (desk.dice.once_in(CUT_EVERY) || desk.is_to_rest().is_some())
}

/// A stream ended in the middle.
struct Cut;

/// The lines of a stream.
struct Lines {
    body: Incoming,
    rest: Vec<u8>,
    /// Up to where there is no line's end in the rest.
    looked: usize,
}

impl Lines {
    fn new(body: Incoming) -> Self {
        Self { body, rest: Vec::new(), looked: 0 }
    }

    /// The next line that is whole; `None`: there is none any more.
    async fn next(&mut self) -> Result<Option<String>, Cut> {
        loop {
            if let Some(end) = self.rest[self.looked..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=self.looked + end).collect();
                self.looked = 0;
                return Ok(Some(String::from_utf8(line).unwrap().trim_end().to_owned()));
            }
            self.looked = self.rest.len();
            match timeout(SILENCE_MAX, self.body.frame()).await.expect("a stream is never silent for long") {
                Some(Ok(frame)) => self.rest.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => return Err(Cut),
                None => return Ok(None),
            }
        }
    }
}
