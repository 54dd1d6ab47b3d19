//! What becomes of an endpoint by how its deliveries go: said by the node that brings them, and by no other.

use pushpull_domain::{AppNo, EndpointNo, EndpointState, Health, Mode, Timestamp, endpoint::DisabledReason};
use pushpull_store::columns;
use tokio_postgres::Row;

use super::{bump, endpoints::lock_app_of};
use crate::{Db, fault::Fault, recovery, settle::HOLD, shards::shard_of, tx::Tx};

/// Whether this node holds an application's shard; until the transaction ends it keeps it. One that was paused finds
/// here that another has taken over, and what it has to say of an endpoint is not true any more.
async fn holds(db: &Db, tx: &Tx, app: AppNo) -> Result<bool, Fault> {
    let (shards, epochs) = db.shards.fence();
    let held = shards.iter().zip(epochs).find(|(shard, _)| **shard as usize == shard_of(app));
    let Some((shard, epoch)) = held else { return Ok(false) };
    Ok(tx.query_opt(HOLD, &[&[*shard].as_slice(), &[epoch].as_slice()]).await?.is_some())
}

/// Locks the application of an endpoint; `None`: one of the two is gone, or is another node's to bring.
async fn lock(db: &Db, tx: &Tx, no: EndpointNo) -> Result<Option<AppNo>, Fault> {
    match lock_app_of(tx, no).await? {
        Some(app) if holds(db, tx, app).await? => Ok(Some(app)),
        _ => Ok(None),
    }
}

/// Notes how an endpoint is failing. No message is matched against that, so it is no new version.
pub(super) async fn set_health(db: &Db, tx: &Tx, no: EndpointNo, health: Health) -> Result<(), Fault> {
    if lock(db, tx, no).await?.is_some() {
        tx.execute(
            "UPDATE endpoint SET failing_since = $2, failing_notified = $3 WHERE no = $1",
            &[&no.0.cast_signed(), &health.failing_since.map(Timestamp::as_millis), &health.notified],
        )
        .await?;
    }
    Ok(())
}

/// Disables an endpoint, if it is enabled and pushed.
pub(super) async fn disable(
    db: &Db,
    tx: &mut Tx,
    no: EndpointNo,
    reason: DisabledReason,
) -> Result<bool, Fault> {
    let Some(app) = lock(db, tx, no).await? else { return Ok(false) };
    let (at, number) = columns::state_columns(EndpointState::Disabled { at: tx.now, reason });
    let disabled = tx
        .execute(
            "UPDATE endpoint SET disabled_at = $2, disabled_reason = $3, updated_at = greatest(updated_at + 1, $2)
             WHERE no = $1 AND disabled_at IS NULL AND mode = 0 AND deleted_at IS NULL",
            &[&no.0.cast_signed(), &at, &number.map(i16::from)],
        )
        .await?;
    if disabled == 1 {
        bump(tx, app).await?;
    }
    Ok(disabled == 1)
}

/// Holds an endpoint that cannot be brought what it is owed.
pub(super) async fn hold(db: &Db, tx: &mut Tx, no: EndpointNo) -> Result<bool, Fault> {
    let Some(app) = lock(db, tx, no).await? else { return Ok(false) };
    let held = tx
        .execute(
            "UPDATE endpoint SET mode = $2, updated_at = greatest(updated_at + 1, $3),
                 draining_since = greatest(updated_at + 1, $3)
             WHERE no = $1 AND mode = 0 AND (fifo OR hold_when_failing) AND disabled_at IS NULL
                 AND deleted_at IS NULL",
            &[&no.0.cast_signed(), &(Mode::Held as i16), &tx.now.as_millis()],
        )
        .await?;
    if held == 0 {
        return Ok(false);
    }
    recovery::start_withdrawal(tx, app, no).await?;
    tx.news.rescheduled.push((app, no));
    bump(tx, app).await?;
    Ok(true)
}

/// Endpoints that left push, and of which something may still be in flight here.
pub(super) async fn draining(db: &Db) -> Result<Vec<(EndpointNo, AppNo)>, Fault> {
    let sql =
        "SELECT no, app FROM endpoint WHERE draining_since IS NOT NULL AND deleted_at IS NULL ORDER BY no";
    let number = |row: &Row, column| row.get::<_, i32>(column).cast_unsigned();
    let rows = db.reads.lend().await?.query(sql, &[]).await?;
    let draining = rows.iter().map(|row| (EndpointNo(number(row, 0)), AppNo(number(row, 1))));
    Ok(draining.filter(|(_, app)| db.shards.owns(*app)).collect())
}

/// Nothing is in flight any more. The moment tells it from another time it left push.
pub(super) async fn end_draining(
    db: &Db,
    tx: &mut Tx,
    no: EndpointNo,
    since: Timestamp,
) -> Result<bool, Fault> {
    let Some(app) = lock(db, tx, no).await? else { return Ok(false) };
    let ended = tx
        .execute(
            "UPDATE endpoint SET draining_since = NULL WHERE no = $1 AND draining_since = $2",
            &[&no.0.cast_signed(), &since.as_millis()],
        )
        .await?;
    if ended == 1 {
        // An outcome that was being written when the endpoint left push may have made its delivery due again.
        recovery::start_withdrawal(tx, app, no).await?;
        bump(tx, app).await?;
    }
    Ok(ended == 1)
}
