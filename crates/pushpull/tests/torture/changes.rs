//! Endpoints made, changed, disabled and deleted while messages pour in: each message goes to exactly the
//! endpoints that matched when it was committed.
//!
//! Each endpoint is changed by one writer, who notes when each request was sent and answered. A message is
//! committed somewhere between its own request and answer, so it met one of the states that may have been in
//! force then. Where all of them agree, what must have happened is known exactly.

mod history;

use std::collections::HashMap;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::support::{Client, Dice, Home, Ledger, Server, Sink, eventually, json as body, let_pass, say};

use history::{History, State, TYPES, Verdict};

/// Endpoints that are always there, and whose filter changes.
const CHANGING: usize = 3;
/// Endpoints that are made, disabled, enabled and deleted.
const COMING_AND_GOING: usize = 3;
/// Changes of each.
const CHANGES: usize = 120;
/// Clients that post.
const CLIENTS: usize = 8;
/// Messages of each.
const EACH: usize = 250;

/// A message, and when it may have been committed.
struct Sent {
    id: String,
    event_type: &'static str,
    from: Instant,
    to: Instant,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_to_exactly_the_endpoints_that_matched_when_it_was_committed() {
    let dice = Dice::new("changes");
    let sink = Sink::start(|_, _, _| 200).await;
    let server = Home::new().with("PUSHPULL_RETRY_SCHEDULE", "100ms,100ms").start().await;
    let mut client = server.client();
    client.app("app").await;

    let mut writers = JoinSet::new();
    for n in 0..CHANGING + COMING_AND_GOING {
        let writer = Writer {
            client: server.client(),
            dice: dice.fork(),
            sink: sink.url(""),
            slot: n,
            goes: n >= CHANGING,
            histories: Vec::new(),
        };
        writers.spawn(writer.work());
    }
    let mut posters = JoinSet::new();
    for _ in 0..CLIENTS {
        posters.spawn(post(server.client(), dice.fork()));
    }
    let sent: Vec<Sent> = posters.join_all().await.into_iter().flatten().collect();
    let histories: Vec<History> = writers.join_all().await.into_iter().flatten().collect();

    let owed = delivered(&server, &histories).await;
    let arrived = sink.take_ledger();
    let mut tally: HashMap<Verdict, usize> = HashMap::new();
    for message in &sent {
        let path = format!("/api/v1/app/app/msg/{}/endpoint", message.id);
        let listed: Vec<Value> = client.list(&path).await;
        for history in &histories {
            let verdict = history.verdict(message.event_type, message.from, message.to);
            *tally.entry(verdict).or_default() += 1;
            check(history, message, verdict, &listed, &arrived);
        }
    }
    say(format!("{} messages, {} endpoints, {owed} deliveries: {tally:?}", sent.len(), histories.len()));
    let exact = tally[&Verdict::Matched] + tally[&Verdict::NotMatched];
    assert!(
        exact > 5 * tally.get(&Verdict::Unknown).copied().unwrap_or_default(),
        "hardly anything is known"
    );
    server.stop().await;
}

#[track_caller]
fn check(history: &History, message: &Sent, verdict: Verdict, listed: &[Value], arrived: &Ledger) {
    let is_listed = listed.iter().any(|endpoint| endpoint["id"] == *history.id);
    let arrivals = arrived.get(&(history.path.clone(), message.id.clone())).map_or(0, Vec::len);
    let what = format!("{} ({}) at {}: {history:?}", message.id, message.event_type, history.path);
    match verdict {
        Verdict::NotMatched => assert_eq!((is_listed, arrivals), (false, 0), "not wanted: {what}"),
        Verdict::Matched => {
            assert!(is_listed || history.is_deleted(), "wanted, not owed: {what}");
            assert!(arrivals == 1 || !history.always_takes(), "wanted, arrived {arrivals} times: {what}");
        }
        Verdict::Unknown => {
            let agrees = !history.always_takes() || is_listed == (arrivals == 1);
            assert!(agrees, "listed: {is_listed}, arrived {arrivals} times: {what}");
        }
    }
    assert!(arrivals < 2, "arrived {arrivals} times: {what}");
}

/// Waits until the endpoints that always take have nothing to wait for; how many deliveries they had.
async fn delivered(server: &Server, histories: &[History]) -> u64 {
    let mut client = server.client();
    let mut owed = 0;
    for history in histories.iter().filter(|history| history.always_takes()) {
        let stats = format!("/api/v1/app/app/endpoint/{}/stats", history.id);
        owed += eventually("everything delivered", async || {
            let counts = client.get(&stats).await.expect(200).json();
            (counts["pending"] == 0 && counts["sending"] == 0).then(|| counts["success"].as_u64().unwrap())
        })
        .await;
    }
    owed
}

async fn post(mut client: Client, dice: Dice) -> Vec<Sent> {
    let mut sent = Vec::new();
    for _ in 0..EACH {
        let event_type = *dice.pick(&TYPES);
        let from = Instant::now();
        let message = json!({"eventType": event_type, "payload": {}});
        let id = client.post("/api/v1/app/app/msg", &message).await.expect(202).text("id");
        sent.push(Sent { id, event_type, from, to: Instant::now() });
    }
    sent
}

/// The only one who changes the endpoints of a slot.
struct Writer {
    client: Client,
    dice: Dice,
    sink: String,
    slot: usize,
    /// Whether endpoints are made, disabled and deleted too.
    goes: bool,
    histories: Vec<History>,
}

impl Writer {
    async fn work(mut self) -> Vec<History> {
        for _ in 0..CHANGES {
            let wanted = self.types();
            match self.histories.last().map(History::now) {
                None | Some(State::Deleted) => self.make(wanted).await,
                Some(_) if self.goes && self.dice.once_in(8) => self.delete().await,
                Some(State::Enabled(types)) if self.goes && self.dice.once_in(4) => {
                    self.change(json!({"disabled": true}), State::Disabled(types)).await;
                }
                Some(State::Disabled(types)) if self.dice.once_in(2) => {
                    self.change(json!({"disabled": false}), State::Enabled(types)).await;
                }
                Some(State::Disabled(_)) => {
                    self.change(json!({"eventTypes": wanted}), State::Disabled(wanted)).await;
                }
                Some(State::Enabled(_)) => {
                    self.change(json!({"eventTypes": wanted}), State::Enabled(wanted)).await;
                }
            }
            // Long enough that some messages meet no change.
            let_pass(self.dice.millis(0, 30)).await;
        }
        self.histories
    }

    /// Some of the event types, at least one.
    fn types(&self) -> Vec<&'static str> {
        let mask = 1 + self.dice.below((1 << TYPES.len()) - 1);
        TYPES.iter().enumerate().filter(|(n, _)| mask & (1 << n) != 0).map(|(_, name)| *name).collect()
    }

    async fn make(&mut self, types: Vec<&'static str>) {
        let path = format!("/e/{}/{}", self.slot, self.histories.len());
        let endpoint = json!({"url": format!("{}{path}", self.sink), "eventTypes": types});
        let from = Instant::now();
        let id = self.client.post("/api/v1/app/app/endpoint", &endpoint).await.expect(201).text("id");
        self.histories.push(History::begin(id, path, from, Instant::now(), State::Enabled(types)));
    }

    async fn change(&mut self, patch: Value, state: State) {
        let history = self.histories.last_mut().unwrap();
        let path = format!("/api/v1/app/app/endpoint/{}", history.id);
        let from = Instant::now();
        self.client.call(Method::PATCH, &path, body(&patch)).await.expect(200);
        history.note(from, Instant::now(), state);
    }

    async fn delete(&mut self) {
        let history = self.histories.last_mut().unwrap();
        let path = format!("/api/v1/app/app/endpoint/{}", history.id);
        let from = Instant::now();
        self.client.call(Method::DELETE, &path, Bytes::new()).await.expect(204);
        history.note(from, Instant::now(), State::Deleted);
    }
}
