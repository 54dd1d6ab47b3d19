//! Several nodes on one database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pushpull_domain::{
    AppNo, Endpoint, EndpointNo, FixedClock, Health, Message, Mode, Timestamp, endpoint::DisabledReason,
};
use pushpull_store::{
    CommitListener, Store, WriteError,
    conformance::fixture::{START, World},
};
use pushpull_store_postgres::Postgres;

use crate::support::{connect, new_database, options};

/// A node on a new database, and the database's URL.
async fn node() -> (World, String) {
    let (url, clock) = (new_database().await, Arc::new(FixedClock::at(START)));
    let store = Postgres::open(options(&url, Arc::clone(&clock))).await.unwrap();
    (World::of(Arc::new(store) as Arc<dyn Store>, clock).await, url)
}

/// What a node says of an endpoint that it brings what it is owed counts as long as it holds its application.
#[tokio::test]
async fn a_node_that_was_replaced_changes_no_endpoint() {
    let (world, url) = node().await;
    let app = world.app("one").await;
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.hold_when_failing = true).await;
    let store = &world.store;
    let failing = |at: Timestamp| Health { failing_since: Some(at), notified: false };
    store.set_health(endpoint.no, failing(START)).await.unwrap();

    let other = connect(&url).await;
    other
        .batch_execute(
            "INSERT INTO node (no, name, version, leased_until)
                 OVERRIDING SYSTEM VALUE VALUES (1000, 'other', '-', clock_timestamp() + interval '1 hour');
             UPDATE shard SET node = 1000, epoch = epoch + 1",
        )
        .await
        .unwrap();
    store.set_health(endpoint.no, failing(START.after(Duration::from_secs(9)))).await.unwrap();
    assert!(!store.disable_endpoint(endpoint.no, DisabledReason::Failing).await.unwrap());
    assert!(!store.hold_endpoint(endpoint.no).await.unwrap());
    other.execute("UPDATE endpoint SET draining_since = $1", &[&START.as_millis()]).await.unwrap();
    assert!(!store.end_draining(endpoint.no, START).await.unwrap());
    let now = Arc::clone(&world.snapshot(&app).await.endpoints[0]);
    let untouched = Endpoint { health: failing(START), draining_since: Some(START), ..(*endpoint).clone() };
    assert_eq!(*now, untouched);

    let renamed = Endpoint { mode: Mode::Push, description: "new".to_owned(), ..(*now).clone() };
    let renamed = store.update_endpoint(renamed).await.unwrap();
    assert_eq!(renamed.description, "new", "its owner may change it anywhere");
}

#[derive(Default)]
struct Configured(AtomicUsize);

impl CommitListener for Configured {
    fn appended(&self, _: &[Arc<Message>]) {}

    fn rescheduled(&self, _: AppNo, _: EndpointNo) {}

    fn configured(&self, _: AppNo) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What another node changed a moment ago is read anew by who was refused for it, though no news of it have come.
#[tokio::test]
async fn a_stale_reading_is_forgotten() {
    let (world, url) = node().await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let told = Arc::new(Configured::default());
    world.store.listen(Arc::clone(&told) as Arc<dyn CommitListener>);
    connect(&url)
        .await
        .batch_execute(
            "UPDATE app SET updated_at = updated_at + 1; UPDATE endpoint SET updated_at = updated_at + 1",
        )
        .await
        .unwrap();
    let refused = world.store.update_endpoint((*endpoint).clone()).await;
    assert!(matches!(refused, Err(WriteError::Stale)));
    assert_eq!(told.0.load(Ordering::SeqCst), 1);
    assert!(matches!(world.store.update_app(app).await, Err(WriteError::Stale)));
    assert_eq!(told.0.load(Ordering::SeqCst), 2);
}
