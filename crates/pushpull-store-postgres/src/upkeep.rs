//! Upkeep, as it is asked for.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use pushpull_store::{Backlog, Behind, ConsumerKey, Error, Ledger, Retention, Size, Trimmed, Upkeep};

use crate::{
    Db, Postgres, backlog, behind,
    fault::Fault,
    pool::{Lent, Params},
    trim,
};

/// A state that is none of these keeps the books from balancing.
const LEDGER: &str = "
    SELECT count(*), count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 0),
        count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state BETWEEN 3 AND 5) FROM delivery";

impl Upkeep for Postgres {
    fn is_shared(&self) -> bool {
        true
    }

    fn trim(&self, retention: Retention) -> BoxFuture<'_, Result<Trimmed, Error>> {
        self.write_long(move |db| async move { trim::step(&db, retention).await })
    }

    fn backup(&self, _to: PathBuf) -> BoxFuture<'_, Result<(), Error>> {
        let refused = "a PostgreSQL store is backed up with PostgreSQL's own means, pg_basebackup or pg_dump";
        Box::pin(async move { Err(Error::Unavailable(Arc::new(std::io::Error::other(refused)))) })
    }

    fn ledger(&self) -> BoxFuture<'_, Result<Ledger, Error>> {
        self.read_long(|db| async move {
            let conn = db.long_read().await?;
            let row = conn.query_one(LEDGER, &[]).await?;
            conn.finish().await?;
            let count = |column| row.get::<_, i64>(column).cast_unsigned();
            Ok(Ledger {
                accepted: count(0),
                delivered: count(1),
                owed: count(2),
                exhausted: count(3),
                cancelled: count(4),
            })
        })
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Backlog, Error>> {
        self.read_long(|db| async move { backlog::backlog(&db).await })
    }

    fn size(&self) -> BoxFuture<'_, Result<Size, Error>> {
        self.read(|db| async move {
            let conn = db.reads.lend().await?;
            let bytes: i64 = conn.query_one("SELECT pg_database_size(current_database())", &[]).await?.get(0);
            Ok(Size { bytes: bytes.cast_unsigned(), free_bytes: None })
        })
    }

    fn consumers_behind(
        &self,
        age: Duration,
        after: Option<ConsumerKey>,
    ) -> BoxFuture<'_, Result<Behind, Error>> {
        let before = self.db.clock.now().before(age);
        self.read(move |db| async move { behind::behind(&db, before, after).await })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let read = self.read(|db| async move {
                let conn = db.reads.lend().await?;
                conn.query_one("SELECT count(*) FROM setting", &[]).await?;
                Ok(())
            });
            read.await?;
            let written = self.write(|db| async move {
                let tx = db.begin().await?;
                let sql = "INSERT INTO setting (name, value) VALUES ('checked_at', $1)
                           ON CONFLICT (name) DO UPDATE SET value = excluded.value";
                tx.execute(sql, &[&tx.now.as_millis()]).await?;
                tx.commit().await
            });
            match written.await {
                Ok(()) | Err(Error::Full(_)) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    fn history(&self) -> u64 {
        self.db.history
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shut())
    }
}

/// A connection for a read that may take long.
pub(crate) struct LongRead(Option<Lent>);

impl Db {
    /// Begins a read of most of a table, for which the server allows as long as it takes.
    pub(crate) async fn long_read(&self) -> Result<LongRead, Fault> {
        let conn = LongRead(Some(self.reads.lend().await?));
        conn.conn()
            .batch("BEGIN READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on")
            .await?;
        Ok(conn)
    }
}

impl LongRead {
    fn conn(&self) -> &Lent {
        self.0.as_ref().expect("it is there until this is finished or dropped")
    }

    pub(crate) async fn query_one(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<tokio_postgres::Row, Fault> {
        self.conn().query_one(sql, params).await
    }

    /// Ends it, so that the connection serves others.
    pub(crate) async fn finish(mut self) -> Result<(), Fault> {
        let conn = self.0.take().expect("it is there until this is finished or dropped");
        if let Err(fault) = conn.batch("COMMIT").await {
            conn.discard();
            return Err(fault);
        }
        Ok(())
    }
}

impl Drop for LongRead {
    fn drop(&mut self) {
        // In what state the connection is nobody knows.
        if let Some(conn) = self.0.take() {
            conn.discard();
        }
    }
}
