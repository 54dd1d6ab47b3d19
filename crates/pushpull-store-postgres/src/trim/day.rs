//! The oldest day, once everything of it is older than it is kept.
//!
//! Before its partitions are dropped it is written down how far they went, since what is numbered next is numbered
//! after the newest row that is kept, or else after that. How far this has come stands in `made_day`.

use std::sync::Arc;

use pushpull_store::{Retention, Trimmed, codec};
use tokio_postgres::{Row, error::SqlState};

use super::{ROWS_MAX, detach::detach, lock_apps, lock_apps_of};
use crate::{
    Db,
    days::{DAY_MILLIS, PARTITIONED},
    fault::Fault,
    feed,
    pool::Lent,
    tx::Tx,
};

/// What is done with a day, one after the other.
const KEPT: i16 = 0;
/// Nobody writes to it any more; how far each application's positions went.
const APPS: i16 = 1;
/// From here on it goes, whatever comes: how far each endpoint's seqs went.
const DELIVERIES: i16 = 2;
/// How far each endpoint's attempts went.
const ATTEMPTS: i16 = 3;
/// What joined a queue on a later day.
const LATER: i16 = 4;
const EVENT_IDS: i16 = 5;
const PARTITIONS: i16 = 6;

/// Applications, or endpoints, in one transaction.
const NUMBERS_MAX: i64 = 200;
/// Deliveries that are counted in one transaction.
const COUNTED_MAX: i64 = 5_000;
/// How long is waited for others who use a day's tables. Who comes after them waits as long.
pub(super) const WAIT: &str = "1s";

/// A day, and how far it has come.
struct Day {
    day: i32,
    stage: i16,
    reached: i64,
    messages: i64,
    cancelled: i64,
}

/// One step, if the oldest day is to go.
pub(super) async fn step(
    db: &Arc<Db>,
    conn: &Lent,
    retention: Retention,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    // The newest is never removed: what is written next is written there.
    let sql = "SELECT day, stage, reached, messages, cancelled FROM made_day
               WHERE day < (SELECT max(day) FROM open_day) ORDER BY day LIMIT 1";
    let Some(found) = conn.query_opt(sql, &[]).await? else { return Ok(()) };
    let day = Day::of(&found);
    let before = db.clock.now().before(retention.messages).as_millis();
    let is_old = (i64::from(day.day) + 1) * DAY_MILLIS <= before;
    if !is_old && day.stage <= APPS {
        return Ok(());
    }
    let goes_on = match day.stage {
        KEPT => begin(db, &day).await,
        APPS => apps(db, day, before).await,
        DELIVERIES => deliveries(db, day).await,
        ATTEMPTS => attempts(db, day).await,
        LATER => later(db, day, trimmed).await,
        EVENT_IDS => event_ids(db, day).await,
        _ => drop_partitions(db, conn, &day, trimmed).await,
    };
    match goes_on {
        Ok(goes_on) => trimmed.more |= goes_on,
        // Somebody uses its tables for long: it is tried again when they are looked at next.
        Err(Fault::Sql(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            tracing::info!(day = found.get::<_, i32>(0), "a day that is too old is still in use");
        }
        Err(fault) => return Err(fault),
    }
    Ok(())
}

/// Whether a day's messages are about to go, so that nothing may begin to hang on them. If not, they stay until the
/// transaction ends.
pub(crate) async fn is_going(tx: &Tx, day: i32) -> Result<bool, Fault> {
    let row = tx.query_opt("SELECT stage FROM made_day WHERE day = $1 FOR SHARE", &[&day]).await?;
    Ok(row.is_none_or(|row| row.get::<_, i16>(0) >= DELIVERIES))
}

impl Day {
    fn of(row: &Row) -> Self {
        Self {
            day: row.get(0),
            stage: row.get(1),
            reached: row.get(2),
            messages: row.get(3),
            cancelled: row.get(4),
        }
    }

    /// Goes on after a key; without one, with the next stage.
    fn reach(self, key: Option<i64>) -> Self {
        match key {
            Some(reached) => Self { reached, ..self },
            None => Self { stage: self.stage + 1, reached: 0, ..self },
        }
    }

    async fn save(&self, tx: &Tx) -> Result<(), Fault> {
        tx.execute(
            "UPDATE made_day SET stage = $2, reached = $3, messages = $4, cancelled = $5 WHERE day = $1",
            &[&self.day, &self.stage, &self.reached, &self.messages, &self.cancelled],
        )
        .await?;
        Ok(())
    }
}

/// Waits until nobody has anything uncommitted in a day's tables. Nobody begins, since a newer day is written to.
async fn begin(db: &Arc<Db>, day: &Day) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let tables = PARTITIONED.map(|table| format!("{table}_{}", day.day)).join(", ");
    tx.conn().batch(&format!("SET LOCAL lock_timeout = '{WAIT}'; LOCK TABLE {tables} IN SHARE MODE")).await?;
    Day { day: day.day, stage: APPS, reached: 0, messages: 0, cancelled: 0 }.save(&tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// The numbers that have rows in a table, from a key on: one seek for each.
fn numbers(table: &str, day: i32) -> String {
    format!(
        "WITH RECURSIVE numbers (key) AS (
             (SELECT key FROM {table}_{day} WHERE key > $1 ORDER BY key LIMIT 1)
             UNION ALL
             SELECT (SELECT t.key FROM {table}_{day} t WHERE t.key >= ((n.key >> 40) + 1) << 40 ORDER BY t.key LIMIT 1)
             FROM numbers n WHERE n.key IS NOT NULL
         )
         SELECT (key >> 40)::integer FROM numbers WHERE key IS NOT NULL LIMIT $2"
    )
}

/// The last key of some numbers' rows, and of how many numbers, if there may be more.
fn last_of(numbers: &[i32]) -> Option<i64> {
    let is_full = numbers.len() as i64 == NUMBERS_MAX;
    numbers.last().filter(|_| is_full).map(|no| codec::range(no.cast_unsigned()).1)
}

async fn apps(db: &Arc<Db>, day: Day, before: i64) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let found = tx.query(&numbers("message", day.day), &[&day.reached, &NUMBERS_MAX]).await?;
    let apps: Vec<i32> = found.iter().map(|row| row.get(0)).collect();
    lock_apps(&tx, &apps).await?;
    let ends = format!(
        "SELECT a.no, last.key, last.created_at, last.key - first.key + 1 FROM unnest($1::integer[]) AS a (no)
         CROSS JOIN LATERAL (SELECT key FROM message_{0}
             WHERE key >= a.no::bigint << 40 ORDER BY key LIMIT 1) first
         CROSS JOIN LATERAL (SELECT key, created_at FROM message_{0}
             WHERE key < (a.no::bigint + 1) << 40 ORDER BY key DESC LIMIT 1) last",
        day.day
    );
    let ends = tx.query(&ends, &[&apps]).await?;
    if ends.iter().any(|row| row.get::<_, i64>(2) >= before) {
        // A clock went ahead when it was written. It is looked at anew, and kept that long.
        Day { stage: KEPT, reached: 0, ..day }.save(&tx).await?;
        tx.commit().await?;
        return Ok(false);
    }
    let (nos, last): (Vec<i32>, Vec<i64>) =
        ends.iter().map(|row| (row.get::<_, i32>(0), codec::place(row.get(1)).cast_signed())).unzip();
    tx.execute(
        "UPDATE app SET trimmed_position = greatest(trimmed_position, l.last)
         FROM unnest($1::integer[], $2::bigint[]) AS l (no, last) WHERE app.no = l.no",
        &[&nos, &last],
    )
    .await?;
    // Positions are dense.
    let messages = day.messages + ends.iter().map(|row| row.get::<_, i64>(3)).sum::<i64>();
    Day { messages, ..day }.reach(last_of(&apps)).save(&tx).await?;
    tx.commit().await?;
    Ok(true)
}

async fn deliveries(db: &Arc<Db>, day: Day) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let count = format!(
        "SELECT endpoint, max(key), count(*) FILTER (WHERE state = 0), count(*)
         FROM (SELECT endpoint, key, state FROM delivery_{} WHERE key > $1 ORDER BY key LIMIT $2) looked
         GROUP BY endpoint",
        day.day
    );
    let counted = tx.query(&count, &[&day.reached, &COUNTED_MAX]).await?;
    let (endpoints, last) = places(&counted);
    write_seqs(&tx, &endpoints, &last).await?;
    // Readers are told that these are gone from now on, before they are.
    feed::begin_anew(&tx, &endpoints, &last).await?;
    let sum = |column| counted.iter().map(|row| row.get::<_, i64>(column)).sum::<i64>();
    let last = counted.iter().map(|row| row.get(1)).max().filter(|_| sum(3) == COUNTED_MAX);
    Day { cancelled: day.cancelled + sum(2), ..day }.reach(last).save(&tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Rows of an endpoint and a key.
fn places(rows: &[Row]) -> (Vec<i32>, Vec<i64>) {
    rows.iter().map(|row| (row.get::<_, i32>(0), codec::place(row.get(1)).cast_signed())).unzip()
}

/// Up to where seqs of endpoints went.
async fn write_seqs(tx: &Tx, endpoints: &[i32], last: &[i64]) -> Result<(), Fault> {
    lock_apps_of(tx, endpoints).await?;
    tx.execute(
        "UPDATE endpoint SET trimmed_seq = greatest(trimmed_seq, l.last)
         FROM unnest($1::integer[], $2::bigint[]) AS l (no, last) WHERE endpoint.no = l.no",
        &[&endpoints, &last],
    )
    .await?;
    Ok(())
}

async fn attempts(db: &Arc<Db>, day: Day) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let found = tx.query(&numbers("attempt", day.day), &[&day.reached, &NUMBERS_MAX]).await?;
    let endpoints: Vec<i32> = found.iter().map(|row| row.get(0)).collect();
    lock_apps_of(&tx, &endpoints).await?;
    let write = format!(
        "UPDATE endpoint SET trimmed_attempt = greatest(trimmed_attempt, l.key & ((1::bigint << 40) - 1))
         FROM (SELECT e.no, last.key FROM unnest($1::integer[]) AS e (no)
             CROSS JOIN LATERAL (SELECT key FROM attempt_{}
                 WHERE key < (e.no::bigint + 1) << 40 ORDER BY key DESC LIMIT 1) last) l
         WHERE endpoint.no = l.no",
        day.day
    );
    tx.execute(&write, &[&endpoints]).await?;
    day.reach(last_of(&endpoints)).save(&tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Deliveries of the day's messages that joined their queues on later days: sent again by hand. They go one by one,
/// and may have been the last of their queues.
async fn later(db: &Arc<Db>, day: Day, trimmed: &mut Trimmed) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let sql =
        "SELECT endpoint, key, day FROM delivery WHERE message_day = $1 AND day <> message_day LIMIT $2";
    let found = tx.query(sql, &[&day.day, &ROWS_MAX]).await?;
    let mut rows: Vec<(i64, i32)> = found.iter().map(|row| (row.get(1), row.get(2))).collect();
    rows.sort_unstable();
    let (keys, days): (Vec<i64>, Vec<i32>) = rows.into_iter().unzip();
    let (endpoints, last) = places(&last_of_each(&tx, &keys).await?);
    write_seqs(&tx, &endpoints, &last).await?;
    let lock = "SELECT d.state FROM unnest($1::bigint[], $2::integer[]) AS k (key, day)
                CROSS JOIN LATERAL (SELECT state FROM delivery
                    WHERE delivery.key = k.key AND delivery.day = k.day FOR UPDATE) d";
    let states = tx.query(lock, &[&keys, &days]).await?;
    let delete = "DELETE FROM delivery d USING unnest($1::bigint[], $2::integer[]) AS k (key, day)
                  WHERE d.key = k.key AND d.day = k.day";
    tx.execute(delete, &[&keys, &days]).await?;
    feed::begin_anew(&tx, &endpoints, &vec![0; endpoints.len()]).await?;
    let is_full = keys.len() as i64 == ROWS_MAX;
    day.reach(is_full.then_some(0)).save(&tx).await?;
    tx.commit().await?;
    trimmed.cancelled += states.iter().filter(|row| row.get::<_, i16>(0) == 0).count() as u64;
    Ok(true)
}

/// Of keys of deliveries, each endpoint's last.
async fn last_of_each(tx: &Tx, keys: &[i64]) -> Result<Vec<Row>, Fault> {
    tx.query(
        "SELECT (key >> 40)::integer, max(key) FROM unnest($1::bigint[]) AS k (key) GROUP BY 1",
        &[&keys],
    )
    .await
}

/// The users' own ids of the day's messages.
async fn event_ids(db: &Arc<Db>, day: Day) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let sql = "DELETE FROM event_id WHERE (app, event_id) IN (
                   SELECT app, event_id FROM event_id WHERE day = $1 LIMIT $2)";
    let removed = tx.execute(sql, &[&day.day, &ROWS_MAX]).await?;
    day.reach((removed == ROWS_MAX.cast_unsigned()).then_some(0)).save(&tx).await?;
    tx.commit().await?;
    Ok(true)
}

async fn drop_partitions(db: &Arc<Db>, conn: &Lent, day: &Day, trimmed: &mut Trimmed) -> Result<bool, Fault> {
    // What is owed ends first; a message is there as long as anything of it is.
    for table in ["delivery", "attempt", "message"] {
        detach(conn, table, day.day).await?;
    }
    let tx = db.begin().await?;
    tx.execute("DELETE FROM open_day WHERE day = $1", &[&day.day]).await?;
    tx.execute("DELETE FROM made_day WHERE day = $1", &[&day.day]).await?;
    tx.commit().await?;
    db.days.forget();
    trimmed.messages += day.messages.cast_unsigned();
    trimmed.cancelled += day.cancelled.cast_unsigned();
    Ok(true)
}
