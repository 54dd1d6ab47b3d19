//! Reading an endpoint's queue: its deliveries in order, each with its message.

use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use pushpull_domain::{EndpointNo, Seq, Timestamp};
use pushpull_store::{
    Error, Feed, QueueEnds, QueueItem, QueuePage, QueueQuery, codec,
    gather::{BYTES_MAX, LOOKED_MAX, bytes_of},
};
use tokio_postgres::Row;

use crate::{Db, Postgres, fault::Fault, pool::Params, rows};

/// Where a queue begins and ends, and up to where retention has removed something of it. `$1` is the endpoint, `$2`
/// the key that is before its first.
///
/// An old message that was sent by hand stood late in the queue: what is before it may be kept.
pub(crate) const ENDS: &str = "
    SELECT least(removed, (SELECT min(key) FROM delivery WHERE key BETWEEN $2 AND $2 + removed) - $2 - 1) AS trimmed,
        greatest(removed, (SELECT max(key) FROM delivery WHERE key BETWEEN $2 AND $2 + (1::bigint << 40) - 1) - $2)
            AS last,
        removed
    FROM (SELECT coalesce((SELECT trimmed_seq FROM endpoint WHERE no = $1), 0) AS removed) AS retention";

/// One page: what is wanted, and the last row that is looked at, so that it is known how far that was. The filter is
/// the database's to apply, and the bytes its to count: what is not wanted is not sent here.
static READ: LazyLock<String> = LazyLock::new(|| {
    let message = rows::MESSAGE;
    format!(
        "SELECT queue.trimmed, queue.last, m.seq, m.looked, {message}
         FROM ({ENDS}) AS queue LEFT JOIN (
             SELECT m.*, sum(octet_length(m.payload)) OVER (ORDER BY m.seq ROWS BETWEEN UNBOUNDED PRECEDING
                 AND 1 PRECEDING) AS bytes_before
             FROM (
                 SELECT d.key - $2 AS seq, d.looked, {message}
                 FROM (SELECT key, message, message_day, state, row_number() OVER (ORDER BY key) AS looked
                       FROM delivery WHERE key BETWEEN $3 AND $4 ORDER BY key LIMIT {LOOKED_MAX}) AS d
                     LEFT JOIN LATERAL (
                         SELECT * FROM message AS m
                         WHERE m.key = d.message AND m.day = d.message_day AND NOT ($5 AND d.state = {DELIVERED})
                             AND ($8::text[] IS NULL OR m.event_type = ANY ($8))
                             AND ($9::text IS NULL OR $9 = ANY (string_to_array(m.channels, ' ')))
                             AND ($10::text IS NULL OR $10 = ANY (string_to_array(m.tags, ' ')))
                             AND m.created_at > $11 AND m.created_at < $12
                         LIMIT 1) AS m ON true
                 WHERE m.key IS NOT NULL OR d.looked = {LOOKED_MAX}
                 ORDER BY d.key LIMIT $6) AS m
         ) AS m ON coalesce(m.bytes_before, 0) < $7",
        DELIVERED = rows::DELIVERED,
    )
});

/// Rows looked at from each place in which the queue is halved: a message that was sent again by hand stands later
/// in the queue than its time, and these few beside it say so.
const BESIDE: i64 = 16;

/// The place before the first delivery of a message made at `$3` or later, found by halving, since a queue is in the
/// order of its messages, but for those sent again by hand. The rows beside the place may have been what decided: it
/// is the first of them that is of that time.
static PLACE_AT: LazyLock<String> = LazyLock::new(|| {
    let beside = |place: &str| {
        format!(
            "(SELECT d.key, m.created_at
              FROM (SELECT key, message, message_day FROM delivery
                    WHERE key BETWEEN $2 + {place} + 1 AND $2 + last ORDER BY key LIMIT {BESIDE}) AS d
                  CROSS JOIN LATERAL (SELECT created_at FROM message
                      WHERE key = d.message AND day = d.message_day LIMIT 1) AS m) AS beside"
        )
    };
    format!(
        "WITH RECURSIVE halving (low, high, last) AS (
             SELECT trimmed, last, last FROM ({ENDS}) AS queue
             UNION ALL
             SELECT CASE WHEN earlier THEN middle + 1 ELSE low END, CASE WHEN earlier THEN high ELSE middle END, last
             FROM (SELECT low, high, last, low + (high - low) / 2 AS middle FROM halving WHERE low < high) AS halves
                 CROSS JOIN LATERAL (SELECT coalesce(max(created_at) < $3, false) AS earlier FROM {middle}) AS looked
         )
         SELECT coalesce((SELECT min(key) FROM {low} WHERE created_at >= $3) - $2 - 1, last)
         FROM halving WHERE low >= high",
        middle = beside("middle"),
        low = beside("low"),
    )
});

impl Feed for Postgres {
    fn read_queue(&self, query: QueueQuery) -> BoxFuture<'_, Result<QueuePage, Error>> {
        self.read(move |db| async move { read(&db, &query).await })
    }

    fn queue_ends(&self, endpoint: EndpointNo) -> BoxFuture<'_, Result<QueueEnds, Error>> {
        self.read(move |db| async move {
            let conn = db.reads.lend().await?;
            let row = conn.query_one(ENDS, &[&endpoint.0.cast_signed(), &before_first(endpoint)]).await?;
            Ok(ends(&row, 0))
        })
    }

    fn queue_at(&self, endpoint: EndpointNo, at: Timestamp) -> BoxFuture<'_, Result<Seq, Error>> {
        self.read(move |db| async move {
            let conn = db.reads.lend().await?;
            let params: Params<'_> = &[&endpoint.0.cast_signed(), &before_first(endpoint), &at.as_millis()];
            Ok(seq(&conn.query_one(&PLACE_AT, params).await?, 0))
        })
    }
}

/// The key before the first of an endpoint's queue: `$2` of [`ENDS`].
pub(crate) fn before_first(endpoint: EndpointNo) -> i64 {
    codec::range(endpoint.0).0
}

/// The key of a place, or the last one there can be: a place may be any number that somebody sent.
pub(crate) fn key_of(endpoint: EndpointNo, seq: Seq) -> i64 {
    let (first, last) = codec::range(endpoint.0);
    first.saturating_add_unsigned(seq.0).min(last)
}

/// Reads the first two columns of [`ENDS`], the first of which is this one.
pub(crate) fn ends(row: &Row, first: usize) -> QueueEnds {
    QueueEnds { trimmed: seq(row, first), last: seq(row, first + 1) }
}

/// A column that is a seq.
pub(crate) fn seq(row: &Row, column: usize) -> Seq {
    Seq(row.get::<_, i64>(column).cast_unsigned())
}

async fn read(db: &Arc<Db>, query: &QueueQuery) -> Result<QueuePage, Fault> {
    let QueueQuery { endpoint, filter, .. } = query;
    let low = key_of(*endpoint, query.after) + 1;
    let high = key_of(*endpoint, last_before(query.until));
    let types: Option<Vec<&str>> =
        (!filter.event_types.is_empty()).then(|| filter.event_types.iter().map(|name| &**name).collect());
    let params: Params<'_> = &[
        &endpoint.0.cast_signed(),
        &before_first(*endpoint),
        &low,
        &high,
        &query.undelivered,
        &(query.limit as i64),
        &(query.bytes.clamp(1, BYTES_MAX) as i64),
        &types,
        &filter.channel.as_deref(),
        &filter.tag.as_deref(),
        &filter.after.map_or(i64::MIN, Timestamp::as_millis),
        &filter.before.map_or(i64::MAX, Timestamp::as_millis),
    ];
    page(query, &db.reads.lend().await?.query(&READ, params).await?)
}

fn page(query: &QueueQuery, found: &[Row]) -> Result<QueuePage, Fault> {
    let ends = ends(found.first().expect("the ends are told, whatever else is found"), 0);
    let looked_at = |row: &Row| Some((Seq(row.get::<_, Option<i64>>(2)?.cast_unsigned()), row.get(3)));
    let mut rows: Vec<(Seq, i64, &Row)> =
        found.iter().filter_map(|row| looked_at(row).map(|(seq, looked)| (seq, looked, row))).collect();
    rows.sort_unstable_by_key(|(seq, ..)| *seq);

    let (mut items, mut bytes) = (Vec::with_capacity(rows.len()), 0);
    // Up to the end, unless something ends the page before.
    let mut reached = ends.last.min(last_before(query.until)).max(ends.trimmed);
    for (seq, looked, row) in rows {
        if row.get::<_, Option<i64>>(4).is_some() {
            let message = Arc::new(rows::message(row, 4)?);
            bytes += bytes_of(&message);
            items.push(QueueItem { seq, message });
        }
        if items.len() >= query.limit || bytes >= query.bytes.min(BYTES_MAX) || looked >= LOOKED_MAX as i64 {
            reached = seq;
            break;
        }
    }
    Ok(QueuePage { items, reached: reached.max(query.after), ends })
}

/// The last seq before a place.
fn last_before(until: Option<Seq>) -> Seq {
    until.map_or(Seq(u64::MAX), |until| Seq(until.0.saturating_sub(1)))
}
