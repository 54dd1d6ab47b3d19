//! Reading an endpoint's queue: its deliveries in order, each with its message.

use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use pushpull_domain::{EndpointNo, Seq, Timestamp};
use pushpull_store::{
    Error, Feed, QueueEnds, QueueItem, QueuePage, QueueQuery, codec,
    gather::{BYTES_MAX, LOOKED_MAX, bytes_of},
};
use tokio_postgres::Row;

use crate::{
    Db, Postgres,
    fault::Fault,
    pool::{Conn, Params},
    rows,
    tx::Tx,
};

/// Where a queue begins and ends, and up to where retention has removed something of it. What is before its beginning is
/// about to go, if it is not gone yet.
///
/// `$1` is the endpoint, `$2` the key before its first, `$3` the last day on which something is known to have joined it:
/// what joined it last did so on that day or later. A scan of the partitions of all days would take ten times as long.
pub(crate) const ENDS: &str = "
    SELECT begin_seq AS trimmed, trimmed_seq AS removed, greatest(trimmed_seq, (
        SELECT max(key) FROM delivery WHERE key BETWEEN $2 AND $2 + (1::bigint << 40) - 1 AND day >= $3) - $2) AS last
    FROM (SELECT coalesce(max(begin_seq), 0) AS begin_seq, coalesce(max(trimmed_seq), 0) AS trimmed_seq
          FROM endpoint WHERE no = $1) AS retention";

/// Queues begin at the first delivery that is kept. There may be one before the place up to which retention has removed
/// something: an old message that was sent by hand stood late in the queue.
const BEGIN_ANEW: &str = "
    UPDATE endpoint e SET begin_seq = CASE WHEN gone.upto >= e.trimmed_seq THEN e.trimmed_seq ELSE
        least(e.trimmed_seq, (
            SELECT min(key) FROM delivery
            WHERE key BETWEEN (e.no::bigint << 40) + greatest(e.begin_seq, gone.upto) + 1
                AND (e.no::bigint << 40) + e.trimmed_seq) - (e.no::bigint << 40) - 1) END
    FROM unnest($1::integer[], $2::bigint[]) AS gone (no, upto) WHERE e.no = gone.no";

/// One page: what is wanted of what is there from `$4` to `$5` and lies on the day `$6` or later; and the last row that
/// is looked at, so that it is known how far that was. The filter is the database's to apply, and the bytes its to
/// count: what is not wanted is not sent here.
static READ: LazyLock<String> = LazyLock::new(|| {
    let message = rows::MESSAGE;
    format!(
        "SELECT queue.trimmed, queue.last, m.place - $2, m.day, m.looked, m.shown, {message}
         FROM ({ENDS}) AS queue LEFT JOIN LATERAL (
             SELECT m.*, sum(octet_length(m.payload)) OVER (ORDER BY m.place ROWS BETWEEN UNBOUNDED PRECEDING
                 AND 1 PRECEDING) AS bytes_before
             FROM (SELECT * FROM (
                       SELECT d.key AS place, d.day, d.looked, {message}, m.key IS NOT NULL
                           AND ($10::text[] IS NULL OR m.event_type = ANY ($10))
                           AND ($11::text IS NULL OR $11 = ANY (string_to_array(m.channels, ' ')))
                           AND ($12::text IS NULL OR $12 = ANY (string_to_array(m.tags, ' ')))
                           AND m.created_at > $13 AND m.created_at < $14 AS shown
                       FROM (SELECT key, day, message_day, row_number() OVER (ORDER BY key) AS looked,
                                 CASE WHEN $7 AND state = {DELIVERED} THEN NULL ELSE message END AS message
                             FROM delivery
                             WHERE key BETWEEN greatest($4, $2 + queue.trimmed + 1) AND $5 AND day >= $6
                             ORDER BY key LIMIT {LOOKED_MAX}) AS d
                           LEFT JOIN LATERAL (SELECT * FROM message AS m
                               WHERE m.key = d.message AND m.day = d.message_day LIMIT 1) AS m ON true
                   ) AS m
                   WHERE m.shown OR m.looked = {LOOKED_MAX} ORDER BY m.place LIMIT $8) AS m
         ) AS m ON coalesce(m.bytes_before, 0) < $9",
        DELIVERED = codec::DELIVERED,
    )
});

/// Rows looked at from each place in which the queue is halved: a message that was sent again by hand stands later
/// in the queue than its time, and these few beside it say so.
const BESIDE: i64 = 16;

/// The place before the first delivery of a message made at `$4` or later, found by halving, since a queue is in the
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
                 CROSS JOIN LATERAL (SELECT coalesce(max(created_at) < $4, false) AS earlier FROM {middle}) AS looked
         )
         SELECT coalesce((SELECT min(key) FROM {low} WHERE created_at >= $4) - $2 - 1, last)
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
        self.read(move |db| async move { ends(&db, &*db.reads.lend().await?, endpoint).await })
    }

    fn queue_at(&self, endpoint: EndpointNo, at: Timestamp) -> BoxFuture<'_, Result<Seq, Error>> {
        self.read(move |db| async move {
            let (no, before, day) = asks(&db, endpoint);
            let conn = db.reads.lend().await?;
            Ok(seq(&conn.query_one(&PLACE_AT, &[&no, &before, &day, &at.as_millis()]).await?, 0))
        })
    }
}

/// What [`ENDS`] is asked with: `$1`, `$2` and `$3`.
pub(crate) fn asks(db: &Db, endpoint: EndpointNo) -> (i32, i64, i32) {
    let (first, last) = codec::range(endpoint.0);
    (endpoint.0.cast_signed(), first, db.days.not_before(last))
}

/// Where a queue begins and ends.
pub(crate) async fn ends(db: &Db, conn: &Conn, endpoint: EndpointNo) -> Result<QueueEnds, Fault> {
    static SQL: LazyLock<String> = LazyLock::new(|| format!("SELECT trimmed, last FROM ({ENDS}) AS queue"));
    let (no, before, day) = asks(db, endpoint);
    Ok(read_ends(&conn.query_one(&SQL, &[&no, &before, &day]).await?, 0))
}

/// Notes where queues begin, once it is noted up to where retention removes something of each. All of a queue up to a
/// place is gone, or about to go.
pub(crate) async fn begin_anew(tx: &Tx, endpoints: &[i32], gone_upto: &[i64]) -> Result<(), Fault> {
    tx.execute(BEGIN_ANEW, &[&endpoints, &gone_upto]).await.map(drop)
}

/// Reads `trimmed` and `last` of [`ENDS`], the first of which is this column.
pub(crate) fn read_ends(row: &Row, first: usize) -> QueueEnds {
    QueueEnds { trimmed: seq(row, first), last: seq(row, first + 1) }
}

/// The key of a place, or the last one there can be: a place may be any number that somebody sent.
pub(crate) fn key_of(endpoint: EndpointNo, seq: Seq) -> i64 {
    let (first, last) = codec::range(endpoint.0);
    first.saturating_add_unsigned(seq.0).min(last)
}

/// A column that is a seq.
pub(crate) fn seq(row: &Row, column: usize) -> Seq {
    Seq(row.get::<_, i64>(column).cast_unsigned())
}

async fn read(db: &Db, query: &QueueQuery) -> Result<QueuePage, Fault> {
    let QueueQuery { endpoint, filter, .. } = query;
    let (no, before, day) = asks(db, *endpoint);
    let low = key_of(*endpoint, query.after) + 1;
    let types: Option<Vec<&str>> =
        (!filter.event_types.is_empty()).then(|| filter.event_types.iter().map(|name| &**name).collect());
    let params: Params<'_> = &[
        &no,
        &before,
        &day,
        &low,
        &key_of(*endpoint, last_before(query.until)),
        &db.days.not_before(low),
        &query.undelivered,
        &(query.limit as i64),
        &(query.bytes.clamp(1, BYTES_MAX) as i64),
        &types,
        &filter.channel.as_deref(),
        &filter.tag.as_deref(),
        &filter.after.map_or(i64::MIN, Timestamp::as_millis),
        &filter.before.map_or(i64::MAX, Timestamp::as_millis),
    ];
    let found = db.reads.lend().await?.query(&READ, params).await?;
    page(db, query, &found)
}

fn page(db: &Db, query: &QueueQuery, found: &[Row]) -> Result<QueuePage, Fault> {
    let ends = read_ends(found.first().expect("the ends are told, whatever else is found"), 0);
    let mut rows: Vec<(i64, &Row)> =
        found.iter().filter_map(|row| Some((row.get::<_, Option<i64>>(2)?, row))).collect();
    rows.sort_unstable_by_key(|(seq, _)| *seq);

    let (mut items, mut bytes) = (Vec::with_capacity(rows.len()), 0);
    // Up to the end, unless something ends the page before.
    let mut reached = ends.last.min(last_before(query.until)).max(ends.trimmed);
    for (_, row) in &rows {
        let seq = seq(row, 2);
        if row.get(5) {
            let message = Arc::new(rows::message(row, 6)?);
            bytes += bytes_of(&message);
            items.push(QueueItem { seq, message });
        }
        let looked: i64 = row.get(4);
        if items.len() >= query.limit || bytes >= query.bytes.min(BYTES_MAX) || looked >= LOOKED_MAX as i64 {
            reached = seq;
            break;
        }
    }
    if let Some((_, last)) = rows.last() {
        db.days.learn(key_of(query.endpoint, seq(last, 2)), last.get(3));
    }
    Ok(QueuePage { items, reached: reached.max(query.after), ends })
}

/// The last seq before a place.
fn last_before(until: Option<Seq>) -> Seq {
    until.map_or(Seq(u64::MAX), |until| Seq(until.0.saturating_sub(1)))
}
