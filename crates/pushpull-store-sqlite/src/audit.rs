//! Adding up what became of an endpoint's queue.

use futures_util::future::BoxFuture;
use pushpull_domain::{DeliveryKey, EndpointNo, Seq};
use pushpull_store::{Audit, AuditPage, Audits, Error, QueueEnds, audit::AUDIT_ROWS};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    Sqlite, codec,
    fault::{Fault, inconsistent},
    feed,
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
    let QueueEnds { trimmed: before_kept, last: Seq(last) } = feed::ends(conn, endpoint)?;
    let after = after.unwrap_or(before_kept).0.min(last);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_before_the_first_that_is_kept_is_told() {
        let mut conn = Connection::open_in_memory().unwrap();
        crate::migrate::run(&mut conn).unwrap();
        conn.execute(
            "INSERT INTO endpoint (no, id, app, url, description, mode, fifo, headers, secrets, metadata, trimmed_seq,
                 created_at, updated_at) VALUES (1, 'ep_1', 1, '', '', 0, 0, x'', x'', '{}', 2, 0, 0)",
            [],
        )
        .unwrap();
        conn.execute(
            "INSERT INTO delivery (key, endpoint, message, state, trigger, attempts)
             SELECT 1 << 40 | value, 1, 1 << 40 | value, 1, 0, 0 FROM json_each('[5, 6, 8]')",
            [],
        )
        .unwrap();
        let page = audit(&conn, EndpointNo(1), None, None).unwrap();
        assert_eq!((page.after, page.reached, page.removed_to), (Seq(2), Seq(8), Seq(2)));
        assert_eq!(page.audit, Audit { delivered: 3, missing: 3, ..Audit::default() });
    }
}
