//! Consumers that retention is about to overtake.

use pushpull_domain::Timestamp;
use pushpull_store::{Behind, BehindConsumer, ConsumerKey, columns};
use rusqlite::{Connection, params};

use crate::{catalog_rows::Named, consumer_rows::made_after, fault::Fault, list::collect};

/// Consumers looked at in one step: some milliseconds.
const STEP: usize = 500;

pub(crate) fn behind(
    conn: &Connection,
    before: Timestamp,
    after: Option<ConsumerKey>,
) -> Result<Behind, Fault> {
    let (endpoint, name) = after.map_or((0, String::new()), |key| (key.endpoint.0, key.name.to_string()));
    let looked = collect(
        conn,
        "SELECT consumer.endpoint, consumer.name, consumer.committed, app.id AS app_id, endpoint.id AS endpoint_id
         FROM consumer JOIN endpoint ON endpoint.no = consumer.endpoint AND endpoint.deleted_at IS NULL
             JOIN app ON app.no = endpoint.app
         WHERE (consumer.endpoint, consumer.name) > (?1, ?2)
         ORDER BY consumer.endpoint, consumer.name LIMIT ?3",
        params![endpoint, name, STEP],
        |row| columns::behind(&Named(row)),
    )?;
    let next = if looked.len() == STEP { looked.last().map(|consumer| consumer.key.clone()) } else { None };
    let mut behind = Behind { consumers: Vec::new(), next };
    for consumer in looked {
        if let Some(next_at) = made_after(conn, consumer.key.endpoint, consumer.committed)?
            && next_at < before
        {
            behind.consumers.push(BehindConsumer { next_at, ..consumer });
        }
    }
    Ok(behind)
}
