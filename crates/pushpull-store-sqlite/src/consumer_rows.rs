//! Rows of consumers, and the queue they read.

use pushpull_domain::{DeliveryKey, EndpointNo, Seq, Timestamp, endpoint::DRAINING_MAX};
use pushpull_store::{Consumer, ConsumerKey, QueueEnds, columns};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{catalog_rows::Named, codec, fault::Fault, feed, tx::Tx};

/// The consumer of this name.
pub(crate) fn find(conn: &Connection, key: &ConsumerKey) -> Result<Option<Consumer>, Fault> {
    let mut query = conn.prepare_cached("SELECT * FROM consumer WHERE endpoint = ?1 AND name = ?2")?;
    let mut found = query.query(params![key.endpoint.0, &*key.name])?;
    found.next()?.map(|row| columns::consumer(&Named(row))).transpose()
}

/// Writes a consumer, new or not. It was seen.
pub(crate) fn save(tx: &Tx<'_>, consumer: Consumer) -> Result<Consumer, Fault> {
    let consumer = Consumer { seen_at: tx.wall, ..consumer };
    tx.conn
        .prepare_cached(
            "INSERT OR REPLACE INTO consumer (endpoint, name, committed, handed, holder, leased_until, idle_ms,
                 max_deliver, seen_at, expires_at, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            consumer.key.endpoint.0,
            &*consumer.key.name,
            consumer.committed.0,
            consumer.handed.0,
            consumer.lease.as_ref().and_then(|lease| lease.holder.as_deref()),
            consumer.lease.as_ref().map(|lease| lease.until.as_millis()),
            u64::try_from(consumer.settings.idle.as_millis()).unwrap_or(u64::MAX),
            consumer.settings.max_deliver,
            consumer.seen_at.as_millis(),
            consumer.expires_at().as_millis(),
            consumer.created_at.as_millis(),
        ])?;
    Ok(consumer)
}

/// The queue of an endpoint as a consumer sees it.
pub(crate) struct Queue {
    endpoint: EndpointNo,
    /// Whether the dispatcher goes along it.
    pub(crate) pushed: bool,
    /// Where readers had got to when it was last pushed.
    pub(crate) read: Seq,
    /// What a push brought may not be known yet.
    pub(crate) draining: bool,
    /// Everything up to here was removed by retention.
    pub(crate) trimmed: Seq,
    /// The newest seq there is or was.
    pub(crate) last: Seq,
}

impl Queue {
    /// `None`: there is no such endpoint.
    pub(crate) fn of(conn: &Connection, endpoint: EndpointNo, now: Timestamp) -> Result<Option<Self>, Fault> {
        let QueueEnds { trimmed, last } = feed::ends(conn, endpoint)?;
        let found = conn
            .prepare_cached(
                "SELECT mode = 0, read_seq, draining_since FROM endpoint WHERE no = ?1 AND deleted_at IS NULL",
            )?
            .query_row([endpoint.0], |row| {
                let draining_since = row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis);
                Ok(Self {
                    endpoint,
                    pushed: row.get(0)?,
                    read: Seq(row.get(1)?),
                    draining: draining_since.is_some_and(|since| since.after(DRAINING_MAX) > now),
                    trimmed,
                    last,
                })
            })
            .optional()?;
        Ok(found)
    }

    /// Whether a consumer passes over a delivery in this state: what a push brought, unless it is pushed still.
    pub(crate) fn passes_over(&self, state: u8) -> bool {
        !self.pushed && state == codec::DELIVERED
    }

    /// The key of a place.
    pub(crate) fn key(&self, seq: Seq) -> i64 {
        codec::delivery_key(DeliveryKey { endpoint: self.endpoint, seq })
    }
}

/// When the message at the first place of a queue after this one was made.
pub(crate) fn made_after(
    conn: &Connection,
    endpoint: EndpointNo,
    seq: Seq,
) -> Result<Option<Timestamp>, Fault> {
    let after = codec::delivery_key(DeliveryKey { endpoint, seq });
    Ok(conn
        .prepare_cached(
            "SELECT message.created_at FROM delivery NOT INDEXED JOIN message ON message.key = delivery.message
             WHERE delivery.key BETWEEN ?1 AND ?2 ORDER BY delivery.key LIMIT 1",
        )?
        .query_row([after + 1, codec::range(endpoint.0).1], |row| row.get(0))
        .optional()?
        .map(Timestamp::from_millis))
}
