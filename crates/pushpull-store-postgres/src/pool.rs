//! Connections, kept open and lent.
//!
//! Our own, since a pool must hear what the server says beside its answers: a commit whose wait for the standby was
//! cut off succeeds, with a warning.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering},
    },
};

use futures_util::future::poll_fn;
use pushpull_store::Error;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{
    AsyncMessage, Client, Row, Statement,
    types::{ToSql, Type},
};
use tokio_util::sync::CancellationToken;

use crate::{ANSWER_MAX, connect::Connector, fault::Fault};

/// Most statements that are kept prepared on a connection.
const STATEMENTS_MAX: usize = 512;

/// What a statement is given.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// One connection to the server.
pub(crate) struct Conn {
    client: Client,
    statements: Mutex<HashMap<Box<str>, Statement>>,
    beside: Arc<Beside>,
    /// Answers that are waited for, or that nobody waits for any more.
    unanswered: AtomicUsize,
}

/// What the server says beside its answers.
#[derive(Default)]
struct Beside {
    warnings: AtomicU64,
    hints: Notify,
    closed: CancellationToken,
    /// The process that serves this connection, if its own hints are not to be heard.
    own: AtomicI32,
}

/// What was heard of the server.
pub(crate) enum Heard {
    /// Another session has sent a hint.
    Hint,
    /// The connection is closed.
    Closed,
}

impl Conn {
    /// Connects. What comes in is handled on a task of its own, which ends with the connection.
    pub(crate) async fn open(connector: &Connector) -> Result<Self, Fault> {
        let (client, mut connection) = connector.connect().await?;
        let beside = Arc::<Beside>::default();
        let heard = Arc::clone(&beside);
        #[expect(clippy::disallowed_methods, reason = "it ends with the connection, which the pool owns")]
        tokio::spawn(async move {
            // The notice of a statement comes before its end, so it is heard before who waits for that goes on.
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    AsyncMessage::Notice(notice) if notice.severity() == "WARNING" => {
                        heard.warnings.fetch_add(1, Ordering::SeqCst);
                        tracing::warn!(said = %notice.message(), "PostgreSQL warns");
                    }
                    AsyncMessage::Notification(hint)
                        if hint.process_id() != heard.own.load(Ordering::SeqCst) =>
                    {
                        heard.hints.notify_one();
                    }
                    _ => {}
                }
            }
            heard.closed.cancel();
        });
        connector.set_up(&client).await?;
        Ok(Self { client, statements: Mutex::default(), beside, unanswered: AtomicUsize::new(0) })
    }

    /// Hears no hints any more that are sent by this connection.
    pub(crate) async fn ignore_own_hints(&self) -> Result<(), Fault> {
        let pid: i32 = self.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        self.beside.own.store(pid, Ordering::SeqCst);
        Ok(())
    }

    /// Waits for a hint.
    pub(crate) async fn heard(&self) -> Heard {
        tokio::select! {
            () = self.beside.hints.notified() => Heard::Hint,
            () = self.beside.closed.cancelled() => Heard::Closed,
        }
    }

    /// How often the server has warned on this connection.
    pub(crate) fn warnings(&self) -> u64 {
        #[cfg(feature = "faults")]
        if crate::faults::is_committed(crate::faults::Fault::NoticesIgnored) {
            return 0;
        }
        self.beside.warnings.load(Ordering::SeqCst)
    }

    /// The statement of this text, prepared at its first use.
    pub(crate) async fn prepare(&self, sql: &str) -> Result<Statement, Fault> {
        self.prepare_typed(sql, &[]).await
    }

    /// The same, with types where the text leaves them open.
    pub(crate) async fn prepare_typed(&self, sql: &str, types: &[Type]) -> Result<Statement, Fault> {
        let known = self.statements.lock().expect("nobody panics while holding this lock").get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        #[cfg(not(feature = "faults"))]
        let text = sql;
        #[cfg(feature = "faults")]
        let text = &*crate::faults::spoil(sql);
        let statement = self.answered(self.client.prepare_typed(text, types)).await?;
        let mut statements = self.statements.lock().expect("nobody panics while holding this lock");
        if statements.len() >= STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    /// Waits for an answer. If it is waited for no longer, this is never undone, and nobody else gets the connection.
    async fn answered<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        self.unanswered.fetch_add(1, Ordering::SeqCst);
        let answer = answer.await;
        self.unanswered.fetch_sub(1, Ordering::SeqCst);
        Ok(answer?)
    }

    /// Whether another may have it.
    fn is_free(&self) -> bool {
        !self.client.is_closed() && self.unanswered.load(Ordering::SeqCst) == 0
    }

    /// The rows of a query.
    pub(crate) async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Fault> {
        let statement = self.prepare(sql).await?;
        self.answered(self.client.query(&statement, params)).await
    }

    /// The only row of a query, if there is one.
    pub(crate) async fn query_opt(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>, Fault> {
        let statement = self.prepare(sql).await?;
        self.answered(self.client.query_opt(&statement, params)).await
    }

    /// The only row of a query that always has one.
    pub(crate) async fn query_one(&self, sql: &str, params: Params<'_>) -> Result<Row, Fault> {
        let statement = self.prepare(sql).await?;
        self.answered(self.client.query_one(&statement, params)).await
    }

    /// Changes rows; how many.
    pub(crate) async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, Fault> {
        let statement = self.prepare(sql).await?;
        self.answered(self.client.execute(&statement, params)).await
    }

    /// Statements without parameters, separated by semicolons.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.answered(self.client.batch_execute(sql)).await
    }

    /// The driver's own, for statements that are sent together.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

/// Connections of one kind.
pub(crate) struct Pool {
    connector: Connector,
    idle: Mutex<Vec<Conn>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    /// At most so many connections.
    pub(crate) fn new(connector: Connector, max: usize) -> Arc<Self> {
        Arc::new(Self { connector, idle: Mutex::default(), permits: Arc::new(Semaphore::new(max)) })
    }

    /// A connection: one that is idle, or a new one; waits for one as long as an answer may take if as many as may be
    /// are lent.
    pub(crate) async fn lend(self: &Arc<Self>) -> Result<Lent, Fault> {
        let permit = tokio::time::timeout(ANSWER_MAX, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| Error::Busy)?.map_err(|_| Error::Closing)?;
        let idle = || self.idle.lock().expect("nobody panics while holding this lock").pop();
        let conn = loop {
            match idle() {
                Some(conn) if conn.client.is_closed() => {}
                Some(conn) => break conn,
                None => break Conn::open(&self.connector).await?,
            }
        };
        Ok(Lent { conn: Some(conn), pool: Arc::clone(self), _permit: permit })
    }

    /// Closes what is idle, and the rest when it comes back.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.idle.lock().expect("nobody panics while holding this lock").clear();
    }
}

/// A connection that is lent; it goes back when this is dropped.
pub(crate) struct Lent {
    conn: Option<Conn>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl std::ops::Deref for Lent {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.conn.as_ref().expect("it is there until this is dropped")
    }
}

impl Lent {
    /// Closes the connection: nobody knows in what state it is.
    pub(crate) fn discard(mut self) {
        self.conn = None;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take()
            && conn.is_free()
            && !self.pool.permits.is_closed()
        {
            self.pool.idle.lock().expect("nobody panics while holding this lock").push(conn);
        }
    }
}
