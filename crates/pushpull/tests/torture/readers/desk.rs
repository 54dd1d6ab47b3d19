//! What a reader reads with: a client that outlives the server, chance, its notes, and word of the end.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

use crate::support::{Answer, Dice, Visitor, json, let_pass};

use super::{PULLED, notes::Notes};

/// How a reader takes its time.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// How long messages are kept, for readers that fall so far behind at times.
    retention: Option<Duration>,
}

impl Pace {
    /// Pauses of milliseconds.
    pub(crate) fn steady() -> Self {
        Self { retention: None }
    }

    /// And some as long as messages are kept.
    pub(crate) fn behind(retention: Duration) -> Self {
        Self { retention: Some(retention) }
    }

    pub(crate) fn retention(self) -> Option<Duration> {
        self.retention
    }
}

/// What a reader has.
pub(crate) struct Desk {
    pub(crate) dice: Dice,
    pub(crate) notes: Notes,
    endpoint: &'static str,
    visitor: Visitor,
    over: watch::Receiver<Option<[u64; 2]>>,
    pace: Pace,
    /// When it falls behind again.
    pub(crate) rests_at: Option<Instant>,
}

impl Desk {
    pub(crate) fn new(
        who: &'static str,
        endpoint: &'static str,
        visitor: Visitor,
        over: watch::Receiver<Option<[u64; 2]>>,
        pace: Pace,
        dice: Dice,
    ) -> Self {
        let rests_at = pace.retention.map(|_| Instant::now() + dice.millis(500, 3_000));
        let notes = Notes::new(who, endpoint == PULLED);
        Self { dice, notes, endpoint, visitor, over, pace, rests_at }
    }

    /// The newest seq, once nothing is written any more.
    pub(crate) fn head(&self) -> Option<u64> {
        let heads = *self.over.borrow();
        heads.map(|[pulled, pushed]| if self.endpoint == PULLED { pulled } else { pushed })
    }

    /// Waits until nothing is written any more.
    pub(crate) async fn end(&mut self) {
        self.over.wait_for(Option::is_some).await.unwrap();
    }

    /// Where it reads.
    pub(crate) fn path(&self) -> String {
        format!("/api/v1/app/app/poller/{}", self.endpoint)
    }

    /// Where a consumer reads with leases.
    pub(crate) fn leased_path(&self) -> String {
        format!("/api/v1/app/app/polling-endpoint/{}", self.endpoint)
    }

    /// Asks once; `None`: there was no answer.
    pub(crate) async fn get(&mut self, path: &str) -> Option<Answer> {
        self.visitor.try_ask(Method::GET, path, Bytes::new(), &[]).await
    }

    /// Says something once.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Option<Answer> {
        self.visitor.try_ask(Method::POST, path, json(body), &[]).await
    }

    /// Opens a stream.
    pub(crate) async fn open(&mut self, path: &str, headers: &[(&str, &str)]) -> Option<Response<Incoming>> {
        let opened = self.visitor.client().await.try_open(path, headers).await;
        let opened = opened.ok().filter(|response| response.status() != 503);
        if opened.is_none() {
            self.visitor.turn_away().await;
        }
        opened
    }

    /// Takes a pause between two requests, now and then one in which retention overtakes it.
    pub(crate) async fn pause(&mut self) {
        let Some(retention) = self.is_to_rest().filter(|_| self.head().is_none()) else {
            return self.nap().await;
        };
        let rest = retention.mul_f64(1.2 + self.dice.below(100) as f64 / 100.0);
        self.rests_at = Some(Instant::now() + rest + self.dice.millis(500, 3_000));
        tokio::select! {
            () = let_pass(rest) => {}
            () = self.end() => {}
        }
    }

    /// A pause of milliseconds.
    pub(crate) async fn nap(&self) {
        let_pass(self.dice.millis(0, 40)).await;
    }

    /// Whether it is time to fall behind; behind what.
    pub(crate) fn is_to_rest(&self) -> Option<Duration> {
        self.pace.retention.filter(|_| self.rests_at.is_some_and(|at| at <= Instant::now()))
    }

    /// Writes down a mark of what retention removed, once it is seen that its last seq can be read no more.
    pub(crate) async fn note_gap(&mut self, from: u64, until: u64) {
        let told = Instant::now();
        let path = format!("{}?from={until}&limit=1", self.path());
        if let Some(answer) = self.get(&path).await
            && (answer.status, &*answer.code()) != (410, "iterator_expired")
        {
            self.notes.wrong(format!("told that {from} to {until} are gone, but: {}", answer.status));
        }
        self.notes.gap(from, until, told);
    }
}

/// An answer's body.
pub(crate) fn read<T: DeserializeOwned>(answer: &Answer) -> T {
    match serde_json::from_slice(&answer.body) {
        Ok(read) => read,
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&answer.body)),
    }
}
