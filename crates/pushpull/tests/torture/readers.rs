//! Readers of every kind, while many write, commits come late, and the process is killed again and again.
//!
//! What is promised: each sees every acknowledged message, in the order of the queue, without a gap in the seqs, and
//! once; a consumer sees again only what it had not committed. What retention removes before it was read is marked,
//! exactly.

pub(crate) mod books;
mod consumers;
mod desk;
pub(crate) mod notes;
mod plain;
mod streams;
mod work;
pub(crate) mod writers;

use std::time::Duration;

use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::support::{Client, Dice, Home, Lives, Sink, faulty, let_pass, say, variable};

use books::{Books, Findings};
use desk::Desk;
pub(crate) use desk::Pace;
use notes::Notes;
use writers::{PAID, Writers};

/// Kills of a run that nobody asked to be longer.
const KILLS: usize = 12;
/// Kills while retention is at work.
const RETENTION_KILLS: usize = 5;
/// How long messages are kept then.
const RETENTION: Duration = Duration::from_secs(4);
/// The longest that a reader may take to come to the end, once nothing is written any more.
const END_MAX: Duration = Duration::from_mins(2);

/// The endpoint that is pulled: everything, so that a seq in it is a position.
const PULLED: &str = "pulled";
/// The endpoint that is pushed, and read as a copy: one event type.
const PUSHED: &str = "pushed";

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_every_kind_see_each_message_once_in_order_over_kills_and_restarts() {
    let kills = variable("PUSHPULL_TORTURE_KILLS")
        .map_or(KILLS, |text| text.parse().expect("PUSHPULL_TORTURE_KILLS is a number"));
    // With one that loses messages, the check must fail.
    let fault = faulty::wanted().unwrap_or_else(|| faulty::DELAY_COMMITS.into());
    let home = home().program(faulty::build().await).with(faulty::VARIABLE, fault);
    let findings = run(home, kills, Pace::steady(), Dice::new("readers")).await;
    say(format!("{kills} kills; {findings}"));
    assert_eq!(findings.wrong(), Vec::<String>::new());
    assert!(findings.written > kills * 20, "hardly anything was written: {findings}");
    assert!(findings.again > 0, "no consumer was ever in want of what it had not committed: {findings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_retention_overtakes_are_told_exactly_what_they_miss() {
    let home = home().with("PUSHPULL_RETENTION_MESSAGES", format!("{}ms", RETENTION.as_millis()));
    let findings = run(home, RETENTION_KILLS, Pace::behind(RETENTION), Dice::new("retention")).await;
    say(format!("{RETENTION_KILLS} kills; {findings}"));
    assert_eq!(findings.wrong(), Vec::<String>::new());
    let untold = findings.readers.iter().filter(|reader| reader.missed == 0).map(|reader| reader.who);
    assert_eq!(untold.collect::<Vec<_>>(), Vec::<&str>::new(), "never overtaken: {findings}");
}

fn home() -> Home {
    Home::new().with("PUSHPULL_RETRY_SCHEDULE", "100ms,200ms,500ms,1s,1s,1s,1s,1s")
}

async fn run(home: Home, kills: usize, pace: Pace, dice: Dice) -> Findings {
    let sink = Sink::start(|_, _, _| 200).await;
    let mut server = home.start().await;
    set_up(&mut server.client(), &sink).await;
    let lives = Lives::new();
    lives.serve_at(server.address);
    let (started, over) = (Instant::now(), watch::Sender::new(None));
    let writers = Writers::start(&lives, &dice);
    let readers = start_readers(&lives, &over, pace, &dice);
    for _ in 0..kills {
        let_pass(dice.millis(500, 4_000)).await;
        if dice.once_in(6) {
            server.terminate();
            let_pass(dice.millis(0, 60)).await;
        }
        server.kill().await;
        lives.nobody_serves();
        if dice.once_in(5) {
            let starting = home.spawn();
            let_pass(dice.millis(0, 150)).await;
            starting.kill().await;
        }
        server = home.start().await;
        lives.serve_at(server.address);
    }
    // Long enough that every reader was overtaken.
    let least = pace.retention().unwrap_or_default() * 3;
    let_pass(dice.millis(500, 2_000) + least.saturating_sub(started.elapsed())).await;
    let written = writers.finish().await;
    over.send_replace(Some(heads(&mut server.client()).await));
    let notes = timeout(END_MAX, readers.join_all()).await.expect("every reader comes to the end");
    server.stop().await;
    Books { written, notes, retention: pace.retention() }.check()
}

/// One application, and an endpoint of each kind.
pub(crate) async fn set_up(client: &mut Client, sink: &Sink) {
    client.app("app").await;
    for endpoint in [
        json!({ "uid": PULLED, "mode": "pull" }),
        json!({ "uid": PUSHED, "url": sink.url("/"), "eventTypes": [PAID] }),
    ] {
        client.post("/api/v1/app/app/endpoint", &endpoint).await.expect(201);
    }
}

/// One of every kind at once.
pub(crate) fn start_readers(
    lives: &Lives,
    over: &watch::Sender<Option<[u64; 2]>>,
    pace: Pace,
    dice: &Dice,
) -> JoinSet<Notes> {
    let desk = |who, endpoint| Desk::new(who, endpoint, lives.visitor(), over.subscribe(), pace, dice.fork());
    let mut readers = JoinSet::new();
    readers.spawn(plain::pages(desk("pages", PULLED)));
    readers.spawn(plain::long_poll(desk("long poll", PULLED)));
    readers.spawn(streams::events(desk("events", PULLED)));
    readers.spawn(streams::export(desk("export", PULLED)));
    readers.spawn(consumers::by_iterator(desk("consumer by iterator", PULLED)));
    readers.spawn(consumers::by_lease(desk("consumer by lease", PULLED)));
    readers.spawn(work::queue(desk("work queue", PULLED), desk("its other worker", PULLED)));
    readers.spawn(plain::long_poll(desk("long poll of what is pushed", PUSHED)));
    readers.spawn(streams::events(desk("events of what is pushed", PUSHED)));
    readers.spawn(consumers::by_iterator(desk("consumer of what is pushed", PUSHED)));
    readers
}

/// Readers who ask one of several servers only.
pub(crate) fn start_readers_of(
    server: usize,
    readers: &mut JoinSet<Notes>,
    lives: &Lives,
    over: &watch::Sender<Option<[u64; 2]>>,
    dice: &Dice,
) {
    let desk = |who| {
        let visitor = lives.visitor_of(server);
        Desk::new(who, PULLED, visitor, over.subscribe(), Pace::steady(), dice.fork())
    };
    readers.spawn(plain::pages(desk("pages of one node")));
    readers.spawn(plain::long_poll(desk("long poll of one node")));
    readers.spawn(streams::events(desk("events of one node")));
}

/// The newest seq of each endpoint, as the server has it.
pub(crate) async fn heads(client: &mut Client) -> [u64; 2] {
    let mut heads = [0; 2];
    for (endpoint, head) in [PULLED, PUSHED].into_iter().zip(&mut heads) {
        let consumer = format!("/api/v1/app/app/poller/{endpoint}/consumer/head");
        client.call(http::Method::PUT, &consumer, "{}".into()).await.expect(201);
        *head = client.get(&format!("{consumer}/status")).await.expect(200).json()["head"].as_u64().unwrap();
    }
    heads
}
