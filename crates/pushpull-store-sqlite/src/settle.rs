//! What came of attempts, written in batches.

use std::sync::Arc;

use pushpull_domain::{
    AttemptId, DeliveryState, Timestamp,
    attempt::{Attempt, Outcome},
};
use pushpull_store::Settlement;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    append::endpoint_memory,
    codec,
    fault::Fault,
    rows::{state_number, trigger_number},
    writer::Tx,
};

/// Writes one attempt and the state it leads to.
pub(crate) fn settle(tx: &mut Tx<'_>, settlement: &Settlement) -> Result<(), Fault> {
    let key = codec::delivery_key(settlement.delivery.key);
    let attempt_key = match &settlement.attempt {
        Some((attempt, url)) => insert_attempt(tx, settlement, attempt, url)?,
        None => None,
    };
    let (due_at, trigger) = match settlement.delivery.state {
        DeliveryState::Owed { due_at, trigger } => {
            (due_at.map(Timestamp::as_millis), trigger_number(trigger))
        }
        _ => (None, 0),
    };
    // States from 3 on are cancelled: only a success undoes that.
    tx.conn
        .prepare_cached(
            "UPDATE delivery SET
                 state = CASE WHEN state >= 3 AND ?2 <> 1 THEN state ELSE ?2 END,
                 due_at = CASE WHEN state >= 3 THEN NULL ELSE ?3 END,
                 trigger = ?4, attempts = ?5, last_attempt = coalesce(?6, last_attempt)
             WHERE key = ?1",
        )?
        .execute(params![
            key,
            state_number(settlement.delivery.state),
            due_at,
            trigger,
            settlement.delivery.attempts,
            attempt_key
        ])?;
    Ok(())
}

/// `None`: the delivery is gone, and its attempts with it.
fn insert_attempt(
    tx: &mut Tx<'_>,
    settlement: &Settlement,
    attempt: &Attempt,
    url: &Arc<str>,
) -> Result<Option<i64>, Fault> {
    let delivery = codec::delivery_key(settlement.delivery.key);
    let previous: Option<Option<i64>> = tx
        .conn
        .prepare_cached("SELECT last_attempt FROM delivery WHERE key = ?1")?
        .query_row([delivery], |row| row.get(0))
        .optional()?;
    let Some(previous) = previous else { return Ok(None) };
    let endpoint = settlement.delivery.key.endpoint;
    let memory = endpoint_memory(tx.conn, tx.memory, endpoint)?;
    let url_no = match &memory.url {
        Some((known, no)) if known == url => *no,
        _ => {
            let no = url_no(tx.conn, url)?;
            memory.url = Some((Arc::clone(url), no));
            no
        }
    };
    memory.last_attempt += 1;
    let key = codec::attempt_key(endpoint, memory.last_attempt);
    let (detail, body) = match &attempt.outcome {
        Outcome::Delivered { body, .. } | Outcome::Refused { body, .. } => {
            (None, (!body.is_empty()).then_some(&body[..]))
        }
        Outcome::Failed { detail, .. } => (Some(detail), None),
    };
    tx.conn
        .prepare_cached(
            "INSERT INTO attempt (key, salt, message, seq, previous, started_at, trigger, url, status, class, detail,
                 timings, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            key,
            tx.shared.chance.word().cast_signed(),
            codec::message_key(settlement.delivery.message),
            settlement.delivery.key.seq.0,
            previous,
            attempt.started_at.as_millis(),
            trigger_number(attempt.trigger),
            url_no,
            attempt.outcome.status(),
            attempt.outcome.class().map(|class| class as u8),
            detail,
            codec::timings(&attempt.timings),
            body,
        ])?;
    Ok(Some(key))
}

/// The number of a URL, given at its first use.
fn url_no(conn: &Connection, url: &str) -> Result<i64, rusqlite::Error> {
    let known = conn
        .prepare_cached("SELECT no FROM url WHERE url = ?1")?
        .query_row([url], |row| row.get(0))
        .optional()?;
    match known {
        Some(no) => Ok(no),
        None => conn
            .prepare_cached("INSERT INTO url (url) VALUES (?1) RETURNING no")?
            .query_row([url], |row| row.get(0)),
    }
}

/// Where an attempt with this id would be, at this endpoint.
pub(crate) fn key_of(endpoint: pushpull_domain::EndpointNo, id: AttemptId) -> i64 {
    codec::attempt_key(endpoint, id.number())
}
