//! Retention by the day, with others at work on the same database.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use pushpull_domain::{App, DeliveryState, Endpoint, FixedClock, Mode, Position, Seq};
use pushpull_store::{
    AttemptFilter, MessageFilter, PageQuery, Resent, Retention, Store,
    conformance::fixture::{NINETY_DAYS, START, World, all, all_attempts, answer, first_page, message},
};
use pushpull_store_postgres::Postgres;
use tokio::time::Instant;
use tokio_postgres::Client;

use pushpull_testkit::{new_database, postgres_options};

use crate::support::connect;

/// So long after it was made, all of the first day is too old.
const TOO_OLD: Duration = Duration::from_hours(91 * 24);

async fn node(url: &str, seed: u64, clock: &Arc<FixedClock>) -> World {
    let store = Postgres::open(postgres_options(url, clock.clone(), seed)).await.unwrap();
    World::of(Arc::new(store) as Arc<dyn Store>, Arc::clone(clock)).await
}

/// A node whose first day, with a few messages, is too old; and somebody else on its database.
async fn old() -> (World, App, Client, String) {
    let url = new_database();
    let world = node(&url, 1, &Arc::new(FixedClock::at(START))).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    world.publish_many(&app, 5).await;
    world.clock.advance(TOO_OLD);
    let other = connect(&url).await;
    (world, app, other, url)
}

async fn partitions(other: &Client, table: &str) -> Vec<String> {
    let sql = "SELECT relname::text FROM pg_class WHERE relname ~ ('^' || $1 || '_[0-9]+$') ORDER BY 1";
    other.query(sql, &[&table]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// While somebody else's transaction uses the tables, what is too old stays, nobody who writes waits for it, and once
/// that transaction has ended it goes, also where it was half done.
#[tokio::test]
async fn a_long_transaction_holds_up_retention_and_nobody_else() {
    for used in ["message", "delivery", "attempt"] {
        let (world, app, other, url) = old().await;
        other.batch_execute(&format!("BEGIN; SELECT count(*) FROM {used}")).await.unwrap();
        let trimming = async {
            for _ in 0..9 {
                world.store.trim(NINETY_DAYS).await.unwrap();
            }
        };
        let writing = async {
            let mut longest = Duration::ZERO;
            for n in 0..200 {
                let began = Instant::now();
                world.publish(&app, message(&n.to_string())).await;
                longest = longest.max(began.elapsed());
            }
            longest
        };
        let ((), longest) = tokio::join!(trimming, writing);
        assert!(longest < Duration::from_millis(900), "{used}: a writer waited for {longest:?}");
        // Another node goes on with what this one began.
        let two = node(&url, 2, &world.clock).await;
        two.trim(NINETY_DAYS).await;
        assert_eq!(partitions(&other, used).await.len(), 3, "the old one, today's and tomorrow's");
        other.batch_execute("COMMIT").await.unwrap();
        assert_eq!(two.trim(NINETY_DAYS).await.messages, 5);
        assert_eq!(partitions(&other, used).await.len(), 2);
        let kept = two.store.messages(app.no, all(), first_page(250)).await.unwrap();
        assert_eq!(kept.items.len(), 200);
        assert_eq!(kept.items[0].key.position.0, 6);
        world.owes_pushed(200).await;
    }
}

/// Wherever a node died while it removed a day's partitions, the next one finishes, and what was removed is told.
#[tokio::test]
async fn a_day_that_was_half_removed_is_removed() {
    let done = [
        "ALTER TABLE delivery DETACH PARTITION delivery_{day}",
        "DROP TABLE delivery_{day}",
        "ALTER TABLE attempt DETACH PARTITION attempt_{day}; DROP TABLE attempt_{day}",
        "ALTER TABLE message DETACH PARTITION message_{day}",
        "DROP TABLE message_{day}; DELETE FROM open_day WHERE day = {day}",
    ];
    for died in 0..=done.len() {
        let (world, app, other, url) = old().await;
        while world.store.trim(NINETY_DAYS).await.unwrap().messages == 0 {
            let sql = "SELECT day, stage FROM made_day ORDER BY day LIMIT 1";
            let first = other.query_one(sql, &[]).await.unwrap();
            if first.get::<_, i16>(1) == 7 {
                let day = first.get::<_, i32>(0).to_string();
                for step in &done[..died] {
                    other.batch_execute(&step.replace("{day}", &day)).await.unwrap();
                }
                let two = node(&url, 2, &world.clock).await;
                let trimmed = two.trim(NINETY_DAYS).await;
                assert_eq!((trimmed.messages, trimmed.cancelled), (5, 5), "{died}");
                break;
            }
        }
        for table in ["message", "delivery", "attempt"] {
            assert_eq!(partitions(&other, table).await.len(), 2, "{died}: {table}");
        }
        assert_eq!(world.publish(&app, message("next")).await.key.position.0, 6);
        world.owes_pushed(1).await;
    }
}

/// While days are removed, others write, settle, send again what is about to go, and change modes. Nothing fails, and
/// nothing is left of what went, or gone of what is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_beside_everything_else_leaves_no_trace() {
    let short = Retention {
        messages: Duration::from_hours(48),
        payloads: Duration::from_hours(24),
        idempotency: Duration::from_hours(12),
    };
    let url = new_database();
    let world = node(&url, 1, &Arc::new(FixedClock::at(START))).await;
    let mut apps = Vec::new();
    for n in 0..3 {
        let app = world.app(&n.to_string()).await;
        apps.push((world.endpoint(&app).await, app));
    }
    let mut last = Vec::new();
    for day in 0..8 {
        world.clock.advance(Duration::from_hours(24));
        let working = apps.iter().map(async |(endpoint, app)| {
            let sent = world.publish_many(app, 150).await;
            let late = world.endpoint_with(app, |late| late.mode = Mode::Pull).await;
            for (n, message) in sent.iter().enumerate().filter(|(n, _)| n % 3 == 0) {
                let delivery = world.store.deliveries_of(message.key).await.unwrap()[0];
                let (status, state) =
                    if n % 2 == 0 { (200, DeliveryState::Delivered) } else { (500, delivery.state) };
                world.settle(delivery, answer(status), state).await;
            }
            let oldest = world.store.messages(app.no, all(), first_page(40)).await.unwrap();
            for message in &oldest.items {
                world.store.resend(message.key, endpoint.no).await.unwrap();
                world.store.resend(message.key, late.no).await.unwrap();
            }
            let now = world.snapshot(app).await.endpoints[0].clone();
            let mode = if day % 2 == 0 { Mode::Held } else { Mode::Push };
            world.store.update_endpoint(Endpoint { mode, ..(*now).clone() }).await.unwrap();
            world.store.delete_endpoint(late.no).await.unwrap();
            sent.last().unwrap().key.position.0
        });
        let trimming = async {
            for _ in 0..60 {
                world.store.trim(short).await.unwrap();
            }
        };
        (last, ()) = tokio::join!(join_all(working), trimming);
    }
    world.trim(short).await;
    let other = connect(&url).await;
    let lost =
        "SELECT count(*) FROM delivery d LEFT JOIN message m ON m.key = d.message AND m.day = d.message_day
                WHERE m.key IS NULL OR NOT (d.endpoint = ANY (m.endpoints))";
    assert_eq!(other.query_one(lost, &[]).await.unwrap().get::<_, i64>(0), 0, "deliveries of what is gone");
    let owed = "SELECT count(*) FROM message m CROSS JOIN unnest(m.endpoints, m.seqs) AS f (endpoint, seq)
                LEFT JOIN delivery d ON d.key = f.endpoint::bigint << 40 | f.seq WHERE d.key IS NULL";
    assert_eq!(other.query_one(owed, &[]).await.unwrap().get::<_, i64>(0), 0, "deliveries that are gone");
    let ledger = world.store.ledger().await.unwrap();
    assert!(ledger.balances(), "{ledger:?}");
    for ((_, app), last) in apps.iter().zip(last) {
        assert_eq!(last, 8 * 150);
        let mut beyond = None;
        let mut kept = Vec::new();
        loop {
            let page = PageQuery { beyond, ..first_page(250) };
            let page = world.store.messages(app.no, all(), page).await.unwrap();
            kept.extend(page.items.iter().map(|message| message.key.position.0));
            beyond = kept.last().map(|position| Position(*position));
            if page.done {
                break;
            }
        }
        assert_eq!(kept, (5 * 150 + 1..=last).collect::<Vec<_>>(), "three days are kept in part");
    }
}

/// A message that is about to go is not sent to another endpoint: that would be left when it has gone.
#[tokio::test]
async fn what_is_about_to_go_is_not_sent_again() {
    let (world, app, _, _) = old().await;
    let old = world.store.messages(app.no, all(), first_page(9)).await.unwrap().items;
    let late = world.endpoint(&app).await;
    let mut resent = Vec::new();
    while let Some(message) = old.get(resent.len()) {
        resent.push(world.store.resend(message.key, late.no).await.unwrap());
        world.store.trim(NINETY_DAYS).await.unwrap();
    }
    assert_eq!(resent, [Resent::Owed, Resent::Owed, Resent::Gone, Resent::Gone, Resent::Gone]);
    world.trim(NINETY_DAYS).await;
    world.owes(0).await;
    assert_eq!(world.publish(&app, message("next")).await.fanout[1], (late.no, Seq(3)));
}

/// What another node removed meanwhile is no error for the one who settles it, with other things.
#[tokio::test]
async fn who_settles_need_not_know_what_is_gone() {
    let (world, app, _, url) = old().await;
    let two = node(&url, 2, &world.clock).await;
    let page = world.store.messages(app.no, all(), first_page(9)).await.unwrap();
    let gone = world.delivery(&page.items[0]).await;
    // It knows where that lies.
    world.settle(gone, answer(500), gone.state).await;
    let new = world.publish(&app, message("new")).await;
    two.trim(NINETY_DAYS).await;
    world.settle(gone, answer(200), DeliveryState::Delivered).await;
    world.settle(world.delivery(&new).await, answer(200), DeliveryState::Delivered).await;
    world.owes_pushed(0).await;
}

/// Of a deleted application no payload is kept, though its messages' day goes later.
#[tokio::test]
async fn payloads_of_a_deleted_application_do_not_wait_for_their_day() {
    let url = new_database();
    let world = node(&url, 1, &Arc::new(FixedClock::at(START))).await;
    let (app, kept) = (world.app("one").await, world.app("two").await);
    for app in [&app, &kept] {
        world.endpoint(app).await;
        world.publish_many(app, 5).await;
    }
    world.store.delete_app(app.no).await.unwrap();
    world.trim(NINETY_DAYS).await;
    let other = connect(&url).await;
    let left = "SELECT count(payload), (SELECT count(*) FROM app) FROM message";
    let left = other.query_one(left, &[]).await.unwrap();
    assert_eq!((left.get::<_, i64>(0), left.get::<_, i64>(1)), (5, 2));
    world.owes_pushed(5).await;
    world.clock.advance(TOO_OLD);
    world.trim(NINETY_DAYS).await;
    let left =
        other.query_one("SELECT count(*), (SELECT count(*) FROM endpoint) FROM app", &[]).await.unwrap();
    assert_eq!((left.get::<_, i64>(0), left.get::<_, i64>(1)), (1, 1), "nothing is left of it");
}

/// An attempt is found on whatever day it was written down, also if nothing else was written on that day.
#[tokio::test]
async fn attempts_are_found_by_their_time_though_nobody_else_writes() {
    let url = new_database();
    let world = node(&url, 1, &Arc::new(FixedClock::at(START))).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let sent = world.publish(&app, message("x")).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_hours(24));
        let delivery = world.delivery(&sent).await;
        world.settle(delivery, answer(500), delivery.state).await;
    }
    for days in 0..3 {
        let after = Some(START.after(Duration::from_hours(24 * days)));
        let filter = AttemptFilter { message: MessageFilter { after, ..all() }, ..all_attempts() };
        let found = world.store.attempts_at(endpoint.no, filter, first_page(9)).await.unwrap().items;
        assert_eq!(found.len() as u64, 3 - days);
        for (attempt, _) in found {
            let by_id = world.store.attempt(sent.key, attempt.id).await.unwrap().unwrap();
            assert_eq!(by_id.attempt, attempt.attempt);
        }
    }
}

/// Several nodes that remove at once remove each thing once.
#[tokio::test]
async fn several_nodes_remove_each_thing_once() {
    let (world, app, other, url) = old().await;
    let two = node(&url, 2, &world.clock).await;
    let (mut messages, mut cancelled) = (0, 0);
    for _ in 0..50 {
        let (one, two) = tokio::join!(world.store.trim(NINETY_DAYS), two.store.trim(NINETY_DAYS));
        for trimmed in [one.unwrap(), two.unwrap()] {
            messages += trimmed.messages;
            cancelled += trimmed.cancelled;
        }
    }
    assert_eq!((messages, cancelled), (5, 5));
    assert_eq!(partitions(&other, "message").await.len(), 2);
    assert_eq!(world.publish(&app, message("next")).await.key.position.0, 6);
}

/// What is left of an application that was deleted does not hold up the payloads of others, whatever its number.
#[tokio::test]
async fn payloads_go_by_age_beside_a_deleted_application() {
    let url = new_database();
    let world = node(&url, 1, &Arc::new(FixedClock::at(START))).await;
    let retention = Retention { payloads: Duration::from_hours(24), ..NINETY_DAYS };
    let apps = [world.app("one").await, world.app("two").await, world.app("three").await];
    assert!(apps.iter().any(|app| app.no.0 % 2 == 1));
    for app in &apps {
        world.publish_many(app, 5).await;
    }
    for app in &apps[..2] {
        world.store.delete_app(app.no).await.unwrap();
    }
    for days in [1, 3] {
        world.clock.advance(Duration::from_hours(24 * days));
        world.publish_many(&apps[2], 5).await;
    }
    let mut steps = 0;
    while world.store.trim(retention).await.unwrap().more {
        steps += 1;
        assert!(steps < 50, "it does not end");
    }
    let left = "SELECT count(*), count(payload) FROM message";
    let left = connect(&url).await.query_one(left, &[]).await.unwrap();
    assert_eq!((left.get::<_, i64>(0), left.get::<_, i64>(1)), (25, 5), "those of the last day");
}

/// A message that is still there, while its deliveries are not any more, is gone for who sends it again.
#[tokio::test]
async fn a_message_whose_deliveries_are_gone_is_not_sent_again() {
    let (world, app, other, _) = old().await;
    let had_it = world.snapshot(&app).await.endpoints[0].no;
    let old = world.store.messages(app.no, all(), first_page(1)).await.unwrap().items[0].key;
    let sql = "SELECT day, stage FROM made_day ORDER BY day LIMIT 1";
    let day = loop {
        let first = other.query_one(sql, &[]).await.unwrap();
        if first.get::<_, i16>(1) == 7 {
            break first.get::<_, i32>(0);
        }
        world.store.trim(NINETY_DAYS).await.unwrap();
    };
    let drop = format!("ALTER TABLE delivery DETACH PARTITION delivery_{day}; DROP TABLE delivery_{day}");
    other.batch_execute(&drop).await.unwrap();
    assert_eq!(world.store.resend(old, had_it).await.unwrap(), Resent::Gone);
}

/// A step locks no more consumers of deleted endpoints than it removes.
#[tokio::test]
async fn many_consumers_of_a_deleted_endpoint_go_in_steps() {
    let url = new_database();
    let world = node(&url, 1, &Arc::new(FixedClock::at(START))).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
    let mut other = connect(&url).await;
    other
        .batch_execute(&format!(
            "INSERT INTO consumer (endpoint, name, committed, handed, idle_ms, max_deliver, seen_at, expires_at, created_at)
                 SELECT {0}, 'c' || n, 0, 0, 0, 0, 0, 0, 0 FROM generate_series(1000, 2000) AS n;
             INSERT INTO consumer_item (endpoint, consumer, seq, day, delivered)
                 SELECT {0}, 'c' || n, 1, 0, 1 FROM generate_series(1000, 2000, 10) AS n",
            endpoint.no.0
        ))
        .await
        .unwrap();
    world.store.delete_endpoint(endpoint.no).await.unwrap();
    let left = "SELECT (SELECT count(*) FROM consumer), (SELECT count(*) FROM consumer_item)";
    let using = other.transaction().await.unwrap();
    using.execute("SELECT FROM consumer WHERE name = 'c2000' FOR UPDATE", &[]).await.unwrap();
    assert!(world.store.trim(NINETY_DAYS).await.unwrap().more);
    let row = using.query_one(left, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 1));
    using.commit().await.unwrap();
    world.trim(NINETY_DAYS).await;
    let row = other.query_one(left, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, 0));
}
