//! A store of many days: each row finds its partition, and what hangs together is found from it.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use pushpull_domain::{
    App, Delivery, DeliveryState, Endpoint, EnvironmentNo, EventTypeName, FixedClock, Message, SeededChance,
    Seq, Timestamp,
    attempt::{Attempt, Outcome, Timings, Trigger},
    seal::MasterKey,
};
use pushpull_store::{
    AttemptFilter, DueOrder, Log, MessageFilter, Order, PageQuery, Published, QueueQuery, Retention,
    Settlement, Store,
};
use pushpull_store_postgres::Postgres;
use pushpull_store_sqlite::Sqlite;
use pushpull_testkit::{ask, new_app, new_database, new_endpoint, new_message, postgres_options};

use super::migrate;
use crate::support::Home;

const START: Timestamp = Timestamp::from_millis(1_795_513_560_000);
const HALF_A_DAY: Duration = Duration::from_hours(12);
const URL: &str = "https://receiver.test/hook";

fn embedded(home: &Home, clock: &Arc<FixedClock>) -> Arc<dyn Store> {
    let options = pushpull_store_sqlite::Options {
        dir: home.data(),
        clock: Arc::<FixedClock>::clone(clock),
        chance: Arc::new(SeededChance::new(1)),
        master_key: MasterKey::new([7; 32]),
        older_master_keys: Vec::new(),
        on_fatal: Box::new(|error| panic!("{error}")),
    };
    Arc::new(Sqlite::open(options).unwrap())
}

async fn in_database(url: &str, clock: &Arc<FixedClock>) -> Arc<dyn Store> {
    let options = postgres_options(url, clock.clone(), 2);
    Arc::new(Postgres::open(options).await.unwrap())
}

async fn publish(store: &Arc<dyn Store>, app: &App, n: usize) -> Arc<Message> {
    let log = Log::new(Arc::clone(store));
    let snapshot = store.app_by_no(app.no).await.unwrap().unwrap();
    match log.publish(&snapshot, new_message(&format!("{{\"n\":{n}}}")), None).await.unwrap() {
        Published::Stored(message) => message,
        other => panic!("not stored: {other:?}"),
    }
}

/// Writes down that an attempt of each delivery that is owed got this answer, also by a clock that was put back.
async fn attempt(store: &Arc<dyn Store>, endpoint: &Endpoint, at: Timestamp, status: u16) {
    let order = DueOrder::ByTime { until: at.after(HALF_A_DAY * 10) };
    let due = store.due(endpoint.no, order, Vec::new(), 100).await.unwrap().items;
    let settlements = due.into_iter().map(|due| {
        let (outcome, state) = if status == 200 {
            (Outcome::Delivered { status, body: "fine".into() }, DeliveryState::Delivered)
        } else {
            let due_at = Some(at.after(HALF_A_DAY));
            let again = DeliveryState::Owed { due_at, trigger: Trigger::Scheduled };
            (Outcome::Refused { status, body: "not now".into(), retry_after: None }, again)
        };
        let made =
            Attempt { started_at: at, trigger: Trigger::Scheduled, outcome, timings: Timings::default() };
        let delivery = Delivery { state, attempts: due.delivery.attempts + 1, ..due.delivery };
        Settlement { delivery, attempt: Some((made, Arc::from(URL))) }
    });
    store.settle(settlements.collect()).await.unwrap();
}

/// An application, an endpoint that gets everything, and one that gets what it is sent by hand.
struct Sender {
    app: App,
    all: Arc<Endpoint>,
    by_hand: Arc<Endpoint>,
}

impl Sender {
    async fn new(store: &Arc<dyn Store>, environment: EnvironmentNo, uid: &str) -> Self {
        let app = store.create_app(new_app(environment, uid)).await.unwrap();
        let all = store.create_endpoint(new_endpoint(app.no, URL)).await.unwrap();
        let mut by_hand = new_endpoint(app.no, URL);
        by_hand.filter.event_types = Some(vec![EventTypeName::new("never.sent").unwrap()]);
        let by_hand = store.create_endpoint(by_hand).await.unwrap();
        Self { app, all, by_hand }
    }
}

/// Eight days of two applications: retries from day to day, messages sent again, a clock that is put back, retention.
async fn live(store: &Arc<dyn Store>, clock: &FixedClock, senders: &[Sender]) -> Vec<Arc<Message>> {
    let mut sent = Vec::new();
    for half in 0..16 {
        let now = || pushpull_domain::Clock::now(clock);
        for (n, Sender { app, all, by_hand }) in senders.iter().enumerate() {
            // The second is idle on some days.
            if n == 0 || half % 5 == 0 {
                sent.push(publish(store, app, half).await);
            }
            for endpoint in [all, by_hand] {
                attempt(store, endpoint, now(), if half % 3 == 2 { 200 } else { 503 }).await;
            }
            if half % 3 == 1 {
                // The newest, then one that is older: it joins the queue behind it.
                let kept: Vec<_> = sent.iter().rev().filter(|one| one.key.app == app.no).take(3).collect();
                for old in [kept.first(), kept.last()].into_iter().flatten() {
                    store.resend(old.key, by_hand.no).await.unwrap();
                }
            }
        }
        match half {
            6 => clock.set(now().before(HALF_A_DAY * 3)),
            7 => clock.set(now().after(HALF_A_DAY * 4)),
            _ => clock.advance(HALF_A_DAY),
        }
    }
    let six_days = Duration::from_hours(6 * 24);
    let kept = Retention { messages: six_days, payloads: six_days, idempotency: HALF_A_DAY };
    while store.trim(kept).await.unwrap().more {}
    sent
}

fn page<K>() -> PageQuery<K> {
    PageQuery { beyond: None, backwards: false, order: Order::Ascending, limit: 250 }
}

/// All that is told of messages and queues.
async fn told(store: &Arc<dyn Store>, sent: &[Arc<Message>], senders: &[Sender]) -> Vec<String> {
    let mut told = vec![format!("{:?}", store.ledger().await.unwrap())];
    for message in sent {
        let deliveries = store.deliveries_of(message.key).await.unwrap();
        let attempts = store.attempts_for(message.key, AttemptFilter::default(), page()).await.unwrap();
        told.push(format!("{} {deliveries:?} {attempts:?}", message.id));
    }
    for endpoint in senders.iter().flat_map(|sender| [&sender.all, &sender.by_hand]) {
        told.push(format!("{:?}", store.queue_ends(endpoint.no).await.unwrap()));
        let attempts = store.attempts_at(endpoint.no, AttemptFilter::default(), page()).await.unwrap();
        told.push(format!("{attempts:?}"));
        let filter = MessageFilter::default();
        let queue = store.endpoint_deliveries(endpoint.no, None, filter, page()).await.unwrap();
        told.push(format!("{queue:?}"));
        let all = QueueQuery {
            endpoint: endpoint.no,
            after: Seq(0),
            until: None,
            undelivered: false,
            filter: MessageFilter::default(),
            limit: 250,
            bytes: usize::MAX,
        };
        told.push(format!("{:?}", store.read_queue(all).await.unwrap()));
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_many_days_are_found_where_they_lie_and_go_when_they_are_old() {
    let home = Home::of(None);
    std::fs::create_dir(home.data()).unwrap();
    std::fs::write(home.data().join("master.key"), STANDARD.encode([7; 32])).unwrap();
    let clock = Arc::new(FixedClock::at(START));
    let store = embedded(&home, &clock);
    let id = pushpull_domain::EnvironmentId::new(START, [1; 15]);
    let environment = store.ensure_environment(id, "test").await.unwrap();
    let mut senders = Vec::new();
    for uid in ["busy", "idle"] {
        senders.push(Sender::new(&store, environment.no, uid).await);
    }
    let sent = live(&store, &clock, &senders).await;
    let before = told(&store, &sent, &senders).await;
    store.close().await;
    drop(store);

    let database = new_database();
    migrate(&home, &database);
    for table in ["message", "delivery", "attempt"] {
        let backwards = format!(
            "SELECT count(*) FROM (SELECT day < lag(day) OVER (PARTITION BY key >> 40 ORDER BY key) AS back
                                   FROM {table}) AS rows WHERE back"
        );
        assert_eq!(ask(&database, &backwards), "0", "{table}");
        let days = ask(&database, &format!("SELECT count(DISTINCT day) FROM {table}"));
        assert!(days.parse::<u32>().unwrap() >= 6, "{table}: {days}");
    }
    let again = ask(&database, "SELECT count(*) FROM delivery WHERE day > message_day");
    assert!(again.parse::<u32>().unwrap() >= 3, "{again} were sent again on a later day");
    let strays = "SELECT count(*) FROM attempt a LEFT JOIN delivery d ON d.key = (a.key >> 40 << 40) + a.seq
                  LEFT JOIN message m ON m.key = a.message AND m.day = a.message_day
                  LEFT JOIN attempt p ON p.key = a.previous AND p.day = a.previous_day
                  WHERE d.day IS NULL OR a.day < d.day OR m.key IS NULL OR (a.previous IS NOT NULL AND p.key IS NULL)";
    assert_eq!(ask(&database, strays), "0");
    let store = in_database(&database, &clock).await;
    let after = told(&store, &sent, &senders).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }

    let last = sent.iter().rfind(|one| one.key.app == senders[0].app.no).unwrap();
    assert_eq!(publish(&store, &senders[0].app, 99).await.key.position.0, last.key.position.0 + 1);
    // Everything of it goes by the day, and numbers go on.
    clock.advance(Duration::from_hours(100 * 24));
    let kept = Retention { messages: HALF_A_DAY * 2, payloads: HALF_A_DAY * 2, idempotency: HALF_A_DAY };
    while store.trim(kept).await.unwrap().more {}
    publish(&store, &senders[1].app, 100).await;
    while store.trim(kept).await.unwrap().more {}
    assert_eq!(ask(&database, "SELECT count(*) FROM message"), "1");
    assert_eq!(publish(&store, &senders[0].app, 101).await.key.position.0, last.key.position.0 + 2);
    store.close().await;
}
