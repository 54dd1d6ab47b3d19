//! Sending again what an endpoint did not get, in bounded steps that survive a restart.

use pushpull_domain::{AppNo, DeliveryKey, EndpointNo, Seq, TaskId, Timestamp};
use pushpull_store::{Recovery, RecoveryStep};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    append::endpoint_memory,
    catalog::collect,
    codec,
    deliveries::{is_pushed, reopen},
    fault::{Fault, inconsistent},
    rows,
    tx::Tx,
};

/// Deliveries looked at in one step: some ten milliseconds of the writer's time.
const STEP: usize = 2_000;

pub(crate) fn start(tx: &mut Tx<'_>, recovery: &Recovery) -> Result<(), Fault> {
    let end = endpoint_memory(tx.conn, tx.memory, recovery.endpoint)?.last_seq + 1;
    tx.conn.execute(
        "INSERT INTO recovery (task, app, endpoint, since, until, next_seq, end_seq, updated_at, done)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, 0)",
        params![
            recovery.task.to_string(),
            recovery.app.0,
            recovery.endpoint.0,
            recovery.since.as_millis(),
            recovery.until.as_millis(),
            end,
            tx.now.as_millis()
        ],
    )?;
    tx.news.rescheduled.push(recovery.endpoint);
    Ok(())
}

fn row(row: &rusqlite::Row<'_>) -> Result<Recovery, Fault> {
    let task: String = row.get("task")?;
    Ok(Recovery {
        task: task.parse().map_err(|e| inconsistent("recovery", &task, e))?,
        app: AppNo(row.get("app")?),
        endpoint: EndpointNo(row.get("endpoint")?),
        since: Timestamp::from_millis(row.get("since")?),
        until: Timestamp::from_millis(row.get("until")?),
        updated_at: Timestamp::from_millis(row.get("updated_at")?),
    })
}

pub(crate) fn unfinished(conn: &Connection) -> Result<Vec<Recovery>, Fault> {
    collect(conn, "SELECT * FROM recovery WHERE NOT done ORDER BY task", (), row)
}

pub(crate) fn step(tx: &mut Tx<'_>, task: TaskId) -> Result<RecoveryStep, Fault> {
    let mut query = tx.conn.prepare_cached("SELECT * FROM recovery WHERE task = ?1 AND NOT done")?;
    let found = query
        .query_row([task.to_string()], |r| {
            Ok((row(r), r.get::<_, u64>("next_seq")?, r.get::<_, u64>("end_seq")?))
        })
        .optional()?;
    let Some((recovery, next_seq, end_seq)) = found else {
        return Ok(RecoveryStep { reopened: 0, done: true });
    };
    let recovery = recovery?;
    let endpoint = recovery.endpoint;
    let (first_message, end_message) = rows::span(tx.conn, recovery.app, recovery.since, recovery.until)?;
    let key = |seq| codec::delivery_key(DeliveryKey { endpoint, seq: Seq(seq) });
    let pushed = is_pushed(tx.conn, recovery.app, endpoint)?;
    // Looked at: all that failed for good, and what failed and waits for its next attempt. What has no payload
    // any more cannot be sent.
    let looked: Vec<(i64, bool)> = collect(
        tx.conn,
        "SELECT key, message >= ?3 AND message < ?4 AND (state = 2 OR (state = 0 AND attempts > 0))
             AND EXISTS (SELECT 1 FROM message WHERE message.key = delivery.message AND payload IS NOT NULL)
         FROM delivery NOT INDEXED WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?5",
        params![key(next_seq), key(end_seq), first_message, end_message, STEP],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let mut reopened = 0;
    if let Some(pushed) = pushed {
        let due_at = pushed.then_some(tx.wall);
        for (key, _) in looked.iter().filter(|(_, failed)| *failed) {
            reopen(tx, *key, due_at)?;
            reopened += 1;
        }
    }
    let done = pushed.is_none() || looked.len() < STEP;
    let next = looked.last().map_or(end_seq, |(key, _)| codec::place(*key) + 1);
    tx.conn.execute(
        "UPDATE recovery SET next_seq = ?2, done = ?3, updated_at = ?4 WHERE task = ?1",
        params![task.to_string(), next, done, tx.now.as_millis()],
    )?;
    if reopened > 0 {
        tx.news.rescheduled.push(endpoint);
    }
    Ok(RecoveryStep { reopened, done })
}
