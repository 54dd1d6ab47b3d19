//! Consumers that retention is about to overtake.

use std::sync::Arc;

use pushpull_domain::{EndpointNo, Seq, Timestamp};
use pushpull_store::{Behind, BehindConsumer, ConsumerKey};

use crate::{
    Db,
    fault::{Fault, inconsistent},
};

/// Consumers looked at in one step: some milliseconds.
const STEP: i64 = 500;

/// Consumers, and when the message was made that each reads next.
const LOOK: &str = "
    SELECT c.endpoint, c.name, c.committed, app.id, e.id, m.created_at
    FROM (SELECT endpoint, name, committed FROM consumer WHERE (endpoint, name) > ($1, $2)
          ORDER BY endpoint, name LIMIT $3) c
    LEFT JOIN endpoint e ON e.no = c.endpoint AND e.deleted_at IS NULL
    LEFT JOIN app ON app.no = e.app
    LEFT JOIN LATERAL (SELECT message, message_day FROM delivery
        WHERE key BETWEEN c.endpoint::bigint << 40 | (c.committed + 1) AND ((c.endpoint::bigint + 1) << 40) - 1
        ORDER BY key LIMIT 1) d ON true
    LEFT JOIN LATERAL (SELECT created_at FROM message
        WHERE message.key = d.message AND message.day = d.message_day LIMIT 1) m ON true
    ORDER BY c.endpoint, c.name";

pub(crate) async fn behind(
    db: &Arc<Db>,
    before: Timestamp,
    after: Option<ConsumerKey>,
) -> Result<Behind, Fault> {
    let (endpoint, name) =
        after.map_or((0, String::new()), |key| (key.endpoint.0.cast_signed(), key.name.to_string()));
    let conn = db.reads.lend().await?;
    let rows = conn.query(LOOK, &[&endpoint, &name, &STEP]).await?;
    let mut behind = Behind::default();
    for (n, row) in rows.iter().enumerate() {
        let endpoint = EndpointNo(row.get::<_, i32>(0).cast_unsigned());
        let key = ConsumerKey { endpoint, name: named(row.get(1))? };
        if n + 1 == STEP as usize {
            behind.next = Some(key.clone());
        }
        let next_at = row.get::<_, Option<i64>>(5).map(Timestamp::from_millis);
        if let (Some(app), Some(endpoint)) = (row.get::<_, Option<&str>>(3), row.get::<_, Option<&str>>(4))
            && let Some(next_at) = next_at.filter(|at| *at < before)
        {
            let committed = Seq(row.get::<_, i64>(2).cast_unsigned());
            let (app, endpoint) = (named(app)?, named(endpoint)?);
            behind.consumers.push(BehindConsumer { key, app, endpoint, committed, next_at });
        }
    }
    Ok(behind)
}

fn named<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|e| inconsistent("consumer", text, e))
}
