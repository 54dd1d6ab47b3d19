//! Adding up what became of an endpoint's queue.

use futures_util::future::BoxFuture;
use pushpull_domain::{DeliveryKey, EndpointNo, Seq};
use pushpull_store::{Audit, AuditPage, Audits, Error, audit::AUDIT_ROWS};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    Sqlite, codec,
    fault::{Fault, inconsistent},
};

impl Audits for Sqlite {
    fn audit(
        &self,
        endpoint: EndpointNo,
        after: Option<Seq>,
        upto: Option<Seq>,
    ) -> BoxFuture<'_, Result<AuditPage, Error>> {
        Box::pin(self.read_long(move |conn| audit(conn, endpoint, after, upto)))
    }
}

/// Sums, since a GROUP BY would sort what it reads. `?3`: readers are done up to this key; `?4`: retention got to it.
const SUMS: &str = "
    SELECT count(*), max(key), total(key <= ?4),
        total(state = 1), total(state IN (0, 2) AND key <= ?3), total(state = 0 AND key > ?3),
        total(state = 2 AND key > ?3), total(state = 3), total(state = 4), total(state = 5)
    FROM (SELECT key, state FROM delivery NOT INDEXED WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT ?5)";

fn audit(
    conn: &Connection,
    endpoint: EndpointNo,
    after: Option<Seq>,
    upto: Option<Seq>,
) -> Result<AuditPage, Fault> {
    let key = |seq: u64| codec::delivery_key(DeliveryKey { endpoint, seq: Seq(seq) });
    let (read, trimmed): (u64, u64) = conn
        .prepare_cached(
            "SELECT max(read_seq, coalesce((SELECT max(committed) FROM consumer WHERE endpoint = ?1), 0)), trimmed_seq
             FROM endpoint WHERE no = ?1",
        )?
        .query_row([endpoint.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .unwrap_or_default();
    let (first, last) = codec::range(endpoint.0);
    // Two queries, each of which is one seek: both in one would read every row between.
    let ends: (Option<i64>, Option<i64>) = conn
        .prepare_cached(
            "SELECT (SELECT min(key) FROM delivery WHERE key BETWEEN ?1 AND ?2),
                 (SELECT max(key) FROM delivery WHERE key BETWEEN ?1 AND ?2)",
        )?
        .query_row([first, last], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let last = ends.1.map_or(0, codec::place).max(trimmed);
    let earliest = ends.0.map_or(last, |key| codec::place(key) - 1);
    let after = after.map_or(earliest, |after| after.0.min(last));
    let end = upto.map_or(last, |upto| upto.0.min(last)).max(after);

    let bounds = params![key(after + 1), key(end), key(read), key(trimmed), AUDIT_ROWS];
    let (found, newest, kept_of_trimmed, audit) = conn.prepare_cached(SUMS)?.query_row(bounds, |row| {
        // `total` is exact up to 2^53.
        let count = |column| row.get::<_, f64>(column).map(|count| count as u64);
        let audit = Audit {
            delivered: count(3)?,
            read: count(4)?,
            owed: count(5)?,
            exhausted: count(6)?,
            cancelled_retention: count(7)?,
            cancelled_expunged: count(8)?,
            cancelled_deleted: count(9)?,
            removed: 0,
            missing: 0,
        };
        Ok((row.get::<_, u64>(0)?, row.get::<_, Option<i64>>(1)?, count(2)?, audit))
    })?;
    if found != audit.found() {
        return Err(inconsistent("delivery", key(end), "a state that is none"));
    }
    let reached = if found == AUDIT_ROWS { newest.map_or(end, codec::place) } else { end };
    let of_trimmed = reached.min(trimmed).saturating_sub(after);
    let beyond = reached.saturating_sub(after.max(trimmed));
    let audit =
        Audit { removed: of_trimmed - kept_of_trimmed, missing: beyond - (found - kept_of_trimmed), ..audit };
    Ok(AuditPage {
        audit,
        after: Seq(after),
        reached: Seq(reached),
        last: Seq(last),
        removed_to: Seq(trimmed),
    })
}
