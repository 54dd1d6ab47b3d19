//! Erasing payloads, and giving up what is owed of them.

use std::sync::Arc;

use pushpull_domain::{CancelReason, DeliveryState, MessageKey};
use pushpull_store::codec;

use crate::{Db, fault::Fault, rows::state_number, tx::Tx};

const ERASE: &str = "
    UPDATE message m SET payload = NULL, payload_expires_at = NULL
    FROM unnest($1::bigint[], $2::integer[]) AS k (key, day) WHERE m.key = k.key AND m.day = k.day";

/// Gives up what is owed of messages. Locked in the order of keys, as by those who settle.
fn cancel() -> String {
    format!(
        "WITH owed AS MATERIALIZED (
             SELECT d.key, d.day FROM unnest($1::bigint[], $2::integer[]) AS k (key, day)
             CROSS JOIN LATERAL (
                 SELECT day, endpoints, seqs FROM message WHERE message.key = k.key AND message.day = k.day LIMIT 1) m
             {OF_MESSAGE}
             WHERE d.state = 0 ORDER BY d.key
         ), locked AS MATERIALIZED (
             SELECT d.key, d.day FROM owed o CROSS JOIN LATERAL (
                 SELECT key, day FROM delivery WHERE delivery.key = o.key AND delivery.day = o.day AND state = 0
                 FOR UPDATE) d
         )
         UPDATE delivery d SET state = $3, due_at = NULL FROM locked l WHERE d.key = l.key AND d.day = l.day"
    )
}

/// The deliveries of a message `m`, as `d`, in the order of its list, which is `f.n`. Most joined their queues on the
/// message's own day; the others were sent again by hand later.
pub(crate) const OF_MESSAGE: &str = "
    CROSS JOIN LATERAL unnest(m.endpoints, m.seqs) WITH ORDINALITY AS f (endpoint, seq, n)
    CROSS JOIN LATERAL (
        (SELECT * FROM delivery WHERE delivery.key = f.endpoint::bigint << 40 | f.seq AND delivery.day = m.day)
        UNION ALL
        (SELECT * FROM delivery WHERE delivery.key = f.endpoint::bigint << 40 | f.seq AND delivery.day > m.day)
        LIMIT 1) d";

/// Erases payloads, of messages whose applications are locked, and gives up what is owed of them; how many deliveries.
pub(crate) async fn expunge(tx: &Tx, keys: &[i64], days: &[i32], reason: CancelReason) -> Result<u64, Fault> {
    tx.execute(ERASE, &[&keys, &days]).await?;
    tx.execute(&cancel(), &[&keys, &days, &state_number(DeliveryState::Cancelled(reason))]).await
}

/// Erases one payload.
pub(super) async fn expunge_one(db: &Arc<Db>, message: MessageKey) -> Result<(), Fault> {
    let tx = db.begin().await?;
    if tx.lock_app(message.app).await?.is_none() {
        return Ok(());
    }
    let key = codec::message_key(message);
    let Some(found) = tx.query_opt("SELECT day FROM message WHERE key = $1", &[&key]).await? else {
        return Ok(());
    };
    expunge(&tx, &[key], &[found.get(0)], CancelReason::Expunged).await?;
    tx.commit().await
}
