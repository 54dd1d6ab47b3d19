//! Readers on several nodes, over days.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use pushpull_domain::{App, Endpoint, Mode, Seq};
use pushpull_store::{
    Answers, ConsumerKey, ConsumerSettings, MessageFilter, QueuePage, QueueQuery, Retention, Take,
    conformance::fixture::{NINETY_DAYS, World},
};

use crate::{
    nodes::{node, node_on},
    support::{connect, until_waiting},
};

const DAY: Duration = Duration::from_hours(24);

async fn pulled(world: &World) -> (App, Arc<Endpoint>) {
    let app = world.app("one").await;
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
    (app, endpoint)
}

async fn consumer(world: &World, endpoint: &Endpoint) -> ConsumerKey {
    let key = ConsumerKey { endpoint: endpoint.no, name: "c".parse().unwrap() };
    world.store.create_consumer(key.clone(), None, ConsumerSettings::default()).await.unwrap().unwrap();
    key
}

async fn read(world: &World, endpoint: &Endpoint, after: u64) -> QueuePage {
    let query = QueueQuery {
        endpoint: endpoint.no,
        after: Seq(after),
        until: None,
        filter: MessageFilter::default(),
        undelivered: true,
        limit: 250,
        bytes: usize::MAX,
    };
    world.store.read_queue(query).await.unwrap()
}

fn seqs(page: &QueuePage) -> Vec<u64> {
    page.items.iter().map(|item| item.seq.0).collect()
}

/// Takes and acks until nothing is left; what it was handed.
async fn work(world: &World, key: &ConsumerKey) -> Vec<(u64, u32)> {
    let mut handed = Vec::new();
    loop {
        let take = Take { max: 7, lease: Duration::from_mins(1), holder: None };
        let taken = world.store.take(key.clone(), take).await.unwrap().unwrap();
        if taken.items.is_empty() && !taken.more {
            return handed;
        }
        handed.extend(taken.items.iter().map(|item| (item.seq.0, item.delivered)));
        let ack = taken.items.iter().map(|item| item.seq).collect();
        world.store.answer(key.clone(), Answers { ack, ..Answers::default() }).await.unwrap().unwrap();
    }
}

/// However many workers take from one queue on however many nodes, each item is handed to one of them, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_on_many_nodes_are_handed_each_item_once() {
    const COUNT: usize = 500;
    let (one, url) = node().await;
    let two = node_on(&url, 2).await;
    let (app, endpoint) = pulled(&one).await;
    let key = consumer(&one, &endpoint).await;
    one.publish_many(&app, COUNT).await;
    let handed = join_all([&one, &two, &one, &two, &one, &two].map(|world| work(world, &key))).await;
    assert!(handed.iter().filter(|handed| !handed.is_empty()).count() > 1, "one had it all: {handed:?}");
    let mut all = handed.concat();
    all.sort_unstable();
    assert_eq!(all, (1..=COUNT as u64).map(|seq| (seq, 1)).collect::<Vec<_>>());
    let status = two.store.consumer_status(key).await.unwrap().unwrap();
    assert_eq!((status.consumer.committed.0, status.taken), (COUNT as u64, 0));
}

/// What a node remembers of the days on which a queue grew leaves nothing of it unread: not what other nodes add on
/// later days, and not what lies before.
#[tokio::test]
async fn a_reader_goes_on_over_days() {
    let (writer, url) = node().await;
    let reader = node_on(&url, 2).await;
    let (app, endpoint) = pulled(&writer).await;
    let key = consumer(&writer, &endpoint).await;
    let mut after = 0;
    for day in 1..=12 {
        writer.publish_many(&app, 3).await;
        let page = read(&reader, &endpoint, after).await;
        assert_eq!(seqs(&page), [after + 1, after + 2, after + 3]);
        after += 3;
        assert_eq!((page.reached.0, page.ends.last.0), (after, after));
        let all = read(&reader, &endpoint, 0).await;
        assert_eq!(seqs(&all), (1..=after).collect::<Vec<_>>());
        if day % 4 == 0 {
            let handed: Vec<u64> = work(&reader, &key).await.iter().map(|(seq, _)| *seq).collect();
            assert_eq!(handed, (after - 11..=after).collect::<Vec<_>>());
        }
        writer.clock.advance(DAY);
    }
}

/// Retention removes a day in many steps. After each of them a reader is handed all there is after the place up to
/// which it is told that everything is gone.
#[tokio::test]
async fn no_step_of_retention_leaves_a_gap_untold() {
    let (world, _) = node().await;
    let (app, endpoint) = pulled(&world).await;
    let key = consumer(&world, &endpoint).await;
    world.publish_many(&app, 3).await;
    world.clock.advance(DAY);
    world.publish_many(&app, 2).await;
    let retention = Retention { messages: DAY, ..NINETY_DAYS };
    let mut trimmed = Vec::new();
    world.clock.advance(DAY);
    loop {
        let step = world.store.trim(retention).await.unwrap();
        let page = read(&world, &endpoint, 0).await;
        assert_eq!(seqs(&page), (page.ends.trimmed.0 + 1..=5).collect::<Vec<_>>());
        let status = world.store.consumer_status(key.clone()).await.unwrap().unwrap();
        assert_eq!(status.gap.map_or(0, |gap| gap.until.0), page.ends.trimmed.0);
        trimmed.push(page.ends.trimmed.0);
        if !step.more {
            break;
        }
    }
    assert!(trimmed.starts_with(&[0]) && trimmed.ends_with(&[3]) && trimmed.is_sorted(), "{trimmed:?}");
}

/// Retention that removes something while a consumer is about to be made was there before it: no gap is told.
#[tokio::test]
async fn a_new_consumer_is_told_of_no_gap_from_before_it() {
    let (world, url) = node().await;
    let (app, endpoint) = pulled(&world).await;
    world.publish_many(&app, 5).await;
    let (mut other, looking) = (connect(&url).await, connect(&url).await);
    let trimming = other.transaction().await.unwrap();
    trimming.execute("UPDATE endpoint SET begin_seq = 3, trimmed_seq = 3", &[]).await.unwrap();
    let trimming = async {
        until_waiting(&looking, "transactionid").await;
        trimming.commit().await.unwrap();
    };
    let (key, ()) = tokio::join!(consumer(&world, &endpoint), trimming);
    let status = world.store.consumer_status(key).await.unwrap().unwrap();
    assert_eq!((status.consumer.committed, status.gap), (Seq(3), None));
}

/// A node whose clock is ahead removes no consumer that another node has just noted as seen.
#[tokio::test]
async fn a_clock_that_is_ahead_expires_no_consumer() {
    let (world, url) = node().await;
    let (_, endpoint) = pulled(&world).await;
    let key = consumer(&world, &endpoint).await;
    let seen = "UPDATE consumer SET seen_at = (extract(epoch FROM now()) * 1000)::bigint,
                    expires_at = (extract(epoch FROM now()) * 1000)::bigint + idle_ms";
    connect(&url).await.batch_execute(seen).await.unwrap();
    world.clock.advance(100 * 365 * DAY);
    assert_eq!(world.store.expire_consumers().await.unwrap().consumers, []);
    assert!(world.store.consumer(key).await.unwrap().is_some());
}
