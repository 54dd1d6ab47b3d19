//! What is left of what was deleted.

use pushpull_domain::{AppNo, CancelReason};
use pushpull_store::{REVOKED_KEYS_KEPT, Retention, Trimmed};
use rusqlite::{OptionalExtension, params};

use super::{Budget, LOOKED_MAX, Progress, ROWS_MAX, last_key, log};
use crate::{codec, consumers, fault::Fault, list::collect, messages::cancel, rows, tx::Tx};

/// Deliveries of a deleted endpoint that are looked at in one step once nothing is due any more.
const ENDING_LOOKED_MAX: usize = 10_000;
/// Endpoints of which nothing is owed, looked at in one step.
const ENDED_LOOKED_MAX: usize = 200;

/// Cancels some of what a deleted endpoint is owed; how much. At most [`ROWS_MAX`] deliveries.
pub(crate) fn end_endpoint(tx: &mut Tx<'_>, no: u32) -> Result<usize, Fault> {
    let due: Vec<i64> = collect(
        tx.conn,
        "SELECT key FROM delivery INDEXED BY delivery_due WHERE endpoint = ?1 AND due_at IS NOT NULL LIMIT ?2",
        params![no, ROWS_MAX],
        |row| Ok(row.get(0)?),
    )?;
    if due.is_empty() {
        return end_what_is_not_due(tx, no);
    }
    cancel_all(tx, &due)
}

/// What nobody pushes is in no index: the queue is walked through.
fn end_what_is_not_due(tx: &mut Tx<'_>, no: u32) -> Result<usize, Fault> {
    let ended: Option<i64> =
        tx.conn.query_row("SELECT ended_seq FROM endpoint WHERE no = ?1", [no], |row| row.get(0))?;
    let Some(ended) = ended else { return Ok(0) };
    let first = codec::range(no).0 + ended + 1;
    let looked: Vec<(i64, bool)> = collect(
        tx.conn,
        "SELECT key, state = 0 FROM delivery NOT INDEXED WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?3",
        params![first, last_key(no), ENDING_LOOKED_MAX],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let owed: Vec<i64> =
        looked.iter().filter(|(_, owed)| *owed).map(|(key, _)| *key).take(ROWS_MAX).collect();
    let reached = match owed.last() {
        Some(last) if owed.len() == ROWS_MAX => Some(*last),
        _ if looked.len() == ENDING_LOOKED_MAX => looked.last().map(|(key, _)| *key),
        _ => None,
    };
    tx.conn.execute(
        "UPDATE endpoint SET ended_seq = ?2 WHERE no = ?1",
        params![no, reached.map(codec::place)],
    )?;
    cancel_all(tx, &owed)
}

fn cancel_all(tx: &mut Tx<'_>, keys: &[i64]) -> Result<usize, Fault> {
    for key in keys {
        if let Some(delivery) = rows::delivery(tx.conn, *key)? {
            cancel(tx, &delivery, CancelReason::Deleted)?;
        }
    }
    Ok(keys.len())
}

/// Ends what deleted endpoints are owed, and removes those of which no delivery is kept any more.
pub(super) fn endpoints(
    tx: &mut Tx<'_>,
    progress: &mut Progress,
    budget: &mut Budget,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    while let Some(no) = first(
        tx,
        "SELECT no FROM endpoint INDEXED BY endpoint_ending
         WHERE deleted_at IS NOT NULL AND ended_seq IS NOT NULL LIMIT 1",
    )? {
        if budget.is_spent() {
            trimmed.more = true;
            return Ok(());
        }
        let cancelled = end_endpoint(tx, no)?;
        trimmed.cancelled += cancelled as u64;
        budget.spend(cancelled + 100);
    }
    let ended: Vec<u32> = collect(
        tx.conn,
        "SELECT no FROM endpoint INDEXED BY endpoint_ended
         WHERE deleted_at IS NOT NULL AND ended_seq IS NULL AND no > ?1 ORDER BY no LIMIT ?2",
        params![progress.ended_endpoint, ENDED_LOOKED_MAX],
        |row| Ok(row.get(0)?),
    )?;
    for no in &ended {
        let removed = consumers::remove_some_of(tx.conn, *no, budget.rows)?;
        budget.spend(removed);
        if budget.is_spent() {
            // Come back to this one.
            trimmed.more = true;
            return Ok(());
        }
        let (low, high) = codec::range(*no);
        let kept: bool = tx
            .conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM delivery NOT INDEXED WHERE key BETWEEN ?1 AND ?2)")?
            .query_row([low, high], |row| row.get(0))?;
        if !kept {
            tx.conn.execute("DELETE FROM endpoint WHERE no = ?1", [no])?;
        }
        progress.ended_endpoint = *no;
    }
    let all = ended.len() < ENDED_LOOKED_MAX;
    progress.ended_endpoint = if all { 0 } else { ended.last().copied().unwrap_or(0) };
    trimmed.more |= !all;
    Ok(())
}

/// Removes the messages of deleted applications, then the applications and the keys for them.
pub(super) fn apps(tx: &mut Tx<'_>, budget: &mut Budget, trimmed: &mut Trimmed) -> Result<(), Fault> {
    while let Some(no) =
        first(tx, "SELECT no FROM app INDEXED BY app_deleted WHERE deleted_at IS NOT NULL LIMIT 1")?
    {
        log::remove_messages(tx, AppNo(no), None, budget, trimmed)?;
        if budget.is_spent() {
            trimmed.more = true;
            return Ok(());
        }
        tx.conn.execute("DELETE FROM api_key WHERE app = ?1", [no])?;
        tx.conn.execute("DELETE FROM app WHERE no = ?1", [no])?;
        budget.spend(10);
    }
    Ok(())
}

/// Keys that were revoked, or ended by themselves, long ago: a portal's visitors leave many.
pub(super) fn keys(tx: &Tx<'_>, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let removed = tx.conn.execute(
        "DELETE FROM api_key WHERE hash IN (
             SELECT hash FROM api_key INDEXED BY api_key_revoked WHERE revoked_at < ?1 LIMIT ?2)",
        params![tx.now.before(REVOKED_KEYS_KEPT).as_millis(), LOOKED_MAX],
    )?;
    trimmed.more |= removed == LOOKED_MAX;
    Ok(())
}

/// Tasks that are done.
pub(super) fn recoveries(tx: &Tx<'_>, retention: Retention) -> Result<(), Fault> {
    tx.conn.execute(
        "DELETE FROM recovery WHERE task IN (SELECT task FROM recovery WHERE done AND updated_at < ?1 LIMIT ?2)",
        params![tx.now.before(retention.messages).as_millis(), LOOKED_MAX],
    )?;
    Ok(())
}

fn first(tx: &Tx<'_>, sql: &str) -> Result<Option<u32>, rusqlite::Error> {
    tx.conn.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
}
