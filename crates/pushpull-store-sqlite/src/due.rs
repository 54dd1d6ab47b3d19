//! What is owed, as the dispatcher asks for it: cheap however much that is.

use std::{collections::HashSet, sync::Arc};

use pushpull_domain::{AppNo, DeliveryKey, EndpointNo, Payload, Seq, Timestamp};
use pushpull_store::{DueDelivery, DueOrder, DuePage, OwedEndpoint};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{codec, fault::Fault, list::collect, recovery, rows};

/// Endpoints in the index of what is due: one seek for each, whatever each is owed.
const OWED_ENDPOINTS: &str = "
    WITH RECURSIVE owed (no) AS (
        SELECT min(endpoint) FROM delivery INDEXED BY delivery_due WHERE due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(endpoint) FROM delivery INDEXED BY delivery_due
                WHERE due_at IS NOT NULL AND endpoint > owed.no)
        FROM owed WHERE owed.no IS NOT NULL
    )
    SELECT owed.no, endpoint.app, (SELECT min(due_at) FROM delivery INDEXED BY delivery_due
                     WHERE due_at IS NOT NULL AND endpoint = owed.no)
    FROM owed JOIN endpoint ON endpoint.no = owed.no
    WHERE endpoint.deleted_at IS NULL AND endpoint.disabled_at IS NULL AND endpoint.mode = 0";

/// Endpoints that are owed, each with its earliest due time.
pub(crate) fn owed_endpoints(conn: &Connection) -> Result<Vec<OwedEndpoint>, Fault> {
    collect(conn, OWED_ENDPOINTS, (), |row| {
        Ok(OwedEndpoint {
            endpoint: EndpointNo(row.get(0)?),
            app: AppNo(row.get(1)?),
            due_at: Timestamp::from_millis(row.get(2)?),
        })
    })
}

/// What an endpoint (`?3`) is owed up to a moment (`?1`). What is before a place (`?4`) is being withdrawn, but for what
/// was asked for by hand.
const BY_TIME: &str = "
    SELECT key, message, state, due_at, trigger, attempts FROM delivery INDEXED BY delivery_due
    WHERE endpoint = ?3 AND due_at <= ?1 AND key <= ?2 AND (key >= ?4 OR trigger = 1)
    ORDER BY due_at, key";

/// When the next is due after that moment.
const NEXT_DUE: &str =
    "SELECT min(due_at) FROM delivery INDEXED BY delivery_due WHERE endpoint = ?1 AND due_at > ?2";

/// What an endpoint is owed from a place (`?1`) on, also what is only about to become due: nothing may overtake
/// it. Not what readers were done with, unless it was asked for by hand since: then it is due. From the beginning it
/// passes over all that was delivered before; the dispatcher begins there when it starts, and when something was
/// asked for again.
const BY_SEQ: &str = "
    SELECT key, message, state, due_at, trigger, attempts FROM delivery NOT INDEXED
    WHERE key BETWEEN ?1 AND ?2 AND state = 0 AND endpoint = ?3
        AND ((due_at IS NOT NULL AND (key >= ?4 OR trigger = 1)) OR key & ((1 << 40) - 1) > (SELECT read_seq FROM endpoint WHERE no = ?3))
    ORDER BY key";

/// What is due for an endpoint, with its messages.
pub(crate) fn due(
    conn: &Connection,
    endpoint: EndpointNo,
    order: DueOrder,
    skip: &[Seq],
    limit: usize,
) -> Result<DuePage, Fault> {
    if !is_pushed(conn, endpoint)? {
        return Ok(DuePage::default());
    }
    let skip: HashSet<Seq> = skip.iter().copied().collect();
    let (first, last) = codec::range(endpoint.0);
    let (sql, from) = match order {
        DueOrder::ByTime { until } => (BY_TIME, until.as_millis()),
        DueOrder::BySeq { from } => {
            (BY_SEQ, codec::delivery_key(DeliveryKey { endpoint, seq: from }).max(first))
        }
    };
    let withdrawn_to = recovery::withdrawn_to(conn, endpoint)?;
    let kept_from = codec::delivery_key(DeliveryKey { endpoint, seq: withdrawn_to });
    let mut query = conn.prepare_cached(sql)?;
    let mut found_rows = query.query(params![from, last, endpoint.0, kept_from])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = found_rows.next()?
    {
        let delivery = rows::delivery_row(row)?;
        if skip.contains(&delivery.key.seq) {
            continue;
        }
        // What has no payload any more is cancelled in the transaction that erases it.
        if let Some(message) = rows::message(conn, codec::message_key(delivery.message))?
            && matches!(message.payload, Payload::Kept(_))
        {
            found.push(DueDelivery { delivery, message: Arc::new(message) });
        }
    }
    let next_due_at = match order {
        DueOrder::ByTime { until } if found.len() < limit => conn
            .prepare_cached(NEXT_DUE)?
            .query_row([i64::from(endpoint.0), until.as_millis()], |row| row.get::<_, Option<i64>>(0))?
            .map(Timestamp::from_millis),
        DueOrder::ByTime { .. } | DueOrder::BySeq { .. } => None,
    };
    Ok(DuePage { items: found, next_due_at })
}

/// Whether the dispatcher brings anything to an endpoint. Of one that is gone, what it was owed may still have to
/// be cancelled.
fn is_pushed(conn: &Connection, endpoint: EndpointNo) -> Result<bool, rusqlite::Error> {
    let pushed: Option<bool> = conn
        .prepare_cached("SELECT mode = 0 AND deleted_at IS NULL FROM endpoint WHERE no = ?1")?
        .query_row([endpoint.0], |row| row.get(0))
        .optional()?;
    Ok(pushed == Some(true))
}

#[cfg(test)]
mod tests {
    use rusqlite::{Params, StatementStatus};

    use super::*;

    /// A store in which so many endpoints are owed so many deliveries each.
    fn owed(endpoints: u32, each: u32) -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        crate::migrate::run(&mut conn).unwrap();
        conn.execute(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
             INSERT INTO endpoint (id, app, url, description, mode, fifo, headers, secrets, metadata, created_at,
                 updated_at) SELECT 'ep_' || n, 1, '', '', 0, 0, x'', x'', '{}', 0, 0 FROM n",
            [endpoints],
        )
        .unwrap();
        conn.execute(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
             INSERT INTO delivery (key, endpoint, message, state, due_at, trigger, attempts)
             SELECT no << 40 | n, no, 1 << 40 | n, 0, n, 0, 0 FROM endpoint, n",
            [each],
        )
        .unwrap();
        conn
    }

    /// Steps of the query until so many rows are read.
    fn steps(conn: &Connection, sql: &str, params: impl Params, wanted: usize) -> i32 {
        let mut query = conn.prepare(sql).unwrap();
        let mut rows = query.query(params).unwrap();
        for _ in 0..wanted {
            assert!(rows.next().unwrap().is_some());
        }
        drop(rows);
        query.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn finding_owed_endpoints_costs_a_step_for_each_endpoint_not_for_each_delivery() {
        let cost = |endpoints, each| {
            steps(&owed(endpoints, each), OWED_ENDPOINTS, (), endpoints as usize) / endpoints as i32
        };
        let few = cost(20, 5);
        assert!(cost(20, 1_000) <= few + 2, "not more for more deliveries");
        assert!(cost(1_000, 5) <= few + 2, "not more each for more endpoints");
    }

    #[test]
    fn a_page_of_what_is_due_costs_what_it_holds() {
        let (few, many) = (owed(2, 300), owed(2, 20_000));
        let last = codec::range(2).1;
        for (sql, from) in [(BY_TIME, 1_000_000), (BY_SEQ, codec::range(2).0)] {
            let cost = |conn| steps(conn, sql, [from, last, 2, 0], 250);
            assert!(cost(&many) <= cost(&few) + 2, "{sql}");
        }
        let cost = |conn| steps(conn, NEXT_DUE, [2, 100], 1);
        assert!(cost(&many) <= cost(&few) + 2);
    }
}
