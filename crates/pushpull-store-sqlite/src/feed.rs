//! Reading an endpoint's queue: its deliveries in order, each with its message.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use pushpull_domain::{DeliveryKey, EndpointNo, Seq, Timestamp};
use pushpull_store::{Error, Feed, QueueEnds, QueueItem, QueuePage, QueueQuery};
use rusqlite::{Connection, OptionalExtension};

use crate::{
    Sqlite, codec,
    deliveries::app_of,
    fault::Fault,
    list::{BYTES_MAX, LOOKED_MAX, Wanted, bytes_of, wanted_message_by},
    rows, span,
};

/// Rows looked at from each place in which the queue is halved: a message that was sent again by hand stands later
/// in the queue than its time, and these few beside it say so.
const BESIDE: i64 = 16;

impl Feed for Sqlite {
    fn read_queue(&self, query: QueueQuery) -> BoxFuture<'_, Result<QueuePage, Error>> {
        Box::pin(self.read_long(move |conn| read(conn, &query)))
    }

    fn queue_ends(&self, endpoint: EndpointNo) -> BoxFuture<'_, Result<QueueEnds, Error>> {
        Box::pin(self.read(move |conn| ends(conn, endpoint)))
    }

    fn queue_at(&self, endpoint: EndpointNo, at: Timestamp) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(self.read(move |conn| place_at(conn, endpoint, at)))
    }
}

fn read(conn: &Connection, query: &QueueQuery) -> Result<QueuePage, Fault> {
    let ends = ends(conn, query.endpoint)?;
    let key = |seq: u64| codec::delivery_key(DeliveryKey { endpoint: query.endpoint, seq: Seq(seq) });
    let after = query.after.0.max(ends.trimmed.0);
    let last = query.until.map_or(ends.last.0, |until| ends.last.0.min(until.0.saturating_sub(1)));
    let (mut items, mut reached) = (Vec::new(), after);
    if after < last {
        let mut deliveries = conn.prepare_cached(
            "SELECT key, message, state FROM delivery NOT INDEXED WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
        )?;
        let mut messages = conn.prepare_cached(rows::MESSAGE_BY_KEY)?;
        let mut found = deliveries.query([key(after + 1), key(last)])?;
        let wanted = Wanted::new(&query.filter);
        let (mut looked, mut bytes, full) = (0, 0, query.bytes.min(BYTES_MAX));
        reached = last;
        while let Some(row) = found.next()? {
            let seq = codec::place(row.get(0)?);
            looked += 1;
            if !(query.undelivered && row.get::<_, u8>(2)? == codec::DELIVERED)
                && let Some(message) = wanted_message_by(&wanted, &mut messages, row.get(1)?)?
                && query.filter.is_of_its_time(&message)
            {
                bytes += bytes_of(&message);
                items.push(QueueItem { seq: Seq(seq), message: Arc::new(message) });
            }
            if items.len() >= query.limit || looked >= LOOKED_MAX || bytes >= full {
                reached = seq;
                break;
            }
        }
    }
    Ok(QueuePage { items, reached: Seq(reached.max(query.after.0)), ends })
}

/// Where a queue begins and ends.
pub(crate) fn ends(conn: &Connection, endpoint: EndpointNo) -> Result<QueueEnds, Fault> {
    let trimmed: Option<u64> = conn
        .prepare_cached("SELECT trimmed_seq FROM endpoint WHERE no = ?1")?
        .query_row([endpoint.0], |row| row.get(0))
        .optional()?;
    let (first, last) = codec::range(endpoint.0);
    let (oldest, newest): (Option<i64>, Option<i64>) = conn
        .prepare_cached(
            "SELECT (SELECT min(key) FROM delivery WHERE key BETWEEN ?1 AND ?2),
                    (SELECT max(key) FROM delivery WHERE key BETWEEN ?1 AND ?2)",
        )?
        .query_row([first, last], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let removed = trimmed.unwrap_or_default();
    // An old message that was sent by hand stood late in the queue: what is before it may be kept.
    let trimmed = oldest.map_or(removed, |oldest| removed.min(codec::place(oldest) - 1));
    let last = newest.map_or(0, codec::place).max(removed);
    Ok(QueueEnds { trimmed: Seq(trimmed), last: Seq(last) })
}

/// Found by halving, since a queue is in the order of its messages, but for those sent again by hand.
fn place_at(conn: &Connection, endpoint: EndpointNo, at: Timestamp) -> Result<Seq, Fault> {
    let ends = ends(conn, endpoint)?;
    let Some(app) = app_of(conn, endpoint)? else { return Ok(ends.last) };
    let first_message = span::first_since(conn, app, at)?;
    let key = |seq: u64| codec::delivery_key(DeliveryKey { endpoint, seq: Seq(seq) });
    let mut beside = conn.prepare_cached(
        "SELECT max(message) FROM (SELECT message FROM delivery NOT INDEXED WHERE key BETWEEN ?1 AND ?2 LIMIT ?3)",
    )?;
    let (mut low, mut high) = (ends.trimmed.0, ends.last.0);
    while low < high {
        let middle = low + (high - low) / 2;
        let newest: Option<i64> =
            beside.query_row([key(middle + 1), key(ends.last.0), BESIDE], |row| row.get(0))?;
        if newest.is_some_and(|newest| newest < first_message) { low = middle + 1 } else { high = middle }
    }
    // The rows beside the place may have been what decided: the first of them that is of that time.
    let found: Option<i64> = conn
        .prepare_cached(
            "SELECT key FROM delivery NOT INDEXED WHERE key BETWEEN ?1 AND ?2 AND message >= ?3 ORDER BY key LIMIT 1",
        )?
        .query_row([key(low + 1), key((low + BESIDE.unsigned_abs()).min(ends.last.0)), first_message], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(found.map_or(ends.last, |key| Seq(codec::place(key) - 1)))
}
