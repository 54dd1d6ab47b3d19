//! A disk that is full, a file that is broken, a message that cannot be stored.
//!
//! A failed fsync needs the system to lie: the black-box tests of the program inject it.

use std::{
    io::{Seek, SeekFrom, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use pushpull_domain::{FixedClock, Message};
use pushpull_store::{
    Append, Appended, Catalog, CommitListener, Error, MessageLog, Store, Target, Upkeep,
    conformance::fixture::{NINETY_DAYS, START, TOO_OLD, World, all, first_page, message},
};

use crate::support::{InDir, noting, open, options};

const MIB: u64 = 1 << 20;

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::at(START))
}

/// How many messages a listener was told of.
#[derive(Default)]
struct Told(AtomicUsize);

impl CommitListener for Told {
    fn appended(&self, messages: &[Arc<Message>]) {
        self.0.fetch_add(messages.len(), Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_full_store_refuses_writes_and_takes_them_again_when_there_is_room() {
    let (dir, clock) = (InDir::new(), clock());
    let sqlite = open(options(dir.path(), Arc::clone(&clock)));
    let world = World::of(Arc::clone(&sqlite) as Arc<dyn Store>, clock).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let told = Arc::new(Told::default());
    sqlite.listen(Arc::clone(&told) as Arc<dyn CommitListener>);
    sqlite.limit_bytes(4 * MIB).await.unwrap();
    let (snapshot, payload) = (world.snapshot(&app).await, "x".repeat(20_000));
    let publish = async || world.log.publish(&snapshot, message(&payload), None).await;
    let mut stored = 0;
    let full = loop {
        match publish().await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full(_)), "{full:?}");
    assert!(stored > 50, "{stored}");

    // Reads go on, nothing is there that was not acknowledged, and the store says that it is alive.
    for _ in 0..3 {
        assert!(matches!(publish().await, Err(Error::Full(_))));
    }
    let listed = world.store.messages(app.no, all(), first_page(250)).await.unwrap();
    assert_eq!(listed.items.len(), stored);
    assert_eq!(told.0.load(Ordering::SeqCst), stored, "nobody is told of what was not stored");
    world.owes_pushed(stored as u64).await;
    world.store.check().await.unwrap();

    // Retention works without room and makes some.
    world.clock.advance(TOO_OLD);
    assert_eq!(world.trim(NINETY_DAYS).await.messages, stored as u64);
    for n in 1..=10 {
        let pushpull_store::Published::Stored(message) = publish().await.unwrap() else {
            panic!("not stored")
        };
        assert_eq!(message.key.position.0, stored as u64 + n, "positions go on without a gap");
    }
    // And so does a larger disk.
    while publish().await.is_ok() {}
    sqlite.limit_bytes(64 * MIB).await.unwrap();
    publish().await.unwrap();
}

#[tokio::test]
async fn a_broken_file_is_reported_once_and_nothing_is_acknowledged_any_more() {
    let (dir, clock) = (InDir::new(), clock());
    let world = World::of(open(options(dir.path(), Arc::clone(&clock))), Arc::clone(&clock)).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    world.publish_many(&app, 100).await;
    let snapshot = world.snapshot(&app).await;
    world.store.close().await;
    drop(world);
    overwrite_table(dir.path(), "delivery");

    let (options, fatal) = noting(dir.path(), clock);
    let store = open(options);
    // More than one batch: those that still wait when it breaks must not wait for ever.
    let appends = (0..2_000).map(|_| {
        store.append(Append {
            app: app.no,
            version: snapshot.version,
            message: message("x"),
            targets: vec![Target { endpoint: endpoint.no, pushed: true }],
            idempotency: None,
        })
    });
    for answer in futures_util::future::join_all(appends).await {
        assert!(matches!(answer, Err(Error::Unavailable(_) | Error::Closing)), "{answer:?}");
    }
    assert_eq!(fatal.lock().unwrap().len(), 1, "{fatal:?}");
    assert!(matches!(store.check().await, Err(Error::Closing)));
    assert!(store.create_endpoint((*endpoint).clone()).await.is_err());
    assert_eq!(fatal.lock().unwrap().len(), 1, "{fatal:?}");
}

/// Fills the first page of a table with what is no page.
fn overwrite_table(dir: &std::path::Path, table: &str) {
    let file = dir.join(pushpull_store_sqlite::FILE_NAME);
    let conn = rusqlite::Connection::open(&file).unwrap();
    let (page, size): (u64, u64) = conn
        .query_row(
            "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = ?1",
            [table],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    conn.close().unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start((page - 1) * size)).unwrap();
    file.write_all(&vec![0xa5; size as usize]).unwrap();
}

#[tokio::test]
async fn a_message_that_cannot_be_stored_takes_no_other_with_it() {
    let (dir, clock) = (InDir::new(), clock());
    let world = World::of(open(options(dir.path(), Arc::clone(&clock))), clock).await;
    let app = world.app("one").await;
    let endpoints = [world.endpoint(&app).await, world.endpoint(&app).await];
    let version = world.snapshot(&app).await.version;
    let append = |payload: &str| Append {
        app: app.no,
        version,
        message: pushpull_domain::NewMessage { event_id: Some("evt".parse().unwrap()), ..message(payload) },
        targets: endpoints.iter().map(|e| Target { endpoint: e.no, pushed: true }).collect(),
        idempotency: None,
    };
    let plain = |payload: &str| Append { message: message(payload), ..append(payload) };
    let too_large = "x".repeat(65 << 20);
    let appends = [plain("1"), plain("2"), append(&too_large), plain("3"), append("4")];
    let appended =
        futures_util::future::join_all(appends.into_iter().map(|append| world.store.append(append))).await;
    let places: Vec<Option<u64>> = appended
        .iter()
        .map(|appended| match appended {
            Ok(Appended::Stored(message)) => {
                let seqs: Vec<u64> = message.fanout.iter().map(|(_, seq)| seq.0).collect();
                assert_eq!(seqs, [message.key.position.0; 2]);
                Some(message.key.position.0)
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
                None
            }
        })
        .collect();
    assert_eq!(places, [Some(1), Some(2), None, Some(3), Some(4)], "and the event id was not taken");
    world.owes_pushed(8).await;
}
