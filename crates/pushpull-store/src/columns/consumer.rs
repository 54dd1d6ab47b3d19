//! Consumers.

use std::time::Duration;

use pushpull_domain::{EndpointNo, Seq, Timestamp};

use super::{Columns, RowOf};
use crate::{BehindConsumer, Consumer, ConsumerKey, ConsumerSettings, ExpiredConsumer, Lease};

/// From `consumer`.
pub fn consumer<C: Columns>(row: &C) -> Result<Consumer, C::Fault> {
    let row = RowOf { table: "consumer", row };
    let until = row.optional_time("leased_until")?;
    Ok(Consumer {
        key: row.consumer_key()?,
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

/// From `endpoint`, `name` and `committed` of `consumer`, `app.id AS app_id` and `endpoint.id AS endpoint_id`; what is
/// before it is to be looked up.
pub fn behind<C: Columns>(row: &C) -> Result<BehindConsumer, C::Fault> {
    let row = RowOf { table: "consumer", row };
    Ok(BehindConsumer {
        key: row.consumer_key()?,
        app: row.parsed("app_id")?,
        endpoint: row.parsed("endpoint_id")?,
        committed: Seq(row.number("committed")?),
        next_at: Timestamp::default(),
    })
}

impl<C: Columns> RowOf<'_, C> {
    fn consumer_key(&self) -> Result<ConsumerKey, C::Fault> {
        Ok(ConsumerKey { endpoint: EndpointNo(self.number("endpoint")?), name: self.parsed("name")? })
    }
}
