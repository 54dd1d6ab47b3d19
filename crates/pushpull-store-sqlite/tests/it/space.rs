//! What messages cost on the disk, and what is given back.

use std::{path::Path, sync::Arc, time::Duration};

use pushpull_domain::{Delivery, DeliveryState, FixedClock};
use pushpull_store::{
    Settlement,
    conformance::fixture::{NINETY_DAYS, START, TOO_OLD, URL, World, answer, attempt, message},
};
use pushpull_store_sqlite::FILE_NAME;

use crate::support::{InDir, open, options};

/// So many bytes of JSON.
fn json(bytes: usize) -> String {
    format!("{{\"data\":\"{}\"}}", "x".repeat(bytes - 11))
}

async fn world(dir: &InDir) -> World {
    let clock = Arc::new(FixedClock::at(START));
    World::of(open(options(dir.path(), Arc::clone(&clock))), clock).await
}

/// Moves the log into the file; how many bytes that has.
fn bytes_of_file(dir: &Path) -> u64 {
    let file = dir.join(FILE_NAME);
    let conn = rusqlite::Connection::open(&file).unwrap();
    // Busy while the store does the same.
    while conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)).unwrap() {
        std::thread::yield_now();
    }
    std::fs::metadata(&file).unwrap().len()
}

/// Publishes, delivers and records so many messages of a size, 500 at a time.
async fn deliver(world: &World, app: &pushpull_domain::App, count: usize, bytes: usize) {
    let (snapshot, payload) = (world.snapshot(app).await, json(bytes));
    for _ in 0..count / 500 {
        let published = (0..500).map(|_| world.log.publish(&snapshot, message(&payload), None));
        let mut settlements = Vec::new();
        for published in futures_util::future::join_all(published).await {
            let pushpull_store::Published::Stored(message) = published.unwrap() else { panic!("not stored") };
            let (endpoint, seq) = message.fanout[0];
            let delivery = Delivery {
                key: pushpull_domain::DeliveryKey { endpoint, seq },
                message: message.key,
                state: DeliveryState::Delivered,
                attempts: 1,
            };
            let made = attempt(world.clock_now(), answer(200));
            settlements.push(Settlement { delivery, attempt: Some((made, Arc::from(URL))) });
        }
        world.store.settle(settlements).await.unwrap();
        world.clock.advance(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_delivered_kib_is_kept_in_under_two() {
    let dir = InDir::new();
    let world = world(&dir).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    deliver(&world, &app, 5_000, 1_024).await;
    let each = bytes_of_file(dir.path()) / 5_000;
    assert!(each < 2_048, "{each}");
}

#[tokio::test]
async fn space_is_given_back_but_for_a_reserve() {
    const RESERVE: u64 = 32 << 20;
    let dir = InDir::new();
    let world = world(&dir).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    deliver(&world, &app, 5_000, 10_000).await;
    let full = bytes_of_file(dir.path());
    assert!(full > RESERVE + (8 << 20), "{full}");
    world.clock.advance(TOO_OLD);
    assert_eq!(world.trim(NINETY_DAYS).await.messages, 5_000);
    let trimmed = bytes_of_file(dir.path());
    assert!(trimmed < RESERVE + (1 << 20), "{trimmed} of {full}");
    // What comes in takes what was kept, and the file does not grow.
    deliver(&world, &app, 2_000, 10_000).await;
    assert_eq!(bytes_of_file(dir.path()), trimmed);
}
