//! An endpoint changes hands, again and again, while messages pour in: pushed, read, held, pushed again. Each message
//! is answered 2xx once or read once, never both, and none is lost.
//!
//! Both sides keep a ledger: the receiver of what it answered, the reader of what it committed. Nothing is killed here,
//! so nothing at all may come twice.

use std::collections::{HashMap, HashSet};

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, Dice, Home, Ledger, Sink, eventually, is_one_in, json as body, let_pass, say};

/// Clients that post.
const CLIENTS: usize = 4;
/// Times round: pushed, read, held.
const ROUNDS: usize = 8;
const ENDPOINT: &str = "/api/v1/app/app/endpoint/main";
const READER: &str = "/api/v1/app/app/polling-endpoint/main/consumer/reader";

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_changes_hands_under_load_brings_each_message_to_one_side_once() {
    let dice = Dice::new("modes");
    // One in five fails at first, so that some wait for their next attempt whenever the mode changes.
    let sink = Sink::start(|_, id, before| if is_one_in(5, id) && before < 2 { 503 } else { 200 }).await;
    let schedule = vec!["200ms"; 20].join(",");
    let server = Home::new().with("PUSHPULL_RETRY_SCHEDULE", schedule).start().await;
    let mut client = server.client();
    client.app("app").await;
    let endpoint = json!({ "url": sink.url("/"), "uid": "main" });
    client.post("/api/v1/app/app/endpoint", &endpoint).await.expect(201);

    let enough = CancellationToken::new();
    let mut posters = JoinSet::new();
    for _ in 0..CLIENTS {
        posters.spawn(post(server.client(), dice.fork(), enough.clone()));
    }
    let mut books = Books::default();
    for round in 0..ROUNDS {
        let_pass(dice.millis(300, 900)).await;
        switch(&mut client, json!({ "mode": if round % 2 == 0 { "pull" } else { "held" } })).await;
        // Whoever reads begins at once, while the last attempts are still under way.
        let reading = CancellationToken::new();
        let mut reader = JoinSet::new();
        reader.spawn(read(server.client(), reading.clone()));
        let_pass(dice.millis(200, 800)).await;
        drained(&mut client).await;
        books.pushed(sink.take_ledger());
        let_pass(dice.millis(100, 300)).await;
        switch(&mut client, json!({ "mode": if round % 2 == 0 { "held" } else { "pull" } })).await;
        let_pass(dice.millis(0, 200)).await;
        assert!(sink.take_ledger().is_empty(), "nothing is pushed once readers have it");
        reading.cancel();
        books.read(reader.join_all().await.remove(0));
        switch(&mut client, json!({ "mode": "push", "from": "reader" })).await;
    }
    enough.cancel();
    let sent: HashSet<String> = posters.join_all().await.into_iter().flatten().collect();
    let audit = eventually("nothing is owed", async || {
        let audit = client.get(&format!("{ENDPOINT}/audit")).await.expect(200).json();
        (audit["owed"] == 0).then_some(audit)
    })
    .await;
    books.pushed(sink.take_ledger());

    let Books { answered, read } = &books;
    say(format!("{} messages: {} answered 2xx, {} read", sent.len(), answered.len(), read.len()));
    let lost: Vec<_> =
        sent.iter().filter(|id| !answered.contains_key(*id) && !read.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    let both: Vec<_> = answered.keys().filter(|id| read.contains_key(*id)).collect();
    assert!(both.is_empty(), "{} answered 2xx and read: {both:?}", both.len());
    for (side, brought) in [("answered 2xx", answered), ("read", read)] {
        let twice: Vec<_> = brought.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{} {side} again: {twice:?}", twice.len());
    }
    assert!(answered.len() > sent.len() / 20 && read.len() > sent.len() / 20, "one side had hardly any");
    // The audit says the same as the ledgers.
    let counted = ["accepted", "delivered", "read"].map(|name| audit[name].as_u64().unwrap());
    assert_eq!(counted.map(|n| n as usize), [sent.len(), answered.len(), read.len()], "{audit}");
    assert_eq!((&audit["complete"], &audit["gapFree"]), (&json!(true), &json!(true)), "{audit}");
    server.stop().await;
}

/// What each side had, by message, and how often.
#[derive(Default)]
struct Books {
    answered: HashMap<String, usize>,
    read: HashMap<String, usize>,
}

impl Books {
    fn pushed(&mut self, ledger: Ledger) {
        for ((_, id), arrivals) in ledger {
            let answered = arrivals.iter().filter(|arrival| arrival.status == 200).count();
            if answered > 0 {
                *self.answered.entry(id).or_default() += answered;
            }
        }
    }

    fn read(&mut self, ids: Vec<String>) {
        for id in ids {
            *self.read.entry(id).or_default() += 1;
        }
    }
}

async fn switch(client: &mut Client, change: Value) {
    client.call(Method::PATCH, ENDPOINT, body(&change)).await.expect(200);
}

/// Waits until nothing is in flight any more.
async fn drained(client: &mut Client) {
    eventually("what was in flight is over", async || {
        let endpoint = client.get(ENDPOINT).await.expect(200).json();
        endpoint.get("draining").is_none().then_some(())
    })
    .await;
}

/// Posts until it is enough; the ids of all that was taken.
async fn post(mut client: Client, dice: Dice, enough: CancellationToken) -> Vec<String> {
    let mut sent = Vec::new();
    while !enough.is_cancelled() {
        let message = json!({ "eventType": "a", "payload": { "n": sent.len() } });
        sent.push(client.post("/api/v1/app/app/msg", &message).await.expect(202).text("id"));
        if dice.once_in(3) {
            let_pass(dice.millis(1, 10)).await;
        }
    }
    sent
}

/// Reads and commits until it is told to stop; what it committed.
async fn read(mut client: Client, stop: CancellationToken) -> Vec<String> {
    let mut read = Vec::new();
    while !stop.is_cancelled() {
        let page = client.get(&format!("{READER}?limit=100&wait=1")).await.expect(200).json();
        let data = page["data"].as_array().unwrap();
        let Some(last) = data.last() else { continue };
        client.post(&format!("{READER}/commit"), &json!({ "offset": last["offset"] })).await.expect(204);
        read.extend(data.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
    }
    read
}
