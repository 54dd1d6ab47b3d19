//! Several nodes on one database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use pushpull_domain::{
    AppNo, DeliveryState, Endpoint, EndpointNo, FixedClock, Health, Message, Mode, Timestamp,
    endpoint::DisabledReason,
};
use pushpull_store::{
    CommitListener, ConsumerKey, ConsumerSettings, Store, Upkeep, WriteError,
    conformance::fixture::{START, World, answer, message, new_endpoint, owed_at},
};
use pushpull_store_postgres::{Options, Postgres};

use pushpull_testkit::{new_database, postgres_options};

use crate::support::connect;

/// A node on a database. Each has chance of its own.
pub(crate) async fn node_on(url: &str, seed: u64) -> World {
    let clock = Arc::new(FixedClock::at(START));
    let store = Postgres::open(postgres_options(url, clock.clone(), seed)).await.unwrap();
    World::of(Arc::new(store) as Arc<dyn Store>, clock).await
}

/// A node on a new database, and the database's URL.
pub(crate) async fn node() -> (World, String) {
    let url = new_database();
    (node_on(&url, 1).await, url)
}

/// A uid that several nodes give at once belongs to one, and each change is a version of its own.
#[tokio::test]
async fn a_uid_is_given_once_by_many_nodes() {
    let (one, url) = node().await;
    let two = node_on(&url, 2).await;
    let nodes = [&one, &two, &one, &two, &one, &two];
    let made = join_all(nodes.map(|node| node.store.create_app(node.new_app("same")))).await;
    let (apps, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert!(refused.iter().all(|made| matches!(made, Err(WriteError::Taken("uid")))), "{refused:?}");
    let [Ok(app)] = &apps[..] else { panic!("made {} times", apps.len()) };

    let named = || Endpoint { uid: Some("same".parse().unwrap()), ..new_endpoint(app.no) };
    let made = join_all(nodes.map(|node| node.store.create_endpoint(named()))).await;
    let (endpoints, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert!(refused.iter().all(|made| matches!(made, Err(WriteError::Taken("uid")))), "{refused:?}");
    assert_eq!(endpoints.len(), 1);
    let version = one.snapshot(app).await.version;
    join_all(nodes.map(|node| node.store.create_endpoint(new_endpoint(app.no)))).await;
    let now = two.snapshot(app).await;
    assert_eq!((now.version, now.endpoints.len()), (version + 6, 7));
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

/// A failure that was being written when the endpoint left push may have been written after what was due was withdrawn:
/// when nothing is in flight any more, it is withdrawn too.
#[tokio::test]
async fn what_an_outcome_made_due_as_the_endpoint_left_push_is_withdrawn() {
    let (world, url) = node().await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    world.publish_many(&app, 3).await;
    let pulled = Endpoint { mode: Mode::Pull, ..(*endpoint).clone() };
    let pulled = world.store.update_endpoint(pulled).await.unwrap();
    let due = async |client: &tokio_postgres::Client| {
        let count = "SELECT count(*) FROM delivery WHERE due_at IS NOT NULL";
        client.query_one(count, &[]).await.unwrap().get::<_, i64>(0)
    };
    let client = connect(&url).await;
    assert_eq!(due(&client).await, 0);
    client.execute("UPDATE delivery SET due_at = 1 WHERE key % 3 = 0", &[]).await.unwrap();
    assert_eq!(due(&client).await, 1);
    let since = pulled.draining_since.unwrap();
    assert!(world.store.end_draining(endpoint.no, since).await.unwrap());
    assert_eq!(due(&client).await, 0);
}

/// A failure that comes late, since its node was paused, changes nothing of what another has delivered meanwhile.
#[tokio::test]
async fn an_old_failure_does_not_undo_a_success() {
    let (world, _) = node().await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let sent = world.publish(&app, message("{}")).await;
    let before = world.delivery(&sent).await;
    let delivered = world.settle(before, answer(200), DeliveryState::Delivered).await;
    world.settle(before, answer(500), owed_at(START)).await;
    assert_eq!(world.delivery(&sent).await, delivered);
    world.owes(0).await;
}

/// A day that was opened may be lost again, by a promotion of what did not have it: it is opened anew.
#[tokio::test]
async fn messages_are_taken_though_the_day_was_lost() {
    let (world, url) = node().await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let lost = "DO $$ DECLARE lost record; BEGIN
            FOR lost IN SELECT relname FROM pg_class WHERE relname ~ '^(message|delivery|attempt)_[0-9]+$' AND relkind = 'r'
            LOOP EXECUTE 'DROP TABLE ' || lost.relname; END LOOP;
            DELETE FROM open_day; DELETE FROM made_day;
        END $$";
    connect(&url).await.batch_execute(lost).await.unwrap();
    assert_eq!(world.publish_many(&app, 3).await.len(), 3);
}

/// The backlog is the store's, whichever node is asked, also one that brings nobody anything.
#[tokio::test]
async fn every_node_tells_the_oldest_of_what_is_owed() {
    let (world, url) = node().await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    world.publish(&app, message("x")).await;
    let asking = Options { serves: false, ..postgres_options(&url, world.clock.clone(), 7) };
    let backlog = Postgres::open(asking).await.unwrap().backlog().await.unwrap();
    assert_eq!((backlog.pending, backlog.oldest_due_at), (1, Some(START)));
}

#[derive(Default)]
struct Rescheduled(AtomicUsize);

impl CommitListener for Rescheduled {
    fn appended(&self, _: &[Arc<Message>]) {}

    fn rescheduled(&self, _: AppNo, _: EndpointNo) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a transaction says several times of an endpoint is told once, here and to the other nodes.
#[tokio::test]
async fn a_change_is_told_once() {
    let (world, url) = node().await;
    let app = world.app("one").await;
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Held).await;
    world.publish_many(&app, 3).await;
    let told = Arc::new(Rescheduled::default());
    world.store.listen(Arc::clone(&told) as Arc<dyn CommitListener>);
    let other = connect(&url).await;
    other.batch_execute("DELETE FROM news").await.unwrap();
    world.store.update_endpoint(Endpoint { mode: Mode::Push, ..(*endpoint).clone() }).await.unwrap();
    assert_eq!(told.0.load(Ordering::SeqCst), 1);
    let news = other.query("SELECT rescheduled, configured FROM news", &[]).await.unwrap();
    let news: Vec<(Vec<i32>, Vec<i32>)> = news.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(news, [(vec![endpoint.no.0.cast_signed()], vec![app.no.0.cast_signed()])]);
}

/// An application that is as it was is not read again, and whatever changes of it, on whatever node, is seen at once.
#[tokio::test]
async fn an_application_is_read_when_it_has_changed() {
    let (one, url) = node().await;
    let two = node_on(&url, 2).await;
    let app = one.app("one").await;
    let endpoint = one.endpoint(&app).await;
    let first = two.snapshot(&app).await;
    assert!(Arc::ptr_eq(&first, &two.snapshot(&app).await));

    let renamed = Endpoint { description: "new".to_owned(), ..(*endpoint).clone() };
    let renamed = one.store.update_endpoint(renamed).await.unwrap();
    assert_eq!(two.snapshot(&app).await.endpoints, [renamed]);
    for health in [Health { failing_since: Some(START), notified: false }, Health::default()] {
        one.store.set_health(endpoint.no, health).await.unwrap();
        assert_eq!(two.snapshot(&app).await.endpoints[0].health, health);
    }
    let app = one.store.update_app(pushpull_domain::App { name: "new".to_owned(), ..app }).await.unwrap();
    assert_eq!(two.snapshot(&app).await.app, app);
    let more = one.endpoint(&app).await;
    one.store.delete_endpoint(endpoint.no).await.unwrap();
    assert_eq!(two.snapshot(&app).await.endpoints, [more]);
    one.store.delete_app(app.no).await.unwrap();
    assert!(two.store.app_by_no(app.no).await.unwrap().is_none());
}

/// A message is found by its id though it was written on a later day than its own, since another node's clock is ahead.
#[tokio::test]
async fn a_message_is_found_though_it_lies_on_a_later_day() {
    let (one, url) = node().await;
    let ahead = node_on(&url, 2).await;
    ahead.clock.advance(Duration::from_hours(5 * 24));
    let (app, other) = (one.app("one").await, one.app("other").await);
    ahead.publish(&other, message("x")).await;
    let sent = one.publish(&app, message("x")).await;
    assert!(sent.created_at < START.after(Duration::from_hours(1)));
    let found = one.store.message(app.no, sent.id).await.unwrap().unwrap();
    assert_eq!((found.key, found.id), (sent.key, sent.id));
}

/// Of many nodes one tells of a consumer that is behind: the one that has its application.
#[tokio::test]
async fn one_node_tells_of_a_consumer_that_is_behind() {
    let (world, url) = node().await;
    let app = world.app("one").await;
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
    world.publish(&app, message("x")).await;
    let key = ConsumerKey { endpoint: endpoint.no, name: "one".parse().unwrap() };
    world.store.create_consumer(key, None, ConsumerSettings::default()).await.unwrap().unwrap();
    let hour = Duration::from_hours(1);
    world.clock.advance(2 * hour);
    assert_eq!(world.store.consumers_behind(hour, None).await.unwrap().consumers.len(), 1);
    let asking = Options { serves: false, ..postgres_options(&url, world.clock.clone(), 7) };
    let asking = Postgres::open(asking).await.unwrap();
    assert_eq!(asking.consumers_behind(hour, None).await.unwrap().consumers, []);
}
