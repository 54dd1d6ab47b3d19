//! What is owed, as the dispatcher asks for it: cheap however much that is, and however much was.
//!
//! What was due and is settled leaves dead entries in the index of what is due, and as long as anybody's transaction
//! may still see them, they stay. A scan from the beginning would pass over all of them each time. So each begins where
//! the one before found the first that is alive; the rest of the queue has none before that.

use std::sync::Arc;

use moka::sync::Cache;
use pushpull_domain::{AppNo, DeliveryKey, EndpointNo, Seq, Timestamp};
use pushpull_store::{DueDelivery, DueOrder, DuePage, OwedEndpoint, codec};

use crate::{Db, fault::Fault, rows};

/// Endpoints in the index of what is due: one seek for each, whatever each is owed.
const OWED_ENDPOINTS: &str = "
    WITH RECURSIVE owed (no) AS (
        (SELECT endpoint FROM delivery WHERE due_at IS NOT NULL ORDER BY endpoint LIMIT 1)
        UNION ALL
        SELECT (SELECT d.endpoint FROM delivery d WHERE d.due_at IS NOT NULL AND d.endpoint > owed.no
                ORDER BY d.endpoint LIMIT 1)
        FROM owed WHERE owed.no IS NOT NULL
    )
    SELECT owed.no, e.app, (SELECT d.due_at FROM delivery d WHERE d.due_at IS NOT NULL AND d.endpoint = owed.no
                            ORDER BY d.due_at LIMIT 1)
    FROM owed JOIN endpoint e ON e.no = owed.no
    WHERE e.deleted_at IS NULL AND e.disabled_at IS NULL AND e.mode = 0";

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
    FROM (SELECT * FROM delivery WHERE endpoint = $1 AND due_at >= $2 AND due_at <= $3
          AND (key >= $4 OR trigger = 1) AND key <> ALL ($5) ORDER BY due_at, key LIMIT $6) d
    JOIN message m ON m.key = d.message AND m.day = d.message_day
    WHERE m.payload IS NOT NULL ORDER BY d.due_at, d.key";

/// What an endpoint is owed from a place on, also what is only about to become due: nothing may overtake it. Not what
/// readers were done with, unless it was asked for by hand since: then it is due.
const BY_SEQ: &str = "
    FROM (SELECT * FROM delivery WHERE key BETWEEN $1 AND $2 AND state = 0
          AND (due_at IS NOT NULL AND (key >= $4 OR trigger = 1) OR key > $3) AND key <> ALL ($5)
          ORDER BY key LIMIT $6) d
    JOIN message m ON m.key = d.message AND m.day = d.message_day
    WHERE m.payload IS NOT NULL ORDER BY d.key";

/// When the first is due that is alive, those included that are left out of a scan.
const FIRST_DUE: &str =
    "(SELECT due_at FROM delivery WHERE endpoint = $1 AND due_at BETWEEN $2 AND $3 ORDER BY due_at LIMIT 1)";

/// When the next is due after a moment.
const NEXT_DUE: &str = "
    SELECT due_at FROM delivery WHERE endpoint = $1 AND due_at > $2 ORDER BY due_at LIMIT 1";

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
    let select =
        |first_due, from| format!("SELECT {}, d.day, {}, {first_due} {from}", rows::DELIVERY, rows::MESSAGE);
    let found = match order {
        DueOrder::ByTime { until } => {
            let now = db.clock.now();
            let first = db.due_from.get(endpoint, now);
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                [&no, &first, &until.as_millis(), &kept_from, &skip, &limit];
            let found = conn.query(&select(FIRST_DUE, BY_TIME), &params).await?;
            match found.first() {
                Some(row) => db.due_from.learn(endpoint, row.get(7 + rows::MESSAGE_COLUMNS), now),
                None if skip.is_empty() => db.due_from.learn(endpoint, until.as_millis(), now),
                // Those that are left out may be the first.
                None => {}
            }
            found
        }
        DueOrder::BySeq { from } => {
            let (first, last) = codec::range(endpoint.0);
            let from = codec::delivery_key(DeliveryKey { endpoint, seq: from }).max(first);
            conn.query(&select("NULL", BY_SEQ), &[&from, &last, &read, &kept_from, &skip, &limit]).await?
        }
    };
    let mut items = Vec::with_capacity(found.len());
    for row in &found {
        db.days.learn(row.get(0), row.get(6));
        items.push(DueDelivery {
            delivery: rows::delivery(row, 0)?,
            message: Arc::new(rows::message(row, 7)?),
        });
    }
    let next_due_at = match order {
        DueOrder::ByTime { until } if (items.len() as i64) < limit => conn
            .query_opt(NEXT_DUE, &[&no, &until.as_millis()])
            .await?
            .map(|row| Timestamp::from_millis(row.get(0))),
        DueOrder::ByTime { .. } | DueOrder::BySeq { .. } => None,
    };
    Ok(DuePage { items, next_due_at })
}

/// Where scans begin: nothing alive is due before.
///
/// What becomes due is due by the clock of the node that writes it, and seen when that has committed. So no scan begins
/// later than a while ago, and from time to time one begins at the beginning.
pub(crate) struct DueFrom {
    known: Cache<EndpointNo, From>,
}

#[derive(Clone, Copy)]
struct From {
    due_at: i64,
    learnt_at: Timestamp,
}

/// Endpoints that are remembered.
const KNOWN_MAX: u64 = 100_000;
/// More than clocks of nodes differ and a transaction that makes something due lasts.
const SLACK_MILLIS: i64 = 30_000;
/// So long after a scan from the beginning there is another.
const BEGIN_ANEW_MILLIS: i64 = 10 * 60_000;

impl Default for DueFrom {
    fn default() -> Self {
        Self { known: Cache::new(KNOWN_MAX) }
    }
}

impl DueFrom {
    /// Every scan begins at the beginning again.
    pub(crate) fn forget(&self) {
        self.known.invalidate_all();
    }

    /// Something alive was seen that is due then.
    fn lower(&self, endpoint: EndpointNo, due_at: Timestamp) {
        if let Some(from) = self.known.get(&endpoint)
            && from.due_at > due_at.as_millis()
        {
            self.known.insert(endpoint, From { due_at: due_at.as_millis(), ..from });
        }
    }

    fn get(&self, endpoint: EndpointNo, now: Timestamp) -> i64 {
        let age = |from: &From| now.as_millis() - from.learnt_at.as_millis();
        match self.known.get(&endpoint) {
            Some(from) if (0..BEGIN_ANEW_MILLIS).contains(&age(&from)) => {
                from.due_at.min(now.as_millis() - SLACK_MILLIS)
            }
            _ => i64::MIN,
        }
    }

    /// A scan found that nothing alive is due before.
    fn learn(&self, endpoint: EndpointNo, due_at: i64, now: Timestamp) {
        let learnt_at = match self.known.get(&endpoint) {
            Some(from) if self.get(endpoint, now) > i64::MIN => from.learnt_at,
            _ => now,
        };
        self.known.insert(endpoint, From { due_at, learnt_at });
    }
}
