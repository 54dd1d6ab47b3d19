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
    fault::{Fault, blames_one},
    rows::{self, state_number},
    tx::Tx,
};

/// Writes one attempt and the state it leads to.
pub(crate) fn settle(tx: &mut Tx<'_>, settlement: &Settlement) -> Result<(), Fault> {
    let key = codec::delivery_key(settlement.delivery.key);
    // A delivery that is gone took its attempts with it.
    let Some(before) = rows::delivery(tx.conn, key)? else { return Ok(()) };
    let attempt = match &settlement.attempt {
        Some((attempt, url)) => record(tx, settlement, attempt, url)?,
        None => None,
    };
    let state = match (before.state, settlement.delivery.state) {
        // Only a success undoes a cancellation.
        (cancelled @ DeliveryState::Cancelled(_), new) if new != DeliveryState::Delivered => cancelled,
        (_, new) => new,
    };
    let (due_at, trigger) = match state {
        DeliveryState::Owed { due_at, trigger } => (due_at.map(Timestamp::as_millis), trigger as u8),
        DeliveryState::Delivered | DeliveryState::Exhausted | DeliveryState::Cancelled(_) => (None, 0),
    };
    tx.conn
        .prepare_cached(
            "UPDATE delivery SET state = ?2, due_at = ?3, trigger = ?4, attempts = ?5,
                 last_attempt = coalesce(?6, last_attempt)
             WHERE key = ?1",
        )?
        .execute(params![key, state_number(state), due_at, trigger, settlement.delivery.attempts, attempt])?;
    tx.tally.leaves(before.state);
    tx.tally.enters(state);
    Ok(())
}

/// Writes an attempt down; its key. `None`: it could not be, which must keep neither its outcome nor what
/// else is written with it from being stored.
fn record(
    tx: &mut Tx<'_>,
    settlement: &Settlement,
    attempt: &Attempt,
    url: &Arc<str>,
) -> Result<Option<i64>, Fault> {
    match insert_attempt(tx, settlement, attempt, url) {
        Ok(key) => Ok(Some(key)),
        Err(error) if blames_one(&error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "an attempt could not be recorded");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn insert_attempt(
    tx: &mut Tx<'_>,
    settlement: &Settlement,
    attempt: &Attempt,
    url: &Arc<str>,
) -> Result<i64, rusqlite::Error> {
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
    let key = codec::attempt_key(endpoint, memory.last_attempt + 1);
    let (detail, body) = match &attempt.outcome {
        Outcome::Delivered { body, .. } | Outcome::Refused { body, .. } => {
            (None, (!body.is_empty()).then_some(&body[..]))
        }
        Outcome::Failed { detail, .. } => (Some(detail), None),
    };
    tx.conn
        .prepare_cached(
            "INSERT INTO attempt (key, salt, message, seq, previous, started_at, trigger, url, status, class, detail,
                 timings, body)
             VALUES (?1, ?2, ?3, ?4, (SELECT last_attempt FROM delivery WHERE key = ?5), ?6, ?7, ?8, ?9, ?10, ?11,
                 ?12, ?13)",
        )?
        .execute(params![
            key,
            tx.shared.chance.word().cast_signed(),
            codec::message_key(settlement.delivery.message),
            settlement.delivery.key.seq.0,
            codec::delivery_key(settlement.delivery.key),
            attempt.started_at.as_millis(),
            attempt.trigger as u8,
            url_no,
            attempt.outcome.status(),
            attempt.outcome.class().map(|class| class as u8),
            detail,
            codec::timings(&attempt.timings),
            body,
        ])?;
    memory.last_attempt += 1;
    Ok(key)
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
