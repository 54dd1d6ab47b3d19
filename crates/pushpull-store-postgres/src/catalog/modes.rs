//! What a change of mode leaves behind, in the transaction that makes it.

use pushpull_domain::{AppNo, Endpoint, EndpointNo, Mode, Seq, Timestamp, endpoint::PushFrom};
use pushpull_store::{WriteError, codec};

use super::{bump, endpoints::lock_app_of};
use crate::{fault::Fault, pool::Conn, recovery, tx::Tx};

/// How an endpoint's mode changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nobody pushes it now who did not before, and nobody stops.
    None,
    /// It leaves push.
    Left,
    /// It is pushed again.
    Resumed,
}

impl Change {
    pub(super) fn of(before: Mode, after: Mode) -> Self {
        match (before == Mode::Push, after == Mode::Push) {
            (true, false) => Self::Left,
            (false, true) => Self::Resumed,
            (true, true) | (false, false) => Self::None,
        }
    }
}

/// Up to where readers are done with what an endpoint is owed that is to be pushed again.
pub(super) async fn read_up_to(tx: &Tx, endpoint: &Endpoint, from: &PushFrom) -> Result<Seq, Fault> {
    match from {
        PushFrom::Earliest => Ok(Seq(0)),
        PushFrom::Latest => last_seq(tx, endpoint.no).await,
        PushFrom::Consumer(wanted) => {
            let all = consumers(tx, endpoint.no).await?;
            match all.iter().find(|(name, _)| **name == **wanted) {
                Some((_, committed)) => Ok(*committed),
                None => Err(which(all)),
            }
        }
        PushFrom::Readers => {
            let all = consumers(tx, endpoint.no).await?;
            match &all[..] {
                [] => Ok(endpoint.read_seq),
                [(_, committed)] => Ok(*committed),
                _ => Err(which(all)),
            }
        }
    }
}

/// The newest seq of an endpoint whose application is locked.
async fn last_seq(tx: &Tx, no: EndpointNo) -> Result<Seq, Fault> {
    let row = tx
        .query_one(
            "SELECT last.key, trimmed_seq FROM endpoint
             LEFT JOIN LATERAL (SELECT key FROM last_delivery(no) AS of (key)) last ON true WHERE no = $1",
            &[&no.0.cast_signed()],
        )
        .await?;
    let newest = row.get::<_, Option<i64>>(0).map_or(0, codec::place);
    Ok(Seq(newest.max(row.get::<_, i64>(1).cast_unsigned())))
}

async fn consumers(tx: &Tx, no: EndpointNo) -> Result<Vec<(String, Seq)>, Fault> {
    let sql = "SELECT name, committed FROM consumer WHERE endpoint = $1 ORDER BY name";
    let rows = tx.query(sql, &[&no.0.cast_signed()]).await?;
    Ok(rows.iter().map(|row| (row.get(0), Seq(row.get::<_, i64>(1).cast_unsigned()))).collect())
}

fn which(all: Vec<(String, Seq)>) -> Fault {
    WriteError::WhichConsumer(all.into_iter().map(|(name, _)| name).collect()).into()
}

/// Does what a change of mode asks for, after the endpoint is written.
pub(super) async fn follow(tx: &mut Tx, endpoint: &Endpoint, change: Change) -> Result<(), Fault> {
    match change {
        Change::None => Ok(()),
        Change::Left => {
            recovery::start_withdrawal(tx, endpoint.app, endpoint.no).await?;
            // The dispatcher has to find out that it drains.
            tx.news.rescheduled.push((endpoint.app, endpoint.no));
            Ok(())
        }
        Change::Resumed => recovery::start_gathered(tx, endpoint.app, endpoint.no, endpoint.read_seq).await,
    }
}

/// Holds an endpoint that cannot be brought what it is owed.
pub(super) async fn hold(tx: &mut Tx, no: EndpointNo) -> Result<bool, Fault> {
    let Some(app) = lock_app_of(tx, no).await? else { return Ok(false) };
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

/// Endpoints that left push, and of which something may still be in flight.
pub(super) async fn draining(conn: &Conn) -> Result<Vec<(EndpointNo, AppNo)>, Fault> {
    let sql =
        "SELECT no, app FROM endpoint WHERE draining_since IS NOT NULL AND deleted_at IS NULL ORDER BY no";
    let number = |row: &tokio_postgres::Row, column| row.get::<_, i32>(column).cast_unsigned();
    let rows = conn.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| (EndpointNo(number(row, 0)), AppNo(number(row, 1)))).collect())
}

/// Nothing is in flight any more. The moment tells it from another time it left push.
pub(super) async fn end_draining(tx: &mut Tx, no: EndpointNo, since: Timestamp) -> Result<bool, Fault> {
    let Some(app) = lock_app_of(tx, no).await? else { return Ok(false) };
    let ended = tx
        .execute(
            "UPDATE endpoint SET draining_since = NULL WHERE no = $1 AND draining_since = $2",
            &[&no.0.cast_signed(), &since.as_millis()],
        )
        .await?;
    if ended == 1 {
        bump(tx, app).await?;
    }
    Ok(ended == 1)
}
