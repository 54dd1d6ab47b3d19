//! Consumers that retention is about to overtake.

use std::sync::Arc;

use pushpull_domain::{AppNo, Timestamp};
use pushpull_store::{Behind, BehindConsumer, ConsumerKey, columns};

use crate::{Db, fault::Fault, named::Named, pool::Params, shards::SHARDS};

/// Consumers looked at in one step.
const STEP: usize = 500;

/// Those of the applications of some shards, each with when the message was made that it reads next.
const LOOK: &str = "
    SELECT c.*, next.created_at
    FROM (SELECT consumer.endpoint, consumer.name, committed, app.id AS app_id, endpoint.id AS endpoint_id
          FROM consumer
              CROSS JOIN LATERAL (SELECT id, app, deleted_at FROM endpoint WHERE no = consumer.endpoint LIMIT 1) AS endpoint
              CROSS JOIN LATERAL (SELECT id FROM app WHERE no = endpoint.app LIMIT 1) AS app
          WHERE (consumer.endpoint, consumer.name) > ($1, $2)
              AND endpoint.deleted_at IS NULL AND endpoint.app % $4 = ANY ($5)
          ORDER BY consumer.endpoint, consumer.name LIMIT $3) AS c
        LEFT JOIN LATERAL (
            SELECT m.created_at
            FROM (SELECT message, message_day FROM delivery
                  WHERE key BETWEEN (c.endpoint::bigint << 40) + c.committed + 1
                      AND ((c.endpoint::bigint + 1) << 40) - 1 ORDER BY key LIMIT 1) AS d
                CROSS JOIN LATERAL (SELECT created_at FROM message
                    WHERE key = d.message AND day = d.message_day LIMIT 1) AS m) AS next ON true
    ORDER BY c.endpoint, c.name";

/// Those of some consumers whose next message was made before a moment. Of the nodes each looks at those of the
/// applications that are its own, so that one tells of a consumer, not all.
pub(crate) async fn behind(
    db: &Arc<Db>,
    before: Timestamp,
    after: Option<ConsumerKey>,
) -> Result<Behind, Fault> {
    let (endpoint, name) = after.map_or((0, String::new()), |key| (key.endpoint.0, key.name.to_string()));
    let shards = SHARDS as i32;
    let held: Vec<i32> = (0..shards).filter(|no| db.shards.owns(AppNo(no.cast_unsigned()))).collect();
    let conn = db.reads.lend().await?;
    let params: Params<'_> = &[&endpoint.cast_signed(), &name, &(STEP as i64), &shards, &held];
    let looked = conn.query(LOOK, params).await?;
    let mut behind = Behind::default();
    for row in &looked {
        let consumer = columns::behind(&Named::new(row))?;
        behind.next = Some(consumer.key.clone());
        if let Some(next_at) = row.get::<_, Option<i64>>("created_at").map(Timestamp::from_millis)
            && next_at < before
        {
            behind.consumers.push(BehindConsumer { next_at, ..consumer });
        }
    }
    // With fewer that were all.
    behind.next = behind.next.filter(|_| looked.len() == STEP);
    Ok(behind)
}
