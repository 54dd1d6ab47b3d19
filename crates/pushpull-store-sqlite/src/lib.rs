//! The embedded store: one file, one writer thread with group commit, a few readers.
//!
//! An acknowledged write is on stable storage: `synchronous=FULL`, one fsync for all that waited, and the
//! first fsync that fails ends the process. Positions and seqs are given inside the transaction that writes
//! the row, by the only writer there is: they are dense and in commit order by construction.
//! Absent on purpose: any rule of delivery.

mod append;
mod attempts;
mod audit;
mod behind;
mod catalog;
mod catalog_rows;
mod checkpoint;
mod consumer_rows;
mod consumers;
mod deliveries;
mod due;
mod export;
mod fault;
#[cfg(feature = "faults")]
pub mod faults;
mod feed;
mod job;
mod list;
mod messages;
mod migrate;
mod queue;
mod reader;
mod recovery;
mod restore;
mod rows;
mod settle;
mod setup;
mod span;
mod trim;
mod tx;
mod upkeep;
mod work_queue;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock, atomic::AtomicBool},
};

use pushpull_domain::{
    Chance, Clock,
    seal::{MasterKey, Sealer},
};
use pushpull_store::{Error, WriteError, codec};
use rusqlite::{Connection, OptionalExtension};

pub use export::Export;
pub use restore::restore;

use crate::{
    checkpoint::Checkpointer,
    fault::{Fault, translate},
    reader::Readers,
    tx::{Counts, Shared, Tx},
    writer::Writer,
};

/// The name of the database in the data directory.
pub const FILE_NAME: &str = "pushpull.db";

/// What a store needs from outside.
pub struct Options {
    /// The data directory; it must exist.
    pub dir: PathBuf,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub chance: Arc<dyn Chance>,
    /// The master key that seals secrets.
    pub master_key: MasterKey,
    /// Master keys used before: they open what they sealed.
    pub older_master_keys: Vec<MasterKey>,
    /// Called once, from one of the store's threads, when what was written may be lost although it was
    /// acknowledged (a failed fsync, a corrupt file). The process must end: nothing is acknowledged from then on.
    pub on_fatal: Box<dyn Fn(&Error) + Send + Sync>,
}

/// A store in one `SQLite` file.
pub struct Sqlite {
    file: PathBuf,
    shared: Arc<Shared>,
    writer: Arc<Writer>,
    readers: Arc<Readers>,
    checkpointer: Mutex<Option<Checkpointer>>,
    history: u64,
    trimmer: Arc<Mutex<trim::Progress>>,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sqlite({})", self.file.display())
    }
}

impl Sqlite {
    /// Opens the store of a data directory, made and migrated as needed. Blocks.
    pub fn open(options: Options) -> Result<Self, Error> {
        Self::open_or_fault(options).map_err(Error::from)
    }

    fn open_or_fault(options: Options) -> Result<Self, Fault> {
        let file = options.dir.join(FILE_NAME);
        make_private(&file).map_err(|error| Error::Unavailable(Arc::new(error)))?;
        let mut conn = Connection::open(&file)?;
        setup::writer(&conn)?;
        migrate::run(&mut conn)?;
        let history = history(&conn, &*options.chance)?;
        let shared = Arc::new(Shared {
            sealer: Sealer::new("endpoint", &options.master_key, &options.older_master_keys),
            clock: options.clock,
            chance: options.chance,
            listeners: RwLock::default(),
            counts: counts(&conn)?,
            on_fatal: options.on_fatal,
            dead: AtomicBool::new(false),
        });
        let readers = Arc::new(Readers::start(&file)?);
        let checkpointer = Checkpointer::start(&file, Arc::clone(&shared))?;
        let writer = Writer::start(conn, Arc::clone(&shared), checkpointer.after_commit())
            .map_err(|error| Error::Unavailable(Arc::new(error)))?;
        Ok(Self {
            file,
            shared,
            writer: Arc::new(writer),
            readers,
            checkpointer: Mutex::new(Some(checkpointer)),
            history,
            trimmer: Arc::default(),
        })
    }

    /// The database file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Bounds the size of the file, in bytes (whole pages of 8 KiB): what would make it larger is refused as if
    /// the disk were full. Deleted rows make room again.
    pub async fn limit_bytes(&self, bytes: u64) -> Result<(), Error> {
        let pages = bytes / setup::PAGE_SIZE.unsigned_abs();
        self.write(move |tx| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            Ok(tx.conn.query_row(&sql, [], |_| Ok(()))?)
        })
        .await
    }

    /// Reads a few rows, in one consistent view.
    async fn read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.readers.read(read).await
    }

    /// Reads what may be many rows, in one consistent view.
    async fn read_long<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.readers.read_long(read).await
    }

    /// Writes what may be refused.
    async fn change<T, F>(&self, work: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.writer.run(work).await
    }

    /// Writes what only fails when storage does.
    async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.writer.run(work).await.map_err(|error| Fault::Refused(error).into())
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.shut()();
    }
}

impl Sqlite {
    /// What ends the threads, in the order that loses nothing. Blocks. Safe to repeat.
    fn shut(&self) -> impl FnOnce() + Send + 'static {
        let (readers, writer) = (Arc::clone(&self.readers), Arc::clone(&self.writer));
        let checkpointer = self.checkpointer.lock().expect("nobody panics while holding this lock").take();
        move || {
            readers.close();
            writer.close();
            if let Some(checkpointer) = checkpointer {
                checkpointer.stop();
            }
        }
    }
}

/// Makes the file, for its owner's eyes only: what is in it is the users' data. The files beside it get the
/// same mode.
fn make_private(file: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

/// Counts from indexes: some ten milliseconds for a million.
fn counts(conn: &Connection) -> Result<Counts, Fault> {
    let count = |sql| conn.query_row(sql, [], |row| row.get::<_, u64>(0));
    Ok(Counts {
        pending: count("SELECT count(*) FROM delivery INDEXED BY delivery_due WHERE due_at IS NOT NULL")?
            .into(),
        exhausted: count("SELECT count(*) FROM delivery INDEXED BY delivery_exhausted WHERE state = 2")?
            .into(),
    })
}

/// Which history the file holds: made with it, and anew by a restore.
fn history(conn: &Connection, source: &dyn Chance) -> Result<u64, Fault> {
    conn.execute(
        "INSERT INTO setting (name, value) VALUES ('history', ?1) ON CONFLICT DO NOTHING",
        [source.word().cast_signed()],
    )?;
    let known: Option<i64> = conn
        .query_row("SELECT value FROM setting WHERE name = 'history'", [], |row| row.get(0))
        .optional()
        .map_err(translate)?;
    Ok(known.unwrap_or_default().cast_unsigned())
}
