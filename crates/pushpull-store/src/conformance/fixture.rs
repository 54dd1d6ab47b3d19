//! What the cases are built from.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use pushpull_domain::{
    App, AppNo, AppSnapshot, Delivery, DeliveryState, Endpoint, EndpointId, EndpointNo, EndpointState,
    Environment, EnvironmentId, EventTypeName, Filter, FixedClock, Health, Message, Metadata, Mode,
    NewMessage, Secrets, SeededChance, Seq, Timestamp,
    attempt::{Attempt, ErrorClass, Outcome, Timings, Trigger},
    signature::{Secret, SignatureType},
};

use crate::{
    AttemptFilter, Log, MessageFilter, NewApp, Order, Page, PageQuery, Published, Retention, Settlement,
    Store, Trimmed,
};

/// Where the clock of a case begins.
pub const START: Timestamp = Timestamp::from_millis(1_795_513_560_000);
/// Where deliveries go.
pub const URL: &str = "https://receiver.test/hook";
/// Keeps everything for 90 days.
pub const NINETY_DAYS: Retention = Retention {
    messages: Duration::from_hours(90 * 24),
    payloads: Duration::from_hours(90 * 24),
    idempotency: Duration::from_hours(12),
};

/// So long after a message was made, it is older than [`NINETY_DAYS`]. Of a store that removes what is old at once.
pub const TOO_OLD: Duration = NINETY_DAYS.messages.saturating_add(Duration::from_millis(1));

/// Makes stores that are empty at first and keep what is written to them.
pub trait Maker: Send + Sync {
    /// Opens the one store of this maker, made if there is none. The one opened before is closed by then.
    fn open(&self, clock: Arc<FixedClock>) -> BoxFuture<'_, Arc<dyn Store>>;
    /// Opens a store that holds what a backup holds.
    fn restore(&self, backup: std::path::PathBuf, clock: Arc<FixedClock>) -> BoxFuture<'_, Arc<dyn Store>>;
    /// Whether a backup is the store's own to make; if not, it says so.
    fn backs_up(&self) -> bool {
        true
    }
    /// So long after a message got as old as it may be, it can be removed. A store that removes what is old by the
    /// day needs one day for that.
    fn removes_within(&self) -> Duration {
        Duration::from_millis(1)
    }
}

/// So long after a message was made, it is older than [`NINETY_DAYS`], and this maker's stores remove it.
pub fn too_old(maker: &impl Maker) -> Duration {
    NINETY_DAYS.messages.saturating_add(maker.removes_within())
}

/// A store with an environment in it, and short words for what most cases do.
pub struct World {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The log over it.
    pub log: Log,
    /// Its clock.
    pub clock: Arc<FixedClock>,
    /// An environment.
    pub environment: Environment,
}

impl World {
    /// An empty store.
    pub async fn new(maker: &impl Maker) -> Self {
        let clock = Arc::new(FixedClock::at(START));
        Self::of(maker.open(Arc::clone(&clock)).await, clock).await
    }

    /// What is in a store that was opened.
    pub async fn of(store: Arc<dyn Store>, clock: Arc<FixedClock>) -> Self {
        let id = EnvironmentId::new(START, [1; 15]);
        let environment = store.ensure_environment(id, "test").await.unwrap();
        Self { log: Log::new(Arc::clone(&store)), store, clock, environment }
    }

    /// Closes the store and opens it again.
    pub async fn reopen(self, maker: &impl Maker) -> Self {
        self.store.close().await;
        let clock = Arc::clone(&self.clock);
        drop(self);
        Self::of(maker.open(Arc::clone(&clock)).await, clock).await
    }

    /// A new application, named by its uid.
    pub async fn app(&self, uid: &str) -> App {
        self.store.create_app(self.new_app(uid)).await.unwrap()
    }

    /// What a new application is made from.
    pub fn new_app(&self, uid: &str) -> NewApp {
        NewApp {
            environment: self.environment.no,
            uid: Some(uid.parse().unwrap()),
            name: uid.to_owned(),
            rate_limit: None,
            metadata: Metadata::new(),
        }
    }

    /// A new endpoint that is pushed everything.
    pub async fn endpoint(&self, app: &App) -> Arc<Endpoint> {
        self.endpoint_with(app, |_| ()).await
    }

    /// The same, changed.
    pub async fn endpoint_with(&self, app: &App, change: impl FnOnce(&mut Endpoint)) -> Arc<Endpoint> {
        let mut endpoint = new_endpoint(app.no);
        change(&mut endpoint);
        self.store.create_endpoint(endpoint).await.unwrap()
    }

    /// An application as it is stored.
    pub async fn snapshot(&self, app: &App) -> Arc<AppSnapshot> {
        self.store.app_by_no(app.no).await.unwrap().unwrap()
    }

    /// Publishes a message to whoever matches it.
    pub async fn publish(&self, app: &App, message: NewMessage) -> Arc<Message> {
        match self.log.publish(&self.snapshot(app).await, message, None).await.unwrap() {
            Published::Stored(message) => message,
            other => panic!("not stored: {other:?}"),
        }
    }

    /// Publishes so many messages of type `test.event` at once; in the order in which they were committed.
    pub async fn publish_many(&self, app: &App, count: usize) -> Vec<Arc<Message>> {
        let snapshot = self.snapshot(app).await;
        let mut messages = Vec::new();
        while messages.len() < count {
            let together = (count - messages.len()).min(500);
            let published = (0..together).map(|_| self.log.publish(&snapshot, message("many"), None));
            for published in futures_util::future::join_all(published).await {
                let Published::Stored(message) = published.unwrap() else { panic!("not stored") };
                messages.push(message);
            }
        }
        messages.sort_by_key(|message| message.key.position);
        messages
    }

    /// The only delivery of a message.
    pub async fn delivery(&self, message: &Message) -> Delivery {
        let deliveries = self.store.deliveries_of(message.key).await.unwrap();
        assert_eq!(deliveries.len(), 1);
        deliveries[0]
    }

    /// Writes down an attempt that got this answer, and where it leaves the delivery.
    pub async fn settle(&self, delivery: Delivery, outcome: Outcome, state: DeliveryState) -> Delivery {
        let delivery = Delivery { state, attempts: delivery.attempts + 1, ..delivery };
        let attempt = Some((attempt(self.clock_now(), outcome), Arc::from(URL)));
        self.store.settle(vec![Settlement { delivery, attempt }]).await.unwrap();
        delivery
    }

    /// What the clock says.
    pub fn clock_now(&self) -> Timestamp {
        pushpull_domain::Clock::now(&*self.clock)
    }

    /// Trims until there is nothing more to trim; the sum of all steps.
    pub async fn trim(&self, retention: Retention) -> Trimmed {
        let mut sum = Trimmed::default();
        for _ in 0..10_000 {
            let step = self.store.trim(retention).await.unwrap();
            sum.messages += step.messages;
            sum.payloads += step.payloads;
            sum.cancelled += step.cancelled;
            if !step.more {
                return sum;
            }
        }
        panic!("trimming does not come to an end");
    }

    /// The books balance and owe so many, and what is told without counting agrees with them.
    #[track_caller]
    pub fn owes(&self, expected: u64) -> impl Future<Output = ()> {
        let (store, caller) = (Arc::clone(&self.store), std::panic::Location::caller());
        async move {
            let ledger = store.ledger().await.unwrap();
            assert!(ledger.balances(), "{caller}: {ledger:?}");
            assert_eq!(ledger.owed, expected, "{caller}: {ledger:?}");
            let backlog = store.backlog().await.unwrap();
            assert_eq!(backlog.exhausted, ledger.exhausted, "{caller}: {backlog:?}");
            assert!(backlog.pending <= ledger.owed, "{caller}: {backlog:?}");
            let oldest = store.owed_endpoints().await.unwrap().iter().map(|owed| owed.due_at).min();
            assert_eq!(backlog.oldest_due_at, oldest, "{caller}");
        }
    }

    /// The same, where all that is owed is pushed.
    #[track_caller]
    pub fn owes_pushed(&self, expected: u64) -> impl Future<Output = ()> {
        let (store, caller) = (Arc::clone(&self.store), std::panic::Location::caller());
        let balanced = self.owes(expected);
        async move {
            balanced.await;
            assert_eq!(store.backlog().await.unwrap().pending, expected, "{caller}");
        }
    }
}

/// A new endpoint that is pushed everything.
pub fn new_endpoint(app: AppNo) -> Endpoint {
    Endpoint {
        no: EndpointNo(0),
        id: EndpointId::new(START, [0; 15]),
        app,
        uid: None,
        url: URL.to_owned(),
        description: String::new(),
        filter: Filter::default(),
        mode: Mode::Push,
        read_seq: Seq(0),
        draining_since: None,
        state: EndpointState::Enabled,
        health: Health::default(),
        rate_limit: None,
        retry_schedule: None,
        fifo: false,
        batch: pushpull_domain::Batch::SINGLE,
        hold_when_failing: false,
        headers: BTreeMap::new(),
        secrets: Secrets::new(Secret::generate(SignatureType::Hmac256, &SeededChance::new(3))),
        metadata: Metadata::new(),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

/// A new message of type `test.event`.
pub fn message(payload: &str) -> NewMessage {
    NewMessage {
        event_type: event_type("test.event"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        content_type: None,
        channels: Vec::new(),
        tags: Vec::new(),
        event_id: None,
        deliver_at: None,
        payload_expires_at: None,
    }
}

/// The name of an event type.
pub fn event_type(name: &str) -> EventTypeName {
    EventTypeName::new(name).unwrap()
}

/// An attempt made by schedule.
pub fn attempt(started_at: Timestamp, outcome: Outcome) -> Attempt {
    Attempt { started_at, trigger: Trigger::Scheduled, outcome, timings: Timings::default() }
}

/// A complete answer with this status.
pub fn answer(status: u16) -> Outcome {
    let body = Bytes::from(format!("answer {status}"));
    match status {
        200..=299 => Outcome::Delivered { status, body },
        _ => Outcome::Refused { status, body, retry_after: None },
    }
}

/// No answer.
pub fn no_answer() -> Outcome {
    Outcome::Failed { class: ErrorClass::ConnectRefused, detail: "nobody listens".to_owned() }
}

/// Owed again at a moment, by schedule.
pub fn owed_at(due_at: Timestamp) -> DeliveryState {
    DeliveryState::Owed { due_at: Some(due_at), trigger: Trigger::Scheduled }
}

/// Everything.
pub fn all() -> MessageFilter {
    MessageFilter::default()
}

/// Every attempt.
pub fn all_attempts() -> AttemptFilter {
    AttemptFilter::default()
}

/// The first page of a list.
pub fn first_page<K>(limit: usize) -> PageQuery<K> {
    PageQuery { beyond: None, backwards: false, order: Order::Ascending, limit }
}

/// Reads a list page by page, in both orders and both ways, with pages of several sizes: each time it is what
/// is expected (given in ascending order).
pub async fn check_pages<K, T>(
    expected: &[K],
    key: impl Fn(&T) -> K,
    read: impl AsyncFn(PageQuery<K>) -> Page<T>,
) where
    K: Clone + PartialEq + Debug,
{
    for limit in [1, 2, 3, expected.len().max(1), 250] {
        for order in [Order::Ascending, Order::Descending] {
            let mut in_order = expected.to_vec();
            if order == Order::Descending {
                in_order.reverse();
            }
            for backwards in [false, true] {
                let found = read_all(limit, order, backwards, &key, &read).await;
                assert_eq!(found, in_order, "pages of {limit}, {order:?}, backwards: {backwards}");
            }
        }
    }
}

async fn read_all<K: Clone, T>(
    limit: usize,
    order: Order,
    backwards: bool,
    key: &impl Fn(&T) -> K,
    read: &impl AsyncFn(PageQuery<K>) -> Page<T>,
) -> Vec<K> {
    let mut found = Vec::new();
    let mut beyond = None;
    loop {
        let page = read(PageQuery { beyond, backwards, order, limit }).await;
        assert!(page.items.len() <= limit, "more than was asked for");
        let keys: Vec<K> = page.items.iter().map(key).collect();
        beyond = if backwards { keys.first().cloned() } else { keys.last().cloned() };
        if backwards {
            found.splice(0..0, keys)
        } else {
            found.splice(found.len().., keys)
        };
        if page.done {
            return found;
        }
        assert!(beyond.is_some(), "an empty page of a short list that says there is more");
    }
}
