//! What is counted and written down of a day before it is removed, step by step.

use std::sync::Arc;

use pushpull_store::{Trimmed, codec};
use tokio_postgres::Row;

use super::{
    super::{ROWS_MAX, lock_apps, lock_apps_of},
    Day, KEPT,
};
use crate::{Db, fault::Fault, feed, tx::Tx};

/// Applications, or endpoints, in one transaction.
const NUMBERS_MAX: i64 = 200;
/// Blocks of deliveries that are counted in one step: 8 MiB.
const BLOCKS_MAX: i64 = 1_024;
/// The numbers that have rows in a table, after the key `$1`, at most `$2`: one seek for each.
pub(in crate::trim) fn numbers(table: &str, day: i32) -> String {
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

/// How far each application's positions went.
pub(super) async fn apps(db: &Arc<Db>, day: Day, before: i64) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let found = tx.query(&numbers("message", day.no), &[&day.reached, &NUMBERS_MAX]).await?;
    let apps: Vec<i32> = found.iter().map(|row| row.get(0)).collect();
    lock_apps(&tx, &apps).await?;
    let ends = format!(
        "SELECT a.no, last.key, last.created_at, last.key - first.key + 1 FROM unnest($1::integer[]) AS a (no)
         CROSS JOIN LATERAL (SELECT key FROM message_{0}
             WHERE key >= a.no::bigint << 40 ORDER BY key LIMIT 1) first
         CROSS JOIN LATERAL (SELECT key, created_at FROM message_{0}
             WHERE key < (a.no::bigint + 1) << 40 ORDER BY key DESC LIMIT 1) last",
        day.no
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

/// Counted in the order in which they lie, whose they are. What is settled meanwhile is counted, or not.
pub(super) async fn owed(db: &Arc<Db>, day: Day) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let count = format!(
        "SELECT count(*), pg_relation_size('delivery_{0}') / current_setting('block_size')::bigint
         FROM delivery_{0} WHERE state = 0 AND ctid >= $1::text::tid AND ctid < $2::text::tid",
        day.no
    );
    let end = day.reached + BLOCKS_MAX;
    let place = |block: i64| format!("({block},0)");
    let row = tx.query_one(&count, &[&place(day.reached), &place(end)]).await?;
    let (owed, blocks): (i64, i64) = (row.get(0), row.get(1));
    Day { cancelled: day.cancelled + owed, ..day }.reach((end < blocks).then_some(end)).save(&tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// How far each endpoint's seqs went.
pub(super) async fn deliveries(db: &Arc<Db>, day: Day) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let found = tx.query(&numbers("delivery", day.no), &[&day.reached, &NUMBERS_MAX]).await?;
    let endpoints: Vec<i32> = found.iter().map(|row| row.get(0)).collect();
    let ends = tx.query(&ends("delivery", day.no), &[&endpoints]).await?;
    let (with, last) = places(&ends);
    write_seqs(&tx, &with, &last).await?;
    // Readers are told that these are gone from now on, before they are.
    feed::begin_anew(&tx, &with, &last).await?;
    day.reach(last_of(&endpoints)).save(&tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// The last key of each of some numbers that have rows in a table.
fn ends(table: &str, day: i32) -> String {
    format!(
        "SELECT n.no, last.key FROM unnest($1::integer[]) AS n (no)
         CROSS JOIN LATERAL (SELECT key FROM {table}_{day}
             WHERE key < (n.no::bigint + 1) << 40 ORDER BY key DESC LIMIT 1) last"
    )
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

/// How far each endpoint's attempts went.
pub(super) async fn attempts(db: &Arc<Db>, day: Day) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let found = tx.query(&numbers("attempt", day.no), &[&day.reached, &NUMBERS_MAX]).await?;
    let endpoints: Vec<i32> = found.iter().map(|row| row.get(0)).collect();
    let (with, last) = places(&tx.query(&ends("attempt", day.no), &[&endpoints]).await?);
    lock_apps_of(&tx, &with).await?;
    tx.execute(
        "UPDATE endpoint SET trimmed_attempt = greatest(trimmed_attempt, l.last)
         FROM unnest($1::integer[], $2::bigint[]) AS l (no, last) WHERE endpoint.no = l.no",
        &[&with, &last],
    )
    .await?;
    day.reach(last_of(&endpoints)).save(&tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Deliveries of the day's messages that joined their queues on later days: sent again by hand. They go one by one,
/// and may have been the last of their queues.
pub(super) async fn later(db: &Arc<Db>, day: Day, trimmed: &mut Trimmed) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let sql =
        "SELECT endpoint, key, day FROM delivery WHERE message_day = $1 AND day <> message_day LIMIT $2";
    let found = tx.query(sql, &[&day.no, &ROWS_MAX]).await?;
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
pub(super) async fn event_ids(db: &Arc<Db>, day: Day) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    let sql = "DELETE FROM event_id WHERE (app, event_id) IN (
                   SELECT app, event_id FROM event_id WHERE day = $1 LIMIT $2)";
    let removed = tx.execute(sql, &[&day.no, &ROWS_MAX]).await?;
    day.reach((removed == ROWS_MAX.cast_unsigned()).then_some(0)).save(&tx).await?;
    tx.commit().await?;
    Ok(true)
}
