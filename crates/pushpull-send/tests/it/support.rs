//! A store, a dispatcher and short words for what tests do with them.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{
    App, AppSnapshot, Delivery, Endpoint, Message, RetrySchedule, SeededChance, attempt::ErrorClass,
};
use pushpull_net::{Client, Config, Limits, Policy};
use pushpull_send::{Dispatcher, NoMeter, Parts};
use pushpull_store::{AttemptFilter, Order, PageQuery, Published, StoredAttempt};
use pushpull_testkit::{TestStore, TokioClock, new_message};

/// How long tests wait for what they expect.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long between two looks.
const TICK: Duration = Duration::from_millis(5);

pub(crate) struct World {
    pub(crate) store: TestStore,
    pub(crate) dispatcher: Dispatcher,
}

impl World {
    pub(crate) async fn start(schedule: &str) -> Self {
        Self::over(TestStore::open(Arc::new(TokioClock::start())).await, schedule)
    }

    pub(crate) fn over(store: TestStore, schedule: &str) -> Self {
        let limits = Limits {
            connect: Duration::from_millis(500),
            total: Duration::from_secs(1),
            ..Limits::default()
        };
        let policy = Policy { allow: vec!["127.0.0.0/8".parse().unwrap()], ..Policy::default() };
        let dispatcher = Dispatcher::start(Parts {
            log: Arc::clone(&store.log),
            client: Client::new(Config { policy, limits, ..Config::default() }).unwrap(),
            clock: Arc::clone(&store.clock),
            chance: Arc::new(SeededChance::new(1)),
            schedule: schedule.parse::<RetrySchedule>().unwrap(),
            meter: Arc::new(NoMeter),
        });
        Self { store, dispatcher }
    }

    pub(crate) async fn app(&self, url: &str, change: impl FnOnce(&mut Endpoint)) -> (App, Arc<Endpoint>) {
        let app = self.store.app("app").await;
        let endpoint = self.store.endpoint(&app, url, change).await;
        (app, endpoint)
    }

    pub(crate) async fn publish(&self, app: &App, payload: &str) -> Arc<Message> {
        let snapshot: Arc<AppSnapshot> = self.store.snapshot(app).await;
        match self.store.log.publish(&snapshot, new_message(payload), None).await.unwrap() {
            Published::Stored(message) => message,
            other => panic!("{other:?}"),
        }
    }

    /// The message's deliveries, as soon as they are as wanted.
    pub(crate) async fn deliveries(
        &self,
        message: &Message,
        wanted: impl Fn(&[Delivery]) -> bool,
    ) -> Vec<Delivery> {
        self.eventually(async || {
            let found = self.store.log.store().deliveries_of(message.key).await.unwrap();
            wanted(&found).then_some(found)
        })
        .await
    }

    /// What a look gives, as soon as it gives something.
    pub(crate) async fn eventually<T>(&self, look: impl AsyncFn() -> Option<T>) -> T {
        let wait = async {
            let mut tick = tokio::time::interval(TICK);
            loop {
                tick.tick().await;
                if let Some(found) = look().await {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("what was wanted never came")
    }

    pub(crate) async fn attempts(&self, message: &Message) -> Vec<StoredAttempt> {
        let page = PageQuery { beyond: None, backwards: false, order: Order::Ascending, limit: 250 };
        let store = self.store.log.store();
        store.attempts_for(message.key, AttemptFilter::default(), page).await.unwrap().items
    }
}

pub(crate) fn classes(attempts: &[StoredAttempt]) -> Vec<Option<ErrorClass>> {
    attempts.iter().map(|attempt| attempt.attempt.outcome.class()).collect()
}
