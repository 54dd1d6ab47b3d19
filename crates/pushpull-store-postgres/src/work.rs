//! How a call becomes work on the database: who waits for it, and for how long.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_store::{Error, WriteError};

use crate::{ANSWER_MAX, Db, Postgres, fault::Fault};

impl Postgres {
    /// Does a piece of work that writes, to its end even if who asked goes away, or has waited for too long.
    pub(crate) fn change<T, F, W>(&self, work: F) -> BoxFuture<'static, Result<T, WriteError>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Db>) -> W + Send + 'static,
        W: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let task = self.db.tasks.spawn(work(Arc::clone(&self.db)));
        Box::pin(async move {
            match tokio::time::timeout(ANSWER_MAX, task).await {
                Ok(Ok(result)) => Ok(result?),
                Ok(Err(error)) => Err(Error::Unavailable(Arc::new(error)).into()),
                Err(late) => Err(Error::Unavailable(Arc::new(late)).into()),
            }
        })
    }

    /// The same, of what only fails when storage does.
    pub(crate) fn write<T, F, W>(&self, work: F) -> BoxFuture<'static, Result<T, Error>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Db>) -> W + Send + 'static,
        W: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let written = self.change(work);
        Box::pin(async move { written.await.map_err(|error| Fault::Refused(error).into()) })
    }

    /// The same, of upkeep, which takes as long as it takes.
    pub(crate) fn write_long<T, F, W>(&self, work: F) -> BoxFuture<'static, Result<T, Error>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Db>) -> W + Send + 'static,
        W: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let task = self.db.tasks.spawn(work(Arc::clone(&self.db)));
        Box::pin(async move { Ok(task.await.map_err(|error| Error::Unavailable(Arc::new(error)))??) })
    }

    /// Reads.
    pub(crate) fn read<T, F, W>(&self, work: F) -> BoxFuture<'static, Result<T, Error>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Db>) -> W + Send + 'static,
        W: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let read = self.read_long(work);
        Box::pin(async move {
            let in_time = tokio::time::timeout(ANSWER_MAX, read).await;
            in_time.unwrap_or_else(|late| Err(Error::Unavailable(Arc::new(late))))
        })
    }

    /// The same, of what may take as long as it takes.
    pub(crate) fn read_long<T, F, W>(&self, work: F) -> BoxFuture<'static, Result<T, Error>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Db>) -> W + Send + 'static,
        W: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let db = Arc::clone(&self.db);
        Box::pin(async move { Ok(work(db).await?) })
    }
}
