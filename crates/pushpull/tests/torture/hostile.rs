//! Receivers that stall, cut, flood, redirect and lie, all at once, against the real binary and its real
//! deadlines: each attempt ends in time with a class of its own, and an endpoint beside them notices nothing.

mod tls;
mod tricks;

use std::{collections::BTreeMap, time::Duration};

use pushpull_testkit::{Hostile, Trick};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Client, Home, Sink, eventually, percentile, say};

use tls::Authority;
use tricks::{More, Trickster};

/// The deadline of an attempt, and a moment for a machine that is busy with all of these.
const ATTEMPT_MAX: Duration = Duration::from_secs(21);
/// Longest answer that is kept.
const RESPONSE_MAX: usize = 64 * 1024;
/// Messages that each hostile receiver gets.
const ROUNDS: usize = 2;
/// Most memory while they all do their worst, in MiB: what a quiet server takes, and 128 for these.
const MEMORY_MAX: u64 = 60 + 128;
/// Between two messages to the healthy endpoint.
const PACE: Duration = Duration::from_millis(50);

/// What an attempt must come to: status and error class.
type Expected = (u64, &'static str);

fn expected(trick: Trick) -> Expected {
    match trick {
        Trick::Hang | Trick::DripHead | Trick::DripBody => (0, "timeout"),
        Trick::CloseAtOnce | Trick::CloseUnanswered | Trick::ResetMidBody | Trick::ShortBody => {
            (0, "connection_closed")
        }
        // Cut at 64 KiB, and complete as far as anybody cares.
        Trick::EndlessBody => (200, ""),
        Trick::BadChunk
        | Trick::EndlessHead
        | Trick::NotHttp
        | Trick::Http09
        | Trick::NulInHeader
        | Trick::Endless100 => (0, "protocol"),
        Trick::Redirect => (307, "status"),
    }
}

/// A receiver that is called, and what each of its attempts must come to.
struct Called {
    name: String,
    url: String,
    expected: [Expected; ROUNDS],
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trick_ends_in_time_with_its_own_class_and_delays_nobody() {
    let authority = Authority::new();
    let ca_file = authority.write();
    let home = Home::new()
        .with("PUSHPULL_RETRY_SCHEDULE", "")
        .with("PUSHPULL_CA_FILE", ca_file.path().display().to_string());
    let server = home.start().await;
    let mut client = server.client();

    let mut called = Vec::new();
    let mut receivers = Vec::new();
    for trick in Trick::ALL {
        let receiver = Hostile::start(trick).await;
        let expected = match trick {
            // It is silent after its first answer.
            Trick::Redirect => [expected(trick), (0, "timeout")],
            _ => [expected(trick); ROUNDS],
        };
        called.push(Called { name: format!("{trick:?}"), url: receiver.url(), expected });
        receivers.push(receiver);
    }
    let mut tricksters = Vec::new();
    for &trick in More::ALL {
        let trickster = Trickster::start(trick).await;
        called.push(Called { name: format!("{trick:?}"), url: trickster.url(), expected: trick.expected() });
        tricksters.push(trickster);
    }
    let secured = tls::Secured::start_all(&authority).await;
    called.extend(secured.iter().map(|receiver| Called {
        name: receiver.name.to_owned(),
        url: receiver.url(),
        expected: [receiver.expected; ROUNDS],
    }));

    client.app("bad").await;
    let mut endpoints = BTreeMap::new();
    for receiver in called {
        let endpoint = json!({"url": receiver.url});
        let made = client.post("/api/v1/app/bad/endpoint", &endpoint).await.expect(201);
        endpoints.insert(made.text("id"), receiver);
    }
    let healthy = Healthy::start(server.client()).await;
    let started = Instant::now();
    for round in 1..=ROUNDS {
        client.post("/api/v1/app/bad/msg", &json!({"eventType": "a", "payload": {}})).await.expect(202);
        // Those that are soon done get the next message over the same connection, if they keep it.
        let done = endpoints.iter().filter(|(_, receiver)| receiver.expected[round - 1].1 != "timeout");
        for (id, _) in done {
            attempts(&mut client, id, round).await;
        }
    }
    let mut wrong = Vec::new();
    for (id, receiver) in &endpoints {
        let attempts = attempts(&mut client, id, ROUNDS).await;
        let oldest_first = attempts.iter().rev().zip(receiver.expected);
        wrong.extend(oldest_first.filter_map(|(attempt, expected)| check(receiver, attempt, expected)));
    }
    let mut times = healthy.finish().await;
    say(format!(
        "{} hostile receivers, {ROUNDS} attempts each, in {:?}; {} messages to the healthy one: p50 {:?}, p99 {:?}, \
         slowest {:?}; at most {} MiB of memory",
        endpoints.len(),
        started.elapsed(),
        times.len(),
        percentile(&mut times, 0.5),
        percentile(&mut times, 0.99),
        percentile(&mut times, 1.0),
        server.memory_peak(),
    ));
    assert!(server.memory_peak() < MEMORY_MAX);
    assert!(percentile(&mut times, 0.99) < Duration::from_secs(1));
    assert_eq!(wrong, Vec::<String>::new());
    server.stop().await;
}

/// The attempts made at an endpoint, newest first, once there are so many.
async fn attempts(client: &mut Client, endpoint: &str, count: usize) -> Vec<Value> {
    let path = format!("/api/v1/app/bad/attempt/endpoint/{endpoint}");
    eventually("an attempt's end", async || {
        let found = client.list(&path).await;
        (found.len() >= count).then_some(found)
    })
    .await
}

/// What is wrong with an attempt.
fn check(receiver: &Called, attempt: &Value, expected: Expected) -> Option<String> {
    let class = attempt["errorClass"].as_str().unwrap_or_default();
    let status = attempt["responseStatusCode"].as_u64().unwrap();
    let response = attempt["response"].as_str().unwrap();
    let took = Duration::from_millis(attempt["responseDurationMs"].as_u64().unwrap());
    // Bytes that are no text are shown by one sign each.
    let kept = response.chars().count();
    let is_right = (status, class) == expected && took < ATTEMPT_MAX && kept <= RESPONSE_MAX;
    (!is_right).then(|| {
        let start: String = response.chars().take(200).collect();
        let name = &receiver.name;
        format!("{name}: {status} {class:?} after {took:?}, not {expected:?}; {kept} kept: {start}")
    })
}

/// Messages to an endpoint that works, all the while.
struct Healthy {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Healthy {
    #[expect(clippy::disallowed_methods, reason = "waited for in `finish`")]
    async fn start(mut client: Client) -> Self {
        let sink = Sink::start(|_, _, _| 200).await;
        client.app("good").await;
        client.post("/api/v1/app/good/endpoint", &json!({"url": sink.url("/")})).await.expect(201);
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut times = Vec::new();
            let mut pace = tokio::time::interval(PACE);
            while stopped.try_recv().is_err() {
                pace.tick().await;
                let sent = Instant::now();
                let body = json!({"eventType": "a", "payload": {}});
                let id = client.post("/api/v1/app/good/msg", &body).await.expect(202).text("id");
                times.push(sink.first("/", &id).await.duration_since(sent));
            }
            times
        });
        Self { stop, task }
    }

    /// How long each message took from being sent to its arrival.
    async fn finish(self) -> Vec<Duration> {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }
}
