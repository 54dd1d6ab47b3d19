//! What a change of mode leaves behind, in the transaction that makes it.

use pushpull_domain::{Endpoint, EndpointNo, ModeChange, PushFrom, Seq};
use pushpull_store::{WriteError, codec};

use crate::{fault::Fault, recovery, tx::Tx};

/// Up to where readers are done with what an endpoint is owed that is to be pushed again.
pub(super) async fn read_up_to(tx: &Tx, endpoint: &Endpoint, from: &PushFrom) -> Result<Seq, Fault> {
    let (consumers, last) = (consumers(tx, endpoint.no).await?, last_seq(tx, endpoint.no).await?);
    from.place(&consumers, endpoint.read_seq, last).map_err(|names| WriteError::WhichConsumer(names).into())
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

/// Does what a change of mode asks for, after the endpoint is written.
pub(super) async fn follow(tx: &mut Tx, endpoint: &Endpoint, change: ModeChange) -> Result<(), Fault> {
    match change {
        ModeChange::None => Ok(()),
        ModeChange::Left => {
            recovery::start_withdrawal(tx, endpoint.app, endpoint.no).await?;
            // The dispatcher has to find out that it drains.
            tx.news.rescheduled.push((endpoint.app, endpoint.no));
            Ok(())
        }
        ModeChange::Resumed => {
            recovery::start_gathered(tx, endpoint.app, endpoint.no, endpoint.read_seq).await
        }
    }
}
