//! Payloads that are older than they are kept, and those of deleted applications.

use std::{collections::BTreeMap, sync::Arc};

use pushpull_domain::CancelReason;
use pushpull_store::{Retention, Trimmed, codec};

use super::lock_apps;
use crate::{Db, fault::Fault, messages::expunge};

/// Payloads erased in one transaction.
const ERASED_MAX: i64 = 500;
/// Applications looked at in one step.
const APPS_MAX: i64 = 200;
/// ... and of which payloads are erased.
const APPS_ERASED_MAX: i64 = 20;

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

/// Applications, of some, that have payloads which are not erased yet and were made before a moment; deleted ones,
/// whenever they were made.
const DUE: &str = "
    SELECT a.no FROM (SELECT * FROM app WHERE no > $1 ORDER BY no LIMIT $2) a
    CROSS JOIN LATERAL (SELECT created_at FROM message
        WHERE key BETWEEN a.no::bigint << 40 | (a.erased_position + 1) AND ((a.no::bigint + 1) << 40) - 1
        ORDER BY key LIMIT 1) m
    WHERE m.created_at < $3 OR a.deleted_at IS NOT NULL ORDER BY a.no LIMIT $4";

/// Payloads without a time of their own, by their age.
pub(super) async fn by_age(db: &Arc<Db>, retention: Retention, trimmed: &mut Trimmed) -> Result<(), Fault> {
    // Otherwise they go with their messages.
    let kept = retention.payloads < retention.messages;
    let before = if kept { db.clock.now().before(retention.payloads).as_millis() } else { i64::MIN };
    let after = db.trimmer.progress().app;
    let conn = db.reads.lend().await?;
    let due = conn.query(DUE, &[&after, &APPS_MAX, &before, &APPS_ERASED_MAX]).await?;
    let sql = "SELECT max(no), count(*) FROM (SELECT no FROM app WHERE no > $1 ORDER BY no LIMIT $2) looked";
    let looked = conn.query_one(sql, &[&after, &APPS_MAX]).await?;
    drop(conn);
    for row in &due {
        // Come back to this one until nothing of it is due.
        erase(db, row.get(0), before, trimmed).await?;
        trimmed.more = true;
    }
    if due.is_empty() {
        let is_full = looked.get::<_, i64>(1) == APPS_MAX;
        let next = looked.get::<_, Option<i32>>(0).filter(|_| is_full);
        trimmed.more |= is_full;
        db.trimmer.advance(|progress| progress.app = next.unwrap_or(0));
    }
    Ok(())
}

/// The next messages of an application, and whether a payload is to be erased: of those made before a moment, but for
/// those with a time of their own; of a deleted application all.
const NEXT: &str = "
    SELECT m.key, m.day, m.payload IS NOT NULL AND (m.payload_expires_at IS NULL OR a.deleted_at IS NOT NULL),
        a.deleted_at IS NOT NULL
    FROM app a CROSS JOIN LATERAL (
        SELECT key, day, created_at, payload, payload_expires_at FROM message
        WHERE key BETWEEN a.no::bigint << 40 | (a.erased_position + 1) AND ((a.no::bigint + 1) << 40) - 1
        ORDER BY key LIMIT $3) m
    WHERE a.no = $1 AND (m.created_at < $2 OR a.deleted_at IS NOT NULL) ORDER BY m.key";

async fn erase(db: &Arc<Db>, app: i32, before: i64, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let tx = db.begin().await?;
    lock_apps(&tx, &[app]).await?;
    let next = tx.query(NEXT, &[&app, &before, &ERASED_MAX]).await?;
    let Some(last) = next.last() else { return Ok(()) };
    let (reached, deleted): (i64, bool) = (last.get(0), last.get(3));
    let due = next.iter().filter(|row| row.get(2));
    let (keys, days): (Vec<i64>, Vec<i32>) =
        due.map(|row| (row.get::<_, i64>(0), row.get::<_, i32>(1))).unzip();
    let reason = if deleted { CancelReason::Deleted } else { CancelReason::Retention };
    let cancelled = expunge(&tx, &keys, &days, reason).await?;
    let sql = "UPDATE app SET erased_position = $2 WHERE no = $1";
    tx.execute(sql, &[&app, &codec::place(reached).cast_signed()]).await?;
    tx.commit().await?;
    trimmed.cancelled += cancelled;
    trimmed.payloads += keys.len() as u64;
    Ok(())
}
