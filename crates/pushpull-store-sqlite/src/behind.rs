//! Consumers that retention is about to overtake.

use pushpull_domain::{DeliveryKey, EndpointNo, Seq, Timestamp};
use pushpull_store::{Behind, BehindConsumer, ConsumerKey};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    codec,
    fault::{Fault, inconsistent},
    list::collect,
};

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
        "SELECT consumer.endpoint, consumer.name, consumer.committed, app.id, endpoint.id
         FROM consumer JOIN endpoint ON endpoint.no = consumer.endpoint AND endpoint.deleted_at IS NULL
             JOIN app ON app.no = endpoint.app
         WHERE (consumer.endpoint, consumer.name) > (?1, ?2)
         ORDER BY consumer.endpoint, consumer.name LIMIT ?3",
        params![endpoint, name, STEP],
        |row| {
            let consumer = BehindConsumer {
                key: ConsumerKey { endpoint: EndpointNo(row.get(0)?), name: named(row.get(1)?)? },
                app: named(row.get(3)?)?,
                endpoint: named(row.get(4)?)?,
                committed: Seq(row.get(2)?),
                next_at: Timestamp::default(),
            };
            Ok(consumer)
        },
    )?;
    let next = if looked.len() == STEP { looked.last().map(|consumer| consumer.key.clone()) } else { None };
    let mut behind = Behind { consumers: Vec::new(), next };
    for consumer in looked {
        if let Some(next_at) = next_at(conn, &consumer)?
            && next_at < before
        {
            behind.consumers.push(BehindConsumer { next_at, ..consumer });
        }
    }
    Ok(behind)
}

fn named<T: std::str::FromStr<Err: std::fmt::Display>>(text: String) -> Result<T, Fault> {
    text.parse().map_err(|e| inconsistent("consumer", text, e))
}

/// When the message was made that a consumer reads next.
fn next_at(conn: &Connection, consumer: &BehindConsumer) -> Result<Option<Timestamp>, rusqlite::Error> {
    let endpoint = consumer.key.endpoint;
    let next = codec::delivery_key(DeliveryKey { endpoint, seq: Seq(consumer.committed.0 + 1) });
    let (_, last) = codec::range(endpoint.0);
    conn.prepare_cached(
        "SELECT created_at FROM message WHERE key =
             (SELECT message FROM delivery NOT INDEXED WHERE key BETWEEN ?1 AND ?2 ORDER BY key LIMIT 1)",
    )?
    .query_row([next, last], |row| Ok(Timestamp::from_millis(row.get(0)?)))
    .optional()
}
