//! Payloads that are older than they are kept, and those of deleted applications.

use std::{collections::BTreeMap, sync::Arc};

use pushpull_domain::CancelReason;
use pushpull_store::{Retention, Trimmed, codec};

use tokio_postgres::types::ToSql;

use super::{day::stages::numbers, lock_apps};
use crate::{
    Db,
    days::{DAY_MILLIS, day_of},
    fault::Fault,
    messages::expunge,
    pool::Params,
};

/// Payloads erased in one transaction.
const ERASED_MAX: i64 = 500;
/// Applications looked at in one step.
const APPS_MAX: i64 = 200;
/// ... and of which payloads are erased.
const APPS_ERASED_MAX: usize = 20;

/// Payloads with a time of their own.
pub(super) async fn expired(db: &Arc<Db>, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let conn = db.reads.lend().await?;
    let sql = "SELECT key, day FROM message WHERE payload_expires_at <= $1 LIMIT $2";
    let found = conn.query(sql, &[&db.clock.now().as_millis(), &ERASED_MAX]).await?;
    drop(conn);
    let mut by_app: BTreeMap<i32, (Vec<i64>, Vec<i32>)> = BTreeMap::new();
    for row in &found {
        let key: i64 = row.get(0);
        let (keys, days) = by_app.entry(codec::no(key).cast_signed()).or_default();
        keys.push(key);
        days.push(row.get(1));
    }
    for (app, (keys, days)) in by_app {
        let tx = db.begin().await?;
        lock_apps(&tx, &[app]).await?;
        trimmed.cancelled += expunge(&tx, &keys, &days, CancelReason::Retention).await?;
        tx.commit().await?;
        trimmed.payloads += keys.len() as u64;
    }
    trimmed.more |= found.len() as i64 == ERASED_MAX;
    Ok(())
}

/// Payloads without a time of their own, by their age: of the first day that has some, one application after the other.
pub(super) async fn by_age(db: &Arc<Db>, retention: Retention, trimmed: &mut Trimmed) -> Result<(), Fault> {
    if retention.payloads >= retention.messages {
        // They go with their messages.
        return Ok(());
    }
    let before = db.clock.now().before(retention.payloads);
    let conn = db.reads.lend().await?;
    let sql = "SELECT min(day) FROM made_day WHERE NOT erased";
    let day: Option<i32> = conn.query_one(sql, &[]).await?.get(0);
    let Some(day) = day.filter(|day| *day <= day_of(before)) else { return Ok(()) };
    let reached = db.trimmer.progress().erased;
    let looked = conn.query(&due(day), &[&reached, &APPS_MAX, &before.as_millis()]).await?;
    drop(conn);
    let due: Vec<i32> = looked.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
    for app in due.iter().take(APPS_ERASED_MAX) {
        // Come back to this one until nothing of it is due.
        erase(db, *app, &next_of_day(day), &[&before.as_millis()], CancelReason::Retention, trimmed).await?;
    }
    trimmed.more |= !due.is_empty();
    if due.is_empty() {
        let last: Option<i32> = looked.last().map(|row| row.get(0));
        let last = last.filter(|_| looked.len() as i64 == APPS_MAX);
        trimmed.more |= last.is_some();
        if last.is_none() && (i64::from(day) + 1) * DAY_MILLIS <= before.as_millis() {
            let tx = db.begin().await?;
            tx.execute("UPDATE made_day SET erased = true WHERE day = $1", &[&day]).await?;
            tx.commit().await?;
            trimmed.more = true;
        }
        db.trimmer
            .advance(|progress| progress.erased = last.map_or(0, |no| codec::range(no.cast_unsigned()).1));
    }
    Ok(())
}

/// The first key of an application `a` that is not erased yet; another's, if all there can be are.
const FIRST: &str = "(a.no::bigint << 40) + a.erased_position + 1";
/// The last it can have.
const LAST: &str = "((a.no::bigint + 1) << 40) - 1";

/// The applications that have messages of a day, from a key on, and which of them have some that were made before a
/// moment and are not erased yet. Those that were deleted are not erased by age.
fn due(day: i32) -> String {
    format!(
        "SELECT n.no, coalesce(m.created_at < $3, false) FROM ({}) AS n (no)
         LEFT JOIN LATERAL (SELECT created_at FROM message_{day}
             WHERE key BETWEEN (SELECT {FIRST} FROM app a WHERE a.no = n.no AND a.deleted_at IS NULL)
                 AND ((n.no::bigint + 1) << 40) - 1
             ORDER BY key LIMIT 1) m ON true
         ORDER BY n.no",
        numbers("message", day)
    )
}

/// The next messages of an application, of a day and made before a moment, and whether a payload is to be erased: not
/// one with a time of its own.
fn next_of_day(day: i32) -> String {
    format!(
        "SELECT m.key, m.day, m.payload IS NOT NULL AND m.payload_expires_at IS NULL
         FROM app a CROSS JOIN LATERAL (
             SELECT key, day, created_at, payload, payload_expires_at FROM message_{day}
             WHERE key BETWEEN {FIRST} AND {LAST} ORDER BY key LIMIT $2) m
         WHERE a.no = $1 AND m.created_at < $3 ORDER BY m.key"
    )
}

/// The next messages of a deleted application.
fn next_of_deleted() -> String {
    format!(
        "SELECT m.key, m.day, m.payload IS NOT NULL
         FROM app a CROSS JOIN LATERAL (
             SELECT key, day, payload FROM message WHERE key BETWEEN {FIRST} AND {LAST} ORDER BY key LIMIT $2) m
         WHERE a.no = $1 ORDER BY m.key"
    )
}

/// Payloads of deleted applications: they need not stay until their day goes.
pub(super) async fn of_deleted(db: &Arc<Db>, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let conn = db.reads.lend().await?;
    let sql = "SELECT no FROM app WHERE deleted_at IS NOT NULL AND erased_position < $1 ORDER BY no LIMIT $2";
    let all = codec::place(i64::MAX).cast_signed();
    let due = conn.query(sql, &[&all, &(APPS_ERASED_MAX as i64)]).await?;
    drop(conn);
    for row in &due {
        let app: i32 = row.get(0);
        if !erase(db, app, &next_of_deleted(), &[], CancelReason::Deleted, trimmed).await? {
            let tx = db.begin().await?;
            tx.execute("UPDATE app SET erased_position = $2 WHERE no = $1", &[&app, &all]).await?;
            tx.commit().await?;
        }
        trimmed.more = true;
    }
    Ok(())
}

/// Erases the next payloads of an application; whether there were messages. `next`: which, of the application `$1`, at
/// most `$2`.
async fn erase(
    db: &Arc<Db>,
    app: i32,
    next: &str,
    params: Params<'_>,
    reason: CancelReason,
    trimmed: &mut Trimmed,
) -> Result<bool, Fault> {
    let tx = db.begin().await?;
    lock_apps(&tx, &[app]).await?;
    let first: [&(dyn ToSql + Sync); 2] = [&app, &ERASED_MAX];
    let next = tx.query(next, &[&first, params].concat()).await?;
    let Some(last) = next.last() else { return Ok(false) };
    let reached = codec::place(last.get(0)).cast_signed();
    let due = next.iter().filter(|row| row.get(2));
    let (keys, days): (Vec<i64>, Vec<i32>) =
        due.map(|row| (row.get::<_, i64>(0), row.get::<_, i32>(1))).unzip();
    let cancelled = expunge(&tx, &keys, &days, reason).await?;
    tx.execute("UPDATE app SET erased_position = $2 WHERE no = $1", &[&app, &reached]).await?;
    tx.commit().await?;
    trimmed.cancelled += cancelled;
    trimmed.payloads += keys.len() as u64;
    Ok(true)
}
