//! What is left of what was deleted.

use std::sync::Arc;

use pushpull_domain::{CancelReason, DeliveryState, EndpointNo};
use pushpull_store::{REVOKED_KEYS_KEPT, Retention, Trimmed, codec};

use super::{ROWS_MAX, lock_apps};
use crate::{Db, fault::Fault, rows::state_number, tx::Tx};

/// Endpoints whose end is gone on with in one step.
const ENDING_MAX: usize = 10;
/// Deliveries of a deleted endpoint that are looked at in one transaction once nothing is due any more.
const ENDING_LOOKED_MAX: i64 = 10_000;
/// Endpoints of which nothing is owed, and deleted applications, looked at in one step. They can only go when a day
/// has: there is no haste.
const ENDED_LOOKED_MAX: i64 = 200;

/// Locked in the order of keys, as by those who settle.
const CANCEL: &str = "
    WITH locked AS MATERIALIZED (
        SELECT d.key, d.day FROM (SELECT * FROM unnest($1::bigint[], $2::integer[]) AS k (key, day) ORDER BY key) k
        CROSS JOIN LATERAL (
            SELECT key, day FROM delivery
            WHERE delivery.key = k.key AND delivery.day = k.day AND state = 0 FOR UPDATE) d
    )
    UPDATE delivery d SET state = $3, due_at = NULL FROM locked l WHERE d.key = l.key AND d.day = l.day";

/// Cancels some of what a deleted endpoint is owed, whose application is locked; how much.
pub(crate) async fn end_endpoint(tx: &Tx, no: EndpointNo) -> Result<u64, Fault> {
    let sql = "SELECT key, day FROM delivery WHERE endpoint = $1 AND due_at IS NOT NULL LIMIT $2";
    let due = tx.query(sql, &[&no.0.cast_signed(), &ROWS_MAX]).await?;
    if due.is_empty() {
        return end_what_is_not_due(tx, no).await;
    }
    let due = due.iter().map(|row| (row.get::<_, i64>(0), row.get::<_, i32>(1)));
    cancel(tx, due.unzip()).await
}

async fn cancel(tx: &Tx, (keys, days): (Vec<i64>, Vec<i32>)) -> Result<u64, Fault> {
    let cancelled = state_number(DeliveryState::Cancelled(CancelReason::Deleted));
    tx.execute(CANCEL, &[&keys, &days, &cancelled]).await
}

/// What nobody pushes is in no index: the queue is walked through.
async fn end_what_is_not_due(tx: &Tx, no: EndpointNo) -> Result<u64, Fault> {
    let endpoint = no.0.cast_signed();
    let ended = tx.query_opt("SELECT ended_seq FROM endpoint WHERE no = $1", &[&endpoint]).await?;
    let Some(ended) = ended.and_then(|row| row.get::<_, Option<i64>>(0)) else { return Ok(0) };
    let (first, last) = codec::range(no.0);
    let sql = "SELECT key, day, state = 0 FROM delivery WHERE key > $1 AND key <= $2 ORDER BY key LIMIT $3";
    let looked = tx.query(sql, &[&(first + ended), &last, &ENDING_LOOKED_MAX]).await?;
    let owed = looked.iter().filter(|row| row.get(2)).take(ROWS_MAX as usize);
    let (keys, days): (Vec<i64>, Vec<i32>) =
        owed.map(|row| (row.get::<_, i64>(0), row.get::<_, i32>(1))).unzip();
    let reached: Option<i64> = match keys.last() {
        Some(last) if keys.len() as i64 == ROWS_MAX => Some(*last),
        _ if looked.len() as i64 == ENDING_LOOKED_MAX => looked.last().map(|row| row.get(0)),
        _ => None,
    };
    let reached = reached.map(|key| codec::place(key).cast_signed());
    tx.execute("UPDATE endpoint SET ended_seq = $2 WHERE no = $1", &[&endpoint, &reached]).await?;
    cancel(tx, (keys, days)).await
}

/// Ends what deleted endpoints are owed, and removes those of which no delivery is kept any more.
pub(super) async fn endpoints(db: &Arc<Db>, trimmed: &mut Trimmed) -> Result<(), Fault> {
    for n in 0..=ENDING_MAX {
        let tx = db.begin().await?;
        let sql =
            "SELECT no, app FROM endpoint WHERE deleted_at IS NOT NULL AND ended_seq IS NOT NULL LIMIT 1";
        let Some(ending) = tx.query_opt(sql, &[]).await? else { break };
        if n == ENDING_MAX {
            trimmed.more = true;
            return Ok(());
        }
        lock_apps(&tx, &[ending.get(1)]).await?;
        trimmed.cancelled += end_endpoint(&tx, EndpointNo(ending.get::<_, i32>(0).cast_unsigned())).await?;
        tx.commit().await?;
    }
    ended_endpoints(db, trimmed).await
}

/// Endpoints of which nothing is owed; which of them have no deliveries, and which left consumers.
const ENDED: &str = "
    SELECT e.no, d.key IS NULL, EXISTS (SELECT FROM consumer WHERE endpoint = e.no)
        OR EXISTS (SELECT FROM consumer_item WHERE endpoint = e.no) FROM (
        SELECT no FROM endpoint WHERE deleted_at IS NOT NULL AND ended_seq IS NULL AND no > $1 ORDER BY no LIMIT $2) e
    LEFT JOIN LATERAL (SELECT key FROM delivery
        WHERE key BETWEEN e.no::bigint << 40 AND ((e.no::bigint + 1) << 40) - 1 LIMIT 1) d ON true
    ORDER BY e.no";

async fn ended_endpoints(db: &Arc<Db>, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let tx = db.begin().await?;
    let looked = tx.query(ENDED, &[&db.trimmer.progress().ended_endpoint, &ENDED_LOOKED_MAX]).await?;
    let ended: Vec<i32> = looked.iter().map(|row| row.get(0)).collect();
    let read: Vec<i32> = looked.iter().filter(|row| row.get(2)).map(|row| row.get(0)).collect();
    if !read.is_empty() && !remove_consumers(&tx, &read).await? {
        // Come back to these.
        trimmed.more = true;
        return tx.commit().await;
    }
    let gone: Vec<i32> = looked.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
    tx.execute("DELETE FROM endpoint WHERE no = ANY ($1)", &[&gone]).await?;
    tx.commit().await?;
    let next = ended.last().copied().filter(|_| ended.len() as i64 == ENDED_LOOKED_MAX);
    db.trimmer.advance(|progress| progress.ended_endpoint = next.unwrap_or(0));
    Ok(())
}

/// Removes some of what the consumers of endpoints left; whether that is all.
async fn remove_consumers(tx: &Tx, endpoints: &[i32]) -> Result<bool, Fault> {
    // As everyone who changes a work queue: first its consumer.
    let lock = "SELECT endpoint, name FROM consumer WHERE endpoint = ANY ($1)
                ORDER BY endpoint, name LIMIT $2 FOR UPDATE";
    let locked = tx.query(lock, &[&endpoints, &ROWS_MAX]).await?;
    // Up to the last one that is locked, unless all are.
    let upto = locked.last().filter(|_| locked.len() as i64 == ROWS_MAX);
    let (endpoint, name): (Option<i32>, Option<&str>) = upto.map(|row| (row.get(0), row.get(1))).unzip();
    let items = "DELETE FROM consumer_item WHERE (endpoint, consumer, seq) IN (
                     SELECT endpoint, consumer, seq FROM consumer_item
                     WHERE endpoint = ANY ($1) AND ($3::integer IS NULL OR (endpoint, consumer) <= ($3, $4)) LIMIT $2)";
    let consumers = "DELETE FROM consumer WHERE (endpoint, name) IN (
                         SELECT endpoint, name FROM consumer
                         WHERE endpoint = ANY ($1) AND ($3::integer IS NULL OR (endpoint, name) <= ($3, $4)) LIMIT $2)";
    for sql in [items, consumers] {
        let removed = tx.execute(sql, &[&endpoints, &ROWS_MAX, &endpoint, &name]).await?;
        if removed == ROWS_MAX.cast_unsigned() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deleted applications, and which of them have messages, or endpoints.
const DELETED: &str = "
    SELECT a.no, m.key IS NULL AND NOT EXISTS (SELECT FROM endpoint WHERE app = a.no)
    FROM (SELECT no FROM app WHERE deleted_at IS NOT NULL AND no > $1 ORDER BY no LIMIT $2) a
    LEFT JOIN LATERAL (SELECT key FROM message
        WHERE key BETWEEN a.no::bigint << 40 AND ((a.no::bigint + 1) << 40) - 1 LIMIT 1) m ON true
    ORDER BY a.no";

/// Removes the keys for deleted applications, and those applications of which nothing is kept.
pub(super) async fn apps(db: &Arc<Db>) -> Result<(), Fault> {
    let tx = db.begin().await?;
    let looked = tx.query(DELETED, &[&db.trimmer.progress().deleted_app, &ENDED_LOOKED_MAX]).await?;
    let deleted: Vec<i32> = looked.iter().map(|row| row.get(0)).collect();
    let gone: Vec<i32> = looked.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
    tx.execute("DELETE FROM api_key WHERE app = ANY ($1)", &[&deleted]).await?;
    tx.execute("DELETE FROM app WHERE no = ANY ($1)", &[&gone]).await?;
    tx.commit().await?;
    let next = deleted.last().copied().filter(|_| deleted.len() as i64 == ENDED_LOOKED_MAX);
    db.trimmer.advance(|progress| progress.deleted_app = next.unwrap_or(0));
    Ok(())
}

/// Keys that were revoked, or ended by themselves, long ago: a portal's visitors leave many.
pub(super) async fn keys(db: &Arc<Db>, trimmed: &mut Trimmed) -> Result<(), Fault> {
    let tx = db.begin().await?;
    let sql = "DELETE FROM api_key WHERE hash IN (SELECT hash FROM api_key WHERE revoked_at < $1 LIMIT $2)";
    let removed = tx.execute(sql, &[&tx.now.before(REVOKED_KEYS_KEPT).as_millis(), &ROWS_MAX]).await?;
    tx.commit().await?;
    trimmed.more |= removed == ROWS_MAX.cast_unsigned();
    Ok(())
}

/// Tasks that are done.
pub(super) async fn recoveries(db: &Arc<Db>, retention: Retention) -> Result<(), Fault> {
    let tx = db.begin().await?;
    let sql = "DELETE FROM recovery WHERE task IN (
                   SELECT task FROM recovery WHERE done AND updated_at < $1 LIMIT $2)";
    tx.execute(sql, &[&tx.now.before(retention.messages).as_millis(), &ROWS_MAX]).await?;
    tx.commit().await
}
