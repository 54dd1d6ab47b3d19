//! An endpoint's queue, read.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{DeliveryState, Endpoint, EndpointNo, Mode, NewMessage, Seq, Timestamp};

use super::fixture::{Maker, NINETY_DAYS, START, World, answer, event_type, message, too_old};
use crate::{MessageFilter, QueueEnds, QueuePage, QueueQuery};

fn query(endpoint: &Endpoint, after: u64) -> QueueQuery {
    QueueQuery {
        endpoint: endpoint.no,
        after: Seq(after),
        until: None,
        filter: MessageFilter::default(),
        undelivered: false,
        limit: 250,
        bytes: usize::MAX,
    }
}

async fn read(world: &World, query: QueueQuery) -> (Vec<u64>, u64) {
    let page = world.store.read_queue(query).await.unwrap();
    (page.items.iter().map(|item| item.seq.0).collect(), page.reached.0)
}

/// Each delivery once, in the order of the queue, with the message that it is of, from a place on and up to another.
pub async fn a_queue_is_read_in_its_order(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
    let other = world.endpoint(&app).await;
    let sent = world.publish_many(&app, 5).await;
    let page: QueuePage = world.store.read_queue(query(&endpoint, 0)).await.unwrap();
    assert_eq!(page.items.len(), sent.len());
    for (n, (item, message)) in page.items.iter().zip(&sent).enumerate() {
        assert_eq!((item.seq.0, &item.message.id), (n as u64 + 1, &message.id));
        assert_eq!(item.message.payload, message.payload);
    }
    assert_eq!(page.ends, QueueEnds { trimmed: Seq(0), last: Seq(5) });
    assert_eq!(read(&world, query(&endpoint, 3)).await, (vec![4, 5], 5));
    assert_eq!(read(&world, query(&endpoint, 5)).await, (vec![], 5));
    assert_eq!(read(&world, query(&endpoint, 9)).await, (vec![], 9), "a place ahead is kept");
    assert_eq!(
        read(&world, QueueQuery { until: Some(Seq(4)), ..query(&endpoint, 1) }).await,
        (vec![2, 3], 3)
    );
    assert_eq!(read(&world, QueueQuery { until: Some(Seq(0)), ..query(&endpoint, 0) }).await, (vec![], 0));
    assert_eq!(
        read(&world, query(&other, 0)).await,
        (vec![1, 2, 3, 4, 5], 5),
        "another endpoint has its own"
    );
    let unknown = QueueQuery { endpoint: EndpointNo(999), ..query(&endpoint, 0) };
    assert_eq!(read(&world, unknown).await, (vec![], 0));
}

/// What was answered 2xx is left out where that is asked for; what failed, or was given up, is not.
pub async fn a_reader_leaves_out_what_a_push_brought(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let sent = world.publish_many(&app, 4).await;
    for (n, state) in [(1, DeliveryState::Delivered), (2, DeliveryState::Exhausted)] {
        let delivery = world.delivery(&sent[n]).await;
        world.settle(delivery, answer(200), state).await;
    }
    let undelivered = |after| QueueQuery { undelivered: true, ..query(&endpoint, after) };
    assert_eq!(read(&world, undelivered(0)).await, (vec![1, 3, 4], 4));
    assert_eq!(read(&world, undelivered(1)).await, (vec![3, 4], 4));
    assert_eq!(read(&world, query(&endpoint, 0)).await, (vec![1, 2, 3, 4], 4));
}

/// Filtered or full, a page says up to where it looked.
pub async fn a_page_of_a_queue_says_how_far_it_got(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    for name in ["a", "b", "a", "b"] {
        world.publish(&app, NewMessage { event_type: event_type(name), ..message("x") }).await;
    }
    let only = |name| MessageFilter { event_types: [event_type(name)].into(), ..MessageFilter::default() };
    let filtered = |name, after| QueueQuery { filter: only(name), ..query(&endpoint, after) };
    assert_eq!(read(&world, filtered("a", 0)).await, (vec![1, 3], 4), "past what does not match");
    assert_eq!(read(&world, filtered("b", 0)).await, (vec![2, 4], 4));
    assert_eq!(read(&world, QueueQuery { limit: 1, ..filtered("b", 0) }).await, (vec![2], 2));
    assert_eq!(read(&world, filtered("c", 1)).await, (vec![], 4));

    // `{"n": ...}` and the like are some bytes each: full with the first, or with the second.
    let bytes = |bytes| QueueQuery { bytes, ..query(&endpoint, 0) };
    assert_eq!(read(&world, bytes(0)).await, (vec![1], 1), "one comes whatever it holds");
    let first = world.store.read_queue(bytes(0)).await.unwrap().items[0].message.payload.clone();
    let pushpull_domain::Payload::Kept(first) = first else { panic!("kept") };
    assert_eq!(read(&world, bytes(first.len() + 1)).await, (vec![1, 2], 2));

    // However many are passed over, each read is bounded, and the next goes on.
    world.publish_many(&app, 12_000).await;
    let mut after = 4;
    let mut reads = 0;
    while after < 12_004 {
        let (found, reached) = read(&world, filtered("a", after)).await;
        assert!(found.is_empty() && reached > after, "{found:?}, {reached}");
        (after, reads) = (reached, reads + 1);
    }
    assert!(reads > 1, "one read looked at everything");
}

/// What retention removed is told, and is never taken for an empty queue.
pub async fn a_queue_begins_where_retention_got_to(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    world.publish_many(&app, 3).await;
    world.clock.advance(too_old(maker));
    world.publish_many(&app, 2).await;
    world.trim(NINETY_DAYS).await;
    let page = world.store.read_queue(query(&endpoint, 0)).await.unwrap();
    assert_eq!(page.ends, QueueEnds { trimmed: Seq(3), last: Seq(5) });
    assert_eq!(page.items.iter().map(|item| item.seq.0).collect::<Vec<_>>(), [4, 5]);
    world.clock.advance(too_old(maker));
    world.trim(NINETY_DAYS).await;
    let world = world.reopen(maker).await;
    let ends = world.store.queue_ends(endpoint.no).await.unwrap();
    assert_eq!(ends, QueueEnds { trimmed: Seq(5), last: Seq(5) }, "the end is kept when nothing is left");
    assert_eq!(read(&world, query(&endpoint, 2)).await, (vec![], 5));
}

/// A moment is the place before the first delivery of a message made then or later.
pub async fn a_moment_has_a_place_in_a_queue(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let early = world.endpoint(&app).await;
    let first = world.publish(&app, message("first")).await;
    let late = world.endpoint(&app).await;
    for _ in 0..40 {
        world.clock.advance(Duration::from_secs(1));
        world.publish(&app, message("x")).await;
    }
    // By hand, a message joins the queue late: it stands after messages that are newer than it.
    world.store.resend(first.key, late.no).await.unwrap();
    let at = async |endpoint: &Arc<Endpoint>, at: Timestamp| {
        world.store.queue_at(endpoint.no, at).await.unwrap().0
    };
    let secs = |secs| START.after(Duration::from_secs(secs));
    assert_eq!(at(&early, START).await, 0);
    assert_eq!(at(&early, secs(1)).await, 1);
    assert_eq!(at(&early, START.after(Duration::from_millis(17_500))).await, 18);
    assert_eq!(at(&early, secs(40)).await, 40);
    assert_eq!(at(&early, secs(41)).await, 41, "the end");
    assert_eq!(at(&late, secs(1)).await, 0);
    assert_eq!(at(&late, secs(30)).await, 29);
    assert_eq!(at(&late, secs(40)).await, 39);
    assert_eq!(at(&late, secs(50)).await, 41, "the end, and with it what was sent again");
    let after = QueueQuery {
        filter: MessageFilter { after: Some(secs(38)), ..MessageFilter::default() },
        ..query(&late, 0)
    };
    assert_eq!(read(&world, after).await, (vec![39, 40], 41));
}

/// While many write, a reader that goes on from where it got sees each delivery once, in order, none left out.
pub async fn a_reader_at_the_head_misses_nothing(maker: &impl Maker) {
    const COUNT: usize = 600;
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let writing = world.publish_many(&app, COUNT);
    let reading = async {
        let (mut seen, mut after) = (Vec::new(), 0);
        while seen.len() < COUNT {
            let (found, reached) = read(&world, QueueQuery { limit: 7, ..query(&endpoint, after) }).await;
            assert!(found.len() <= 7);
            seen.extend(found);
            after = reached;
            tokio::task::yield_now().await;
        }
        seen
    };
    let (_, seen) = tokio::join!(writing, reading);
    assert_eq!(seen, (1..=COUNT as u64).collect::<Vec<_>>());
}
