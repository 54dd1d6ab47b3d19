//! Spans of time in an application's log, found by halving, since messages are in the order of their times.

use pushpull_domain::{AppNo, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use crate::{codec, fault::Fault};

/// The first and the last message between two keys: two queries, each of which is one seek. Both in one would
/// read every row between.
const ENDS: &str = "
    SELECT (SELECT min(key) FROM message WHERE key BETWEEN ?1 AND ?2),
           (SELECT max(key) FROM message WHERE key BETWEEN ?1 AND ?2)";

/// The places of an application's messages made within a span of time: the first, and the first beyond it.
pub(crate) fn span(
    conn: &Connection,
    app: AppNo,
    from: Timestamp,
    until: Timestamp,
) -> Result<(i64, i64), Fault> {
    Ok((first_since(conn, app, from)?, first_since(conn, app, until)?))
}

/// The key of the application's first message made at `at` or later; beyond the last if there is none.
pub(crate) fn first_since(conn: &Connection, app: AppNo, at: Timestamp) -> Result<i64, rusqlite::Error> {
    let (low, high) = codec::range(app.0);
    let (first, last): (Option<i64>, Option<i64>) =
        conn.prepare_cached(ENDS)?.query_row([low, high], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(mut low), Some(last)) = (first, last) else { return Ok(low) };
    let mut high = last + 1;
    // Rows may be missing in the middle only where retention is at work, so the next one is looked at.
    let mut probe = conn.prepare_cached(
        "SELECT key, created_at FROM message WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT 1",
    )?;
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> =
            probe.query_row([middle, high - 1], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((key, made)) if made < at.as_millis() => low = key + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// A log of so many messages, three to each millisecond from 1 on.
    fn log(count: u32) -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        crate::migrate::run(&mut conn).unwrap();
        conn.execute(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
             INSERT INTO message (key, created_at, salt, event_type, fanout)
             SELECT 7 << 40 | n, (n + 2) / 3, 0, 'a', x'' FROM n",
            [count],
        )
        .unwrap();
        conn
    }

    #[test]
    fn the_ends_of_a_log_are_found_without_reading_it() {
        let steps = |count| {
            let conn = log(count);
            let mut query = conn.prepare(ENDS).unwrap();
            let (low, high) = codec::range(7);
            let ends = query.query_row([low, high], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            assert_eq!(ends, (low + 1, low + i64::from(count)));
            query.get_status(StatementStatus::VmStep)
        };
        assert_eq!(steps(10), steps(10_000));
    }

    #[test]
    fn the_first_message_since_a_moment_is_found_over_a_gap() {
        let conn = log(30);
        conn.execute("DELETE FROM message WHERE key & 0xff BETWEEN 10 AND 15", []).unwrap();
        for at in 0..12 {
            let first = first_since(&conn, AppNo(7), Timestamp::from_millis(at)).unwrap();
            let misplaced: i64 = conn
                .query_row(
                    "SELECT count(*) FROM message WHERE (created_at < ?1) <> (key < ?2)",
                    [at, first],
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(misplaced, 0, "{at}");
        }
        let (low, _) = codec::range(8);
        assert_eq!(first_since(&conn, AppNo(8), Timestamp::from_millis(5)).unwrap(), low);
    }
}
