//! A real store in a directory of its own, and what to put into it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pushpull_domain::{
    App, AppNo, AppSnapshot, Batch, Clock, Endpoint, EndpointId, EndpointNo, EndpointState, Environment,
    EnvironmentId, EnvironmentNo, EventTypeName, Filter, Health, Mode, NewMessage, Secrets, SeededChance,
    Seq, Timestamp,
    seal::MasterKey,
    signature::{Secret, SignatureType},
};
use pushpull_store::{Log, NewApp, Ref, Store};
use pushpull_store_postgres::Postgres;
use pushpull_store_sqlite::Sqlite;
use tempfile::TempDir;

use crate::database::{new_database, on_postgres, postgres_options};

/// Of the chance that a store is given.
const SEED: u64 = 7;

/// A store, its log, and an environment in it.
pub struct TestStore {
    /// Where it is.
    _place: Place,
    /// The store itself.
    pub store: Arc<dyn Store>,
    /// The log over it.
    pub log: Arc<Log>,
    /// An environment.
    pub environment: Environment,
    /// The clock it goes by, for whoever works with it.
    pub clock: Arc<dyn Clock>,
    /// What the store reported as fatal.
    pub fatal: Arc<Mutex<Vec<String>>>,
}

/// Where a store is.
enum Place {
    /// In a directory; removed when this is dropped.
    Dir(TempDir),
    /// In a database.
    Database(String),
}

impl TestStore {
    /// A new, empty store that goes by this clock: an embedded one, or one in PostgreSQL if the tests are to run on it.
    pub async fn open(clock: Arc<dyn Clock>) -> Self {
        let place = if on_postgres() {
            Place::Database(new_database())
        } else {
            Place::Dir(tempfile::tempdir().expect("a temporary directory"))
        };
        Self::open_in(place, clock).await
    }

    async fn open_in(place: Place, clock: Arc<dyn Clock>) -> Self {
        let fatal = Arc::new(Mutex::new(Vec::new()));
        let store: Arc<dyn Store> = match &place {
            Place::Dir(dir) => {
                let reported = Arc::clone(&fatal);
                let options = pushpull_store_sqlite::Options {
                    dir: dir.path().to_owned(),
                    clock: Arc::clone(&clock),
                    chance: Arc::new(SeededChance::new(SEED)),
                    master_key: MasterKey::new([7; 32]),
                    older_master_keys: Vec::new(),
                    on_fatal: Box::new(move |error| {
                        reported.lock().expect("not poisoned").push(error.to_string());
                    }),
                };
                Arc::new(Sqlite::open(options).expect("a new store opens"))
            }
            Place::Database(url) => {
                let options = postgres_options(url, Arc::clone(&clock), SEED);
                Arc::new(Postgres::open(options).await.expect("a new store opens"))
            }
        };
        let log = Arc::new(Log::new(Arc::clone(&store)));
        let id = EnvironmentId::new(Timestamp::from_millis(1_795_513_560_000), [1; 15]);
        let environment = store.ensure_environment(id, "test").await.expect("an environment");
        Self { _place: place, store, log, environment, clock, fatal }
    }

    /// A new application, named by its uid.
    pub async fn app(&self, uid: &str) -> App {
        let new = new_app(self.environment.no, uid);
        self.log.store().create_app(new).await.expect("an application")
    }

    /// A new endpoint of an application.
    pub async fn endpoint(&self, app: &App, url: &str, change: impl FnOnce(&mut Endpoint)) -> Arc<Endpoint> {
        let mut endpoint = new_endpoint(app.no, url);
        change(&mut endpoint);
        self.log.store().create_endpoint(endpoint).await.expect("an endpoint")
    }

    /// An application as it is now.
    pub async fn snapshot(&self, app: &App) -> Arc<AppSnapshot> {
        let name = Ref::Id(app.id);
        self.log
            .app(self.environment.no, &name)
            .await
            .expect("the store answers")
            .expect("the application exists")
    }
}

/// A new application, named by its uid.
pub fn new_app(environment: EnvironmentNo, uid: &str) -> NewApp {
    NewApp {
        environment,
        uid: Some(uid.parse().expect("a uid")),
        name: uid.to_owned(),
        rate_limit: None,
        metadata: pushpull_domain::Metadata::new(),
    }
}

/// A new endpoint that wants everything.
pub fn new_endpoint(app: AppNo, url: &str) -> Endpoint {
    let at = Timestamp::default();
    Endpoint {
        no: EndpointNo(0),
        id: EndpointId::new(at, [0; 15]),
        app,
        uid: None,
        url: url.to_owned(),
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
        batch: Batch::SINGLE,
        hold_when_failing: false,
        headers: std::collections::BTreeMap::new(),
        secrets: Secrets::new(Secret::generate(SignatureType::Hmac256, &SeededChance::new(3))),
        metadata: pushpull_domain::Metadata::new(),
        created_at: at,
        updated_at: at,
    }
}

/// A new message of type `test.event`.
pub fn new_message(payload: &str) -> NewMessage {
    NewMessage {
        event_type: EventTypeName::new("test.event").expect("a name"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        content_type: None,
        channels: Vec::new(),
        tags: Vec::new(),
        event_id: None,
        deliver_at: None,
        payload_expires_at: None,
    }
}
