//! Rows of the log as domain types.

use bytes::Bytes;
use pushpull_domain::{
    Channel, Delivery, EventId, EventTypeName, Message, MessageId, Payload, Tag, Timestamp, attempt::Attempt,
};
use pushpull_store::StoredAttempt;
use rusqlite::{Connection, Row};

use crate::{
    codec,
    fault::{Fault, inconsistent},
};

/// The columns that [`message_row`] reads, in its order.
pub(crate) const MESSAGE: &str = "key, created_at, salt, event_type, channels, tags, event_id, content_type, \
                                  deliver_at, payload_expires_at, fanout, payload";

/// Those columns of the message with a key.
pub(crate) const MESSAGE_BY_KEY: &str =
    "SELECT key, created_at, salt, event_type, channels, tags, event_id, content_type, deliver_at,
         payload_expires_at, fanout, payload FROM message WHERE key = ?1";

/// The message with this key, if it is kept.
pub(crate) fn message(conn: &Connection, key: i64) -> Result<Option<Message>, Fault> {
    let mut query = conn.prepare_cached(MESSAGE_BY_KEY)?;
    let mut rows = query.query([key])?;
    rows.next()?.map(message_row).transpose()
}

/// A column of text that may be missing, not copied.
pub(crate) fn as_text<'r>(row: &'r Row<'_>, column: usize) -> Result<Option<&'r str>, rusqlite::Error> {
    Ok(row.get_ref(column)?.as_str_or_null()?)
}

fn names<T>(row: &Row<'_>, column: usize, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Fault> {
    let Some(text) = as_text(row, column)? else { return Ok(Vec::new()) };
    text.split(' ')
        .map(|word| {
            read(word).ok_or_else(|| inconsistent("message", key_of(row), format!("column {column}: {word}")))
        })
        .collect()
}

fn key_of(row: &Row<'_>) -> i64 {
    row.get(0).unwrap_or_default()
}

/// Reads the columns of [`MESSAGE`].
pub(crate) fn message_row(row: &Row<'_>) -> Result<Message, Fault> {
    let key: i64 = row.get(0)?;
    let place = codec::to_message_key(key);
    let created_at = Timestamp::from_millis(row.get(1)?);
    let salt = row.get::<_, i64>(2)?.cast_unsigned();
    let event_type = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
    let event_id = as_text(row, 6)?;
    Ok(Message {
        key: place,
        id: MessageId::of(created_at, place.position.0, salt),
        created_at,
        event_type: EventTypeName::new(event_type).map_err(|e| inconsistent("message", key, e))?,
        channels: names(row, 4, |word| Channel::new(word).ok())?,
        tags: names(row, 5, |word| Tag::new(word).ok())?,
        event_id: event_id
            .map(|text| EventId::new(text).map_err(|e| inconsistent("message", key, e)))
            .transpose()?,
        content_type: row.get(7)?,
        deliver_at: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_millis),
        payload_expires_at: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_millis),
        fanout: codec::to_fanout(row.get_ref(10)?.as_blob().map_err(rusqlite::Error::from)?)
            .ok_or_else(|| inconsistent("message", key, "fanout is cut"))?,
        payload: row
            .get_ref(11)?
            .as_blob_or_null()
            .map_err(rusqlite::Error::from)?
            .map_or(Payload::Expunged, |bytes| Payload::Kept(Bytes::copy_from_slice(bytes))),
    })
}

/// The columns that [`delivery_row`] reads, in its order.
pub(crate) const DELIVERY: &str = "key, message, state, due_at, trigger, attempts";

/// Reads the columns of [`DELIVERY`].
pub(crate) fn delivery_row(row: &Row<'_>) -> Result<Delivery, Fault> {
    let key: i64 = row.get(0)?;
    let number = row.get(2)?;
    let state = codec::to_state(number, row.get(3)?, row.get(4)?)
        .ok_or_else(|| inconsistent("delivery", key, format!("state {number}")))?;
    Ok(Delivery {
        key: codec::to_delivery_key(key),
        message: codec::to_message_key(row.get(1)?),
        state,
        attempts: row.get(5)?,
    })
}

/// The delivery with this key.
pub(crate) fn delivery(conn: &Connection, key: i64) -> Result<Option<Delivery>, Fault> {
    let mut query = conn.prepare_cached(
        "SELECT key, message, state, due_at, trigger, attempts FROM delivery WHERE key = ?1",
    )?;
    let mut rows = query.query([key])?;
    rows.next()?.map(delivery_row).transpose()
}

/// The columns that [`attempt_row`] reads, in its order; from `attempt JOIN url`.
pub(crate) const ATTEMPT: &str = "key, salt, message, seq, previous, started_at, trigger, url.url, status, class, \
                                  detail, timings, body";

/// Reads the columns of [`ATTEMPT`].
pub(crate) fn attempt_row(row: &Row<'_>) -> Result<StoredAttempt, Fault> {
    let key: i64 = row.get(0)?;
    let endpoint = pushpull_domain::EndpointNo(codec::no(key));
    let started_at = Timestamp::from_millis(row.get(5)?);
    let body = row
        .get_ref(12)?
        .as_blob_or_null()
        .map_err(rusqlite::Error::from)?
        .map_or_else(Bytes::new, Bytes::copy_from_slice);
    let outcome = codec::to_outcome(row.get(8)?, row.get(9)?, row.get(10)?, body)
        .ok_or_else(|| inconsistent("attempt", key, "neither a status nor an error"))?;
    Ok(StoredAttempt {
        id: pushpull_domain::AttemptId::of(
            started_at,
            codec::place(key),
            row.get::<_, i64>(1)?.cast_unsigned(),
        ),
        delivery: pushpull_domain::DeliveryKey { endpoint, seq: pushpull_domain::Seq(row.get(3)?) },
        message: codec::to_message_key(row.get(2)?),
        url: row.get::<_, String>(7)?.into(),
        attempt: Attempt {
            started_at,
            trigger: codec::to_trigger(row.get(6)?),
            outcome,
            timings: codec::to_timings(row.get_ref(11)?.as_blob().map_err(rusqlite::Error::from)?),
        },
    })
}

/// Those columns of the attempt with a key.
pub(crate) const ATTEMPT_BY_KEY: &str =
    "SELECT key, salt, message, seq, previous, started_at, trigger, url.url, status, class, detail, timings, body
     FROM attempt JOIN url ON url.no = attempt.url WHERE key = ?1";

/// The same but for the answer's body.
pub(crate) const ATTEMPT_BY_KEY_NO_BODY: &str =
    "SELECT key, salt, message, seq, previous, started_at, trigger, url.url, status, class, detail, timings, NULL
     FROM attempt JOIN url ON url.no = attempt.url WHERE key = ?1";

/// The attempt with this key, by one of the two queries above, and the key of the one before it for the same
/// delivery.
pub(crate) fn attempt(
    conn: &Connection,
    sql: &str,
    key: i64,
) -> Result<Option<(StoredAttempt, Option<i64>)>, Fault> {
    let mut query = conn.prepare_cached(sql)?;
    let mut rows = query.query([key])?;
    rows.next()?.map(|row| Ok((attempt_row(row)?, row.get(4)?))).transpose()
}
