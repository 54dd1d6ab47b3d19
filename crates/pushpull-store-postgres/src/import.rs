//! Taking in the whole of another store, with its history, numbers and places.
//!
//! The tables `import` and `import_table` stand in the database from the beginning to the end of it, which may be some
//! runs apart. While they do, the database is no store that can be opened. Each batch of rows is written in one
//! transaction with how far that came.

mod copy;
mod days;
mod figures;
mod plan;

use std::collections::HashMap;

use pushpull_store::{
    Error,
    transfer::{NUMBERED, Row, Table},
};
use tokio_postgres::error::SqlState;

use crate::{
    connect::{Connector, Purpose},
    fault::Fault,
    migrate,
    pool::{Conn, Lent, Pool},
    server::{self, OpenError},
    tx::unsure,
};

use days::Days;
pub use figures::Figures;
pub use plan::Plan;

/// Held by the process that takes a store in.
const TURN: i64 = migrate::LOCK + 2;

/// The store that is moved.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is, for messages.
    pub name: String,
    /// Which history it holds.
    pub history: u64,
    /// The id of the master key that seals its secrets from now on.
    pub master_key: u32,
    /// The greatest number given in each table of [`NUMBERED`].
    pub numbers: [i64; NUMBERED.len()],
}

/// Why a store cannot be moved into a database.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImportError {
    /// There is a store in it.
    #[error("the database holds a store already: name an empty one")]
    NotEmpty,
    /// Another store is half way in it.
    #[error(
        "another store, that of {from}, is being moved into this database: go on with it, or name an empty one"
    )]
    Other {
        /// Where that is.
        from: String,
    },
    /// The store is not as it was when this was begun.
    #[error(
        "the store was changed since it began to be moved into this database: name an empty one, and begin anew \
         (before and now: {what})"
    )]
    Changed {
        /// What differs.
        what: String,
    },
    /// Another process is at it.
    #[error("another process is moving a store into this database")]
    Running,
    /// What arrived is not what was sent.
    #[error("what is in the database differs from what was moved ({0}): it is not to be used")]
    Differs(String),
    /// The database cannot keep a store.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<Fault> for ImportError {
    fn from(fault: Fault) -> Self {
        Self::Open(fault.into())
    }
}

impl From<Error> for ImportError {
    fn from(error: Error) -> Self {
        Self::Open(error.into())
    }
}

/// Refuses a database into which a store is being moved.
pub(crate) async fn refuse_unfinished(conn: &Conn) -> Result<(), OpenError> {
    match begun(conn).await? {
        Some(Beginning { from, .. }) => Err(OpenError::Moving { from }),
        None => Ok(()),
    }
}

/// What was written down when a store began to be moved.
struct Beginning {
    from: String,
    history: i64,
    figures: Figures,
}

async fn exists(conn: &Conn, table: &str) -> Result<bool, Fault> {
    Ok(conn.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?.get(0))
}

async fn begun(conn: &Conn) -> Result<Option<Beginning>, Fault> {
    if !exists(conn, "import").await? {
        return Ok(None);
    }
    let row = conn.query_one("SELECT source, history, figures FROM import", &[]).await?;
    Ok(Some(Beginning { from: row.get(0), history: row.get(1), figures: Figures::from_text(row.get(2)) }))
}

/// A store that is being taken in.
pub struct Import {
    conn: Lent,
    source: Source,
    plan: Plan,
    rows: HashMap<String, i64>,
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Import({})", self.source.name)
    }
}

impl Import {
    /// Begins, or goes on where it was cut off. `None`: it came to its end before.
    pub async fn begin(url: &str, source: Source, plan: Plan) -> Result<Option<Self>, ImportError> {
        let pool = Pool::new(Connector::new(url, Purpose::Writing)?, 2);
        let conn = pool.lend().await?;
        server::check(&conn, &pool).await?;
        take_turn(&conn).await?;
        // Whoever opens the database makes its tables under this lock: it sees either these, or ours.
        conn.batch("SET lock_timeout = 0").await?;
        conn.execute("SELECT pg_advisory_lock($1)", &[&migrate::LOCK]).await?;
        let is_done = claim(&conn, &source, &plan.figures()).await?;
        conn.execute("SELECT pg_advisory_unlock($1)", &[&migrate::LOCK]).await?;
        if is_done {
            return Ok(None);
        }
        migrate::run(&conn).await?;
        open_days(&conn, &plan.days).await?;
        let written = conn.query("SELECT name, rows FROM import_table", &[]).await?;
        let rows = written.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(Some(Self { conn, source, plan, rows }))
    }

    /// How many rows of a table are here.
    pub fn written(&self, table: &Table) -> u64 {
        self.rows.get(table.name).copied().unwrap_or_default().cast_unsigned()
    }

    /// Writes the next rows of a table.
    pub async fn write(&mut self, table: &'static Table, rows: &[Row]) -> Result<(), ImportError> {
        let written = self.rows.get(table.name).copied().unwrap_or_default() + rows.len() as i64;
        self.conn.batch("BEGIN").await?;
        copy::copy(&self.conn, table, rows, &self.plan.days).await?;
        let sql = "INSERT INTO import_table (name, rows) VALUES ($1, $2)
                   ON CONFLICT (name) DO UPDATE SET rows = excluded.rows";
        self.conn.execute(sql, &[&table.name, &written]).await?;
        self.commit().await?;
        self.rows.insert(table.name.to_owned(), written);
        Ok(())
    }

    /// A commit that the server warned of may not be on the standby.
    async fn commit(&self) -> Result<(), ImportError> {
        let warnings = self.conn.warnings();
        self.conn.batch("COMMIT").await?;
        if self.conn.warnings() == warnings { Ok(()) } else { Err(unsure().into()) }
    }

    /// Compares what is here with what was to be moved, and says which table is looked at. What it is.
    pub async fn check(&self, mut each: impl FnMut(&'static str)) -> Result<Figures, ImportError> {
        self.conn.batch("ANALYZE message, delivery, attempt, event_id, idempotency").await?;
        let here = Figures::read(&self.conn, &mut each).await?;
        if let Some(what) = self.plan.figures().differences(&here) {
            return Err(ImportError::Differs(what));
        }
        each("day");
        for (what, sql) in STRAYS {
            let strays: i64 = self.conn.query_one(sql, &[]).await?.get(0);
            if strays > 0 {
                return Err(ImportError::Differs(format!("{strays} {what}")));
            }
        }
        Ok(here)
    }

    /// Makes it a store that can be opened. Nothing is compared here.
    pub async fn finish(self) -> Result<(), ImportError> {
        self.conn.batch("BEGIN").await?;
        for (table, number) in NUMBERED.iter().zip(self.source.numbers) {
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'no'), last)
                 FROM (SELECT greatest($1, (SELECT max(no) FROM {table})::bigint) AS last) AS numbers WHERE last > 0"
            );
            self.conn.execute(&sql, &[&number]).await?;
        }
        let settings = "INSERT INTO setting (name, value) VALUES ('history', $1), ('master_key', $2)";
        let (history, key) = (self.source.history.cast_signed(), i64::from(self.source.master_key));
        self.conn.execute(settings, &[&history, &key]).await?;
        self.conn.batch("DROP TABLE import, import_table").await?;
        self.commit().await
    }
}

/// What no store holds: rows whose days lead nowhere.
const STRAYS: [(&str, &str); 2] = [
    (
        "deliveries whose message is on another day",
        "SELECT count(*) FROM delivery d LEFT JOIN message m ON m.key = d.message AND m.day = d.message_day
         WHERE m.key IS NULL OR d.day < d.message_day",
    ),
    (
        "deliveries whose newest attempt is on another day",
        "SELECT count(*) FROM delivery d LEFT JOIN attempt a ON a.key = d.last_attempt AND a.day = d.last_attempt_day
         WHERE d.last_attempt IS NOT NULL AND (a.key IS NULL OR a.day < d.day)",
    ),
];

/// Waits for its turn: for a process that was killed, until the server has noticed.
async fn take_turn(conn: &Conn) -> Result<(), ImportError> {
    // Where the server's system cannot look, it notices at the end of a statement.
    drop(conn.batch("SET client_connection_check_interval = '1s'").await);
    match conn.execute("SELECT pg_advisory_lock($1)", &[&TURN]).await {
        Ok(_) => Ok(()),
        Err(Fault::Sql(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            Err(ImportError::Running)
        }
        Err(fault) => Err(fault.into()),
    }
}

/// Takes the database for this store, if it is empty or was taken for it before. Whether it holds it already.
async fn claim(conn: &Conn, source: &Source, figures: &Figures) -> Result<bool, ImportError> {
    let history = source.history.cast_signed();
    if let Some(beginning) = begun(conn).await? {
        if beginning.history != history {
            return Err(ImportError::Other { from: beginning.from });
        }
        let what = beginning.figures.differences(figures);
        return what.map_or(Ok(false), |what| Err(ImportError::Changed { what }));
    }
    if exists(conn, "schema_version").await? {
        let sql = "SELECT EXISTS (SELECT FROM setting WHERE name = 'history' AND value = $1)";
        let is_here = conn.query_one(sql, &[&history]).await?.get(0);
        return if is_here { Ok(true) } else { Err(ImportError::NotEmpty) };
    }
    conn.batch(
        "BEGIN;
         CREATE TABLE import (source text NOT NULL, history bigint NOT NULL, figures text NOT NULL);
         CREATE TABLE import_table (name text PRIMARY KEY, rows bigint NOT NULL);",
    )
    .await?;
    let sql = "INSERT INTO import (source, history, figures) VALUES ($1, $2, $3)";
    conn.execute(sql, &[&source.name, &history, &figures.to_text()]).await?;
    conn.batch("COMMIT").await?;
    Ok(false)
}

/// Makes the partitions of each day on which something lies.
async fn open_days(conn: &Conn, days: &Days) -> Result<(), Fault> {
    for day in days.all() {
        conn.batch("BEGIN").await?;
        conn.execute("SELECT pg_advisory_xact_lock($1)", &[&migrate::LOCK]).await?;
        crate::days::make(conn, *day).await?;
        conn.execute("INSERT INTO open_day (day) VALUES ($1) ON CONFLICT DO NOTHING", &[day]).await?;
        conn.batch("COMMIT").await?;
    }
    Ok(())
}
