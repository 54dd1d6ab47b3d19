//! The store of many nodes: one PostgreSQL, any number of processes that work on it.
//!
//! An acknowledged write is committed with `synchronous_commit=on`, on the synchronous standby too where there is one;
//! a commit that the server warns of was not acknowledged. Positions and seqs are given inside the transaction that
//! writes the row, under a lock on the application's row that is released only when they are visible: they are dense
//! and in commit order, whatever node writes. Absent on purpose: any rule of delivery.

mod append;
mod attempts;
mod audit;
mod backlog;
mod behind;
mod catalog;
mod committer;
mod connect;
mod consumer_rows;
mod consumers;
mod days;
mod deliveries;
mod due;
mod fault;
#[cfg(any(test, feature = "faults"))]
pub mod faults;
mod feed;
mod import;
mod lease;
mod list;
mod messages;
mod migrate;
mod named;
mod news;
mod nodes;
mod pool;
mod queue_days;
mod recovery;
mod rows;
mod scratch;
mod server;
mod settle;
mod shards;
mod span;
mod trim;
mod tx;
mod upkeep;
mod work;
mod work_queue;

use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use pushpull_domain::{
    AppNo, Chance, Clock, Message, Timestamp,
    seal::{MasterKey, Sealer},
};
use pushpull_store::{CommitListener, Error};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    committer::Committer,
    connect::{Connector, Purpose},
    fault::Fault,
    news::Hints,
    pool::Pool,
    shards::Shards,
    tx::{News, Tx},
};

/// What a store needs from outside.
pub struct Options {
    /// Where the database is: a `postgres://` URL, of several hosts too.
    pub url: String,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub chance: Arc<dyn Chance>,
    /// The master key that seals secrets: the same on every node.
    pub master_key: MasterKey,
    /// Master keys used before: they open what they sealed.
    pub older_master_keys: Vec<MasterKey>,
    /// Whether this process brings applications what they are owed: a node among those of the store. Others only ask.
    pub serves: bool,
}

/// How long the answer to a read, a change or a message is waited for: whoever cannot tell whether the server is alive
/// says so in time. Longer than the server itself takes before it gives a read up.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// How long what is being written may take when the store is closed.
const SHUT_MAX: Duration = Duration::from_secs(10);
/// Most connections that read, and that write.
const READS_MAX: usize = 8;
const WRITES_MAX: usize = 8;
const HOT_MAX: usize = 4;

pub use import::{Figures, Import, ImportError, Plan, Source};
pub use nodes::Node;
pub use scratch::ScratchDatabase;
pub use server::{OpenError, check_url, is_new};

/// A store in a `PostgreSQL` database.
pub struct Postgres {
    db: Arc<Db>,
    committer: Committer,
    outcomes: settle::Outcomes,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Postgres")
    }
}

/// What everything here works with.
pub(crate) struct Db {
    pub(crate) reads: Arc<Pool>,
    pub(crate) writes: Arc<Pool>,
    /// Connections of the hot path.
    pub(crate) hot: Arc<Pool>,
    /// The connection that the node's lease is renewed on: nobody else is to be in its way.
    pub(crate) leases: Arc<Pool>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Arc<dyn Chance>,
    pub(crate) sealer: Sealer,
    /// What must come to an end before the store is closed.
    pub(crate) tasks: TaskTracker,
    /// From when on nothing new is begun.
    pub(crate) closing: CancellationToken,
    pub(crate) shards: Shards,
    pub(crate) hints: Hints,
    /// Makes the connection that hints come and go by.
    pub(crate) listening: Connector,
    pub(crate) newest_day: days::Newest,
    pub(crate) made_day: days::Newest,
    pub(crate) counted: backlog::Counted,
    pub(crate) trimmer: trim::Trimmer,
    pub(crate) days: queue_days::Days,
    pub(crate) due_from: due::DueFrom,
    pub(crate) snapshots: catalog::Snapshots,
    listeners: RwLock<Vec<Arc<dyn CommitListener>>>,
    history: u64,
    last_at: AtomicI64,
}

impl Postgres {
    /// Opens the store of a database, migrated as needed.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let pool = |purpose, max| Ok::<_, Error>(Pool::new(Connector::new(&options.url, purpose)?, max));
        let hot = pool(Purpose::Hot, HOT_MAX)?;
        let (reads, writes) = (pool(Purpose::Reading, READS_MAX)?, pool(Purpose::Writing, WRITES_MAX)?);
        let conn = writes.lend().await?;
        server::check(&conn, &writes).await?;
        migrate::run(&conn).await?;
        import::refuse_unfinished(&conn).await?;
        #[cfg(feature = "faults")]
        conn.batch(faults::NEXT)
            .await
            .or_else(|fault| if fault.is_collision() { Ok(()) } else { Err(fault) })?;
        server::check_master_key(&conn, &options.master_key, &options.older_master_keys).await?;
        // What migrating set for this session is not for others.
        conn.discard();
        let history = history(&writes, &*options.chance).await?;
        let db = Arc::new(Db {
            reads,
            writes,
            hot,
            leases: pool(Purpose::Writing, 1)?,
            sealer: Sealer::new("endpoint", &options.master_key, &options.older_master_keys),
            clock: options.clock,
            chance: options.chance,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            shards: Shards::default(),
            hints: Hints::default(),
            listening: Connector::new(&options.url, Purpose::Writing)?,
            newest_day: days::Newest::default(),
            made_day: days::Newest::default(),
            counted: backlog::Counted::default(),
            trimmer: trim::Trimmer::default(),
            days: queue_days::Days::default(),
            due_from: due::DueFrom::default(),
            snapshots: catalog::Snapshots::default(),
            listeners: RwLock::default(),
            history,
            last_at: AtomicI64::new(0),
        });
        db.open_day_now(days::day_of(db.clock.now())).await?;
        if options.serves {
            lease::join(&db).await?;
            db.tasks.spawn(lease::run(Arc::clone(&db)));
        }
        db.tasks.spawn(news::run(Arc::clone(&db)));
        Ok(Self { committer: Committer::start(&db), outcomes: settle::Outcomes::start(&db), db })
    }

    /// Writes out what waits and closes. Safe to repeat.
    pub(crate) async fn shut(&self) {
        self.db.closing.cancel();
        self.db.tasks.close();
        let ended = tokio::time::timeout(SHUT_MAX, async {
            self.db.tasks.wait().await;
            lease::leave(&self.db).await
        });
        if !matches!(ended.await, Ok(Ok(()))) {
            tracing::warn!(
                "the database does not answer: what was being written may be, and the lease runs out by itself"
            );
        }
        for pool in [&self.db.reads, &self.db.writes, &self.db.hot, &self.db.leases] {
            pool.close();
        }
    }
}

impl Db {
    /// Begins a transaction.
    pub(crate) async fn begin(self: &Arc<Self>) -> Result<Tx, Fault> {
        Tx::begin(self).await
    }

    /// The moment of a transaction (not before that of one before it), and what the clock says.
    pub(crate) fn moment(&self) -> (Timestamp, Timestamp) {
        let wall = self.clock.now();
        let last = self.last_at.fetch_max(wall.as_millis(), Ordering::SeqCst);
        (Timestamp::from_millis(last.max(wall.as_millis())), wall)
    }

    fn each_listener(&self, tell: impl Fn(&dyn CommitListener)) {
        let listeners = self.listeners.read().expect("nobody panics while holding this lock");
        listeners.iter().for_each(|listener| tell(&**listener));
    }

    /// Tells listeners of what was committed.
    pub(crate) fn tell(&self, news: &News) {
        news.rescheduled.iter().for_each(|(_, endpoint)| self.due_from.forget_day(*endpoint));
        self.each_listener(|listener| {
            news.configured.iter().for_each(|app| listener.configured(*app));
            let grown = news.rescheduled.iter().chain(&news.joined);
            grown.for_each(|(app, endpoint)| listener.rescheduled(*app, *endpoint));
        });
    }

    /// Whether listeners are at work for some applications.
    pub(crate) fn is_busy(&self, with: &dyn Fn(AppNo) -> bool) -> bool {
        let listeners = self.listeners.read().expect("nobody panics while holding this lock");
        listeners.iter().any(|listener| listener.is_busy(with))
    }

    /// Tells listeners of messages that were appended here.
    pub(crate) fn tell_appended(&self, messages: &[Arc<Message>]) {
        self.each_listener(|listener| listener.appended(messages));
    }

    /// Tells listeners to look at everything again, and does so itself.
    pub(crate) fn tell_moved(&self) {
        self.snapshots.forget();
        self.each_listener(|listener| listener.moved());
    }
}

/// Which history the database holds: made with it, and anew by a restore.
async fn history(writes: &Arc<Pool>, source: &dyn Chance) -> Result<u64, Fault> {
    const FIND: &str = "SELECT value FROM setting WHERE name = 'history'";
    let conn = writes.lend().await?;
    // Looked for first: a look may not wait for a standby.
    if let Some(known) = conn.query_opt(FIND, &[]).await? {
        return Ok(known.get::<_, i64>(0).cast_unsigned());
    }
    let made = "INSERT INTO setting (name, value) VALUES ('history', $1) ON CONFLICT DO NOTHING";
    conn.execute(made, &[&source.word().cast_signed()]).await?;
    Ok(conn.query_one(FIND, &[]).await?.get::<_, i64>(0).cast_unsigned())
}
