//! Spans of time in an application's log, found by halving, since messages are in the order of their times.

use pushpull_domain::{AppNo, Timestamp};
use pushpull_store::{MessageFilter, codec};

use crate::{fault::Fault, pool::Conn};

/// The first message made at a moment (`$3`) or later, of those between two keys; beyond the last if there is none.
///
/// First the day is found: the last one whose first message is older. Within it the place is found by halving, in as
/// many seeks as the number of its messages has bits.
const FIRST_SINCE: &str = "
    WITH RECURSIVE beginning AS MATERIALIZED (
        SELECT o.day, m.key, m.created_at FROM open_day o CROSS JOIN LATERAL (
            SELECT key, created_at FROM message
            WHERE message.day = o.day AND key BETWEEN $1 AND $2 ORDER BY key LIMIT 1) m
    ), within AS MATERIALIZED (
        SELECT b.day, b.key, m.key AS last
        FROM (SELECT day, key FROM beginning WHERE created_at < $3 ORDER BY day DESC LIMIT 1) b CROSS JOIN LATERAL (
            SELECT key FROM message
            WHERE message.day = b.day AND key BETWEEN $1 AND $2 ORDER BY key DESC LIMIT 1) m
    ), halving (day, low, high) AS (
        SELECT day, key + 1, last + 1 FROM within
        UNION ALL
        SELECT h.day, CASE WHEN m.created_at < $3 THEN m.key + 1 ELSE h.low END,
            CASE WHEN m.created_at < $3 THEN h.high ELSE h.low + (h.high - h.low) / 2 END
        FROM halving h LEFT JOIN LATERAL (
            SELECT key, created_at FROM message
            WHERE message.day = h.day AND key >= h.low + (h.high - h.low) / 2 AND key < h.high
            ORDER BY key LIMIT 1) m ON true
        WHERE h.low < h.high
    )
    SELECT coalesce((SELECT low FROM halving WHERE low >= high LIMIT 1), (SELECT min(key) FROM beginning), $1)";

/// The key of the application's first message made at `at` or later; beyond the last if there is none.
pub(crate) async fn first_since(conn: &Conn, app: AppNo, at: Timestamp) -> Result<i64, Fault> {
    let (first, last) = codec::range(app.0);
    Ok(conn.query_one(FIRST_SINCE, &[&first, &last, &at.as_millis()]).await?.get(0))
}

/// The places of an application's messages made within a span of time: the first, and the first beyond it.
pub(crate) async fn span(
    conn: &Conn,
    app: AppNo,
    from: Timestamp,
    until: Timestamp,
) -> Result<(i64, i64), Fault> {
    Ok((first_since(conn, app, from).await?, first_since(conn, app, until).await?))
}

/// The keys an application's messages have within a filter's times: the first, and the last.
pub(crate) async fn bounds(conn: &Conn, app: AppNo, filter: &MessageFilter) -> Result<(i64, i64), Fault> {
    let (first, last) = codec::range(app.0);
    let first = match filter.after {
        Some(after) => first_since(conn, app, Timestamp::from_millis(after.as_millis() + 1)).await?,
        None => first,
    };
    let last = match filter.before {
        Some(before) => first_since(conn, app, before).await? - 1,
        None => last,
    };
    Ok((first, last))
}
