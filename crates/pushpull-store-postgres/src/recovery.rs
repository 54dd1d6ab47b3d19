//! Sending again what an endpoint did not get, in bounded steps that survive a restart.

use std::sync::Arc;

use pushpull_domain::{AppNo, DeliveryKey, EndpointNo, Seq, TaskId, Timestamp, chance};
use pushpull_store::{Recovery, RecoveryKind as Kind, RecoveryStep, codec};
use tokio_postgres::Row;

use crate::{
    Db,
    deliveries::{is_pushed, reopen},
    fault::{Fault, inconsistent},
    span,
    tx::Tx,
};

/// Deliveries looked at in one step: some ten milliseconds in which nobody else writes to the application's log.
const STEP: i64 = 2_000;

/// Starts a task.
pub(crate) async fn start(db: &Arc<Db>, recovery: &Recovery) -> Result<(), Fault> {
    let mut tx = db.begin().await?;
    if tx.lock_app(recovery.app).await?.is_none() {
        return Ok(());
    }
    // What readers were done with they have.
    let sql = "SELECT read_seq FROM endpoint WHERE no = $1";
    let read = tx.query_opt(sql, &[&recovery.endpoint.0.cast_signed()]).await?;
    let read = read.map_or(0, |row| row.get::<_, i64>(0).cast_unsigned());
    insert(&mut tx, recovery, Kind::Failed, Seq(read)).await?;
    tx.commit().await
}

/// The dispatcher is to bring what gathered at an endpoint after a place. The first of it, which is mostly all, is
/// owed when this returns; a million deliveries would hold up whoever writes to the application's log.
///
/// A withdrawal that is not done goes on up to that place: what is before it is not the dispatcher's.
pub(crate) async fn start_gathered(
    tx: &mut Tx,
    app: AppNo,
    endpoint: EndpointNo,
    after: Seq,
) -> Result<(), Fault> {
    let sql =
        "UPDATE recovery SET end_seq = least(end_seq, $2) WHERE endpoint = $1 AND kind = 2 AND NOT done";
    tx.execute(sql, &[&endpoint.0.cast_signed(), &(after.0.cast_signed() + 1)]).await?;
    end_moves(tx, endpoint, Kind::Gathered).await?;
    start_move(tx, app, endpoint, Kind::Gathered, after).await
}

/// Nobody pushes an endpoint any more: nothing it is owed is due. The first of it at once, as above. Until the rest
/// has followed it stands in the index of what is due, where the mode keeps it from the dispatcher.
pub(crate) async fn start_withdrawal(tx: &mut Tx, app: AppNo, endpoint: EndpointNo) -> Result<(), Fault> {
    end_moves(tx, endpoint, Kind::Gathered).await?;
    end_moves(tx, endpoint, Kind::Withdrawn).await?;
    start_move(tx, app, endpoint, Kind::Withdrawn, Seq(0)).await
}

/// What an earlier change of mode has left to do would undo a later one, or go back behind its place.
async fn end_moves(tx: &Tx, endpoint: EndpointNo, kind: Kind) -> Result<(), Fault> {
    let sql =
        "UPDATE recovery SET done = true, updated_at = $3 WHERE endpoint = $1 AND kind = $2 AND NOT done";
    tx.execute(sql, &[&endpoint.0.cast_signed(), &(kind as i16), &tx.now.as_millis()]).await?;
    Ok(())
}

async fn start_move(
    tx: &mut Tx,
    app: AppNo,
    endpoint: EndpointNo,
    kind: Kind,
    after: Seq,
) -> Result<(), Fault> {
    let task = TaskId::new(tx.now, chance::bytes(tx.chance()));
    let (since, until) = (Timestamp::default(), Timestamp::from_millis(i64::MAX));
    let recovery = Recovery { task, app, endpoint, since, until, updated_at: tx.now };
    insert(tx, &recovery, kind, after).await?;
    step_in(tx, task).await.map(drop)
}

/// A task looks at what there is of the queue when it begins.
const INSERT: &str = "
    INSERT INTO recovery (task, kind, app, endpoint, since, until, next_seq, end_seq, updated_at, done)
    SELECT $1, $2, $3, e.no, $5, $6, $7, greatest(e.trimmed_seq, coalesce(last.key, 0) & ((1::bigint << 40) - 1)) + 1,
        $8, false
    FROM endpoint e LEFT JOIN LATERAL last_delivery(e.no) AS last (key) ON true WHERE e.no = $4";

async fn insert(tx: &mut Tx, recovery: &Recovery, kind: Kind, after: Seq) -> Result<(), Fault> {
    tx.execute(
        INSERT,
        &[
            &recovery.task.to_string(),
            &(kind as i16),
            &recovery.app.0.cast_signed(),
            &recovery.endpoint.0.cast_signed(),
            &recovery.since.as_millis(),
            &recovery.until.as_millis(),
            &(after.0.cast_signed() + 1),
            &tx.now.as_millis(),
        ],
    )
    .await?;
    tx.news.rescheduled.push((recovery.app, recovery.endpoint));
    Ok(())
}

/// The columns that [`row`] reads, in its order.
const COLUMNS: &str = "task, app, endpoint, since, until, updated_at";

fn row(row: &Row) -> Result<Recovery, Fault> {
    let task: &str = row.get(0);
    let no = |column| row.get::<_, i32>(column).cast_unsigned();
    let at = |column| Timestamp::from_millis(row.get(column));
    Ok(Recovery {
        task: task.parse().map_err(|e| inconsistent("recovery", task, e))?,
        app: AppNo(no(1)),
        endpoint: EndpointNo(no(2)),
        since: at(3),
        until: at(4),
        updated_at: at(5),
    })
}

/// Tasks that are not done.
pub(crate) async fn unfinished(db: &Arc<Db>) -> Result<Vec<Recovery>, Fault> {
    let conn = db.reads.lend().await?;
    let sql = format!("SELECT {COLUMNS} FROM recovery WHERE NOT done ORDER BY task COLLATE \"C\"");
    conn.query(&sql, &[]).await?.iter().map(row).collect()
}

/// Goes on with a task: one step.
pub(crate) async fn step(db: &Arc<Db>, task: TaskId) -> Result<RecoveryStep, Fault> {
    let mut tx = db.begin().await?;
    // Only an application that is kept can be owed anything; what it says of the task is read again under its lock.
    let sql =
        "SELECT app.no FROM recovery JOIN app ON app.no = recovery.app WHERE task = $1 FOR UPDATE OF app";
    tx.query_opt(sql, &[&task.to_string()]).await?;
    let step = step_in(&mut tx, task).await?;
    tx.commit().await?;
    Ok(step)
}

/// The same, in a transaction that has locked the application.
async fn step_in(tx: &mut Tx, task: TaskId) -> Result<RecoveryStep, Fault> {
    let task = task.to_string();
    let sql = format!("SELECT {COLUMNS}, kind, next_seq, end_seq FROM recovery WHERE task = $1 AND NOT done");
    let Some(found) = tx.query_opt(&sql, &[&task]).await? else {
        return Ok(RecoveryStep { reopened: 0, done: true });
    };
    let recovery = row(&found)?;
    let (kind, next_seq, end_seq) =
        (Kind::from_number(found.get::<_, i16>(6) as u8), found.get(7), found.get(8));
    let (reopened, next) = match (kind, is_pushed(tx, recovery.app, recovery.endpoint).await?) {
        (_, None) | (Kind::Gathered, Some(false)) => (0, None),
        (Kind::Withdrawn, Some(pushed)) => {
            let withdrawn = withdraw(tx, recovery.endpoint, end_seq, pushed).await?;
            (0, (withdrawn == STEP.cast_unsigned()).then_some(next_seq))
        }
        (Kind::Gathered | Kind::Failed, Some(pushed)) => {
            let looked = look(tx, &recovery, kind, next_seq, end_seq).await?;
            let Looked { keys, days, next } = looked;
            let due_at = pushed.then_some(tx.wall);
            let reopened = match kind {
                Kind::Failed => reopen(tx, &keys, &days, due_at).await?,
                Kind::Gathered | Kind::Withdrawn => make_due(tx, &keys, &days).await?,
            };
            (reopened, next)
        }
    };
    let done = next.is_none();
    tx.execute(
        "UPDATE recovery SET next_seq = $2, done = $3, updated_at = $4 WHERE task = $1",
        &[&task, &next.unwrap_or(end_seq), &done, &tx.now.as_millis()],
    )
    .await?;
    if reopened > 0 {
        tx.news.rescheduled.push((recovery.app, recovery.endpoint));
    }
    Ok(RecoveryStep { reopened, done })
}

/// What a step looks for, and where the next one begins, unless this is the last.
struct Looked {
    keys: Vec<i64>,
    days: Vec<i32>,
    next: Option<i64>,
}

/// The deliveries of one step, and whether each is looked for. What has no payload any more cannot be sent.
const LOOK: &str = "
    SELECT d.key, d.day, m.is_kept AND d.message >= $3 AND d.message < $4
        AND CASE $5::smallint WHEN 0 THEN d.state = 2 OR (d.state = 0 AND d.attempts > 0)
                              ELSE d.state = 0 AND d.due_at IS NULL END
    FROM (SELECT * FROM delivery WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $6) d
    LEFT JOIN LATERAL (SELECT payload IS NOT NULL AS is_kept FROM message
        WHERE message.key = d.message AND message.day = d.message_day LIMIT 1) m ON true
    ORDER BY d.key";

async fn look(
    tx: &Tx,
    recovery: &Recovery,
    kind: Kind,
    next_seq: i64,
    end_seq: i64,
) -> Result<Looked, Fault> {
    let (first, end) = match kind {
        Kind::Failed => span::span(tx.conn(), recovery.app, recovery.since, recovery.until).await?,
        // All that gathered, whenever its message was made.
        Kind::Gathered | Kind::Withdrawn => (i64::MIN, i64::MAX),
    };
    let key = |seq: i64| {
        codec::delivery_key(DeliveryKey { endpoint: recovery.endpoint, seq: Seq(seq.cast_unsigned()) })
    };
    let rows = tx.query(LOOK, &[&key(next_seq), &key(end_seq), &first, &end, &(kind as i16), &STEP]).await?;
    let wanted = rows.iter().filter(|row| row.get::<_, Option<bool>>(2) == Some(true));
    let (keys, days) = wanted.map(|row| (row.get::<_, i64>(0), row.get::<_, i32>(1))).unzip();
    let last = rows.last().filter(|_| rows.len() as i64 == STEP);
    let next = last.map(|row| codec::place(row.get(0)).cast_signed() + 1);
    Ok(Looked { keys, days, next })
}

/// Locked in the order of keys, as by those who settle.
const MAKE_DUE: &str = "
    WITH locked AS MATERIALIZED (
        SELECT d.* FROM (SELECT * FROM unnest($1::bigint[], $2::integer[]) AS k (key, day) ORDER BY key) k
        CROSS JOIN LATERAL (
            SELECT key, day, message, message_day FROM delivery
            WHERE delivery.key = k.key AND delivery.day = k.day AND state = 0 FOR UPDATE) d
    ), due AS MATERIALIZED (
        SELECT l.key, l.day, m.deliver_at FROM locked l CROSS JOIN LATERAL (
            SELECT deliver_at FROM message
            WHERE message.key = l.message AND message.day = l.message_day LIMIT 1) m
    )
    UPDATE delivery d SET due_at = greatest($3, due.deliver_at) FROM due WHERE d.key = due.key AND d.day = due.day";

/// The dispatcher is to bring deliveries, from now on, or from when their messages say.
async fn make_due(tx: &Tx, keys: &[i64], days: &[i32]) -> Result<u64, Fault> {
    tx.execute(MAKE_DUE, &[&keys, &days, &tx.wall.as_millis()]).await
}

const WITHDRAW: &str = "
    WITH due AS MATERIALIZED (
        SELECT key, day FROM delivery
        WHERE endpoint = $1 AND due_at IS NOT NULL AND key < $2 AND NOT ($3 AND trigger = 1) LIMIT $4
    ), locked AS MATERIALIZED (
        SELECT d.key, d.day FROM (SELECT * FROM due ORDER BY key) k CROSS JOIN LATERAL (
            SELECT key, day FROM delivery
            WHERE delivery.key = k.key AND delivery.day = k.day AND due_at IS NOT NULL FOR UPDATE) d
    ), withdrawn AS (
        UPDATE delivery d SET due_at = NULL FROM locked l WHERE d.key = l.key AND d.day = l.day
    )
    SELECT count(*) FROM due";

/// Some of what an endpoint is owed before a place is not due any more; how much of it was looked at. `pushed`: it is
/// pushed again, from there on, and what was asked for by hand stays due.
async fn withdraw(tx: &Tx, endpoint: EndpointNo, end_seq: i64, pushed: bool) -> Result<u64, Fault> {
    let end = codec::delivery_key(DeliveryKey { endpoint, seq: Seq(end_seq.cast_unsigned()) });
    let row = tx.query_one(WITHDRAW, &[&endpoint.0.cast_signed(), &end, &pushed, &STEP]).await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}
