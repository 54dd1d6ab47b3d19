//! Sending a message by hand, again or for the first time.

use std::sync::Arc;

use pushpull_domain::{AppNo, EndpointNo, MessageKey, Timestamp, attempt::Trigger};
use pushpull_store::{Resent, codec};

use crate::{Db, fault::Fault, messages::OF_MESSAGE, trim, tx::Tx};

/// Owes a message to an endpoint, now, by hand.
pub(super) async fn resend(db: &Arc<Db>, message: MessageKey, endpoint: EndpointNo) -> Result<Resent, Fault> {
    db.open_day(db.clock.now()).await?;
    let mut tx = db.begin().await?;
    let resent = resend_in(&mut tx, message, endpoint).await?;
    if resent == Resent::Owed {
        tx.news.rescheduled.push((message.app, endpoint));
        tx.commit().await?;
    }
    Ok(resent)
}

async fn resend_in(tx: &mut Tx, message: MessageKey, endpoint: EndpointNo) -> Result<Resent, Fault> {
    if tx.lock_app(message.app).await?.is_none() {
        return Ok(Resent::Gone);
    }
    let key = codec::message_key(message);
    let sql = "SELECT day, $2 = ANY (endpoints) FROM message WHERE key = $1 AND payload IS NOT NULL";
    let Some(found) = tx.query_opt(sql, &[&key, &endpoint.0.cast_signed()]).await? else {
        return Ok(Resent::Gone);
    };
    let (day, has_it): (i32, bool) = (found.get(0), found.get(1));
    // Its deliveries go before it does; and what joined a queue on a later day would stay when its day is removed.
    if trim::is_going(tx, day).await? {
        return Ok(Resent::Gone);
    }
    let Some(pushed) = is_pushed(tx, message.app, endpoint).await? else { return Ok(Resent::Gone) };
    let due_at = pushed.then_some(tx.wall);
    if has_it {
        if !pushed {
            return Ok(Resent::Queued);
        }
        let sql = format!(
            "SELECT d.key, d.day FROM message m {OF_MESSAGE} WHERE m.key = $1 AND m.day = $2 AND f.endpoint = $3"
        );
        let row = tx.query_one(&sql, &[&key, &day, &endpoint.0.cast_signed()]).await?;
        reopen(tx, &[row.get(0)], &[row.get(1)], due_at).await?;
    } else {
        insert(tx, (key, day), endpoint, due_at).await?;
    }
    Ok(Resent::Owed)
}

const JOIN: &str = "
    INSERT INTO delivery (day, key, endpoint, message, message_day, state, due_at, trigger, attempts)
    SELECT (SELECT max(day) FROM open_day), e.no::bigint << 40 | greatest(e.trimmed_seq, coalesce(last.key, 0) & ((1::bigint << 40) - 1)) + 1,
        e.no, $2, $3, 0, $4, $5, 0
    FROM endpoint e LEFT JOIN LATERAL last_delivery(e.no) AS last (key) ON true WHERE e.no = $1
    RETURNING key";

/// Writes a new delivery at the end of its endpoint's queue. `due_at`: `None` if nobody pushes it.
async fn insert(
    tx: &Tx,
    (message, message_day): (i64, i32),
    endpoint: EndpointNo,
    due_at: Option<Timestamp>,
) -> Result<(), Fault> {
    let no = endpoint.0.cast_signed();
    let due_at = due_at.map(Timestamp::as_millis);
    let joined =
        tx.query_one(JOIN, &[&no, &message, &message_day, &due_at, &(Trigger::Manual as i16)]).await?;
    let seq = codec::place(joined.get(0)).cast_signed();
    let sql = "UPDATE message SET endpoints = endpoints || $3::integer, seqs = seqs || $4::bigint
               WHERE key = $1 AND day = $2";
    tx.execute(sql, &[&message, &message_day, &no, &seq]).await?;
    Ok(())
}

/// Whether the dispatcher brings things to an endpoint of this application; `None`: there is no such endpoint.
pub(crate) async fn is_pushed(tx: &Tx, app: AppNo, endpoint: EndpointNo) -> Result<Option<bool>, Fault> {
    let sql = "SELECT mode = 0 FROM endpoint WHERE no = $1 AND app = $2 AND deleted_at IS NULL";
    let row = tx.query_opt(sql, &[&endpoint.0.cast_signed(), &app.0.cast_signed()]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// Locked in the order of keys, as by those who settle.
const REOPEN: &str = "
    WITH locked AS MATERIALIZED (
        SELECT d.key, d.day FROM (SELECT * FROM unnest($1::bigint[], $2::integer[]) AS k (key, day) ORDER BY key) k
        CROSS JOIN LATERAL (
            SELECT key, day FROM delivery WHERE delivery.key = k.key AND delivery.day = k.day FOR UPDATE) d
    )
    UPDATE delivery d SET state = 0, due_at = $3, trigger = 1, attempts = 0
    FROM locked l WHERE d.key = l.key AND d.day = l.day";

/// Owes deliveries again, by hand, their schedules begun anew.
pub(crate) async fn reopen(
    tx: &Tx,
    keys: &[i64],
    days: &[i32],
    due_at: Option<Timestamp>,
) -> Result<u64, Fault> {
    tx.execute(REOPEN, &[&keys, &days, &due_at.map(Timestamp::as_millis)]).await
}
