//! Upkeep, as it is asked for.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use pushpull_store::{Backlog, Behind, ConsumerKey, Error, Ledger, Retention, Size, Trimmed, Upkeep};
use rusqlite::{Connection, OpenFlags};

use crate::{Sqlite, behind, due::owed_endpoints, fault::Fault, trim};

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
            // `total` is exact up to 2^53. A state that is none of these keeps the books from balancing.
            let sql = "SELECT count(*), total(state = 1), total(state = 0), total(state = 2),
                           total(state BETWEEN 3 AND 5) FROM delivery NOT INDEXED";
            let ledger = conn.query_row(sql, [], |row| {
                let count = |column| row.get::<_, f64>(column).map(|count| count as u64);
                Ok(Ledger {
                    accepted: row.get(0)?,
                    delivered: count(1)?,
                    owed: count(2)?,
                    exhausted: count(3)?,
                    cancelled: count(4)?,
                })
            })?;
            Ok(ledger)
        }))
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Backlog, Error>> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let pending = count(&self.shared.counts.pending);
        let exhausted = count(&self.shared.counts.exhausted);
        Box::pin(async move {
            let owed = self.read_long(owed_endpoints).await?;
            let oldest_due_at = owed.iter().map(|owed| owed.due_at).min();
            Ok(Backlog { pending, oldest_due_at, exhausted })
        })
    }

    fn size(&self) -> BoxFuture<'_, Result<Size, Error>> {
        let length = |file: PathBuf| std::fs::metadata(file).map_or(0, |data| data.len());
        let log = self.file.with_extension("db-wal");
        let bytes = length(self.file.clone()) + length(log);
        let free_bytes = rustix::fs::statvfs(&self.file).ok().map(|disk| disk.f_bavail * disk.f_frsize);
        Box::pin(async move { Ok(Size { bytes, free_bytes }) })
    }

    fn consumers_behind(
        &self,
        age: Duration,
        after: Option<ConsumerKey>,
    ) -> BoxFuture<'_, Result<Behind, Error>> {
        let before = self.shared.clock.now().before(age);
        Box::pin(self.read(move |conn| behind::behind(conn, before, after)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.read(|conn| Ok(conn.query_row("SELECT count(*) FROM setting", [], |_| Ok(()))?)).await?;
            // A transaction that changes nothing would not touch the disk.
            let written = self.write(|tx| {
                tx.conn
                    .prepare_cached("INSERT OR REPLACE INTO setting (name, value) VALUES ('checked_at', ?1)")?
                    .execute([tx.shared.chance.word().cast_signed()])?;
                Ok(())
            });
            match written.await {
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

/// Writes a consistent, compact copy: one long read, nobody waits for it. It gets its name when it is whole.
fn copy(file: &Path, to: &Path) -> Result<(), Fault> {
    let io = |error| Fault::from(Error::Unavailable(Arc::new(error)));
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    if to.exists() {
        return Err(io(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "there is such a file")));
    }
    let copied = copy_to_part(file, &part, to);
    if copied.is_err() {
        // The error that is told is the first one.
        drop(std::fs::remove_file(&part));
    }
    copied
}

fn copy_to_part(file: &Path, part: &Path, to: &Path) -> Result<(), Fault> {
    let io = |error| Fault::from(Error::Unavailable(Arc::new(error)));
    // What is left of a copy that was cut off is no copy.
    drop(std::fs::remove_file(part));
    crate::make_private(part).map_err(io)?;
    let conn = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.execute("VACUUM INTO ?1", [part.to_string_lossy()])?;
    std::fs::File::open(part).and_then(|copy| copy.sync_all()).map_err(io)?;
    std::fs::rename(part, to).map_err(io)?;
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)
}
