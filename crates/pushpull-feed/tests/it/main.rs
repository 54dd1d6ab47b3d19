//! Queues, read while they grow, over a real store.
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail by panicking; clippy sees only `#[test]` functions as tests"
)]

mod consumers;

use std::{sync::Arc, time::Duration};

use pushpull_domain::{
    App, AppNo, Endpoint, FixedClock, Iterators, Mode, NewMessage, Seq, Timestamp, seal::MasterKey,
};
use pushpull_feed::{Feed, PAGE_BYTES, Page, Patience, Place, ReadError, Reading};
use pushpull_store::{MessageFilter, Published, Retention};
use pushpull_testkit::{TestStore, new_message};

const START: Timestamp = Timestamp::from_millis(1_795_513_560_000);
/// Longer than any test: a wait that ends did so because of what happened.
const LONG: Duration = Duration::from_mins(10);

struct World {
    store: TestStore,
    clock: Arc<FixedClock>,
    app: App,
    endpoint: Arc<Endpoint>,
    feed: Arc<Feed>,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(FixedClock::at(START));
        let store = TestStore::open(Arc::clone(&clock) as _).await;
        let app = store.app("one").await;
        let endpoint = store.endpoint(&app, "", |endpoint| endpoint.mode = Mode::Pull).await;
        let iterators = Iterators::new(store.store.history(), &MasterKey::new([7; 32]), &[]);
        let feed = Arc::new(Feed::new(Arc::clone(&store.log), iterators));
        Self { store, clock, app, endpoint, feed }
    }

    fn reading(&self) -> Reading {
        Reading {
            app: self.app.no,
            endpoint: self.endpoint.no,
            filter: MessageFilter::default(),
            undelivered: false,
            until: None,
            bytes: PAGE_BYTES,
            clock: Arc::clone(&self.clock) as _,
        }
    }

    async fn publish(&self, event_type: &str) {
        let snapshot = self.store.snapshot(&self.app).await;
        let published = self.store.log.publish(&snapshot, typed(event_type), None).await.unwrap();
        assert!(matches!(published, Published::Stored(_)));
    }

    /// Reads in a task of its own, patient for this many; returns when the reader waits.
    async fn patient(&self, reading: Reading, after: u64, min: usize) -> tokio::task::JoinHandle<Read> {
        let feed = Arc::clone(&self.feed);
        let before = self.feed.waiting();
        let patience = Patience { wait: LONG, min };
        #[expect(clippy::disallowed_methods, reason = "a reader of its own, waited for by its test")]
        let reader = tokio::spawn(async move { feed.read(&reading, Seq(after), 250, patience).await });
        while self.feed.waiting() == before {
            tokio::task::yield_now().await;
        }
        reader
    }
}

fn typed(event_type: &str) -> NewMessage {
    NewMessage { event_type: event_type.parse().unwrap(), ..new_message("{}") }
}

type Read = Result<Page, ReadError>;

fn seqs(page: &Page) -> Vec<u64> {
    page.items.iter().map(|item| item.seq.0).collect()
}

#[tokio::test]
async fn who_waits_gets_what_joins_the_queue() {
    let world = World::new().await;
    let readers = [world.patient(world.reading(), 0, 1).await, world.patient(world.reading(), 0, 1).await];
    world.publish("a").await;
    for reader in readers {
        let page = reader.await.unwrap().unwrap();
        assert_eq!((seqs(&page), page.reached, page.done), (vec![1], Seq(1), true));
    }
    assert_eq!(world.feed.waiting(), 0);
}

#[tokio::test]
async fn who_wants_several_waits_for_them() {
    let world = World::new().await;
    world.publish("a").await;
    let reader = world.patient(world.reading(), 0, 3).await;
    world.publish("a").await;
    world.publish("a").await;
    assert_eq!(seqs(&reader.await.unwrap().unwrap()), [1, 2, 3]);
}

#[tokio::test]
async fn what_a_filter_leaves_out_ends_no_wait() {
    let world = World::new().await;
    let filter =
        MessageFilter { event_types: ["wanted".parse().unwrap()].into(), ..MessageFilter::default() };
    let reader = world.patient(Reading { filter, ..world.reading() }, 0, 1).await;
    world.publish("other").await;
    world.publish("other").await;
    world.publish("wanted").await;
    let page = reader.await.unwrap().unwrap();
    assert_eq!((seqs(&page), page.reached), (vec![3], Seq(3)));
}

#[tokio::test]
async fn what_was_found_stays_found_while_more_is_looked_for() {
    /// More than one read looks at.
    const BETWEEN: usize = 10_001;
    let world = World::new().await;
    let wanted =
        MessageFilter { event_types: ["wanted".parse().unwrap()].into(), ..MessageFilter::default() };
    let reading = Reading { filter: wanted, ..world.reading() };
    world.publish("wanted").await;
    world.publish_many(BETWEEN).await;
    world.publish("wanted").await;
    let last = BETWEEN as u64 + 2;
    let patience = Patience { wait: LONG, min: 2 };
    let page = world.feed.read(&reading, Seq(0), 250, patience).await.unwrap();
    assert_eq!((seqs(&page), page.reached, page.done), (vec![1, last], Seq(last), true));

    let reader = world.patient(reading, 0, 4).await;
    world.publish("wanted").await;
    world.publish("wanted").await;
    assert_eq!(seqs(&reader.await.unwrap().unwrap()), [1, last, last + 1, last + 2]);
}

#[tokio::test]
async fn a_page_of_several_reads_is_as_full_as_one_may_be() {
    let world = World::new().await;
    world.publish("a").await;
    let reader = world.patient(Reading { bytes: 3, ..world.reading() }, 0, 3).await;
    world.publish("a").await;
    world.publish("a").await;
    let page = reader.await.unwrap().unwrap();
    assert_eq!(seqs(&page), [1, 2], "each is two bytes");
}

#[tokio::test]
async fn who_waits_for_what_no_push_brought_waits_until_that_is_known() {
    let world = World::new().await;
    let undelivered = || Reading { undelivered: true, ..world.reading() };
    world.set_mode(Mode::Push).await;
    world.publish_many(3).await;
    world.set_mode(Mode::Pull).await;
    let page = world.feed.read(&undelivered(), Seq(0), 250, Patience::NONE).await.unwrap();
    assert_eq!((seqs(&page), page.reached, page.done, page.pending), (vec![], Seq(0), false, 3));
    let past = world.feed.read(&undelivered(), Seq(3), 250, Patience::NONE).await.unwrap();
    assert_eq!((past.reached, past.done, past.pending), (Seq(3), true, 0));

    let reader = world.patient(undelivered(), 0, 1).await;
    // What was in flight ended well.
    world.delivers_all(2).await;
    let since = world.store.snapshot(&world.app).await.endpoints[0].draining_since.unwrap();
    assert!(world.store.store.end_draining(world.endpoint.no, since).await.unwrap());
    let page = reader.await.unwrap().unwrap();
    assert_eq!((seqs(&page), page.done), (vec![3], true));
}

#[tokio::test]
async fn another_queue_ends_no_wait() {
    let world = World::new().await;
    let other = world.store.app("two").await;
    world.store.endpoint(&other, "", |endpoint| endpoint.mode = Mode::Pull).await;
    let reader = world.patient(world.reading(), 0, 1).await;
    let snapshot = world.store.snapshot(&other).await;
    world.store.log.publish(&snapshot, typed("a"), None).await.unwrap();
    assert_eq!(world.feed.waiting(), 1);
    world.publish("a").await;
    assert_eq!(seqs(&reader.await.unwrap().unwrap()), [1]);
}

#[tokio::test]
async fn a_wait_ends_with_the_endpoint_and_with_the_server() {
    let world = World::new().await;
    let reader = world.patient(world.reading(), 0, 1).await;
    world.store.store.delete_endpoint(world.endpoint.no).await.unwrap();
    assert!(matches!(reader.await.unwrap(), Err(ReadError::Gone)));

    let reader = world.patient(Reading { app: AppNo(999), ..world.reading() }, 0, 1).await;
    world.feed.close();
    let page = reader.await.unwrap().unwrap();
    assert_eq!((seqs(&page), page.done), (vec![], true));
}

#[tokio::test]
async fn patience_ends() {
    let world = World::new().await;
    world.publish("a").await;
    let patience = Patience { wait: Duration::from_millis(20), min: 2 };
    let page = world.feed.read(&world.reading(), Seq(0), 250, patience).await.unwrap();
    assert_eq!(seqs(&page), [1], "what there is");
    let page = world.feed.read(&world.reading(), Seq(1), 250, patience).await.unwrap();
    assert_eq!((seqs(&page), page.reached), (vec![], Seq(1)));
    let page = world.feed.read(&world.reading(), Seq(u64::MAX), 250, patience).await.unwrap();
    assert_eq!((seqs(&page), page.reached), (vec![], Seq(u64::MAX)), "as far as a number goes");
}

#[tokio::test]
async fn what_ends_before_the_future_is_not_waited_for() {
    let world = World::new().await;
    world.publish("a").await;
    world.publish("a").await;
    let reading = Reading { until: Some(Seq(2)), ..world.reading() };
    let page = world.feed.read(&reading, Seq(0), 250, Patience { wait: LONG, min: 2 }).await.unwrap();
    assert_eq!((seqs(&page), page.done, page.pending), (vec![1], true, 0));
}

#[tokio::test]
async fn a_reader_that_retention_overtook_is_told() {
    let world = World::new().await;
    for _ in 0..3 {
        world.publish("a").await;
    }
    let ninety_days = Duration::from_hours(90 * 24);
    world.clock.advance(ninety_days + Duration::from_hours(25));
    world.publish("a").await;
    let keep = Retention { messages: ninety_days, payloads: ninety_days, idempotency: ninety_days };
    while world.store.store.trim(keep).await.unwrap().more {}
    for after in 0..3 {
        let read = world.feed.read(&world.reading(), Seq(after), 250, Patience::NONE).await;
        assert!(matches!(read, Err(ReadError::Overtaken { earliest: Seq(4), .. })), "{read:?}");
    }
    let find = async |place| world.feed.find(world.endpoint.no, place).await.unwrap();
    assert_eq!(find(Place::Earliest).await, Seq(3));
    assert_eq!(find(Place::Latest).await, Seq(4));
    assert_eq!(find(Place::At(Seq(4))).await, Seq(3));
    assert_eq!(find(Place::Since(world.clock_now())).await, Seq(3));
    let page = world.feed.read(&world.reading(), Seq(3), 250, Patience::NONE).await.unwrap();
    assert_eq!(seqs(&page), [4]);
}

impl World {
    fn clock_now(&self) -> Timestamp {
        pushpull_domain::Clock::now(&*self.clock)
    }
}
