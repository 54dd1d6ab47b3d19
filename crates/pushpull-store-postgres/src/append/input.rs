//! Messages, column by column, as one statement takes them.

use std::collections::HashSet;

use pushpull_domain::Timestamp;
use pushpull_store::{Append, Target, codec};
use tokio_postgres::types::ToSql;

/// The messages of a batch, column by column.
#[derive(Default)]
pub(super) struct Input<'a> {
    app: Vec<i32>,
    version: Vec<i64>,
    salt: Vec<i64>,
    event_type: Vec<&'a str>,
    channels: Vec<Option<String>>,
    tags: Vec<Option<String>>,
    event_id: Vec<Option<&'a str>>,
    content_type: Vec<Option<&'a str>>,
    deliver_at: Vec<Option<i64>>,
    payload_expires_at: Vec<Option<i64>>,
    payload: Vec<&'a [u8]>,
    idempotency_key: Vec<Option<&'a str>>,
    request_hash: Vec<Option<&'a [u8]>>,
    /// Each application once, in the order in which they are locked.
    pub(super) apps: Vec<i32>,
    endpoints: Vec<i32>,
    target_n: Vec<i64>,
    target_endpoint: Vec<i32>,
    target_pushed: Vec<bool>,
}

impl<'a> Input<'a> {
    pub(super) fn of(appends: &'a [Append], salts: &[u64]) -> Self {
        let mut input = Self::default();
        for (n, (append, salt)) in (1_i64..).zip(appends.iter().zip(salts)) {
            let message = &append.message;
            input.app.push(append.app.0.cast_signed());
            input.version.push(append.version.cast_signed());
            input.salt.push(salt.cast_signed());
            input.event_type.push(&message.event_type);
            input.channels.push(codec::words(message.channels.iter().map(|c| &**c)));
            input.tags.push(codec::words(message.tags.iter().map(|t| &**t)));
            input.event_id.push(message.event_id.as_deref());
            input.content_type.push(message.content_type.as_deref());
            input.deliver_at.push(message.deliver_at.map(Timestamp::as_millis));
            input.payload_expires_at.push(message.payload_expires_at.map(Timestamp::as_millis));
            input.payload.push(&message.payload);
            input.idempotency_key.push(append.idempotency.as_ref().map(|i| &*i.key));
            input.request_hash.push(append.idempotency.as_ref().map(|i| &i.request_hash[..]));
            for Target { endpoint, pushed } in &append.targets {
                input.target_n.push(n);
                input.target_endpoint.push(endpoint.0.cast_signed());
                input.target_pushed.push(*pushed);
            }
        }
        input.apps = distinct(&input.app);
        input.endpoints = distinct(&input.target_endpoint);
        input
    }

    /// What the statement is given, in its order; with what is the same for all messages.
    pub(super) fn params<'p>(
        &'p self,
        [since, now, wall, node]: [&'p (dyn ToSql + Sync); 4],
    ) -> [&'p (dyn ToSql + Sync); 22] {
        [
            &self.app,
            &self.version,
            &self.salt,
            &self.event_type,
            &self.channels,
            &self.tags,
            &self.event_id,
            &self.content_type,
            &self.deliver_at,
            &self.payload_expires_at,
            &self.payload,
            &self.idempotency_key,
            &self.request_hash,
            &self.apps,
            since,
            now,
            wall,
            &self.endpoints,
            &self.target_n,
            &self.target_endpoint,
            &self.target_pushed,
            node,
        ]
    }
}

fn distinct(numbers: &[i32]) -> Vec<i32> {
    let mut numbers: Vec<i32> = numbers.iter().copied().collect::<HashSet<_>>().into_iter().collect();
    numbers.sort_unstable();
    numbers
}
