//! Rows of the log as domain types.

use bytes::Bytes;
use pushpull_domain::{
    AttemptId, Channel, Delivery, DeliveryKey, DeliveryState, EndpointNo, EventId, EventTypeName, Message,
    MessageId, Payload, Seq, Tag, Timestamp, attempt::Attempt,
};
use pushpull_store::{StoredAttempt, codec};
use tokio_postgres::Row;

use crate::{
    fault::{Fault, inconsistent},
    pool::{Conn, Params},
};

/// The columns that [`message`] reads, in its order, of a table or alias `m`.
pub(crate) const MESSAGE: &str = "m.key, m.created_at, m.salt, m.event_type, m.channels, m.tags, m.event_id, \
                                  m.content_type, m.deliver_at, m.payload_expires_at, m.endpoints, m.seqs, m.payload";
/// How many those are.
pub(crate) const MESSAGE_COLUMNS: usize = 13;

fn names<T>(row: &Row, column: usize, key: i64, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Fault> {
    let Some(text) = row.get::<_, Option<&str>>(column) else { return Ok(Vec::new()) };
    text.split(' ')
        .map(|word| {
            read(word).ok_or_else(|| inconsistent("message", key, format!("column {column}: {word}")))
        })
        .collect()
}

/// The message with this key, if it is still there.
pub(crate) async fn message_at(conn: &Conn, key: i64, day: i32) -> Result<Option<Message>, Fault> {
    let sql = format!("SELECT {MESSAGE} FROM message m WHERE m.key = $1 AND m.day = $2");
    let params: Params<'_> = &[&key, &day];
    conn.query_opt(&sql, params).await?.map(|row| message(&row, 0)).transpose()
}

/// Reads the columns of [`MESSAGE`], the first of which is this one.
pub(crate) fn message(row: &Row, first: usize) -> Result<Message, Fault> {
    let key: i64 = row.get(first);
    let place = codec::to_message_key(key);
    let created_at = Timestamp::from_millis(row.get(first + 1));
    let salt = row.get::<_, i64>(first + 2).cast_unsigned();
    let (endpoints, seqs): (Vec<i32>, Vec<i64>) = (row.get(first + 10), row.get(first + 11));
    Ok(Message {
        key: place,
        id: MessageId::of(created_at, place.position.0, salt),
        created_at,
        event_type: EventTypeName::new(row.get::<_, &str>(first + 3))
            .map_err(|e| inconsistent("message", key, e))?,
        channels: names(row, first + 4, key, |word| Channel::new(word).ok())?,
        tags: names(row, first + 5, key, |word| Tag::new(word).ok())?,
        event_id: row
            .get::<_, Option<&str>>(first + 6)
            .map(|text| EventId::new(text).map_err(|e| inconsistent("message", key, e)))
            .transpose()?,
        content_type: row.get(first + 7),
        deliver_at: row.get::<_, Option<i64>>(first + 8).map(Timestamp::from_millis),
        payload_expires_at: row.get::<_, Option<i64>>(first + 9).map(Timestamp::from_millis),
        fanout: endpoints
            .into_iter()
            .map(|no| EndpointNo(no.cast_unsigned()))
            .zip(seqs.into_iter().map(|seq| Seq(seq.cast_unsigned())))
            .collect(),
        payload: row
            .get::<_, Option<&[u8]>>(first + 12)
            .map_or(Payload::Expunged, |bytes| Payload::Kept(Bytes::copy_from_slice(bytes))),
    })
}

/// The columns that [`delivery`] reads, in its order, of a table or alias `d`.
pub(crate) const DELIVERY: &str = "d.key, d.message, d.state, d.due_at, d.trigger, d.attempts";

/// What a state is written as.
pub(crate) fn state_number(state: DeliveryState) -> i16 {
    codec::state_number(state).into()
}

/// A column of a number of ours, which the database has no small enough type for.
fn small(row: &Row, column: usize) -> u8 {
    row.get::<_, i16>(column) as u8
}

/// Reads the columns of [`DELIVERY`], the first of which is this one.
pub(crate) fn delivery(row: &Row, first: usize) -> Result<Delivery, Fault> {
    let key: i64 = row.get(first);
    let number = small(row, first + 2);
    let state = codec::to_state(number, row.get(first + 3), small(row, first + 4))
        .ok_or_else(|| inconsistent("delivery", key, format!("state {number}")))?;
    Ok(Delivery {
        key: codec::to_delivery_key(key),
        message: codec::to_message_key(row.get(first + 1)),
        state,
        attempts: row.get::<_, i32>(first + 5).cast_unsigned(),
    })
}

/// The columns that [`attempt`] reads, in its order, of a table or alias `a`. Without the answer: `NULL` for the last.
pub(crate) const ATTEMPT: &str = "a.key, a.salt, a.message, a.seq, a.started_at, a.trigger, a.url, a.status, a.class, \
                                  a.detail, a.timings, a.body";

/// Reads the columns of [`ATTEMPT`], the first of which is this one.
pub(crate) fn attempt(row: &Row, first: usize) -> Result<StoredAttempt, Fault> {
    let key: i64 = row.get(first);
    let started_at = Timestamp::from_millis(row.get(first + 4));
    let body = row.get::<_, Option<&[u8]>>(first + 11).map_or_else(Bytes::new, Bytes::copy_from_slice);
    let number = |column| row.get::<_, Option<i16>>(column);
    let (status, class) =
        (number(first + 7).map(i16::cast_unsigned), number(first + 8).map(|class| class as u8));
    let outcome = codec::to_outcome(status, class, row.get(first + 9), body)
        .ok_or_else(|| inconsistent("attempt", key, "neither a status nor an error"))?;
    Ok(StoredAttempt {
        id: AttemptId::of(started_at, codec::place(key), row.get::<_, i64>(first + 1).cast_unsigned()),
        delivery: DeliveryKey {
            endpoint: EndpointNo(codec::no(key)),
            seq: Seq(row.get::<_, i64>(first + 3).cast_unsigned()),
        },
        message: codec::to_message_key(row.get(first + 2)),
        url: row.get::<_, &str>(first + 6).into(),
        attempt: Attempt {
            started_at,
            trigger: codec::to_trigger(small(row, first + 5)),
            outcome,
            timings: codec::to_timings(row.get(first + 10)),
        },
    })
}
