//! What a change of mode leaves behind, in the transaction that makes it.

use pushpull_domain::{Endpoint, EndpointNo, Mode, Seq, endpoint::PushFrom};
use pushpull_store::{WriteError, codec};

use crate::{fault::Fault, recovery, tx::Tx};

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
