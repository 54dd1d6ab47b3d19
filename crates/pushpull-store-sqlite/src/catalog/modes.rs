//! What a change of mode leaves behind, in the transaction that makes it.

use pushpull_domain::{AppNo, Endpoint, EndpointNo, Mode, ModeChange, PushFrom, Seq, Timestamp};
use pushpull_store::WriteError;
use rusqlite::{Connection, OptionalExtension, params};

use super::bump;
use crate::{append::endpoint_memory, fault::Fault, list::collect, recovery, tx::Tx};

/// Up to where readers are done with what an endpoint is owed that is to be pushed again.
pub(super) fn read_up_to(tx: &mut Tx<'_>, endpoint: &Endpoint, from: &PushFrom) -> Result<Seq, Fault> {
    let consumers: Vec<(String, Seq)> = collect(
        tx.conn,
        "SELECT name, committed FROM consumer WHERE endpoint = ?1 ORDER BY name",
        [endpoint.no.0],
        |row| Ok((row.get(0)?, Seq(row.get(1)?))),
    )?;
    let last = Seq(endpoint_memory(tx.conn, tx.memory, endpoint.no)?.last_seq);
    from.place(&consumers, endpoint.read_seq, last).map_err(|names| WriteError::WhichConsumer(names).into())
}

/// Does what a change of mode asks for, after the endpoint is written.
pub(super) fn follow(tx: &mut Tx<'_>, endpoint: &Endpoint, change: ModeChange) -> Result<(), Fault> {
    match change {
        ModeChange::None => Ok(()),
        ModeChange::Left => {
            recovery::start_withdrawal(tx, endpoint.app, endpoint.no)?;
            // The dispatcher has to find out that it drains.
            tx.news.rescheduled.push((endpoint.app, endpoint.no));
            Ok(())
        }
        ModeChange::Resumed => recovery::start_gathered(tx, endpoint.app, endpoint.no, endpoint.read_seq),
    }
}

/// Holds an endpoint that cannot be brought what it is owed.
pub(super) fn hold(tx: &mut Tx<'_>, no: EndpointNo) -> Result<bool, Fault> {
    let app: Option<u32> = tx
        .conn
        .query_row(
            "UPDATE endpoint SET mode = ?2, updated_at = max(updated_at + 1, ?3),
                 draining_since = max(updated_at + 1, ?3)
             WHERE no = ?1 AND mode = 0 AND (fifo OR hold_when_failing) AND disabled_at IS NULL
                 AND deleted_at IS NULL RETURNING app",
            params![no.0, Mode::Held as u8, tx.now.as_millis()],
            |row| row.get(0),
        )
        .optional()?;
    let Some(app) = app else { return Ok(false) };
    recovery::start_withdrawal(tx, AppNo(app), no)?;
    tx.news.rescheduled.push((AppNo(app), no));
    bump(tx, AppNo(app))?;
    Ok(true)
}

/// Endpoints that left push, and of which something may still be in flight.
pub(super) fn draining(conn: &Connection) -> Result<Vec<(EndpointNo, AppNo)>, Fault> {
    collect(
        conn,
        "SELECT no, app FROM endpoint INDEXED BY endpoint_draining
         WHERE draining_since IS NOT NULL AND deleted_at IS NULL",
        (),
        |row| Ok((EndpointNo(row.get(0)?), AppNo(row.get(1)?))),
    )
}

/// Nothing is in flight any more. The moment tells it from another time it left push.
pub(super) fn end_draining(tx: &mut Tx<'_>, no: EndpointNo, since: Timestamp) -> Result<bool, Fault> {
    let app: Option<u32> = tx
        .conn
        .query_row(
            "UPDATE endpoint SET draining_since = NULL WHERE no = ?1 AND draining_since = ?2 RETURNING app",
            params![no.0, since.as_millis()],
            |row| row.get(0),
        )
        .optional()?;
    match app {
        Some(app) => bump(tx, AppNo(app)).map(|()| true),
        None => Ok(false),
    }
}
