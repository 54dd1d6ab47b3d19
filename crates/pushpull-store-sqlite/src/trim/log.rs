//! Messages and payloads that are older than they are kept.

use std::collections::HashMap;

use pushpull_domain::{AppNo, CancelReason, DeliveryKey, EndpointNo, Timestamp};
use pushpull_store::{Retention, Trimmed};
use rusqlite::{OptionalExtension, params};

use super::{Budget, LOOKED_MAX, Progress, last_key};
use crate::{codec, fault::Fault, list::collect, messages::expunge, rows, tx::Tx};

/// Payloads with a time of their own.
pub(super) fn expired_payloads(
    tx: &mut Tx<'_>,
    budget: &mut Budget,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    let keys: Vec<i64> = collect(
        tx.conn,
        "SELECT key FROM message WHERE payload_expires_at <= ?1 LIMIT ?2",
        params![tx.now.as_millis(), LOOKED_MAX],
        |row| Ok(row.get(0)?),
    )?;
    trimmed.more |= keys.len() == LOOKED_MAX;
    erase(tx, &keys, budget, trimmed).map(drop)
}

/// Erases payloads as far as the budget goes; the last one.
fn erase(
    tx: &mut Tx<'_>,
    keys: &[i64],
    budget: &mut Budget,
    trimmed: &mut Trimmed,
) -> Result<Option<i64>, Fault> {
    let mut last = None;
    for key in keys {
        if budget.is_spent() {
            trimmed.more = true;
            break;
        }
        let cancelled = expunge(tx, *key, CancelReason::Retention)?;
        trimmed.cancelled += cancelled;
        trimmed.payloads += 1;
        budget.spend(1 + cancelled as usize);
        last = Some(*key);
    }
    Ok(last)
}

/// The messages and payloads of each application in turn.
pub(super) fn each_app(
    tx: &mut Tx<'_>,
    progress: &mut Progress,
    budget: &mut Budget,
    retention: Retention,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    let apps: Vec<u32> = collect(
        tx.conn,
        "SELECT no FROM app WHERE no > ?1 ORDER BY no LIMIT ?2",
        params![progress.app, LOOKED_MAX],
        |row| Ok(row.get(0)?),
    )?;
    for app in &apps {
        remove_messages(tx, AppNo(*app), Some(tx.now.before(retention.messages)), budget, trimmed)?;
        if retention.payloads < retention.messages {
            erase_payloads(tx, AppNo(*app), tx.now.before(retention.payloads), budget, trimmed)?;
        }
        if budget.is_spent() {
            // Come back to this one.
            trimmed.more = true;
            return Ok(());
        }
        progress.app = *app;
    }
    if apps.len() < LOOKED_MAX {
        progress.app = 0;
    } else {
        trimmed.more = true;
    }
    Ok(())
}

/// Erases the payloads of messages made before a moment, but for those with a time of their own.
fn erase_payloads(
    tx: &mut Tx<'_>,
    app: AppNo,
    before: Timestamp,
    budget: &mut Budget,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    let erased: i64 = tx
        .conn
        .prepare_cached("SELECT erased_position FROM app WHERE no = ?1")?
        .query_row([app.0], |row| row.get(0))?;
    let first = codec::range(app.0).0 + erased + 1;
    let (mut due, mut last) = (Vec::new(), None);
    let conn = tx.conn;
    let mut query = conn.prepare_cached(
        "SELECT key, created_at, payload_expires_at IS NULL AND payload IS NOT NULL FROM message
         WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?3",
    )?;
    let mut rows = query.query(params![first, last_key(app.0), budget.rows])?;
    while let Some(row) = rows.next()?
        && row.get::<_, i64>(1)? < before.as_millis()
    {
        last = Some(row.get(0)?);
        if row.get(2)? {
            due.push(row.get(0)?);
        }
    }
    let Some(mut reached) = last else { return Ok(()) };
    let erased = erase(tx, &due, budget, trimmed)?;
    if budget.is_spent() {
        reached = erased.unwrap_or(first - 1);
    }
    tx.conn.execute(
        "UPDATE app SET erased_position = ?2 WHERE no = ?1",
        params![app.0, codec::place(reached)],
    )?;
    trimmed.more = true;
    Ok(())
}

/// Removes an application's messages made before a moment (`None`: all), with all that hangs on them.
pub(super) fn remove_messages(
    tx: &mut Tx<'_>,
    app: AppNo,
    before: Option<Timestamp>,
    budget: &mut Budget,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    let mut places = Places::default();
    let mut last = None;
    while !budget.is_spent()
        && let Some((key, made)) = first_message(tx, app)?
        && before.is_none_or(|before| made < before)
    {
        remove_message(tx, key, &mut places, budget, trimmed)?;
        last = Some(codec::place(key));
    }
    if let Some(last) = last {
        tx.conn.execute(
            "UPDATE app SET trimmed_position = max(trimmed_position, ?2) WHERE no = ?1",
            params![app.0, last],
        )?;
        places.write(tx)?;
    }
    Ok(())
}

fn first_message(tx: &Tx<'_>, app: AppNo) -> Result<Option<(i64, Timestamp)>, rusqlite::Error> {
    let (first, last) = codec::range(app.0);
    tx.conn
        .prepare_cached(
            "SELECT key, created_at FROM message WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT 1",
        )?
        .query_row([first, last], |row| Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?))))
        .optional()
}

/// Removes a message, its deliveries and their attempts.
fn remove_message(
    tx: &mut Tx<'_>,
    key: i64,
    places: &mut Places,
    budget: &mut Budget,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    let (fanout, event_id): (Vec<u8>, Option<String>) = tx
        .conn
        .prepare_cached("DELETE FROM message WHERE key = ?1 RETURNING fanout, event_id")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let fanout = codec::to_fanout(&fanout)
        .ok_or_else(|| crate::fault::inconsistent("message", key, "fanout is cut"))?;
    for (endpoint, seq) in fanout {
        remove_delivery(tx, DeliveryKey { endpoint, seq }, places, budget, trimmed)?;
    }
    if let Some(event_id) = event_id {
        tx.conn
            .prepare_cached("DELETE FROM event_id WHERE app = ?1 AND event_id = ?2 AND message = ?3")?
            .execute(params![codec::no(key), event_id, key])?;
    }
    trimmed.messages += 1;
    budget.spend(1);
    Ok(())
}

/// Removes a delivery and its attempts.
fn remove_delivery(
    tx: &mut Tx<'_>,
    key: DeliveryKey,
    places: &mut Places,
    budget: &mut Budget,
    trimmed: &mut Trimmed,
) -> Result<(), Fault> {
    let Some(delivery) = rows::delivery(tx.conn, codec::delivery_key(key))? else { return Ok(()) };
    let mut attempt: Option<i64> = tx
        .conn
        .prepare_cached("DELETE FROM delivery WHERE key = ?1 RETURNING last_attempt")?
        .query_row([codec::delivery_key(key)], |row| row.get(0))?;
    let place = places.0.entry(key.endpoint).or_default();
    place.seq = place.seq.max(key.seq.0);
    while let Some(key) = attempt {
        place.attempt = place.attempt.max(codec::place(key));
        attempt = tx
            .conn
            .prepare_cached("DELETE FROM attempt WHERE key = ?1 RETURNING previous")?
            .query_row([key], |row| row.get(0))
            .optional()?
            .flatten();
        budget.spend(1);
    }
    tx.tally.leaves(delivery.state);
    trimmed.cancelled += u64::from(!delivery.state.is_settled());
    budget.spend(1);
    Ok(())
}

/// How far the queues of endpoints were removed: what is given from there on is not given twice.
#[derive(Default)]
struct Places(HashMap<EndpointNo, Place>);

#[derive(Default)]
struct Place {
    seq: u64,
    attempt: u64,
}

impl Places {
    fn write(&self, tx: &Tx<'_>) -> Result<(), rusqlite::Error> {
        for (endpoint, place) in &self.0 {
            tx.conn
                .prepare_cached(
                    "UPDATE endpoint SET trimmed_seq = max(trimmed_seq, ?2),
                         trimmed_attempt = max(trimmed_attempt, ?3) WHERE no = ?1",
                )?
                .execute(params![endpoint.0, place.seq, place.attempt])?;
        }
        Ok(())
    }
}
