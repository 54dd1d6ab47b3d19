//! The dispatcher: hands what is committed to the endpoints' lanes, fair and bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use pushpull_domain::{
    AppNo, Chance, Clock, Delivery, DeliveryKey, DeliveryState, EndpointNo, Message, RetrySchedule,
    Timestamp,
    attempt::{Attempt, Trigger},
};
use pushpull_net::Client;
use pushpull_store::{CommitListener, Log};
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    endpoint::{App, Lane},
    lane, outbox,
    outbox::Outbox,
    queue::Job,
    recovery,
    slots::{Slot, Slots, Waiter},
    timers,
    timers::Timers,
};

/// How long the store is waited for, at least, to take the last outcomes.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// What a dispatcher is made of.
pub struct Parts {
    /// Whose messages it delivers.
    pub log: Arc<Log>,
    /// The way out.
    pub client: Client,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where jitter comes from.
    pub chance: Arc<dyn Chance>,
    /// The schedule of endpoints and event types that have none of their own.
    pub schedule: RetrySchedule,
    /// Told of each attempt.
    pub meter: Arc<dyn Meter>,
}

/// Told of what the dispatcher does, for metrics. Called often: must be quick.
pub trait Meter: Send + Sync {
    /// An attempt ended; `end_to_end`: how long after its message was accepted, if it was delivered.
    fn attempted(&self, attempt: &Attempt, end_to_end: Option<Duration>);
}

/// Measures nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn attempted(&self, _: &Attempt, _: Option<Duration>) {}
}

/// How much the dispatcher has in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Endpoints that are looked after.
    pub endpoints: usize,
    /// Deliveries queued or in flight.
    pub deliveries: usize,
}

/// Brings what is owed to the endpoints it is owed to.
pub struct Dispatcher {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) log: Arc<Log>,
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Arc<dyn Chance>,
    pub(crate) schedule: RetrySchedule,
    pub(crate) meter: Arc<dyn Meter>,
    pub(crate) slots: Slots<Turn>,
    pub(crate) outbox: Outbox,
    pub(crate) timers: Timers,
    pub(crate) recoveries: Notify,
    /// Nothing new is begun.
    pub(crate) stop: CancellationToken,
    /// Nothing is under way any more: what waits is written, and that is all.
    pub(crate) flushing: CancellationToken,
    /// A lane is only put in or taken out, and a job only offered, under this lock: so there is never a second
    /// lane for an endpoint while the first has work.
    lanes: RwLock<HashMap<EndpointNo, Arc<Lane>>>,
    apps: Mutex<HashMap<AppNo, Vec<EndpointNo>>>,
    runtime: Handle,
    tasks: TaskTracker,
}

/// A lane that waits for a place.
pub(crate) struct Turn {
    pub(crate) inner: Arc<Inner>,
    pub(crate) lane: Arc<Lane>,
}

impl Waiter for Turn {
    fn app(&self) -> AppNo {
        self.lane.app.no
    }

    fn serve(self: Arc<Self>, slot: Slot) {
        self.inner.spawn(lane::run(Arc::clone(&self.inner), Arc::clone(&self.lane), slot));
    }
}

impl Dispatcher {
    /// Starts delivering, with what the table has owed since before.
    ///
    /// Must be called within the runtime that it is to run on.
    pub fn start(parts: Parts) -> Self {
        let Parts { log, client, clock, chance, schedule, meter } = parts;
        let inner = Arc::new(Inner {
            log,
            client,
            clock,
            chance,
            schedule,
            meter,
            slots: Slots::new(),
            outbox: Outbox::default(),
            timers: Timers::default(),
            recoveries: Notify::new(),
            stop: CancellationToken::new(),
            flushing: CancellationToken::new(),
            lanes: RwLock::default(),
            apps: Mutex::default(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
        });
        inner.log.store().listen(Arc::new(Listener(Arc::downgrade(&inner))));
        inner.spawn(timers::run(Arc::clone(&inner)));
        inner.spawn(recovery::run(Arc::clone(&inner)));
        let writing = outbox::run(Arc::clone(&inner));
        // Not among the tasks that a stop waits for: it ends after them.
        inner.runtime.spawn(writing);
        Self { inner }
    }

    /// How much is in memory.
    pub fn load(&self) -> Load {
        let lanes = self.inner.lanes.read().expect("nobody panics while holding this lock");
        Load { endpoints: lanes.len(), deliveries: lanes.values().map(|lane| lane.queue().len()).sum() }
    }

    /// Closes connections that have been idle for too long. To be called every few seconds.
    pub fn sweep_connections(&self) {
        self.inner.client.sweep();
    }

    /// Begins nothing new, waits for what is in flight, at most this long, and writes what came of it. What was
    /// not over by then is attempted again after the next start.
    pub async fn stop(&self, within: Duration) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(within, self.inner.tasks.wait()).await.is_err() {
            tracing::warn!(in_flight = self.load().deliveries, "attempts were cut off by the stop");
        }
        self.inner.flushing.cancel();
        if tokio::time::timeout(within.max(FLUSH_MAX), self.inner.outbox.finished()).await.is_err() {
            tracing::warn!("the store did not take the last outcomes: their attempts may be repeated");
        }
    }
}

impl Inner {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(self.tasks.track_future(task));
    }

    /// Whether this process brings an application what it is owed, now.
    pub(crate) fn owns(&self, app: AppNo) -> bool {
        self.log.store().owns(app)
    }

    /// The lane of an endpoint, made if there is none.
    pub(crate) fn lane(&self, endpoint: EndpointNo, app: AppNo) -> Arc<Lane> {
        if let Some(lane) = self.lanes.read().expect("nobody panics while holding this lock").get(&endpoint) {
            return Arc::clone(lane);
        }
        let mut lanes = self.lanes.write().expect("nobody panics while holding this lock");
        self.make_lane(&mut lanes, endpoint, app)
    }

    fn make_lane(
        &self,
        lanes: &mut HashMap<EndpointNo, Arc<Lane>>,
        endpoint: EndpointNo,
        app: AppNo,
    ) -> Arc<Lane> {
        if let Some(lane) = lanes.get(&endpoint) {
            return Arc::clone(lane);
        }
        let mut apps = self.apps.lock().expect("nobody panics while holding this lock");
        let siblings = apps.entry(app).or_default();
        let app = siblings.iter().find_map(|sibling| lanes.get(sibling)).map_or_else(
            || Arc::new(App { no: app, rate: crate::rate::Rate::default() }),
            |sibling| Arc::clone(&sibling.app),
        );
        siblings.push(endpoint);
        let lane = Arc::new(Lane::new(endpoint, app));
        lanes.insert(endpoint, Arc::clone(&lane));
        lane
    }

    /// Begins as many lanes as there is work for.
    pub(crate) fn kick(self: &Arc<Self>, lane: &Arc<Lane>) {
        if self.stop.is_cancelled() {
            return;
        }
        let begun = lane.queue().begin_lanes();
        for _ in 0..begun {
            let turn = Arc::new(Turn { inner: Arc::clone(self), lane: Arc::clone(lane) });
            if let Some(slot) = self.slots.take(&turn) {
                turn.serve(slot);
            }
        }
    }

    /// The moment has come that was set for this endpoint.
    pub(crate) fn wake(self: &Arc<Self>, endpoint: EndpointNo, at: Timestamp) {
        let lanes = self.lanes.read().expect("nobody panics while holding this lock");
        if let Some(lane) = lanes.get(&endpoint)
            && lane.clear_wake(at)
        {
            lane.queue().look_again();
            self.kick(lane);
        }
    }

    /// Takes in a committed message.
    fn offer(self: &Arc<Self>, message: &Arc<Message>) {
        let now = self.clock.now();
        // Not its time in the log, which may lie ahead of a clock that was put back.
        let due_at = message.deliver_at.unwrap_or(now);
        for (endpoint, seq) in &message.fanout {
            let delivery = Delivery {
                key: DeliveryKey { endpoint: *endpoint, seq: *seq },
                message: message.key,
                state: DeliveryState::Owed { due_at: Some(due_at), trigger: Trigger::Scheduled },
                attempts: 0,
            };
            self.with_lane(*endpoint, message.key.app, |lane| {
                if due_at > now {
                    self.timers.wake_at(lane, due_at);
                    lane.queue().offer_later();
                } else {
                    lane.queue().offer(Job::new(delivery, Arc::clone(message)));
                }
            });
        }
    }

    /// Does something with a lane while it cannot be taken out.
    fn with_lane(&self, endpoint: EndpointNo, app: AppNo, body: impl FnOnce(&Arc<Lane>)) {
        let lanes = self.lanes.read().expect("nobody panics while holding this lock");
        if let Some(lane) = lanes.get(&endpoint) {
            return body(lane);
        }
        drop(lanes);
        let mut lanes = self.lanes.write().expect("nobody panics while holding this lock");
        let lane = self.make_lane(&mut lanes, endpoint, app);
        body(&lane);
    }

    /// Forgets endpoints that have nothing to do.
    pub(crate) fn sweep(&self) {
        let mut lanes = self.lanes.write().expect("nobody panics while holding this lock");
        let mut apps = self.apps.lock().expect("nobody panics while holding this lock");
        lanes.retain(|endpoint, lane| {
            let keep = !lane.is_idle();
            if !keep && let Some(siblings) = apps.get_mut(&lane.app.no) {
                siblings.retain(|sibling| sibling != endpoint);
                if siblings.is_empty() {
                    apps.remove(&lane.app.no);
                }
            }
            keep
        });
    }
}

/// Told of commits by the store. Weak, since the store outlives the dispatcher.
struct Listener(std::sync::Weak<Inner>);

impl CommitListener for Listener {
    fn appended(&self, messages: &[Arc<Message>]) {
        let Some(inner) = self.0.upgrade() else { return };
        for message in messages.iter().filter(|message| inner.owns(message.key.app)) {
            inner.offer(message);
        }
        // Lanes begin after the whole batch is offered: one that begins finds more than one job.
        let lanes = inner.lanes.read().expect("nobody panics while holding this lock");
        for (endpoint, _) in messages.iter().flat_map(|message| &message.fanout) {
            if let Some(lane) = lanes.get(endpoint) {
                inner.kick(lane);
            }
        }
    }

    fn rescheduled(&self, app: AppNo, endpoint: EndpointNo) {
        let Some(inner) = self.0.upgrade() else { return };
        if !inner.owns(app) {
            return;
        }
        inner.recoveries.notify_one();
        inner.with_lane(endpoint, app, |lane| {
            lane.queue().look_again();
            lane.begin_anew();
            inner.kick(lane);
        });
    }

    fn configured(&self, app: AppNo) {
        let Some(inner) = self.0.upgrade() else { return };
        let lanes = inner.lanes.read().expect("nobody panics while holding this lock");
        let apps = inner.apps.lock().expect("nobody panics while holding this lock");
        for endpoint in apps.get(&app).into_iter().flatten() {
            if let Some(lane) = lanes.get(endpoint) {
                lane.set_stale();
            }
        }
    }

    fn moved(&self) {
        let Some(inner) = self.0.upgrade() else { return };
        let lanes = inner.lanes.read().expect("nobody panics while holding this lock");
        for lane in lanes.values() {
            lane.set_stale();
            lane.begin_anew();
            lane.queue().look_again();
            inner.kick(lane);
        }
        inner.recoveries.notify_one();
        // What is owed by this process now and has no lane yet is found by the scan.
        inner.timers.scan_now();
    }

    fn is_busy(&self, with: &dyn Fn(AppNo) -> bool) -> bool {
        let Some(inner) = self.0.upgrade() else { return false };
        let lanes = inner.lanes.read().expect("nobody panics while holding this lock");
        lanes.values().any(|lane| with(lane.app.no) && lane.queue().is_busy())
    }
}
