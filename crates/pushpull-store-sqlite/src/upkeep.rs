//! Upkeep, as it is asked for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use pushpull_store::{Error, Ledger, Retention, Size, Trimmed, Upkeep};
use rusqlite::{Connection, OpenFlags};

use crate::{Sqlite, fault::Fault, trim};

impl Upkeep for Sqlite {
    fn trim(&self, retention: Retention) -> BoxFuture<'_, Result<Trimmed, Error>> {
        let progress = Arc::clone(&self.trimmer);
        Box::pin(self.write(move |tx| {
            let mut progress = progress.lock().expect("nobody panics while holding this lock");
            trim::step(tx, &mut progress, retention)
        }))
    }

    fn backup(&self, to: PathBuf) -> BoxFuture<'_, Result<(), Error>> {
        let file = self.file.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || copy(&file, &to).map_err(Error::from))
                .await
                .map_err(|error| Error::Unavailable(Arc::new(error)))?
        })
    }

    fn ledger(&self) -> BoxFuture<'_, Result<Ledger, Error>> {
        Box::pin(self.read_long(|conn| {
            let mut ledger = Ledger {
                accepted: conn.query_row("SELECT count(*) FROM delivery", [], |row| row.get(0))?,
                ..Ledger::default()
            };
            let mut query = conn.prepare_cached("SELECT state, count(*) FROM delivery GROUP BY state")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let count: u64 = row.get(1)?;
                match row.get::<_, u8>(0)? {
                    0 => ledger.owed += count,
                    1 => ledger.delivered += count,
                    2 => ledger.exhausted += count,
                    3..=5 => ledger.cancelled += count,
                    _ => {}
                }
            }
            Ok(ledger)
        }))
    }

    fn size(&self) -> BoxFuture<'_, Result<Size, Error>> {
        let length = |file: PathBuf| std::fs::metadata(file).map_or(0, |data| data.len());
        let log = self.file.with_extension("db-wal");
        let bytes = length(self.file.clone()) + length(log);
        Box::pin(async move { Ok(Size { bytes, free_bytes: None }) })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.read(|conn| Ok(conn.query_row("SELECT count(*) FROM setting", [], |_| Ok(()))?)).await?;
            match self.write(|_| Ok(())).await {
                Ok(()) | Err(Error::Full(_)) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    fn history(&self) -> u64 {
        self.history
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let shut = self.shut();
        Box::pin(async move {
            if tokio::task::spawn_blocking(shut).await.is_err() {
                tracing::error!("the store did not close in order");
            }
        })
    }
}

/// Writes a consistent, compact copy: one long read, nobody waits for it.
fn copy(file: &Path, to: &Path) -> Result<(), Fault> {
    let conn = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    std::fs::File::open(to)
        .and_then(|copy| copy.sync_all())
        .map_err(|error| Error::Unavailable(Arc::new(error)).into())
}
