//! A transaction in progress, and what is told when it is committed.

use std::sync::Arc;

use pushpull_domain::{AppNo, Chance, EndpointNo, Timestamp};
use pushpull_store::Error;
use tokio_postgres::Row;

use crate::{
    Db,
    fault::Fault,
    pool::{Lent, Params},
};

/// What listeners are told after the commit. (What was appended, they are told where it is appended.)
#[derive(Default)]
pub(crate) struct News {
    /// Endpoints whose queues something joined, at another node.
    pub(crate) joined: Vec<(AppNo, EndpointNo)>,
    /// Endpoints of which something is due that was not, or was later.
    pub(crate) rescheduled: Vec<(AppNo, EndpointNo)>,
    pub(crate) configured: Vec<AppNo>,
}

impl News {
    /// What was said several times is told once.
    pub(crate) fn each_once(&mut self) {
        self.rescheduled.sort_unstable();
        self.rescheduled.dedup();
        self.joined.sort_unstable();
        self.joined.dedup();
        // Who looks at the whole finds what joined too.
        self.joined.retain(|joined| self.rescheduled.binary_search(joined).is_err());
        self.configured.sort_unstable();
        self.configured.dedup();
    }

    fn is_empty(&self) -> bool {
        self.rescheduled.is_empty() && self.configured.is_empty()
    }
}

/// A transaction (read committed: each statement sees what was committed before it). Dropped, it is rolled back.
///
/// What writes to a log or a queue, or changes an application or an endpoint, locks the application's row first
/// ([`Tx::lock_app`]); so no two of these wait for each other, and their order is the order of positions.
pub(crate) struct Tx {
    conn: Option<Lent>,
    db: Arc<Db>,
    /// The moment of this transaction: not before that of one before it in this process.
    pub(crate) now: Timestamp,
    /// What the clock says: what becomes due now is due by this, or a clock that was put back would hold it up.
    pub(crate) wall: Timestamp,
    pub(crate) news: News,
}

impl Tx {
    pub(crate) async fn begin(db: &Arc<Db>) -> Result<Self, Fault> {
        let conn = db.writes.lend().await?;
        conn.batch("BEGIN").await?;
        let (now, wall) = db.moment();
        Ok(Self { conn: Some(conn), db: Arc::clone(db), now, wall, news: News::default() })
    }

    /// Where random bytes come from.
    pub(crate) fn chance(&self) -> &dyn Chance {
        &*self.db.chance
    }

    /// What it works on.
    pub(crate) fn conn(&self) -> &Lent {
        self.conn.as_ref().expect("it is there until this is committed or dropped")
    }

    /// See [`Conn::query`](crate::pool::Conn::query).
    pub(crate) async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Fault> {
        self.conn().query(sql, params).await
    }

    pub(crate) async fn query_opt(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>, Fault> {
        self.conn().query_opt(sql, params).await
    }

    pub(crate) async fn query_one(&self, sql: &str, params: Params<'_>) -> Result<Row, Fault> {
        self.conn().query_one(sql, params).await
    }

    pub(crate) async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, Fault> {
        self.conn().execute(sql, params).await
    }

    /// Locks an application: nothing joins its log or its queues meanwhile, and nobody else changes it; its version.
    /// `None`: it is gone.
    pub(crate) async fn lock_app(&self, app: AppNo) -> Result<Option<i64>, Fault> {
        let sql = "SELECT version FROM app WHERE no = $1 AND deleted_at IS NULL FOR UPDATE";
        Ok(self.query_opt(sql, &[&app.0.cast_signed()]).await?.map(|row| row.get(0)))
    }

    /// Commits, and tells of it.
    pub(crate) async fn commit(mut self) -> Result<(), Fault> {
        self.news.each_once();
        if !self.news.is_empty() {
            self.write_news().await?;
        }
        let conn = self.conn.take().expect("it is there until this is committed or dropped");
        let warnings = conn.warnings();
        if let Err(fault) = conn.batch("COMMIT").await {
            conn.discard();
            self.db.hints.doubt();
            return Err(fault);
        }
        if conn.warnings() != warnings {
            // It is committed here, but perhaps not where it has to be (a wait for the standby that was cut off).
            conn.discard();
            self.db.hints.doubt();
            return Err(unsure().into());
        }
        drop(conn);
        self.db.tell(&self.news);
        if !self.news.is_empty() {
            self.db.hints.send();
        }
        Ok(())
    }

    async fn write_news(&self) -> Result<(), Fault> {
        let (rescheduled_app, rescheduled): (Vec<i32>, Vec<i32>) = self
            .news
            .rescheduled
            .iter()
            .map(|(app, endpoint)| (app.0.cast_signed(), endpoint.0.cast_signed()))
            .unzip();
        let configured: Vec<i32> = self.news.configured.iter().map(|no| no.0.cast_signed()).collect();
        self.execute(
            "INSERT INTO news (node, joined, joined_app, rescheduled, rescheduled_app, configured)
             VALUES ($1, '{}', '{}', $2, $3, $4)",
            &[&self.db.shards.node(), &rescheduled, &rescheduled_app, &configured],
        )
        .await?;
        Ok(())
    }
}

/// What was committed may not be on the standby.
pub(crate) fn unsure() -> Error {
    Error::Unavailable(Arc::new(std::io::Error::other(
        "PostgreSQL warned when it committed: the standby may lack it",
    )))
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        self.db.tasks.spawn(async move {
            if conn.batch("ROLLBACK").await.is_err() {
                conn.discard();
            }
        });
    }
}
