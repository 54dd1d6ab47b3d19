//! Publishing: how a message gets into the log, whoever brings it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use pushpull_domain::{
    AppId, AppNo, AppSnapshot, EndpointNo, EnvironmentNo, EventTypeName, Message, Mode, NewMessage,
    RetrySchedule,
};

use crate::{Append, Appended, CommitListener, Error, Idempotency, Ref, Store, Target};

/// Most application snapshots that are kept in memory.
const SNAPSHOTS_MAX: u64 = 100_000;
/// How often a message is matched again because its application changed meanwhile, before it counts as busy: some
/// seconds of nothing but changes, where each takes a turn over a network.
const MATCH_TRIES_MAX: usize = 500;

/// Most event types whose schedules are kept in memory.
const SCHEDULES_MAX: u64 = 10_000;
/// How long a schedule is used without asking the store again. Every failure asks for one.
const SCHEDULES_REMEMBERED: Duration = Duration::from_secs(5);

/// What became of a message.
#[derive(Clone, Debug)]
pub enum Published {
    /// It is in the log, on stable storage.
    Stored(Arc<Message>),
    /// The same request came before: this is what it stored.
    Repeated(Arc<Message>),
    /// The idempotency key was used for another request.
    KeyReused,
    /// The event id belongs to another message that is kept.
    EventIdTaken,
    /// The application is gone.
    AppGone,
}

/// Snapshots by number, and the numbers behind the names that requests use.
struct Snapshots {
    numbers: Cache<(EnvironmentNo, Ref<AppId>), AppNo>,
    by_no: Cache<AppNo, Arc<AppSnapshot>>,
    /// How many changes there were. What was read before a change must not be remembered after it.
    changes: AtomicU64,
}

impl CommitListener for Snapshots {
    fn appended(&self, _: &[Arc<Message>]) {}

    fn configured(&self, app: AppNo) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.by_no.invalidate(&app);
    }

    fn moved(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.by_no.invalidate_all();
    }
}

/// The log and the applications it belongs to, with a cache of what messages are matched against.
///
/// A snapshot that is in use while its application is changed may be stale, and nothing wrong comes of it: the store refuses what was matched against an older version than its own.
pub struct Log {
    store: Arc<dyn Store>,
    snapshots: Arc<Snapshots>,
    schedules: Cache<(EnvironmentNo, EventTypeName), Option<Arc<RetrySchedule>>>,
}

impl Log {
    /// The log of a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let snapshots = Arc::new(Snapshots {
            numbers: Cache::new(SNAPSHOTS_MAX),
            by_no: Cache::new(SNAPSHOTS_MAX),
            changes: AtomicU64::new(0),
        });
        store.listen(Arc::clone(&snapshots) as Arc<dyn CommitListener>);
        let schedules =
            Cache::builder().max_capacity(SCHEDULES_MAX).time_to_live(SCHEDULES_REMEMBERED).build();
        Self { store, snapshots, schedules }
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// An application with its endpoints, as it is now: a change is seen from the moment it was answered, by whatever
    /// process.
    pub async fn app(
        &self,
        environment: EnvironmentNo,
        app: &Ref<AppId>,
    ) -> Result<Option<Arc<AppSnapshot>>, Error> {
        if self.store.is_shared() {
            self.read_app(environment, app).await
        } else {
            self.known_app(environment, app).await
        }
    }

    /// The same, by number.
    pub async fn app_by_no(&self, no: AppNo) -> Result<Option<Arc<AppSnapshot>>, Error> {
        if self.store.is_shared() { self.read_app_by_no(no).await } else { self.known_app_by_no(no).await }
    }

    /// An application with its endpoints, to match messages against: it may be from before another process changed it,
    /// since [`Log::publish`] then matches again.
    pub async fn known_app(
        &self,
        environment: EnvironmentNo,
        app: &Ref<AppId>,
    ) -> Result<Option<Arc<AppSnapshot>>, Error> {
        let name = (environment, app.clone());
        if let Some(no) = self.snapshots.numbers.get(&name)
            && let Some(known) = self.known_app_by_no(no).await?
            && is_named(&known, environment, app)
        {
            return Ok(Some(known));
        }
        self.read_app(environment, app).await
    }

    /// The same, by number, for whoever is told of changes.
    pub async fn known_app_by_no(&self, no: AppNo) -> Result<Option<Arc<AppSnapshot>>, Error> {
        if let Some(known) = self.snapshots.by_no.get(&no) {
            return Ok(Some(known));
        }
        self.read_app_by_no(no).await
    }

    async fn read_app(
        &self,
        environment: EnvironmentNo,
        app: &Ref<AppId>,
    ) -> Result<Option<Arc<AppSnapshot>>, Error> {
        let name = (environment, app.clone());
        let changes = self.snapshots.changes.load(Ordering::SeqCst);
        let found = self.store.app(environment, app.clone()).await?;
        if let Some(snapshot) = &found {
            self.snapshots.numbers.insert(name, snapshot.app.no);
            self.remember(snapshot, changes);
        }
        Ok(found)
    }

    async fn read_app_by_no(&self, no: AppNo) -> Result<Option<Arc<AppSnapshot>>, Error> {
        let changes = self.snapshots.changes.load(Ordering::SeqCst);
        let found = self.store.app_by_no(no).await?;
        if let Some(snapshot) = &found {
            self.remember(snapshot, changes);
        }
        Ok(found)
    }

    /// The schedule of an event type, if it has one of its own. A change counts within five seconds.
    pub async fn schedule_of(
        &self,
        environment: EnvironmentNo,
        event_type: &EventTypeName,
    ) -> Result<Option<Arc<RetrySchedule>>, Error> {
        let name = (environment, event_type.clone());
        if let Some(known) = self.schedules.get(&name) {
            return Ok(known);
        }
        let found = self.store.event_type(environment, event_type.clone()).await?;
        let schedule = found.and_then(|found| found.retry_schedule).map(Arc::new);
        self.schedules.insert(name, schedule.clone());
        Ok(schedule)
    }

    /// Remembers a snapshot that was read when there had been so many changes.
    fn remember(&self, snapshot: &Arc<AppSnapshot>, changes: u64) {
        self.snapshots.by_no.insert(snapshot.app.no, Arc::clone(snapshot));
        // A change between the read and the insert did not find it there: take it out again.
        if self.snapshots.changes.load(Ordering::SeqCst) != changes {
            self.snapshots.by_no.invalidate(&snapshot.app.no);
        }
    }

    /// Appends a message for every endpoint of its application that matches it.
    pub async fn publish(
        &self,
        app: &Arc<AppSnapshot>,
        message: NewMessage,
        idempotency: Option<Idempotency>,
    ) -> Result<Published, Error> {
        self.append(app, message, idempotency, &|snapshot, message| {
            snapshot
                .endpoints
                .iter()
                .filter(|e| e.is_enabled() && e.filter.matches(&message.event_type, &message.channels))
                .map(|e| Target { endpoint: e.no, pushed: e.mode == Mode::Push })
                .collect()
        })
        .await
    }

    /// Appends a message for one endpoint alone, whatever its filter (send-example).
    pub async fn publish_to(
        &self,
        app: &Arc<AppSnapshot>,
        endpoint: EndpointNo,
        message: NewMessage,
        idempotency: Option<Idempotency>,
    ) -> Result<Published, Error> {
        self.append(app, message, idempotency, &|snapshot, _| {
            snapshot
                .endpoints
                .iter()
                .filter(|e| e.no == endpoint)
                .map(|e| Target { endpoint: e.no, pushed: e.mode == Mode::Push })
                .collect()
        })
        .await
    }

    async fn append(
        &self,
        app: &Arc<AppSnapshot>,
        message: NewMessage,
        idempotency: Option<Idempotency>,
        targets: &(dyn Fn(&AppSnapshot, &NewMessage) -> Vec<Target> + Sync),
    ) -> Result<Published, Error> {
        let mut snapshot = Arc::clone(app);
        for _ in 0..MATCH_TRIES_MAX {
            let append = Append {
                app: snapshot.app.no,
                version: snapshot.version,
                targets: targets(&snapshot, &message),
                message: message.clone(),
                idempotency: idempotency.clone(),
            };
            match self.store.append(append).await? {
                Appended::Stored(message) => return Ok(Published::Stored(message)),
                Appended::Repeated(message) => return Ok(Published::Repeated(message)),
                Appended::KeyReused => return Ok(Published::KeyReused),
                Appended::EventIdTaken => return Ok(Published::EventIdTaken),
                Appended::AppGone => return Ok(Published::AppGone),
                Appended::Stale => match self.read_app_by_no(snapshot.app.no).await? {
                    // Its uid may be another application's by now, and the one that is meant.
                    Some(newer) if newer.app.uid != snapshot.app.uid => return Err(Error::Busy),
                    Some(newer) => snapshot = newer,
                    None => return Ok(Published::AppGone),
                },
            }
        }
        Err(Error::Busy)
    }
}

/// Whether a snapshot is of the application that a request means: a uid may have moved to another.
fn is_named(snapshot: &AppSnapshot, environment: EnvironmentNo, name: &Ref<AppId>) -> bool {
    snapshot.app.environment == environment
        && match name {
            Ref::Id(id) => snapshot.app.id == *id,
            Ref::Uid(uid) => snapshot.app.uid.as_ref() == Some(uid),
        }
}
