//! Settlements, column by column, as one statement takes them.

use std::sync::Arc;

use pushpull_domain::{
    Delivery, DeliveryState, EndpointNo, Timestamp,
    attempt::{Attempt, Outcome},
};
use pushpull_store::{Settlement, codec};
use tokio_postgres::types::ToSql;

use crate::{Db, rows::state_number};

/// Shards and the epochs under which they are held: an outcome of another is not written.
pub(super) type Fence = (Vec<i16>, Vec<i64>);

/// Settlements that are written by one statement, column by column.
#[derive(Default)]
pub(super) struct Round<'s> {
    key: Vec<i64>,
    endpoint: Vec<i32>,
    state: Vec<i16>,
    due_at: Vec<Option<i64>>,
    trigger: Vec<i16>,
    attempts: Vec<i32>,
    attempt: Vec<Option<i64>>,
    salt: Vec<i64>,
    started_at: Vec<Option<i64>>,
    attempt_trigger: Vec<Option<i16>>,
    url: Vec<Option<&'s str>>,
    status: Vec<Option<i16>>,
    class: Vec<Option<i16>>,
    detail: Vec<Option<String>>,
    timings: Vec<Option<Vec<u8>>>,
    body: Vec<Option<&'s [u8]>>,
}

impl<'s> Round<'s> {
    pub(super) fn push(&mut self, db: &Db, key: i64, settlement: &'s Settlement, number: Option<i64>) {
        let Delivery { key: place, state, attempts, .. } = settlement.delivery;
        let (due_at, trigger) = match state {
            DeliveryState::Owed { due_at, trigger } => (due_at.map(Timestamp::as_millis), trigger as i16),
            DeliveryState::Delivered | DeliveryState::Exhausted | DeliveryState::Cancelled(_) => (None, 0),
        };
        self.key.push(key);
        self.endpoint.push(place.endpoint.0.cast_signed());
        self.state.push(state_number(state));
        self.due_at.push(due_at);
        self.trigger.push(trigger);
        self.attempts.push(attempts.cast_signed());
        let attempt = settlement.attempt.as_ref().filter(|_| number.is_some());
        self.attempt.push(number.map(|n| codec::attempt_key(place.endpoint, n.cast_unsigned())));
        self.salt.push(db.chance.word().cast_signed());
        self.push_attempt(attempt);
    }

    fn push_attempt(&mut self, attempt: Option<&'s (Attempt, Arc<str>)>) {
        let (made, url) = match attempt {
            Some((made, url)) => (Some(made), Some(&**url)),
            None => (None, None),
        };
        let (detail, body) = match made.map(|made| &made.outcome) {
            Some(Outcome::Delivered { body, .. } | Outcome::Refused { body, .. }) => {
                (None, (!body.is_empty()).then_some(&body[..]))
            }
            // PostgreSQL's texts hold no NUL.
            Some(Outcome::Failed { detail, .. }) => (Some(detail.replace('\0', "\u{fffd}")), None),
            None => (None, None),
        };
        self.started_at.push(made.map(|made| made.started_at.as_millis()));
        self.attempt_trigger.push(made.map(|made| made.trigger as i16));
        self.url.push(url);
        self.status.push(made.and_then(|made| made.outcome.status()).map(u16::cast_signed));
        self.class.push(made.and_then(|made| made.outcome.class()).map(|class| class as i16));
        self.detail.push(detail);
        self.timings.push(made.map(|made| codec::timings(&made.timings)));
        self.body.push(body);
    }

    /// The endpoints of those that are due again.
    pub(super) fn due_again(&self) -> impl Iterator<Item = EndpointNo> {
        let due = self.endpoint.iter().zip(&self.due_at).filter(|(_, due_at)| due_at.is_some());
        due.map(|(endpoint, _)| EndpointNo(endpoint.cast_unsigned()))
    }

    pub(super) fn params<'p>(&'p self, fence: &'p Fence) -> [&'p (dyn ToSql + Sync); 18] {
        [
            &self.key,
            &self.endpoint,
            &self.state,
            &self.due_at,
            &self.trigger,
            &self.attempts,
            &self.attempt,
            &self.salt,
            &self.started_at,
            &self.attempt_trigger,
            &self.url,
            &self.status,
            &self.class,
            &self.detail,
            &self.timings,
            &self.body,
            &fence.0,
            &fence.1,
        ]
    }
}
