//! Consumers that wait, and what ends their waiting.

use std::{future::Future, time::Duration};

use pushpull_domain::{DeliveryState, Endpoint, Holder, Mode, Seq, endpoint::DRAINING_MAX};
use pushpull_feed::{ConsumeError, ConsumerPage, Patience, Reader, Receive};
use pushpull_store::{Answers, Gap, Nack, Retention, Settlement, Take, Taken};

use crate::{LONG, World, seqs};

const LEASE: Duration = Duration::from_secs(30);

impl World {
    fn reader(&self, name: &str) -> Reader {
        Reader {
            app: self.app.no,
            endpoint: self.endpoint.no,
            name: name.parse().unwrap(),
            clock: std::sync::Arc::clone(&self.clock) as _,
        }
    }

    pub(crate) async fn publish_many(&self, count: usize) {
        let snapshot = self.store.snapshot(&self.app).await;
        for done in (0..count).step_by(500) {
            let together = (count - done).min(500);
            let published = (0..together).map(|_| self.store.log.publish(&snapshot, crate::typed("a"), None));
            futures_util::future::try_join_all(published).await.unwrap();
        }
    }

    /// Does it in a task of its own; returns when it waits.
    async fn waits<T: Send + 'static>(
        &self,
        reading: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        let before = self.feed.waiting();
        #[expect(clippy::disallowed_methods, reason = "a reader of its own, waited for by its test")]
        let task = tokio::spawn(reading);
        while self.feed.waiting() == before {
            tokio::task::yield_now().await;
        }
        task
    }

    fn receives(
        &self,
        name: &str,
        holder: Option<Holder>,
        wait: Duration,
    ) -> impl Future<Output = Result<ConsumerPage, ConsumeError>> + Send + 'static {
        let (feed, reader) = (std::sync::Arc::clone(&self.feed), self.reader(name));
        let ask = Receive { limit: 250, lease: LEASE, start: None, holder, wait };
        async move { feed.receive(&reader, &ask).await }
    }

    fn pulls(
        &self,
        name: &str,
        wait: Duration,
    ) -> impl Future<Output = Result<Taken, ConsumeError>> + Send + 'static {
        let (feed, reader) = (std::sync::Arc::clone(&self.feed), self.reader(name));
        let take = Take { max: 250, lease: LEASE, holder: None };
        async move { feed.pull(&reader, &take, wait).await }
    }

    pub(crate) async fn set_mode(&self, mode: Mode) {
        let snapshot = self.store.snapshot(&self.app).await;
        let endpoint = Endpoint { mode, ..(*snapshot.endpoints[0]).clone() };
        self.store.store.update_endpoint(endpoint).await.unwrap();
    }

    /// Plays the dispatcher: everything there is was answered 2xx.
    pub(crate) async fn delivers_all(&self, count: u64) {
        let mut settlements = Vec::new();
        for n in 1..=count {
            let message =
                pushpull_domain::MessageKey { app: self.app.no, position: pushpull_domain::Position(n) };
            let delivery = self.store.store.deliveries_of(message).await.unwrap()[0];
            let delivery =
                pushpull_domain::Delivery { state: DeliveryState::Delivered, attempts: 1, ..delivery };
            settlements.push(Settlement { delivery, attempt: None });
        }
        self.store.store.settle(settlements).await.unwrap();
    }
}

fn taken(taken: &Taken) -> Vec<u64> {
    taken.items.iter().map(|item| item.seq.0).collect()
}

#[tokio::test]
async fn consumers_that_wait_get_what_joins_the_queue() {
    let world = World::new().await;
    let (feed, reader) = (std::sync::Arc::clone(&world.feed), world.reader("stream"));
    let patience = Patience { wait: LONG, min: 1 };
    let consuming = world.waits(async move { feed.consume(&reader, None, 250, patience).await }).await;
    let receiving = world.waits(world.receives("leased", None, LONG)).await;
    let pulling = world.waits(world.pulls("work", LONG)).await;
    world.publish("a").await;
    assert_eq!(seqs(&consuming.await.unwrap().unwrap().page), [1]);
    assert_eq!(seqs(&receiving.await.unwrap().unwrap().page), [1]);
    assert_eq!(taken(&pulling.await.unwrap().unwrap()), [1]);
    assert_eq!(world.feed.waiting(), 0);
}

#[tokio::test]
async fn of_those_who_wait_as_one_consumer_one_is_handed_what_comes() {
    let world = World::new().await;
    let waiting = [
        world.waits(world.receives("one", None, LONG)).await,
        world.waits(world.receives("one", None, LONG)).await,
    ];
    world.publish("a").await;
    let (first, _, rest) = futures_util::future::select_all(waiting).await;
    assert_eq!(seqs(&first.unwrap().unwrap().page), [1]);
    // The other waits for the lease to end; a commit ends it.
    world.publish("a").await;
    world.feed.commit(&world.reader("one"), Seq(1), None).await.unwrap();
    let second = rest.into_iter().next().unwrap().await.unwrap().unwrap();
    assert_eq!(seqs(&second.page), [2]);
}

#[tokio::test]
async fn who_waits_is_answered_when_the_wait_is_over_though_another_holds_the_lease() {
    let world = World::new().await;
    world.publish("a").await;
    assert_eq!(seqs(&world.receives("one", None, Duration::ZERO).await.unwrap().page), [1]);
    let blocked = world.receives("one", None, Duration::from_millis(5)).await.unwrap();
    assert!(blocked.page.items.is_empty() && blocked.page.done);
    let named = world.receives("one", Some("me".parse().unwrap()), LONG).await;
    assert!(matches!(named, Err(ConsumeError::Held(_))), "told at once: {named:?}");
}

#[tokio::test]
async fn a_worker_that_waits_gets_what_is_put_back() {
    let world = World::new().await;
    world.publish("a").await;
    assert_eq!(taken(&world.pulls("work", Duration::ZERO).await.unwrap()), [1]);
    let waiting = world.waits(world.pulls("work", LONG)).await;
    let nack = vec![(Seq(1), Nack::Retry(Duration::ZERO))];
    world.feed.answer(&world.reader("work"), Answers { nack, ..Answers::default() }).await.unwrap();
    let again = waiting.await.unwrap().unwrap();
    assert_eq!((taken(&again), again.items[0].delivered), (vec![1], 2));
    let waiting = world.waits(world.pulls("work", LONG)).await;
    let nack = vec![(Seq(1), Nack::Park)];
    world.feed.answer(&world.reader("work"), Answers { nack, ..Answers::default() }).await.unwrap();
    assert_eq!(world.feed.replay(&world.reader("work"), None).await.unwrap(), 1);
    assert_eq!(taken(&waiting.await.unwrap().unwrap()), [1]);
}

#[tokio::test]
async fn who_waits_while_an_endpoint_drains_gets_what_no_push_brought() {
    let world = World::new().await;
    world.set_mode(Mode::Push).await;
    world.publish_many(3).await;
    world.set_mode(Mode::Pull).await;
    let receiving = world.waits(world.receives("leased", None, LONG)).await;
    let pulling = world.waits(world.pulls("work", LONG)).await;
    // What was in flight ended well.
    world.delivers_all(2).await;
    let since = world.store.snapshot(&world.app).await.endpoints[0].draining_since.unwrap();
    assert!(world.store.store.end_draining(world.endpoint.no, since).await.unwrap());
    assert_eq!(seqs(&receiving.await.unwrap().unwrap().page), [3]);
    assert_eq!(taken(&pulling.await.unwrap().unwrap()), [3]);
}

#[tokio::test]
async fn a_long_stretch_that_a_push_brought_is_passed_over_once() {
    const BROUGHT: usize = 25_000;
    let world = World::new().await;
    world.set_mode(Mode::Push).await;
    world.publish_many(BROUGHT).await;
    world.delivers_all(BROUGHT as u64).await;
    world.set_mode(Mode::Pull).await;
    world.clock.advance(DRAINING_MAX + Duration::from_secs(1));
    world.publish("a").await;
    let last = BROUGHT as u64 + 1;
    let (stream, leased, work) = (world.reader("stream"), world.reader("leased"), world.reader("work"));
    let page = world.feed.consume(&stream, None, 250, Patience::NONE).await.unwrap().page;
    assert_eq!((seqs(&page), page.done), (vec![last], true));
    assert_eq!(seqs(&world.receives("leased", None, Duration::ZERO).await.unwrap().page), [last]);
    let first = world.pulls("work", LONG).await.unwrap();
    assert_eq!((taken(&first), first.more), (vec![], true), "one call is bounded, and waits for nothing");
    assert_eq!(taken(&world.pulls("work", Duration::ZERO).await.unwrap()), [last]);
    for reader in [stream, leased, work] {
        let status = world.feed.status(&reader).await.unwrap();
        assert!(status.consumer.committed >= Seq(20_000), "{status:?}");
        assert!(status.behind <= 5_001, "{status:?}");
    }
}

#[tokio::test]
async fn a_worker_that_waits_says_what_retention_removed_though_another_goes_past_it_meanwhile() {
    let world = World::new().await;
    let ninety_days = Duration::from_hours(90 * 24);
    world.publish("a").await;
    world.clock.advance(ninety_days + Duration::from_hours(25));
    world.publish("a").await;
    assert_eq!(taken(&world.pulls("work", Duration::ZERO).await.unwrap()), [1, 2]);
    let keep = Retention { messages: ninety_days, payloads: ninety_days, idempotency: ninety_days };
    while world.store.store.trim(keep).await.unwrap().more {}
    let waiting = world.waits(world.pulls("work", LONG)).await;
    let reader = world.reader("work");
    // It has looked, and knows that the first is gone.
    while world.feed.status(&reader).await.unwrap().taken == 2 {
        tokio::task::yield_now().await;
    }
    let answers = Answers { ack: vec![Seq(2)], ..Answers::default() };
    assert_eq!(world.feed.answer(&reader, answers).await.unwrap().committed, Seq(2));
    world.publish("a").await;
    let pulled = waiting.await.unwrap().unwrap();
    assert_eq!((taken(&pulled), pulled.gap), (vec![3], Some(Gap { from: Seq(1), until: Seq(1) })));
}

#[tokio::test]
async fn who_waits_at_the_end_goes_on_from_where_it_is_put() {
    let world = World::new().await;
    world.publish_many(3).await;
    let (feed, reader) = (std::sync::Arc::clone(&world.feed), world.reader("stream"));
    let patience = Patience { wait: LONG, min: 1 };
    let consuming =
        world.waits(async move { feed.consume(&reader, Some(Seq(3)), 250, patience).await }).await;
    // It waits when this is committed.
    while world.feed.status(&world.reader("stream")).await.map_or(0, |s| s.consumer.committed.0) < 3 {
        tokio::task::yield_now().await;
    }
    world.feed.seek(&world.reader("stream"), Seq(1)).await.unwrap();
    assert_eq!(seqs(&consuming.await.unwrap().unwrap().page), [2, 3]);
}

#[tokio::test]
async fn nobody_waits_on_when_the_feed_is_closed() {
    let world = World::new().await;
    let receiving = world.waits(world.receives("leased", None, LONG)).await;
    let pulling = world.waits(world.pulls("work", LONG)).await;
    world.feed.close();
    assert!(receiving.await.unwrap().unwrap().page.items.is_empty());
    assert!(pulling.await.unwrap().unwrap().items.is_empty());
}

#[tokio::test]
async fn a_consumer_of_an_endpoint_that_is_deleted_meanwhile_is_told() {
    let world = World::new().await;
    let receiving = world.waits(world.receives("leased", None, LONG)).await;
    let pulling = world.waits(world.pulls("work", LONG)).await;
    world.store.store.delete_endpoint(world.endpoint.no).await.unwrap();
    assert!(matches!(receiving.await.unwrap(), Err(ConsumeError::Gone)));
    assert!(matches!(pulling.await.unwrap(), Err(ConsumeError::Gone)));
}
