//! Attempts, as they are asked for.

use std::sync::Arc;

use pushpull_domain::{AttemptId, DeliveryKey, EndpointNo, MessageKey, attempt::Outcome};
use pushpull_store::{AttemptFilter, Page, PageQuery, StoredAttempt, deliveries::AttemptWithMessage};
use rusqlite::{Connection, OptionalExtension};

use crate::{
    codec,
    fault::Fault,
    list::{Gather, Wanted, bytes_of, upwards, wanted_message_at},
    rows, settle,
};

/// An attempt by its id.
pub(crate) fn attempt(
    conn: &Connection,
    message: MessageKey,
    id: AttemptId,
) -> Result<Option<StoredAttempt>, Fault> {
    let Some(found) = rows::message(conn, codec::message_key(message))? else { return Ok(None) };
    for (endpoint, _) in found.fanout {
        if let Some((attempt, _)) = rows::attempt(conn, rows::ATTEMPT_BY_KEY, settle::key_of(endpoint, id))?
            && attempt.id == id
            && attempt.message == message
        {
            return Ok(Some(attempt));
        }
    }
    Ok(None)
}

fn is_shown(attempt: &StoredAttempt, filter: &AttemptFilter) -> bool {
    let started_at = attempt.attempt.started_at;
    let outcome = &attempt.attempt.outcome;
    filter.message.before.is_none_or(|before| started_at < before)
        && filter.message.after.is_none_or(|after| started_at > after)
        && filter.delivered.is_none_or(|wanted| wanted == outcome.class().is_none())
        && filter.status_class.is_none_or(|wanted| wanted == outcome.status().unwrap_or(0) / 100)
        && filter.endpoint.is_none_or(|wanted| wanted == attempt.delivery.endpoint)
}

fn kept_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Delivered { body, .. } | Outcome::Refused { body, .. } => body.len(),
        Outcome::Failed { .. } => 0,
    }
}

/// One page of an endpoint's attempts, with their messages.
pub(crate) fn attempts_at(
    conn: &Connection,
    endpoint: EndpointNo,
    filter: &AttemptFilter,
    page: &PageQuery<AttemptId>,
) -> Result<Page<AttemptWithMessage>, Fault> {
    let (mut first, mut last) = codec::range(endpoint.0);
    let up = upwards(page);
    if let Some(id) = page.beyond {
        let key = settle::key_of(endpoint, id);
        if up { first = key + 1 } else { last = key - 1 }
    }
    let sql = format!(
        "SELECT {} FROM attempt JOIN url ON url.no = attempt.url WHERE key BETWEEN ?1 AND ?2 ORDER BY key {}",
        rows::ATTEMPT,
        if up { "ASC" } else { "DESC" }
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut found_rows = query.query([first, last])?;
    let (wanted, mut found) = (Wanted::new(&filter.message), Gather::new(page));
    while found.goes_on()
        && let Some(row) = found_rows.next()?
    {
        let attempt = rows::attempt_row(row)?;
        let message = if is_shown(&attempt, filter) {
            wanted_message_at(&wanted, conn, codec::message_key(attempt.message))?
        } else {
            None
        };
        let place = attempt.id.number();
        let shown = message.map(|message| {
            let bytes = bytes_of(&message) + kept_bytes(&attempt.attempt.outcome);
            ((attempt, Arc::new(message)), bytes)
        });
        found.looked(place, shown);
    }
    Ok(found.into_page(page))
}

/// One page of a message's attempts, over all its endpoints. Their bodies are read last: of a message with many
/// endpoints they may be more than memory should hold.
pub(crate) fn attempts_for(
    conn: &Connection,
    message: MessageKey,
    filter: &AttemptFilter,
    page: &PageQuery<AttemptId>,
) -> Result<Page<StoredAttempt>, Fault> {
    let message = wanted_message_at(&Wanted::new(&filter.message), conn, codec::message_key(message))?;
    let mut found = Vec::new();
    for (endpoint, seq) in message.iter().flat_map(|message| &message.fanout) {
        let key = codec::delivery_key(DeliveryKey { endpoint: *endpoint, seq: *seq });
        let mut next: Option<i64> = conn
            .prepare_cached("SELECT last_attempt FROM delivery WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?
            .flatten();
        while let Some((attempt, previous)) =
            next.map_or(Ok(None), |key| rows::attempt(conn, rows::ATTEMPT_BY_KEY_NO_BODY, key))?
        {
            next = previous;
            if is_shown(&attempt, filter) {
                found.push((attempt.id, settle::key_of(*endpoint, attempt.id)));
            }
        }
    }
    let up = upwards(page);
    found.sort_unstable();
    if !up {
        found.reverse();
    }
    if let Some(beyond) = page.beyond {
        found.retain(|(id, _)| if up { *id > beyond } else { *id < beyond });
    }
    let mut shown = Gather::new(page);
    for (id, key) in found {
        if !shown.goes_on() {
            break;
        }
        let attempt = rows::attempt(conn, rows::ATTEMPT_BY_KEY, key)?.map(|(attempt, _)| {
            let bytes = kept_bytes(&attempt.attempt.outcome);
            (attempt, bytes)
        });
        shown.looked(id.number(), attempt);
    }
    Ok(shown.into_page(page))
}
