//! The hot path: a message and its deliveries, written in the transaction that is acknowledged.

use std::{collections::hash_map::Entry, sync::Arc};

use pushpull_domain::{
    AppNo, DeliveryKey, DeliveryState, EndpointNo, EventId, Message, MessageId, MessageKey, NewMessage,
    Payload, Position, Seq, Timestamp, attempt::Trigger,
};
use pushpull_store::{Append, Appended, Idempotency, Target};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::{
    codec,
    fault::{Fault, blames_one, translate},
    rows,
    tx::{AppMemory, EndpointMemory, Memory, Tx},
};

/// How long an idempotency key is kept: 12 h, as the Svix API has it.
pub(crate) const IDEMPOTENCY_KEPT_MS: i64 = 12 * 3_600_000;

const INSERT_DELIVERY: &str =
    "INSERT INTO delivery (key, endpoint, message, state, due_at, trigger, attempts)
     VALUES (?1, ?2, ?3, 0, ?4, ?5, 0)";

/// Appends one message, unless it may not be.
pub(crate) fn append(tx: &mut Tx<'_>, append: Append) -> Result<Appended, Fault> {
    let app = append.app;
    let memory = app_memory(tx.conn, tx.memory, app)?;
    match memory.version {
        None => return Ok(Appended::AppGone),
        Some(version) if version != append.version => return Ok(Appended::Stale),
        Some(_) => {}
    }
    let (position, last_at) = (Position(memory.last_position + 1), memory.last_at);
    if let Some(idempotency) = &append.idempotency
        && let Some(known) = known_request(tx, app, idempotency)?
    {
        return Ok(known);
    }
    if let Some(event_id) = &append.message.event_id
        && message_with_event_id(tx.conn, app, event_id)?.is_some()
    {
        return Ok(Appended::EventIdTaken);
    }

    let (now, salt) = (tx.now.max(last_at), tx.shared.chance.word());
    let key = MessageKey { app, position };
    let mut message = build(key, MessageId::of(now, position.0, salt), now, append.message);
    if let Err(error) = write(tx, &mut message, salt, &append.targets, append.idempotency.as_ref()) {
        if blames_one(&error) {
            undo(tx, &message)?;
            return Err(translate(error).into());
        }
        return Err(error.into());
    }
    let memory = tx.memory.apps.get_mut(&app).expect("read above");
    (memory.last_position, memory.last_at) = (position.0, now);
    let message = Arc::new(message);
    tx.news.appended.push(Arc::clone(&message));
    Ok(Appended::Stored(message))
}

/// Writes a message and all that hangs on it. `message.fanout` has what was written of its deliveries.
fn write(
    tx: &mut Tx<'_>,
    message: &mut Message,
    salt: u64,
    targets: &[Target],
    idempotency: Option<&Idempotency>,
) -> Result<(), rusqlite::Error> {
    let due_at = message.deliver_at.unwrap_or(tx.wall).max(tx.wall);
    message.fanout.reserve_exact(targets.len());
    let mut insert = tx.conn.prepare_cached(INSERT_DELIVERY)?;
    for target in targets {
        let due_at = target.pushed.then_some(due_at);
        let seq = insert_with(tx, &mut insert, target.endpoint, message.key, due_at, Trigger::Scheduled)?;
        message.fanout.push((target.endpoint, seq));
    }
    insert_message(tx.conn, message, salt)?;
    if let Some(event_id) = &message.event_id {
        tx.conn
            .prepare_cached("INSERT INTO event_id (app, event_id, message) VALUES (?1, ?2, ?3)")?
            .execute(params![message.key.app.0, &**event_id, codec::message_key(message.key)])?;
    }
    if let Some(idempotency) = idempotency {
        remember_request(tx, message.key, idempotency)?;
    }
    Ok(())
}

/// Takes back what was written of a message, so that the others of its transaction are stored without it. Rare:
/// a savepoint around each message would cost every message instead.
fn undo(tx: &mut Tx<'_>, message: &Message) -> Result<(), Fault> {
    let key = codec::message_key(message.key);
    for (endpoint, seq) in &message.fanout {
        let delivery = DeliveryKey { endpoint: *endpoint, seq: *seq };
        if let Some(written) = rows::delivery(tx.conn, codec::delivery_key(delivery))? {
            tx.tally.leaves(written.state);
        }
        tx.conn.execute("DELETE FROM delivery WHERE key = ?1", [codec::delivery_key(delivery)])?;
    }
    tx.conn.execute("DELETE FROM message WHERE key = ?1", [key])?;
    if let Some(event_id) = &message.event_id {
        tx.conn.execute(
            "DELETE FROM event_id WHERE app = ?1 AND event_id = ?2 AND message = ?3",
            params![message.key.app.0, &**event_id, key],
        )?;
    }
    // The counters are read again from what is left.
    tx.memory.endpoints.clear();
    Ok(())
}

fn build(key: MessageKey, id: MessageId, now: Timestamp, new: NewMessage) -> Message {
    Message {
        key,
        id,
        created_at: now,
        event_type: new.event_type,
        payload: Payload::Kept(new.payload),
        content_type: new.content_type,
        channels: new.channels,
        tags: new.tags,
        event_id: new.event_id,
        deliver_at: new.deliver_at,
        payload_expires_at: new.payload_expires_at,
        fanout: Vec::new(),
    }
}

fn insert_message(conn: &Connection, message: &Message, salt: u64) -> Result<(), rusqlite::Error> {
    let payload = match &message.payload {
        Payload::Kept(bytes) => Some(&bytes[..]),
        Payload::Expunged => None,
    };
    conn.prepare_cached(
        "INSERT INTO message (key, created_at, salt, event_type, channels, tags, event_id, content_type, deliver_at,
             payload_expires_at, fanout, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        codec::message_key(message.key),
        message.created_at.as_millis(),
        salt.cast_signed(),
        &*message.event_type,
        codec::words(message.channels.iter().map(|c| &**c)),
        codec::words(message.tags.iter().map(|t| &**t)),
        message.event_id.as_deref(),
        message.content_type,
        message.deliver_at.map(Timestamp::as_millis),
        message.payload_expires_at.map(Timestamp::as_millis),
        codec::fanout(&message.fanout),
        payload,
    ])?;
    Ok(())
}

/// Writes a new delivery at the end of its endpoint's queue. `due_at`: `None` if nobody pushes it.
pub(crate) fn insert_delivery(
    tx: &mut Tx<'_>,
    endpoint: EndpointNo,
    message: MessageKey,
    due_at: Option<Timestamp>,
    trigger: Trigger,
) -> Result<Seq, rusqlite::Error> {
    let mut insert = tx.conn.prepare_cached(INSERT_DELIVERY)?;
    insert_with(tx, &mut insert, endpoint, message, due_at, trigger)
}

fn insert_with(
    tx: &mut Tx<'_>,
    insert: &mut CachedStatement<'_>,
    endpoint: EndpointNo,
    message: MessageKey,
    due_at: Option<Timestamp>,
    trigger: Trigger,
) -> Result<Seq, rusqlite::Error> {
    let memory = endpoint_memory(tx.conn, tx.memory, endpoint)?;
    let seq = Seq(memory.last_seq + 1);
    insert.execute(params![
        codec::delivery_key(DeliveryKey { endpoint, seq }),
        endpoint.0,
        codec::message_key(message),
        due_at.map(Timestamp::as_millis),
        trigger as u8,
    ])?;
    // Without gaps, since a transaction that fails forgets the counters.
    memory.last_seq = seq.0;
    tx.tally.enters(DeliveryState::Owed { due_at, trigger });
    Ok(seq)
}

/// What an earlier request with the same key means for this one; `None`: there was none that counts.
fn known_request(tx: &mut Tx<'_>, app: AppNo, idempotency: &Idempotency) -> Result<Option<Appended>, Fault> {
    let known: Option<(i64, [u8; 32], i64)> = tx
        .conn
        .prepare_cached(
            "SELECT message, request_hash, created_at FROM idempotency WHERE app = ?1 AND key = ?2",
        )?
        .query_row(params![app.0, &*idempotency.key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((message, request_hash, created_at)) = known else { return Ok(None) };
    if created_at + IDEMPOTENCY_KEPT_MS <= tx.now.as_millis() {
        return Ok(None);
    }
    if request_hash != idempotency.request_hash {
        return Ok(Some(Appended::KeyReused));
    }
    // A message that retention has removed meanwhile cannot be answered with: the request counts as new.
    Ok(rows::message(tx.conn, message)?.map(|message| Appended::Repeated(Arc::new(message))))
}

fn remember_request(
    tx: &mut Tx<'_>,
    message: MessageKey,
    idempotency: &Idempotency,
) -> Result<(), rusqlite::Error> {
    tx.conn
        .prepare_cached(
            "INSERT OR REPLACE INTO idempotency (app, key, message, request_hash, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            message.app.0,
            &*idempotency.key,
            codec::message_key(message),
            idempotency.request_hash,
            tx.now.as_millis()
        ])?;
    Ok(())
}

/// The message that has a user's own id.
pub(crate) fn message_with_event_id(
    conn: &Connection,
    app: AppNo,
    event_id: &EventId,
) -> Result<Option<i64>, rusqlite::Error> {
    conn.prepare_cached("SELECT message FROM event_id WHERE app = ?1 AND event_id = ?2")?
        .query_row(params![app.0, &**event_id], |row| row.get(0))
        .optional()
}

/// The counters of an application.
fn app_memory<'m>(
    conn: &Connection,
    memory: &'m mut Memory,
    app: AppNo,
) -> Result<&'m mut AppMemory, rusqlite::Error> {
    match memory.apps.entry(app) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(unknown) => {
            let row: Option<(u64, u64)> = conn
                .prepare_cached(
                    "SELECT version, trimmed_position FROM app WHERE no = ?1 AND deleted_at IS NULL",
                )?
                .query_row([app.0], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let (version, trimmed) = row.map_or((None, 0), |(version, trimmed)| (Some(version), trimmed));
            let (first, last) = codec::range(app.0);
            let newest: Option<(i64, i64)> = conn
                .prepare_cached(
                    "SELECT key, created_at FROM message WHERE key BETWEEN ?1 AND ?2 ORDER BY key DESC LIMIT 1",
                )?
                .query_row([first, last], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let (last, at) = newest.map_or((0, 0), |(key, at)| (codec::place(key), at));
            Ok(unknown.insert(AppMemory {
                version,
                last_position: last.max(trimmed),
                last_at: Timestamp::from_millis(at),
            }))
        }
    }
}

/// The counters of an endpoint.
pub(crate) fn endpoint_memory<'m>(
    conn: &Connection,
    memory: &'m mut Memory,
    endpoint: EndpointNo,
) -> Result<&'m mut EndpointMemory, rusqlite::Error> {
    match memory.endpoints.entry(endpoint) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(unknown) => {
            let (seq, attempt): (u64, u64) = conn
                .prepare_cached("SELECT trimmed_seq, trimmed_attempt FROM endpoint WHERE no = ?1")?
                .query_row([endpoint.0], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?
                .unwrap_or_default();
            let last_seq =
                last_place(conn, "SELECT max(key) FROM delivery WHERE key BETWEEN ?1 AND ?2", endpoint.0)?;
            let last_attempt =
                last_place(conn, "SELECT max(key) FROM attempt WHERE key BETWEEN ?1 AND ?2", endpoint.0)?;
            Ok(unknown.insert(EndpointMemory {
                last_seq: last_seq.max(seq),
                last_attempt: last_attempt.max(attempt),
                url: None,
            }))
        }
    }
}

fn last_place(conn: &Connection, sql: &str, no: u32) -> Result<u64, rusqlite::Error> {
    let (first, last) = codec::range(no);
    let key: Option<i64> = conn.prepare_cached(sql)?.query_row([first, last], |row| row.get(0))?;
    Ok(key.map_or(0, codec::place))
}
