//! Consumers.

use std::time::Duration;

use pushpull_domain::{EndpointNo, Seq};

use super::{Columns, RowOf};
use crate::{Consumer, ConsumerKey, ConsumerSettings, ExpiredConsumer, Lease};

/// From `consumer`.
pub fn consumer<C: Columns>(row: &C) -> Result<Consumer, C::Fault> {
    let row = RowOf { table: "consumer", row };
    let until = row.optional_time("leased_until")?;
    Ok(Consumer {
        key: ConsumerKey { endpoint: EndpointNo(row.number("endpoint")?), name: row.parsed("name")? },
        committed: Seq(row.number("committed")?),
        handed: Seq(row.number("handed")?),
        lease: match until {
            Some(until) => Some(Lease { holder: row.optional("holder")?, until }),
            None => None,
        },
        settings: ConsumerSettings {
            idle: Duration::from_millis(row.number("idle_ms")?),
            max_deliver: row.number("max_deliver")?,
        },
        seen_at: row.time("seen_at")?,
        created_at: row.time("created_at")?,
    })
}

/// From `consumer` with `app.id AS app_id` and `endpoint.id AS endpoint_id`.
pub fn expired<C: Columns>(row: &C) -> Result<(ConsumerKey, ExpiredConsumer), C::Fault> {
    let consumer = consumer(row)?;
    let row = RowOf { table: "consumer", row };
    let expired = ExpiredConsumer {
        app: row.parsed("app_id")?,
        endpoint: row.parsed("endpoint_id")?,
        name: consumer.key.name.clone(),
        committed: consumer.committed,
        seen_at: consumer.seen_at,
    };
    Ok((consumer.key, expired))
}
