//! Sending again what an endpoint did not get, in bounded steps that survive a restart.

use pushpull_domain::{AppNo, DeliveryKey, EndpointNo, Seq, TaskId, Timestamp, chance};
use pushpull_store::{Recovery, RecoveryKind as Kind, RecoveryStep};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    append::endpoint_memory,
    codec,
    deliveries::{is_pushed, reopen},
    fault::{Fault, inconsistent},
    list::collect,
    span,
    tx::Tx,
};

/// Deliveries looked at in one step: some ten milliseconds of the writer's time.
const STEP: usize = 2_000;

pub(crate) fn start(tx: &mut Tx<'_>, recovery: &Recovery) -> Result<(), Fault> {
    // What readers were done with they have.
    let read: Option<u64> = tx
        .conn
        .query_row("SELECT read_seq FROM endpoint WHERE no = ?1", [recovery.endpoint.0], |row| row.get(0))
        .optional()?;
    insert(tx, recovery, Kind::Failed, Seq(read.unwrap_or_default()))
}

/// The dispatcher is to bring what gathered at an endpoint after a place. The first of it, which is mostly all, is
/// owed when this returns; a million deliveries would hold up every other write.
///
/// A withdrawal that is not done goes on up to that place: what is before it is not the dispatcher's.
pub(crate) fn start_gathered(
    tx: &mut Tx<'_>,
    app: AppNo,
    endpoint: EndpointNo,
    after: Seq,
) -> Result<(), Fault> {
    tx.conn.execute(
        "UPDATE recovery INDEXED BY recovery_unfinished SET end_seq = min(end_seq, ?2)
         WHERE endpoint = ?1 AND kind = 2 AND NOT done",
        params![endpoint.0, after.0 + 1],
    )?;
    end_moves(tx, endpoint, Kind::Gathered)?;
    start_move(tx, app, endpoint, Kind::Gathered, after)
}

/// Nobody pushes an endpoint any more: nothing it is owed is due. The first of it at once, as above. Until the rest
/// has followed it stands in the index of what is due, where the mode keeps it from the dispatcher.
pub(crate) fn start_withdrawal(tx: &mut Tx<'_>, app: AppNo, endpoint: EndpointNo) -> Result<(), Fault> {
    end_moves(tx, endpoint, Kind::Gathered)?;
    end_moves(tx, endpoint, Kind::Withdrawn)?;
    start_move(tx, app, endpoint, Kind::Withdrawn, Seq(0))
}

/// What an earlier change of mode has left to do would undo a later one, or go back behind its place.
fn end_moves(tx: &Tx<'_>, endpoint: EndpointNo, kind: Kind) -> Result<(), Fault> {
    tx.conn.execute(
        "UPDATE recovery INDEXED BY recovery_unfinished SET done = 1, updated_at = ?3
         WHERE endpoint = ?1 AND kind = ?2 AND NOT done",
        params![endpoint.0, kind as u8, tx.now.as_millis()],
    )?;
    Ok(())
}

/// Up to where a withdrawal that is not done may have left due what was due before; the first place beyond.
pub(crate) fn withdrawn_to(conn: &Connection, endpoint: EndpointNo) -> Result<Seq, rusqlite::Error> {
    conn.prepare_cached(
        "SELECT ifnull(max(end_seq), 0) FROM recovery INDEXED BY recovery_unfinished
         WHERE endpoint = ?1 AND kind = 2 AND NOT done",
    )?
    .query_row([endpoint.0], |row| Ok(Seq(row.get(0)?)))
}

fn start_move(
    tx: &mut Tx<'_>,
    app: AppNo,
    endpoint: EndpointNo,
    kind: Kind,
    after: Seq,
) -> Result<(), Fault> {
    let task = TaskId::new(tx.now, chance::bytes(&*tx.shared.chance));
    let (since, until) = (Timestamp::default(), Timestamp::from_millis(i64::MAX));
    let recovery = Recovery { task, app, endpoint, since, until, updated_at: tx.now };
    insert(tx, &recovery, kind, after)?;
    step(tx, task).map(drop)
}

fn insert(tx: &mut Tx<'_>, recovery: &Recovery, kind: Kind, after: Seq) -> Result<(), Fault> {
    let end = endpoint_memory(tx.conn, tx.memory, recovery.endpoint)?.last_seq + 1;
    tx.conn.execute(
        "INSERT INTO recovery (task, kind, app, endpoint, since, until, next_seq, end_seq, updated_at, done)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)",
        params![
            recovery.task.to_string(),
            kind as u8,
            recovery.app.0,
            recovery.endpoint.0,
            recovery.since.as_millis(),
            recovery.until.as_millis(),
            after.0 + 1,
            end,
            tx.now.as_millis()
        ],
    )?;
    tx.news.rescheduled.push((recovery.app, recovery.endpoint));
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
    let sql = "SELECT * FROM recovery INDEXED BY recovery_unfinished WHERE NOT done ORDER BY task";
    collect(conn, sql, (), row)
}

pub(crate) fn step(tx: &mut Tx<'_>, task: TaskId) -> Result<RecoveryStep, Fault> {
    let mut query = tx.conn.prepare_cached("SELECT * FROM recovery WHERE task = ?1 AND NOT done")?;
    let found = query
        .query_row([task.to_string()], |r| {
            let kind = Kind::from_number(r.get("kind")?);
            Ok((row(r), kind, r.get::<_, u64>("next_seq")?, r.get::<_, u64>("end_seq")?))
        })
        .optional()?;
    let Some((recovery, kind, next_seq, end_seq)) = found else {
        return Ok(RecoveryStep { reopened: 0, done: true });
    };
    let recovery = recovery?;
    let (reopened, next) = match (kind, is_pushed(tx.conn, recovery.app, recovery.endpoint)?) {
        (_, None) | (Kind::Gathered, Some(false)) => (0, None),
        (Kind::Withdrawn, Some(pushed)) => {
            let withdrawn = withdraw(tx, recovery.endpoint, end_seq, pushed)?;
            (0, (withdrawn == STEP).then_some(next_seq))
        }
        (Kind::Gathered | Kind::Failed, Some(pushed)) => {
            let looked = look(tx.conn, &recovery, kind, next_seq, end_seq)?;
            let due_at = pushed.then_some(tx.wall);
            let mut reopened = 0;
            for (key, _) in looked.iter().filter(|(_, wanted)| *wanted) {
                if kind == Kind::Failed { reopen(tx, *key, due_at) } else { make_due(tx, *key) }?;
                reopened += 1;
            }
            let last = looked.last().filter(|_| looked.len() == STEP);
            (reopened, last.map(|(key, _)| codec::place(*key) + 1))
        }
    };
    let done = next.is_none();
    tx.conn.execute(
        "UPDATE recovery SET next_seq = ?2, done = ?3, updated_at = ?4 WHERE task = ?1",
        params![task.to_string(), next.unwrap_or(end_seq), done, tx.now.as_millis()],
    )?;
    if reopened > 0 {
        tx.news.rescheduled.push((recovery.app, recovery.endpoint));
    }
    Ok(RecoveryStep { reopened, done })
}

/// The deliveries of one step, and whether each is looked for. What has no payload any more cannot be sent.
fn look(
    conn: &Connection,
    recovery: &Recovery,
    kind: Kind,
    next_seq: u64,
    end_seq: u64,
) -> Result<Vec<(i64, bool)>, Fault> {
    let (first_message, end_message) = span::span(conn, recovery.app, recovery.since, recovery.until)?;
    let key = |seq| codec::delivery_key(DeliveryKey { endpoint: recovery.endpoint, seq: Seq(seq) });
    collect(
        conn,
        "SELECT key, message >= ?3 AND message < ?4
             AND CASE ?5 WHEN 0 THEN state = 2 OR (state = 0 AND attempts > 0)
                         ELSE state = 0 AND due_at IS NULL END
             AND EXISTS (SELECT 1 FROM message WHERE message.key = delivery.message AND payload IS NOT NULL)
         FROM delivery NOT INDEXED WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?6",
        params![key(next_seq), key(end_seq), first_message, end_message, kind as u8, STEP],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// The dispatcher is to bring a delivery, from now on, or from when its message says.
fn make_due(tx: &mut Tx<'_>, key: i64) -> Result<(), Fault> {
    tx.conn
        .prepare_cached(
            "UPDATE delivery SET due_at = max(?2, coalesce(
                 (SELECT deliver_at FROM message WHERE message.key = delivery.message), 0)) WHERE key = ?1",
        )?
        .execute(params![key, tx.wall.as_millis()])?;
    tx.tally.pending += 1;
    Ok(())
}

/// Some of what an endpoint is owed before a place is not due any more; how much of it. `pushed`: it is pushed again,
/// from there on, and what was asked for by hand stays due.
fn withdraw(tx: &mut Tx<'_>, endpoint: EndpointNo, end_seq: u64, pushed: bool) -> Result<usize, Fault> {
    let end = codec::delivery_key(DeliveryKey { endpoint, seq: Seq(end_seq) });
    let withdrawn = tx
        .conn
        .prepare_cached(
            "UPDATE delivery SET due_at = NULL WHERE key IN (
                 SELECT key FROM delivery INDEXED BY delivery_due
                 WHERE endpoint = ?1 AND due_at IS NOT NULL AND key < ?3 AND NOT (?4 AND trigger = 1) LIMIT ?2)",
        )?
        .execute(params![endpoint.0, STEP, end, pushed])?;
    tx.tally.pending -= withdrawn as i64;
    Ok(withdrawn)
}
