//! Retention: what is older than it is kept goes, in bounded steps.

use pushpull_domain::{AppNo, DeliveryKey};
use pushpull_store::{Retention, Trimmed};
use rusqlite::{OptionalExtension, params};

use crate::{append::IDEMPOTENCY_KEPT_MS, codec, fault::Fault, messages::expunge, rows, writer::Tx};

/// Messages, deliveries or keys removed in one step.
const STEP: usize = 1_000;
/// Applications looked at in one step.
const APPS_STEP: usize = 500;
/// Pages given back to the file system in one step: 2 MiB.
const VACUUM_PAGES: usize = 256;
/// The state of a delivery whose message or payload was older than what is kept.
const CANCELLED_RETENTION: u8 = 3;

/// How far a round through the tables has come. Lost at a restart, which only begins the round anew.
#[derive(Default)]
pub(crate) struct Progress {
    app: u32,
    idempotency: Option<(u32, String)>,
}

/// One step: the first kind of work that finds something to do.
pub(crate) fn step(tx: &mut Tx<'_>, progress: &mut Progress, retention: Retention) -> Result<Trimmed, Fault> {
    let mut trimmed = Trimmed::default();
    expired_payloads(tx, &mut trimmed)?;
    old_messages(tx, progress, retention, &mut trimmed)?;
    deleted_endpoints(tx, &mut trimmed)?;
    deleted_apps(tx, &mut trimmed)?;
    idempotency(tx, progress, &mut trimmed)?;
    let mut vacuum = tx.conn.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut pages = vacuum.query([])?;
    while pages.next()?.is_some() {}
    Ok(trimmed)
}

/// Payloads with a time of their own.
fn expired_payloads(tx: &mut Tx<'_>, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let keys: Vec<i64> = crate::catalog::collect(
        tx.conn,
        "SELECT key FROM message WHERE payload_expires_at <= ?1 LIMIT ?2",
        params![tx.now.as_millis(), STEP],
        |row| Ok(row.get(0)?),
    )?;
    for key in &keys {
        trimmed.cancelled += expunge(tx, *key, CANCELLED_RETENTION)?;
        trimmed.payloads += 1;
    }
    trimmed.more |= keys.len() == STEP;
    Ok(())
}

/// Messages of each application in turn.
fn old_messages(
    tx: &mut Tx<'_>,
    progress: &mut Progress,
    retention: Retention,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    let cutoff = tx.now.before(retention.messages);
    let apps: Vec<u32> = crate::catalog::collect(
        tx.conn,
        "SELECT no FROM app WHERE no > ?1 ORDER BY no LIMIT ?2",
        params![progress.app, APPS_STEP],
        |row| Ok(row.get(0)?),
    )?;
    let mut left = STEP;
    for app in &apps {
        let end = rows::first_since(tx.conn, AppNo(*app), cutoff)?;
        left -= remove_messages(tx, AppNo(*app), end, left, trimmed)?;
        if left == 0 {
            // Come back to this one.
            trimmed.more = true;
            return Ok(());
        }
        progress.app = *app;
    }
    if apps.len() < APPS_STEP {
        progress.app = 0;
    } else {
        trimmed.more = true;
    }
    Ok(())
}

/// Removes an application's messages before a key, at most `limit`, with all that hangs on them. How many.
fn remove_messages(
    tx: &mut Tx<'_>,
    app: AppNo,
    end: i64,
    limit: usize,
    trimmed: &mut Trimmed,
) -> Result<usize, Fault> {
    let (first, _) = codec::range(app.0);
    let mut query = tx
        .conn
        .prepare_cached("SELECT key FROM message WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3")?;
    let keys: Vec<i64> =
        query.query_map(params![first, end, limit], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for key in &keys {
        let Some(message) = rows::message(tx.conn, *key)? else { continue };
        for (endpoint, seq) in &message.fanout {
            trimmed.cancelled += remove_delivery(tx, DeliveryKey { endpoint: *endpoint, seq: *seq })?;
        }
        if let Some(event_id) = &message.event_id {
            tx.conn
                .prepare_cached("DELETE FROM event_id WHERE app = ?1 AND event_id = ?2 AND message = ?3")?
                .execute(params![app.0, &**event_id, key])?;
        }
        tx.conn.prepare_cached("DELETE FROM message WHERE key = ?1")?.execute([key])?;
        trimmed.messages += 1;
    }
    if let Some(last) = keys.last() {
        tx.conn.execute(
            "UPDATE app SET trimmed_position = max(trimmed_position, ?2) WHERE no = ?1",
            params![app.0, codec::place(*last)],
        )?;
    }
    Ok(keys.len())
}

/// Removes a delivery and its attempts; 1 if it was still owed.
fn remove_delivery(tx: &Tx<'_>, key: DeliveryKey) -> Result<u64, Fault> {
    let removed: Option<(u8, Option<i64>)> = tx
        .conn
        .prepare_cached("DELETE FROM delivery WHERE key = ?1 RETURNING state, last_attempt")?
        .query_row([codec::delivery_key(key)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((state, mut attempt)) = removed else { return Ok(0) };
    let mut last_attempt = 0;
    while let Some(key) = attempt {
        last_attempt = last_attempt.max(codec::place(key));
        attempt = tx
            .conn
            .prepare_cached("DELETE FROM attempt WHERE key = ?1 RETURNING previous")?
            .query_row([key], |row| row.get(0))
            .optional()?
            .flatten();
    }
    tx.conn
        .prepare_cached(
            "UPDATE endpoint SET trimmed_seq = max(trimmed_seq, ?2), trimmed_attempt = max(trimmed_attempt, ?3)
             WHERE no = ?1",
        )?
        .execute(params![key.endpoint.0, key.seq.0, last_attempt])?;
    Ok(u64::from(state == 0))
}

/// What is left of deleted endpoints.
fn deleted_endpoints(tx: &mut Tx<'_>, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let Some(no) = first_deleted(
        tx,
        "SELECT no FROM endpoint INDEXED BY endpoint_deleted WHERE deleted_at IS NOT NULL LIMIT 1",
    )?
    else {
        return Ok(());
    };
    let (first, last) = codec::range(no);
    let cancelled: usize = tx.conn.execute(
        "UPDATE delivery SET state = 5, due_at = NULL WHERE key IN
             (SELECT key FROM delivery INDEXED BY delivery_due WHERE endpoint = ?1 AND due_at IS NOT NULL LIMIT ?2)",
        params![no, STEP],
    )?;
    trimmed.cancelled += cancelled as u64;
    if cancelled == STEP {
        trimmed.more = true;
        return Ok(());
    }
    // Nothing of it is owed any more: its deliveries stay as long as their messages do, and then it goes too.
    let left: Option<i64> = tx
        .conn
        .query_row("SELECT key FROM delivery WHERE key BETWEEN ?1 AND ?2 LIMIT 1", [first, last], |row| {
            row.get(0)
        })
        .optional()?;
    if left.is_none() {
        tx.conn.execute("DELETE FROM endpoint WHERE no = ?1", [no])?;
        trimmed.more = true;
    }
    Ok(())
}

/// What is left of deleted applications.
fn deleted_apps(tx: &mut Tx<'_>, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let Some(no) =
        first_deleted(tx, "SELECT no FROM app INDEXED BY app_deleted WHERE deleted_at IS NOT NULL LIMIT 1")?
    else {
        return Ok(());
    };
    let (_, last) = codec::range(no);
    let removed = remove_messages(tx, AppNo(no), last, STEP, trimmed)?;
    if removed < STEP {
        tx.conn.execute("DELETE FROM app WHERE no = ?1", [no])?;
    }
    trimmed.more = true;
    Ok(())
}

fn first_deleted(tx: &Tx<'_>, sql: &str) -> Result<Option<u32>, rusqlite::Error> {
    tx.conn.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
}

/// Idempotency keys: walked through, since an index by time would cost more than the walk.
fn idempotency(tx: &mut Tx<'_>, progress: &mut Progress, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let (app, key) = progress.idempotency.take().unwrap_or_default();
    let looked: Vec<(u32, String, bool)> = crate::catalog::collect(
        tx.conn,
        "SELECT app, key, created_at <= ?3 FROM idempotency WHERE (app, key) > (?1, ?2) ORDER BY app, key LIMIT ?4",
        params![app, key, tx.now.as_millis() - IDEMPOTENCY_KEPT_MS, STEP],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    for (app, key, _) in looked.iter().filter(|(_, _, old)| *old) {
        tx.conn
            .prepare_cached("DELETE FROM idempotency WHERE app = ?1 AND key = ?2")?
            .execute(params![app, key])?;
    }
    if looked.len() == STEP {
        progress.idempotency = looked.into_iter().last().map(|(app, key, _)| (app, key));
        trimmed.more = true;
    }
    Ok(())
}
