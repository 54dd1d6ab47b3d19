//! Writing endpoints.

use std::sync::Arc;

use pushpull_domain::{
    AppNo, Endpoint, EndpointId, EndpointNo, Health, ModeChange, PushFrom, Seq, Timestamp, chance,
};
use pushpull_store::{
    WriteError,
    codec::NO_MAX,
    columns::{self, to_json},
};
use tokio_postgres::types::ToSql;

use super::{bump, later, modes, rows, stale};
use crate::{
    Db,
    fault::{Fault, inconsistent},
    trim,
    tx::Tx,
};

/// All columns that an owner's change writes: its number, application, id and health stay.
const WRITTEN: &str = "uid, url, description, event_types, channels, mode, disabled_at, disabled_reason, rate_limit, \
                       retry_schedule, fifo, headers, secrets, metadata, updated_at, read_seq, draining_since, \
                       hold_when_failing, batch_size, batch_wait_secs";
const WRITTEN_PARAMS: &str =
    "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20";

type Values = Vec<Box<dyn ToSql + Sync + Send>>;

/// The values of [`WRITTEN`].
fn values(db: &Db, endpoint: &Endpoint) -> Values {
    let (disabled_at, disabled_reason) = columns::state_columns(endpoint.state);
    vec![
        Box::new(endpoint.uid.as_deref().map(str::to_owned)),
        Box::new(endpoint.url.clone()),
        Box::new(endpoint.description.clone()),
        Box::new(endpoint.filter.event_types.as_ref().map(to_json)),
        Box::new(endpoint.filter.channels.as_ref().map(to_json)),
        Box::new(endpoint.mode as i16),
        Box::new(disabled_at),
        Box::new(disabled_reason.map(i16::from)),
        Box::new(endpoint.rate_limit.map(i32::from)),
        Box::new(endpoint.retry_schedule.as_ref().map(ToString::to_string)),
        Box::new(endpoint.fifo),
        Box::new(columns::seal_headers(&db.sealer, &*db.chance, endpoint)),
        Box::new(columns::seal_secrets(&db.sealer, &*db.chance, endpoint)),
        Box::new(to_json(&endpoint.metadata)),
        Box::new(endpoint.updated_at.as_millis()),
        Box::new(endpoint.read_seq.0.cast_signed()),
        Box::new(endpoint.draining_since.map(Timestamp::as_millis)),
        Box::new(endpoint.hold_when_failing),
        Box::new(i32::from(endpoint.batch.size)),
        Box::new(i32::from(endpoint.batch.wait_secs)),
    ]
}

fn params(values: &Values) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
}

/// Makes an endpoint.
pub(super) async fn create(db: &Db, tx: &mut Tx, endpoint: Endpoint) -> Result<Arc<Endpoint>, Fault> {
    if tx.lock_app(endpoint.app).await?.is_none() {
        return Err(WriteError::NotFound.into());
    }
    refuse_taken_uid(tx, &endpoint, None).await?;
    let mut endpoint = Endpoint {
        id: EndpointId::new(tx.now, chance::bytes(&*db.chance)),
        health: Health::default(),
        read_seq: Seq(0),
        draining_since: None,
        created_at: tx.now,
        updated_at: tx.now,
        ..endpoint
    };
    let mut values = values(db, &endpoint);
    values.push(Box::new(endpoint.id.to_string()));
    values.push(Box::new(endpoint.app.0.cast_signed()));
    values.push(Box::new(endpoint.created_at.as_millis()));
    let sql = format!(
        "INSERT INTO endpoint ({WRITTEN}, id, app, created_at) VALUES ({WRITTEN_PARAMS}, $21, $22, $23) RETURNING no"
    );
    let no = tx.query_one(&sql, &params(&values)).await?.get::<_, i32>(0).cast_unsigned();
    if no > NO_MAX {
        return Err(inconsistent("endpoint", no, "more endpoints than numbers"));
    }
    endpoint.no = EndpointNo(no);
    bump(tx, endpoint.app).await?;
    Ok(Arc::new(endpoint))
}

/// Nobody else gives a uid meanwhile: the application is locked.
async fn refuse_taken_uid(tx: &Tx, endpoint: &Endpoint, but: Option<EndpointNo>) -> Result<(), Fault> {
    let Some(uid) = &endpoint.uid else { return Ok(()) };
    let taken = tx
        .query_opt(
            "SELECT FROM endpoint WHERE app = $1 AND uid = $2 AND no IS DISTINCT FROM $3 AND deleted_at IS NULL",
            &[&endpoint.app.0.cast_signed(), &&**uid, &but.map(|no| no.0.cast_signed())],
        )
        .await?;
    if taken.is_some() { Err(WriteError::Taken("uid").into()) } else { Ok(()) }
}

/// Writes an endpoint back, if it is still as it was read.
pub(super) async fn update(
    db: &Db,
    tx: &mut Tx,
    endpoint: Endpoint,
    from: &PushFrom,
) -> Result<Arc<Endpoint>, Fault> {
    let read = endpoint.updated_at;
    if tx.lock_app(endpoint.app).await?.is_none() {
        return Err(WriteError::NotFound.into());
    }
    refuse_taken_uid(tx, &endpoint, Some(endpoint.no)).await?;
    let Some(before) = rows::endpoint_by_no(tx, &db.sealer, endpoint.no).await? else {
        return Err(WriteError::NotFound.into());
    };
    if before.updated_at != read {
        return Err(stale(db, endpoint.app));
    }
    let change = ModeChange::of(before.mode, endpoint.mode);
    let updated_at = later(tx.now, read);
    let (read_seq, draining_since) = match change {
        ModeChange::None => (before.read_seq, before.draining_since),
        ModeChange::Left => (before.read_seq, Some(updated_at)),
        ModeChange::Resumed => (modes::read_up_to(tx, &before, from).await?, None),
    };
    let enabled = endpoint.is_enabled() && !before.is_enabled();
    let begins_anew = enabled || change == ModeChange::Resumed;
    let health = if begins_anew { Health::default() } else { before.health };
    let endpoint = Endpoint { updated_at, health, read_seq, draining_since, ..endpoint };
    write(db, tx, &endpoint).await?;
    if begins_anew {
        tx.execute(
            "UPDATE endpoint SET failing_since = NULL, failing_notified = false WHERE no = $1",
            &[&endpoint.no.0.cast_signed()],
        )
        .await?;
        tx.news.rescheduled.push((endpoint.app, endpoint.no));
    }
    modes::follow(tx, &endpoint, change).await?;
    bump(tx, endpoint.app).await?;
    Ok(Arc::new(endpoint))
}

async fn write(db: &Db, tx: &Tx, endpoint: &Endpoint) -> Result<(), Fault> {
    let mut values = values(db, endpoint);
    values.push(Box::new(endpoint.no.0.cast_signed()));
    let sql = format!("UPDATE endpoint SET ({WRITTEN}) = ROW({WRITTEN_PARAMS}) WHERE no = $21");
    tx.execute(&sql, &params(&values)).await?;
    Ok(())
}

/// Locks the application of an endpoint; `None`: one of the two is gone.
pub(super) async fn lock_app_of(tx: &Tx, no: EndpointNo) -> Result<Option<AppNo>, Fault> {
    let row = tx
        .query_opt(
            "SELECT app.no FROM endpoint JOIN app ON app.no = endpoint.app
             WHERE endpoint.no = $1 AND endpoint.deleted_at IS NULL AND app.deleted_at IS NULL FOR UPDATE OF app",
            &[&no.0.cast_signed()],
        )
        .await?;
    Ok(row.map(|row| AppNo(row.get::<_, i32>(0).cast_unsigned())))
}

/// Deletes an endpoint.
pub(super) async fn delete(tx: &mut Tx, no: EndpointNo) -> Result<(), Fault> {
    let app = lock_app_of(tx, no).await?.ok_or(WriteError::NotFound)?;
    let endpoint = no.0.cast_signed();
    // It may have been deleted while this waited for the lock.
    let deleted = tx
        .execute(
            "UPDATE endpoint SET deleted_at = $2 WHERE no = $1 AND deleted_at IS NULL",
            &[&endpoint, &tx.now.as_millis()],
        )
        .await?;
    if deleted == 0 {
        return Err(WriteError::NotFound.into());
    }
    tx.execute("DELETE FROM api_key WHERE endpoint = $1", &[&endpoint]).await?;
    // The first of what it is owed ends at once, which is mostly all; the rest by and by.
    trim::end_endpoint(tx, no).await?;
    bump(tx, app).await
}
