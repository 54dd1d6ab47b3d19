//! Consumers that retention is about to overtake.

use std::sync::Arc;

use pushpull_domain::Timestamp;
use pushpull_store::{Behind, BehindConsumer, ConsumerKey, columns};

use crate::{Db, fault::Fault, named::Named};

/// Consumers looked at in one step.
const STEP: usize = 500;

/// Each with when the message was made that it reads next.
const LOOK: &str = "
    SELECT c.endpoint, c.name, c.committed, app.id AS app_id, endpoint.id AS endpoint_id, next.created_at
    FROM consumer c JOIN endpoint ON endpoint.no = c.endpoint AND endpoint.deleted_at IS NULL
        JOIN app ON app.no = endpoint.app
        LEFT JOIN LATERAL (
            SELECT m.created_at
            FROM (SELECT message, message_day FROM delivery
                  WHERE key BETWEEN (c.endpoint::bigint << 40) + c.committed + 1
                      AND ((c.endpoint::bigint + 1) << 40) - 1 ORDER BY key LIMIT 1) AS d
                CROSS JOIN LATERAL (SELECT created_at FROM message
                    WHERE key = d.message AND day = d.message_day LIMIT 1) AS m) AS next ON true
    WHERE (c.endpoint, c.name) > ($1, $2) ORDER BY c.endpoint, c.name LIMIT $3";

/// Those of some consumers whose next message was made before a moment.
pub(crate) async fn behind(
    db: &Arc<Db>,
    before: Timestamp,
    after: Option<ConsumerKey>,
) -> Result<Behind, Fault> {
    let (endpoint, name) = after.map_or((0, String::new()), |key| (key.endpoint.0, key.name.to_string()));
    let conn = db.reads.lend().await?;
    let looked = conn.query(LOOK, &[&endpoint.cast_signed(), &name, &(STEP as i64)]).await?;
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
