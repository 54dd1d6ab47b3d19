//! A node of this version beside the first of the next, which has added to every table.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use pushpull_domain::{App, DeliveryState, Endpoint, FixedClock, Mode};
use pushpull_store::{
    Answers, ConsumerKey, ConsumerSettings, DueOrder, Store, Take,
    conformance::{
        Maker,
        fixture::{World, all_attempts, answer, first_page, message, owed_at},
    },
};

use crate::{
    nodes::node,
    support::{InDatabase, connect},
};

const TABLES: &str = "SELECT oid::regclass::text FROM pg_class
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace";

/// Adds to every table, while nodes are at work, what a migration may: a column that who does not know it can leave out.
async fn migrate(url: &str) -> usize {
    let next = connect(url).await;
    let tables = next.query(TABLES, &[]).await.unwrap();
    for table in &tables {
        let name: &str = table.get(0);
        let add = format!("ALTER TABLE {name} ADD COLUMN IF NOT EXISTS added integer NOT NULL DEFAULT 7");
        next.batch_execute(&add).await.unwrap();
    }
    tables.len()
}

/// Makes stores that a newer node has added to.
struct Newer(InDatabase);

impl Maker for Newer {
    fn open(&self, clock: Arc<FixedClock>) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async move {
            let store = self.0.open(clock).await;
            assert!(migrate(self.0.url().await).await > 10);
            store
        })
    }

    fn backs_up(&self) -> bool {
        self.0.backs_up()
    }

    fn removes_within(&self) -> Duration {
        self.0.removes_within()
    }

    fn restore(&self, backup: PathBuf, clock: Arc<FixedClock>) -> BoxFuture<'_, Arc<dyn Store>> {
        self.0.restore(backup, clock)
    }
}

/// What a node does all the time.
async fn work(world: &World, app: &App, pushed: &Endpoint, reader: &ConsumerKey) {
    let sent = world.publish(app, message("x")).await;
    let due =
        world.store.due(pushed.no, DueOrder::ByTime { until: world.clock_now() }, vec![], 9).await.unwrap();
    let [owed] = &due.items[..] else { panic!("{due:?}") };
    assert_eq!(owed.delivery.message, sent.key);
    let failed = world.settle(owed.delivery, answer(500), owed_at(world.clock_now())).await;
    world.settle(failed, answer(200), DeliveryState::Delivered).await;
    let attempts = world.store.attempts_for(sent.key, all_attempts(), first_page(9)).await.unwrap();
    assert_eq!(attempts.items.len(), 2);
    let snapshot = world.snapshot(app).await;
    let stored = snapshot.endpoints.iter().find(|endpoint| endpoint.no == pushed.no).unwrap();
    let renamed = Endpoint { description: format!("after {}", sent.key.position.0), ..(**stored).clone() };
    world.store.update_endpoint(renamed).await.unwrap();
    let take = Take { max: 9, lease: Duration::from_secs(30), holder: None };
    let taken = world.store.take(reader.clone(), take).await.unwrap().unwrap();
    let ack = taken.items.iter().map(|item| item.seq).collect::<Vec<_>>();
    assert_eq!(ack.len(), 1);
    world.store.answer(reader.clone(), Answers { ack, ..Answers::default() }).await.unwrap().unwrap();
}

/// What a node had prepared before goes on afterwards.
#[tokio::test]
async fn a_node_at_work_goes_on_over_a_migration() {
    let (world, url) = node().await;
    let app = world.app("one").await;
    let pushed = world.endpoint(&app).await;
    let read = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
    let reader = ConsumerKey { endpoint: read.no, name: "reader".parse().unwrap() };
    world.store.create_consumer(reader.clone(), None, ConsumerSettings::default()).await.unwrap().unwrap();
    for migrated in [false, true] {
        if migrated {
            migrate(&url).await;
        }
        for _ in 0..20 {
            work(&world, &app, &pushed, &reader).await;
        }
    }
}

pushpull_store::conformance!(Newer(InDatabase::new()));
