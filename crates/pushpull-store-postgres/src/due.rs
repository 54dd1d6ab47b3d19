//! What is owed, as the dispatcher asks for it: cheap however much that is, and however much was.
//!
//! What was due and is settled leaves dead entries in the index of what is due, and as long as anybody's transaction
//! may still see them, they stay. A scan from the beginning would pass over all of them each time. So each begins where
//! the one before found the first that is alive; the rest of the queue has none before that. Nor is a day looked at
//! before the first on which something of the endpoint is due: to open the partitions of all days takes longer than to
//! read what is found in one.

mod from;

use std::sync::Arc;

use pushpull_domain::{AppNo, DeliveryKey, EndpointNo, Payload, Seq, Timestamp};
use pushpull_store::{DueDelivery, DueOrder, DuePage, OwedEndpoint, codec};
use tokio_postgres::types::ToSql;

pub(crate) use self::from::DueFrom;
use crate::{Db, fault::Fault, rows};

/// Endpoints in the index of what is due, day by day: one seek for each, whatever each is owed.
const OWED_ENDPOINTS: &str = "
    WITH RECURSIVE owed (day, no) AS (
        SELECT made.day, (SELECT d.endpoint FROM delivery d WHERE d.day = made.day AND d.due_at IS NOT NULL
                          ORDER BY d.endpoint LIMIT 1)
        FROM made_day made
        UNION ALL
        SELECT owed.day, (SELECT d.endpoint FROM delivery d WHERE d.day = owed.day AND d.due_at IS NOT NULL
                              AND d.endpoint > owed.no
                          ORDER BY d.endpoint LIMIT 1)
        FROM owed WHERE owed.no IS NOT NULL
    ), first AS (
        SELECT owed.no, min((SELECT d.due_at FROM delivery d WHERE d.day = owed.day AND d.due_at IS NOT NULL
                                 AND d.endpoint = owed.no
                             ORDER BY d.due_at LIMIT 1)) AS due_at
        FROM owed WHERE owed.no IS NOT NULL GROUP BY owed.no
    )
    SELECT first.no, e.app, first.due_at FROM first CROSS JOIN LATERAL (
        SELECT app FROM endpoint WHERE no = first.no AND deleted_at IS NULL AND disabled_at IS NULL AND mode = 0 LIMIT 1
    ) e WHERE first.due_at IS NOT NULL";

/// Endpoints that this node brings what they are owed, each with its earliest due time.
pub(crate) async fn owed_endpoints(db: &Arc<Db>) -> Result<Vec<OwedEndpoint>, Fault> {
    let mut owed = owed_endpoints_of_all(db).await?;
    owed.retain(|owed| db.shards.owns(owed.app));
    // What became due late, by a transaction that waited for long, is not overlooked.
    for owed in &owed {
        db.due_from.lower(owed.endpoint, owed.due_at);
    }
    Ok(owed)
}

/// Endpoints that are owed, whoever brings it, each with its earliest due time.
pub(crate) async fn owed_endpoints_of_all(db: &Arc<Db>) -> Result<Vec<OwedEndpoint>, Fault> {
    let conn = db.reads.lend().await?;
    let rows = conn.query(OWED_ENDPOINTS, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| OwedEndpoint {
            endpoint: EndpointNo(row.get::<_, i32>(0).cast_unsigned()),
            app: AppNo(row.get::<_, i32>(1).cast_unsigned()),
            due_at: Timestamp::from_millis(row.get(2)),
        })
        .collect())
}

/// From where on an endpoint's queue is this node's to look at, if it is pushed at all: where readers were done, and up
/// to where a withdrawal that is not done may have left due what was due before.
const PUSHED: &str = "
    SELECT e.read_seq, coalesce((SELECT max(r.end_seq) FROM recovery r
                                 WHERE r.endpoint = e.no AND r.kind = 2 AND NOT r.done), 0)
    FROM endpoint e WHERE e.no = $1 AND e.mode = 0 AND e.deleted_at IS NULL";

/// What an endpoint is owed up to a moment. What is before a place is being withdrawn, but for what was asked for by
/// hand.
const BY_TIME: &str = "
    FROM (SELECT * FROM delivery WHERE endpoint = $1 AND due_at >= $2 AND due_at <= $3 AND day >= $7
          AND (key >= $4 OR trigger = 1) AND key <> ALL ($5) ORDER BY due_at, key LIMIT $6) d";

/// What an endpoint is owed from a place on, also what is only about to become due: nothing may overtake it. Not what
/// readers were done with, unless it was asked for by hand since: then it is due.
const BY_SEQ: &str = "
    FROM (SELECT * FROM delivery WHERE key BETWEEN $1 AND $2 AND state = 0 AND day >= $7
          AND (due_at IS NOT NULL AND (key >= $4 OR trigger = 1) OR key > $3) AND key <> ALL ($5)
          ORDER BY key LIMIT $6) d";

/// Their messages: each by its key, as the limit has it, not by reading all of a day. One that was made before the first
/// day that is looked at, and sent again by hand since, is asked for by itself.
const MESSAGES: &str = "
    LEFT JOIN LATERAL (SELECT * FROM message WHERE key = d.message AND day = d.message_day AND day >= $7 LIMIT 1) m
        ON true
    WHERE m.payload IS NOT NULL OR d.message_day < $7 ORDER BY";

/// When the first is due that is alive, those included that are left out of a scan.
const FIRST_DUE: &str =
    "(SELECT due_at FROM delivery WHERE endpoint = $1 AND due_at BETWEEN $2 AND $3 AND day >= $7
    ORDER BY due_at LIMIT 1)";

/// When the next is due after a moment.
const NEXT_DUE: &str = "
    SELECT due_at FROM delivery WHERE endpoint = $1 AND due_at > $2 AND day >= $3 ORDER BY due_at LIMIT 1";

/// The first day of which something is or becomes due for an endpoint.
const FIRST_DAY: &str = "
    SELECT made.day FROM made_day made
    WHERE EXISTS (SELECT FROM delivery d WHERE d.day = made.day AND d.endpoint = $1 AND d.due_at IS NOT NULL)
    ORDER BY made.day LIMIT 1";

/// What is due for an endpoint, with its messages.
pub(crate) async fn due(
    db: &Arc<Db>,
    endpoint: EndpointNo,
    order: DueOrder,
    skip: &[Seq],
    limit: usize,
) -> Result<DuePage, Fault> {
    let conn = db.hot.lend().await?;
    let no = endpoint.0.cast_signed();
    let Some(pushed) = conn.query_opt(PUSHED, &[&no]).await? else { return Ok(DuePage::default()) };
    let key = |seq: i64| codec::delivery_key(DeliveryKey { endpoint, seq: Seq(seq.cast_unsigned()) });
    let (read, kept_from) = (key(pushed.get(0)), key(pushed.get(1)));
    let skip: Vec<i64> =
        skip.iter().map(|seq| codec::delivery_key(DeliveryKey { endpoint, seq: *seq })).collect();
    let limit = limit as i64;
    let select = |first_due, from, by| {
        format!(
            "SELECT {}, d.day, d.message_day, {}, {first_due} {from} {MESSAGES} {by}",
            rows::DELIVERY,
            rows::MESSAGE
        )
    };
    let now = db.clock.now();
    let from = db.due_from.get(endpoint, now);
    let found = match order {
        DueOrder::ByTime { until } => {
            let params: [&(dyn ToSql + Sync); 7] =
                [&no, &from.due_at, &until.as_millis(), &kept_from, &skip, &limit, &from.day];
            let found = conn.query(&select(FIRST_DUE, BY_TIME, "d.due_at, d.key"), &params).await?;
            match found.first() {
                Some(row) => db.due_from.learn(endpoint, row.get(8 + rows::MESSAGE_COLUMNS), now),
                None if skip.is_empty() => db.due_from.learn(endpoint, until.as_millis(), now),
                // Those that are left out may be the first.
                None => {}
            }
            found
        }
        DueOrder::BySeq { from } => {
            let (first, last) = codec::range(endpoint.0);
            let from = codec::delivery_key(DeliveryKey { endpoint, seq: from }).max(first);
            let day = db.days.not_before(from);
            let params: [&(dyn ToSql + Sync); 7] = [&from, &last, &read, &kept_from, &skip, &limit, &day];
            conn.query(&select("NULL", BY_SEQ, "d.key"), &params).await?
        }
    };
    let mut items = Vec::with_capacity(found.len());
    for row in &found {
        db.days.learn(row.get(0), row.get(6));
        let delivery = rows::delivery(row, 0)?;
        let message = match row.get::<_, Option<i64>>(8) {
            Some(_) => Some(rows::message(row, 8)?),
            None => rows::message_at(&conn, codec::message_key(delivery.message), row.get(7)).await?,
        };
        let message = message.filter(|message| matches!(message.payload, Payload::Kept(_)));
        items.extend(message.map(|message| DueDelivery { delivery, message: Arc::new(message) }));
    }
    let next_due_at = match order {
        DueOrder::ByTime { until } if (items.len() as i64) < limit => conn
            .query_opt(NEXT_DUE, &[&no, &until.as_millis(), &from.day])
            .await?
            .map(|row| Timestamp::from_millis(row.get(0))),
        DueOrder::ByTime { .. } | DueOrder::BySeq { .. } => None,
    };
    if from.day == i32::MIN && matches!(order, DueOrder::ByTime { .. }) {
        let newest = db.newest_day.get();
        let first = conn.query_opt(FIRST_DAY, &[&no]).await?.map_or(newest, |row| row.get(0));
        // What is being written on the day before the newest may not be seen yet.
        db.due_from.learn_day(endpoint, first.min(newest - 1), &from, now);
    }
    Ok(DuePage { items, next_due_at })
}
