//! Writing endpoints.

use std::sync::Arc;

use pushpull_domain::{
    Endpoint, EndpointId, EndpointNo, Health, ModeChange, PushFrom, Seq, Timestamp, chance,
};
use pushpull_store::{
    WriteError,
    columns::{self, to_json},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{bump, later, modes};
use crate::{
    catalog_rows as rows,
    codec::NO_MAX,
    fault::{Fault, inconsistent},
    tx::Tx,
};

/// Makes an endpoint.
pub(super) fn create(tx: &mut Tx<'_>, endpoint: Endpoint) -> Result<Arc<Endpoint>, Fault> {
    let alive: Option<u32> = tx
        .conn
        .query_row("SELECT no FROM app WHERE no = ?1 AND deleted_at IS NULL", [endpoint.app.0], |row| {
            row.get(0)
        })
        .optional()?;
    if alive.is_none() {
        return Err(WriteError::NotFound.into());
    }
    let endpoint = Endpoint {
        id: EndpointId::new(tx.now, chance::bytes(&*tx.shared.chance)),
        health: Health::default(),
        read_seq: Seq(0),
        draining_since: None,
        created_at: tx.now,
        updated_at: tx.now,
        ..endpoint
    };
    refuse_taken_uid(tx.conn, &endpoint, None)?;
    tx.conn.execute(
        "INSERT INTO endpoint (id, app, url, description, mode, fifo, headers, secrets, metadata, created_at,
             updated_at) VALUES (?1, ?2, '', '', 0, 0, x'', x'', '{}', ?3, ?3)",
        params![endpoint.id.to_string(), endpoint.app.0, tx.now.as_millis()],
    )?;
    let no = u32::try_from(tx.conn.last_insert_rowid()).unwrap_or(u32::MAX);
    if no > NO_MAX {
        return Err(inconsistent("endpoint", no, "more endpoints than numbers"));
    }
    let endpoint = Endpoint { no: EndpointNo(no), ..endpoint };
    write_endpoint(tx, &endpoint, endpoint.updated_at)?;
    bump(tx, endpoint.app)?;
    Ok(Arc::new(endpoint))
}

fn refuse_taken_uid(conn: &Connection, endpoint: &Endpoint, but: Option<EndpointNo>) -> Result<(), Fault> {
    let Some(uid) = &endpoint.uid else { return Ok(()) };
    let taken: i64 = conn.query_row(
        "SELECT count(*) FROM endpoint WHERE app = ?1 AND uid = ?2 AND no IS NOT ?3 AND deleted_at IS NULL",
        params![endpoint.app.0, &**uid, but.map(|no| no.0)],
        |row| row.get(0),
    )?;
    if taken > 0 { Err(WriteError::Taken("uid").into()) } else { Ok(()) }
}

/// Writes all columns but health, if the row is still as it was read.
fn write_endpoint(tx: &Tx<'_>, endpoint: &Endpoint, read: Timestamp) -> Result<(), Fault> {
    let (disabled_at, disabled_reason) = columns::state_columns(endpoint.state);
    let sealer = &tx.shared.sealer;
    let written = tx.conn.prepare_cached(
        "UPDATE endpoint SET uid = ?3, url = ?4, description = ?5, event_types = ?6, channels = ?7, mode = ?8,
             disabled_at = ?9, disabled_reason = ?10, rate_limit = ?11, retry_schedule = ?12, fifo = ?13,
             headers = ?14, secrets = ?15, metadata = ?16, updated_at = ?17, read_seq = ?18, draining_since = ?19,
             hold_when_failing = ?20, batch_size = ?21, batch_wait_secs = ?22
         WHERE no = ?1 AND updated_at = ?2 AND deleted_at IS NULL",
    )?
    .execute(params![
        endpoint.no.0,
        read.as_millis(),
        endpoint.uid.as_deref(),
        endpoint.url,
        endpoint.description,
        endpoint.filter.event_types.as_ref().map(to_json),
        endpoint.filter.channels.as_ref().map(to_json),
        endpoint.mode as u8,
        disabled_at,
        disabled_reason,
        endpoint.rate_limit,
        endpoint.retry_schedule.as_ref().map(ToString::to_string),
        endpoint.fifo,
        columns::seal_headers(sealer, &*tx.shared.chance, endpoint),
        columns::seal_secrets(sealer, &*tx.shared.chance, endpoint),
        to_json(&endpoint.metadata),
        endpoint.updated_at.as_millis(),
        endpoint.read_seq.0,
        endpoint.draining_since.map(Timestamp::as_millis),
        endpoint.hold_when_failing,
        endpoint.batch.size,
        endpoint.batch.wait_secs,
    ])?;
    if written == 0 { Err(WriteError::Stale.into()) } else { Ok(()) }
}

/// Writes an endpoint back, if it is still as it was read.
pub(super) fn update(tx: &mut Tx<'_>, endpoint: Endpoint, from: &PushFrom) -> Result<Arc<Endpoint>, Fault> {
    let read = endpoint.updated_at;
    refuse_taken_uid(tx.conn, &endpoint, Some(endpoint.no))?;
    let Some(before) = rows::endpoint_by_no(tx.conn, &tx.shared.sealer, endpoint.no)? else {
        return Err(WriteError::NotFound.into());
    };
    if before.updated_at != read {
        return Err(WriteError::Stale.into());
    }
    let change = ModeChange::of(before.mode, endpoint.mode);
    let updated_at = later(tx.now, read);
    let (read_seq, draining_since) = match change {
        ModeChange::None => (before.read_seq, before.draining_since),
        ModeChange::Left => (before.read_seq, Some(updated_at)),
        ModeChange::Resumed => (modes::read_up_to(tx, &before, from)?, None),
    };
    let enabled = endpoint.is_enabled() && !before.is_enabled();
    let begins_anew = enabled || change == ModeChange::Resumed;
    let health = if begins_anew { Health::default() } else { before.health };
    let endpoint = Endpoint { updated_at, health, read_seq, draining_since, ..endpoint };
    write_endpoint(tx, &endpoint, read)?;
    if begins_anew {
        tx.conn.execute(
            "UPDATE endpoint SET failing_since = NULL, failing_notified = 0 WHERE no = ?1",
            [endpoint.no.0],
        )?;
        tx.news.rescheduled.push((endpoint.app, endpoint.no));
    }
    modes::follow(tx, &endpoint, change)?;
    bump(tx, endpoint.app)?;
    Ok(Arc::new(endpoint))
}
