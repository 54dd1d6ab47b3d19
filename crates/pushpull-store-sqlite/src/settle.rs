//! What came of attempts, written in batches.

use std::sync::Arc;

use pushpull_domain::{
    AttemptId, Delivery, DeliveryState, EndpointNo, Timestamp,
    attempt::{Attempt, Outcome, Trigger},
};
use pushpull_store::Settlement;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::{
    append::endpoint_memory,
    codec,
    fault::{Fault, blames_one},
    rows,
    tx::Tx,
};

/// The statements of a batch, looked up once for all of it.
struct Statements<'c> {
    find: CachedStatement<'c>,
    reader: CachedStatement<'c>,
    record: CachedStatement<'c>,
    update: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            find: conn.prepare_cached(
                "SELECT key, message, state, due_at, trigger, attempts, last_attempt FROM delivery WHERE key = ?1",
            )?,
            reader: conn.prepare_cached("SELECT fifo FROM endpoint WHERE no = ?1 AND mode <> 0")?,
            record: conn.prepare_cached(
                "INSERT INTO attempt (key, salt, message, seq, previous, started_at, trigger, url, status, class,
                     detail, timings, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?,
            update: conn.prepare_cached(
                "UPDATE delivery SET state = ?2, due_at = ?3, trigger = ?4, attempts = ?5, last_attempt = ?6
                 WHERE key = ?1",
            )?,
        })
    }

    /// A delivery as it stands, and its newest attempt.
    fn find(&mut self, key: i64) -> Result<Option<(Delivery, Option<i64>)>, Fault> {
        let mut found = self.find.query([key])?;
        let Some(row) = found.next()? else { return Ok(None) };
        Ok(Some((rows::delivery_row(row)?, row.get(6)?)))
    }

    /// How a delivery stands after a failure that leads to this state.
    ///
    /// If the endpoint left push meanwhile there is no next attempt, and no last one: whoever moves along it now has
    /// it before them. One that keeps order was held because of its very first, which must not be first again.
    fn failed(&mut self, endpoint: EndpointNo, state: DeliveryState) -> Result<DeliveryState, Fault> {
        let reader: Option<bool> = self.reader.query_row([endpoint.0], |row| row.get(0)).optional()?;
        Ok(match (reader, state) {
            (Some(_), DeliveryState::Owed { trigger, .. }) => DeliveryState::Owed { due_at: None, trigger },
            (Some(false), DeliveryState::Exhausted) => {
                DeliveryState::Owed { due_at: None, trigger: Trigger::Scheduled }
            }
            (_, state) => state,
        })
    }
}

/// Writes attempts and the states they lead to.
pub(crate) fn settle(tx: &mut Tx<'_>, settlements: &[Settlement]) -> Result<(), Fault> {
    let mut statements = Statements::prepare(tx.conn)?;
    settlements.iter().try_for_each(|settlement| settle_one(tx, &mut statements, settlement))
}

fn settle_one(
    tx: &mut Tx<'_>,
    statements: &mut Statements<'_>,
    settlement: &Settlement,
) -> Result<(), Fault> {
    let key = codec::delivery_key(settlement.delivery.key);
    // A delivery that is gone took its attempts with it.
    let Some((before, last)) = statements.find(key)? else { return Ok(()) };
    let attempt = match &settlement.attempt {
        Some((attempt, url)) => record(tx, statements, settlement, attempt, url, last)?.or(last),
        None => last,
    };
    let state = match (before.state, settlement.delivery.state) {
        // Only a success undoes a cancellation.
        (cancelled @ DeliveryState::Cancelled(_), new) if new != DeliveryState::Delivered => cancelled,
        (_, new @ (DeliveryState::Owed { .. } | DeliveryState::Exhausted)) => {
            statements.failed(settlement.delivery.key.endpoint, new)?
        }
        (_, new) => new,
    };
    let (due_at, trigger) = match state {
        DeliveryState::Owed { due_at, trigger } => (due_at.map(Timestamp::as_millis), trigger as u8),
        DeliveryState::Delivered | DeliveryState::Exhausted | DeliveryState::Cancelled(_) => (None, 0),
    };
    let attempts = settlement.delivery.attempts;
    statements.update.execute(params![
        key,
        codec::state_number(state),
        due_at,
        trigger,
        attempts,
        attempt
    ])?;
    tx.tally.leaves(before.state);
    tx.tally.enters(state);
    Ok(())
}

/// Writes an attempt down; its key. `None`: it could not be, which must keep neither its outcome nor what
/// else is written with it from being stored.
fn record(
    tx: &mut Tx<'_>,
    statements: &mut Statements<'_>,
    settlement: &Settlement,
    attempt: &Attempt,
    url: &Arc<str>,
    previous: Option<i64>,
) -> Result<Option<i64>, Fault> {
    match insert_attempt(tx, statements, settlement, attempt, url, previous) {
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
    statements: &mut Statements<'_>,
    settlement: &Settlement,
    attempt: &Attempt,
    url: &Arc<str>,
    previous: Option<i64>,
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
    statements.record.execute(params![
        key,
        tx.shared.chance.word().cast_signed(),
        codec::message_key(settlement.delivery.message),
        settlement.delivery.key.seq.0,
        previous,
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
