//! Rows of consumers, and the queue they read.

use std::sync::LazyLock;

use pushpull_domain::{EndpointNo, Seq, Timestamp, endpoint::DRAINING_MAX};
use pushpull_store::{Consumer, ConsumerKey, QueueEnds, codec, columns};
use tokio_postgres::Row;

use crate::{
    Db,
    fault::Fault,
    feed::{self, ENDS},
    named::Named,
    pool::{Conn, Params},
    tx::Tx,
};

/// The columns of a whole row, of an alias `c`.
pub(crate) const CONSUMER: &str = "c.endpoint, c.name, c.committed, c.handed, c.holder, c.leased_until, c.idle_ms, \
                                   c.max_deliver, c.seen_at, c.created_at";

/// The consumer `$1`, `$2`.
pub(crate) static FIND: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {CONSUMER} FROM consumer c WHERE c.endpoint = $1 AND c.name = $2"));
static LOCK: LazyLock<String> = LazyLock::new(|| format!("{} FOR UPDATE", *FIND));

/// What `expires_at` is cut to, in milliseconds: what is in an index should change rarely.
const EXPIRES_STEP_MS: i64 = 60_000;

const SAVE: &str = "
    INSERT INTO consumer (endpoint, name, committed, handed, holder, leased_until, idle_ms, max_deliver, seen_at,
        expires_at, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (endpoint, name) DO UPDATE SET committed = excluded.committed, handed = excluded.handed,
        holder = excluded.holder, leased_until = excluded.leased_until, idle_ms = excluded.idle_ms,
        max_deliver = excluded.max_deliver, seen_at = excluded.seen_at, expires_at = excluded.expires_at";

/// Makes a consumer of a row with the columns of [`CONSUMER`] among its own.
pub(crate) fn consumer(row: &Row) -> Result<Consumer, Fault> {
    columns::consumer(&Named::new(row))
}

/// The consumer of this name, locked: nobody else changes it, or its work queue.
pub(crate) async fn lock(tx: &Tx, key: &ConsumerKey) -> Result<Option<Consumer>, Fault> {
    let found = tx.query_opt(&LOCK, &[&key.endpoint.0.cast_signed(), &&*key.name]).await?;
    found.as_ref().map(consumer).transpose()
}

/// Writes a consumer, new or locked. It was seen.
pub(crate) async fn save(tx: &Tx, consumer: Consumer) -> Result<Consumer, Fault> {
    let consumer = Consumer { seen_at: tx.wall, ..consumer };
    let params: Params<'_> = &[
        &consumer.key.endpoint.0.cast_signed(),
        &&*consumer.key.name,
        &consumer.committed.0.cast_signed(),
        &consumer.handed.0.cast_signed(),
        &consumer.lease.as_ref().and_then(|lease| lease.holder.as_deref()),
        &consumer.lease.as_ref().map(|lease| lease.until.as_millis()),
        &i64::try_from(consumer.settings.idle.as_millis()).unwrap_or(i64::MAX),
        &consumer.settings.max_deliver.cast_signed(),
        &consumer.seen_at.as_millis(),
        &expires_at(&consumer),
        &consumer.created_at.as_millis(),
    ];
    tx.execute(SAVE, params).await?;
    Ok(consumer)
}

/// What the column says of a consumer.
pub(crate) fn expires_at(consumer: &Consumer) -> i64 {
    let at = consumer.expires_at().as_millis();
    at - at.rem_euclid(EXPIRES_STEP_MS)
}

/// The queue of an endpoint as a consumer sees it.
pub(crate) struct Queue {
    pub(crate) endpoint: EndpointNo,
    /// Whether the dispatcher goes along it.
    pub(crate) pushed: bool,
    /// Where readers had got to when it was last pushed.
    pub(crate) read: Seq,
    /// What a push brought may not be known yet.
    pub(crate) draining: bool,
    /// Everything up to here was removed by retention.
    pub(crate) trimmed: Seq,
    /// The newest seq there is or was.
    pub(crate) last: Seq,
}

impl Queue {
    /// Reads what [`QUEUE`] selects, the first of which is this column.
    fn read(row: &Row, first: usize, endpoint: EndpointNo, now: Timestamp) -> Self {
        let QueueEnds { trimmed, last } = feed::read_ends(row, first);
        Self {
            endpoint,
            pushed: row.get::<_, i16>(first + 2) == 0,
            read: feed::seq(row, first + 3),
            draining: time(row, first + 4).is_some_and(|since| since.after(DRAINING_MAX) > now),
            trimmed,
            last,
        }
    }

    /// Whether a consumer passes over a delivery in this state: what a push brought, unless it is pushed still.
    pub(crate) fn passes_over(&self, state: i16) -> bool {
        !self.pushed && state == i16::from(codec::DELIVERED)
    }

    /// The key of a place.
    pub(crate) fn key(&self, seq: Seq) -> i64 {
        feed::key_of(self.endpoint, seq)
    }
}

/// The columns of [`Queue`]: of the ends `queue` and an endpoint `e`.
const QUEUE: &str = "queue.trimmed, queue.last, e.mode, e.read_seq, e.draining_since";

static FIND_QUEUE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {QUEUE} FROM endpoint e CROSS JOIN ({ENDS}) AS queue WHERE e.no = $1 AND e.deleted_at IS NULL"
    )
});

/// The queue of an endpoint, which is locked: it is not deleted meanwhile, no other consumer of it is made, and
/// retention removes nothing of it.
pub(crate) async fn lock_queue(db: &Db, tx: &Tx, endpoint: EndpointNo) -> Result<Option<Queue>, Fault> {
    let (no, before, day) = feed::asks(db, endpoint);
    // A statement of its own: the next one sees what was committed before this one got the lock.
    tx.query_opt("SELECT FROM endpoint WHERE no = $1 FOR NO KEY UPDATE", &[&no]).await?;
    let found = tx.query_opt(&FIND_QUEUE, &[&no, &before, &day]).await?;
    Ok(found.map(|row| Queue::read(&row, 0, endpoint, tx.wall)))
}

/// What of a work queue is not done.
pub(crate) struct Undone {
    /// Taken, or waiting to come back.
    pub(crate) taken: u64,
    /// Of these, in somebody's hands, or put off.
    pub(crate) out: usize,
    /// Handed out no more.
    pub(crate) parked: u64,
}

impl Undone {
    pub(crate) fn is_nothing(&self) -> bool {
        self.taken + self.parked == 0
    }
}

/// How a consumer stands, in one view.
pub(crate) struct Standing {
    pub(crate) consumer: Consumer,
    pub(crate) queue: Queue,
    /// Nothing, unless it was counted.
    pub(crate) undone: Undone,
    /// When the next item comes back.
    pub(crate) next_due_at: Option<Timestamp>,
}

/// `$4` is the name, `$5` the time, `$6` whether the undone are counted: not by who only looks whether there is anything
/// to take.
static STANDING: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {CONSUMER}, {QUEUE}, undone.*, (
             SELECT min(due_at) FROM consumer_item WHERE endpoint = $1 AND consumer = $4 AND due_at IS NOT NULL) AS next_due
         FROM consumer c JOIN endpoint e ON e.no = c.endpoint AND e.deleted_at IS NULL
             CROSS JOIN ({ENDS}) AS queue
             CROSS JOIN LATERAL (
                 SELECT count(due_at), count(*) FILTER (WHERE due_at > $5), count(*) FILTER (WHERE due_at IS NULL),
                     min(seq) FILTER (WHERE due_at IS NOT NULL)
                 FROM consumer_item
                 WHERE $6 AND endpoint = $1 AND consumer = $4 AND seq > queue.trimmed)
                     AS undone (taken, out, parked, first)
         WHERE c.endpoint = $1 AND c.name = $4"
    )
});

/// The same, and when the message was made that is the oldest of what is not done: what a stream was handed is not, and
/// what a work queue was handed is, but for its rows.
static WITH_OLDEST: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT s.*, (
             SELECT m.created_at
             FROM (SELECT message, message_day FROM delivery
                   WHERE key BETWEEN $2 + 1 + greatest(s.trimmed, least(s.first - 1,
                           CASE WHEN s.taken + s.parked = 0 THEN s.committed ELSE s.handed END)) AND $2 + s.last
                   ORDER BY key LIMIT 1) AS d
                 JOIN message m ON m.key = d.message AND m.day = d.message_day)
         FROM ({}) AS s",
        *STANDING
    )
});

impl Standing {
    /// `None`: there is no such consumer, or its endpoint is gone.
    pub(crate) async fn of(
        db: &Db,
        conn: &Conn,
        key: &ConsumerKey,
        now: Timestamp,
        count: bool,
    ) -> Result<Option<Self>, Fault> {
        let (no, before, day) = feed::asks(db, key.endpoint);
        let params: Params<'_> = &[&no, &before, &day, &&*key.name, &now.as_millis(), &count];
        conn.query_opt(&STANDING, params).await?.map(|row| Self::read(&row, now)).transpose()
    }

    /// Counted, and when the oldest message was made that is not done.
    pub(crate) async fn with_oldest(
        db: &Db,
        conn: &Conn,
        key: &ConsumerKey,
        now: Timestamp,
    ) -> Result<Option<(Self, Option<Timestamp>)>, Fault> {
        let (no, before, day) = feed::asks(db, key.endpoint);
        let params: Params<'_> = &[&no, &before, &day, &&*key.name, &now.as_millis(), &true];
        let Some(row) = conn.query_opt(&WITH_OLDEST, params).await? else { return Ok(None) };
        Ok(Some((Self::read(&row, now)?, time(&row, 20))))
    }

    fn read(row: &Row, now: Timestamp) -> Result<Self, Fault> {
        let number = |column| row.get::<_, i64>(column).cast_unsigned();
        let consumer = consumer(row)?;
        Ok(Self {
            queue: Queue::read(row, 10, consumer.key.endpoint, now),
            consumer,
            undone: Undone { taken: number(15), out: number(16) as usize, parked: number(17) },
            next_due_at: time(row, 19),
        })
    }
}

fn time(row: &Row, column: usize) -> Option<Timestamp> {
    row.get::<_, Option<i64>>(column).map(Timestamp::from_millis)
}
