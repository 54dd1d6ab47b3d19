//! Databases of their own on the server that the tests were given.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use pushpull_domain::FixedClock;
use pushpull_store::{Store, conformance::Maker};
use pushpull_store_postgres::Postgres;
use pushpull_testkit::{new_database, postgres_options};
use tokio_postgres::{Client, NoTls};

/// A connection to one of the server's databases.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with the connection")]
    tokio::spawn(connection);
    client
}

/// Makes stores in a database of its own.
pub(crate) struct InDatabase {
    url: tokio::sync::OnceCell<String>,
}

impl InDatabase {
    pub(crate) fn new() -> Self {
        Self { url: tokio::sync::OnceCell::new() }
    }

    /// Its database, made at first.
    pub(crate) async fn url(&self) -> &str {
        self.url.get_or_init(async || new_database()).await
    }
}

impl Maker for InDatabase {
    fn open(&self, clock: Arc<FixedClock>) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async move {
            let options = postgres_options(self.url().await, clock, 7);
            Arc::new(Postgres::open(options).await.unwrap()) as Arc<dyn Store>
        })
    }

    fn backs_up(&self) -> bool {
        false
    }

    fn removes_within(&self) -> Duration {
        Duration::from_hours(24)
    }

    fn restore(&self, _backup: PathBuf, _clock: Arc<FixedClock>) -> BoxFuture<'_, Arc<dyn Store>> {
        unreachable!("a PostgreSQL store is backed up with PostgreSQL's own means")
    }
}

/// Waits until a session waits for a lock of this kind.
pub(crate) async fn until_waiting(other: &Client, kind: &str) {
    let sql = "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
               WHERE datname = current_database() AND locktype = $1 AND NOT granted)";
    while !other.query_one(sql, &[&kind]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
}
