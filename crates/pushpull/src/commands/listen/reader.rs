//! The reader: a named consumer, long polled, one message at a time.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use http::{Method, StatusCode};
use pushpull_domain::EventTypeName;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use url::form_urlencoded::Serializer;

use super::{
    backoff::{self, Backoff},
    say::Say,
};
use crate::commands::{
    Ending,
    remote::{Answer, Server},
};

/// How long a poll waits for news, in seconds: short of what proxies on the way would cut.
const WAIT: u64 = 25;

/// How long the server keeps the place of a consumer that is not seen, in seconds: as long as it may, a year. Without
/// it a new run would begin anew.
const IDLE: u64 = 366 * 86_400;

/// A message of the queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) event_type: EventTypeName,
    pub(super) seq: u64,
    pub(super) position: u64,
    payload: Box<RawValue>,
    /// Absent: it is JSON.
    pub(super) content_type: Option<String>,
    #[serde(default)]
    payload_expired: bool,
}

impl Item {
    /// The payload, to the byte as it was sent; `None`: it is not kept any more.
    pub(super) fn body(&self) -> Option<Bytes> {
        if self.payload_expired {
            return None;
        }
        let json = self.payload.get();
        if self.content_type.is_some()
            && let Ok(members) = serde_json::from_str::<BTreeMap<Cow<'_, str>, Value>>(json)
            && members.len() == 1
            && let Some(Value::String(text)) = members.get("rawPayload")
        {
            return Some(Bytes::copy_from_slice(text.as_bytes()));
        }
        Some(Bytes::copy_from_slice(json.as_bytes()))
    }
}

/// What retention removed before it was read.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: u64,
    pub(super) until: u64,
}

/// What is next.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) data: Vec<Item>,
    iterator: String,
    gap: Option<Gap>,
}

/// A consumer at its place.
pub(super) struct Reader {
    server: Server,
    path: String,
    /// After what is done.
    iterator: Option<String>,
    /// Whether the server knows that it is done.
    is_acknowledged: bool,
    /// What was read to see that the stream is up.
    first: Option<Page>,
    gap: Option<Gap>,
}

/// What a call came to.
enum Read {
    Page(Page),
    /// The server cannot answer now; it wants to be left alone so long.
    Trouble(String, Option<Duration>),
    /// The server does not know the iterator.
    Lost,
}

impl Reader {
    pub(super) fn new(server: Server, path: String) -> Self {
        Self { server, path, iterator: None, is_acknowledged: true, first: None, gap: None }
    }

    /// Makes the consumer if it is new: it begins at this place. One that is there is left as it is, which is told to
    /// who asked for another place.
    pub(super) async fn find_place(&mut self, place: &str, is_asked: bool, say: &Say) -> Result<()> {
        let known: Option<Value> = self.server.get(&format!("{}/status", self.path)).await?;
        if known.is_none() {
            let body = json!({"from": place, "idle": IDLE});
            return self.server.put(&self.path, &body).await;
        }
        if is_asked {
            say.state(
                "note",
                "this consumer has a place already, so --from is not used; a new --consumer begins there",
            );
        }
        Ok(())
    }

    /// The first call: from then on, the stream is up.
    pub(super) async fn open(&mut self, say: &Say) -> Result<()> {
        match self.read(0).await? {
            Read::Page(page) => {
                self.see(&page, say)?;
                self.first = Some(page);
                Ok(())
            }
            Read::Trouble(what, _) => Err(Ending::unreachable(what).into()),
            Read::Lost => unreachable!("no iterator was given"),
        }
    }

    /// What is next: waits for it, over restarts of the server and the network.
    pub(super) async fn next(&mut self, say: &Say) -> Result<Page> {
        match self.first.take() {
            Some(page) => Ok(page),
            None => self.read_on(WAIT, say).await,
        }
    }

    /// A page was dealt with: the next call says so.
    pub(super) fn is_done_with(&mut self, page: Page) {
        self.is_acknowledged &= page.data.is_empty();
        self.iterator = Some(page.iterator);
    }

    /// Says what is done, if it was not said yet.
    pub(super) async fn acknowledge(&mut self, say: &Say) -> Result<()> {
        if !self.is_acknowledged {
            self.read_on(0, say).await?;
        }
        Ok(())
    }

    async fn read_on(&mut self, wait: u64, say: &Say) -> Result<Page> {
        let mut backoff = Backoff::for_server();
        let mut is_down = false;
        loop {
            match self.read(wait).await? {
                Read::Page(page) => {
                    if is_down {
                        say.state("resume", "the server answers again");
                    }
                    self.see(&page, say)?;
                    return Ok(page);
                }
                Read::Lost => {
                    say.state(
                        "note",
                        "the server does not know this place any more: it goes on from the one it keeps",
                    );
                    self.iterator = None;
                }
                Read::Trouble(what, retry_after) => {
                    is_down = true;
                    let wait = backoff.next().max(retry_after.unwrap_or_default());
                    say.state("drop", format!("{what}; again in {}", backoff::shown(wait)));
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn read(&mut self, wait: u64) -> Result<Read> {
        let mut query = Serializer::new(format!("{}?", self.path));
        query.append_pair("limit", "1").append_pair("wait", &wait.to_string());
        if let Some(iterator) = &self.iterator {
            query.append_pair("iterator", iterator);
        }
        let path = query.finish();
        let answer = match self.server.call(Method::GET, &path, None, Duration::from_secs(wait)).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Read::Trouble(self.server.unreachable(&error).to_string(), None)),
        };
        self.judge(&answer)
    }

    fn judge(&mut self, answer: &Answer) -> Result<Read> {
        match answer.status() {
            StatusCode::BAD_REQUEST if self.iterator.is_some() && answer.code() == "invalid_iterator" => {
                Ok(Read::Lost)
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Ok(Read::Trouble(answer.complaint().to_string(), answer.retry_after()))
            }
            status if status.is_server_error() => {
                Ok(Read::Trouble(answer.complaint().to_string(), answer.retry_after()))
            }
            status if status.is_success() => {
                self.is_acknowledged = true;
                answer.read().map(Read::Page)
            }
            _ => Err(answer.complaint()),
        }
    }

    /// Tells of a gap, once.
    fn see(&mut self, page: &Page, say: &Say) -> Result<()> {
        if let Some(gap) = page.gap.filter(|gap| self.gap != Some(*gap)) {
            say.gap(gap)?;
        }
        self.gap = page.gap;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rest: &str, body: Option<&str>) {
        let item = format!(r#"{{"id":"msg_1","eventType":"a","seq":1,"position":1,{rest}}}"#);
        let item: Item = serde_json::from_str(&item).unwrap();
        assert_eq!(item.body().as_deref(), body.map(str::as_bytes));
    }

    #[test]
    fn a_payload_is_had_back_to_the_byte() {
        check(r#""payload":{ "a" : 1.50, "b":"\u00e9" }"#, Some(r#"{ "a" : 1.50, "b":"\u00e9" }"#));
        check(r#""payload":{"rawPayload":"a"}"#, Some(r#"{"rawPayload":"a"}"#));
        check(r#""contentType":"text/plain","payload":{"rawPayload":"a\n\"b"}"#, Some("a\n\"b"));
        check(r#""contentType":"application/json","payload":{ "c":1}"#, Some(r#"{ "c":1}"#));
        check(r#""payload":{"expired":true}"#, Some(r#"{"expired":true}"#));
        check(r#""payload":{"expired":true},"payloadExpired":true"#, None);
    }
}
