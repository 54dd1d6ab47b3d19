//! Endpoints: who receives, what, and how.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    AppNo, EndpointId, Filter, Metadata, Mode, RetrySchedule, Secrets, Seq, Timestamp, Uid, app::number,
};

number!(
    /// The number a store knows an endpoint by. Never shown, never used again; under 2^23.
    EndpointNo
);

/// An endpoint whose every attempt failed for this long is disabled: 5 days.
pub const FAILING_MAX: Duration = Duration::from_hours(120);
/// Its owner is told this long before it is disabled: a day.
pub const FAILING_NOTICE: Duration = Duration::from_hours(24);
/// An endpoint that left push is waited for so long, if the end of what was in flight is not known before: longer than
/// an attempt may take.
pub const DRAINING_MAX: Duration = Duration::from_mins(1);

/// Why an endpoint gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// Its owner said so.
    Owner = 0,
    /// It answered 410 Gone.
    Gone = 1,
    /// Nothing but failures for [`FAILING_MAX`].
    Failing = 2,
}

/// Whether an endpoint takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// It does.
    Enabled,
    /// Messages are not matched to it; what it is still owed waits for it to be enabled.
    Disabled {
        /// Since when.
        at: Timestamp,
        /// Why.
        reason: DisabledReason,
    },
}

/// How an endpoint has been failing since its last success. Kept with the endpoint, over restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The first failure since the last success; `None`: the last attempt succeeded, or there was none.
    pub failing_since: Option<Timestamp>,
    /// Whether the owner was told that it is about to be disabled.
    pub notified: bool,
}

/// What a failure means for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthVerdict {
    /// Nothing changes that anybody has to be told of.
    Failing(Health),
    /// Tell the owner that it will be disabled (`endpoint.disabling`).
    Notify(Health),
    /// Disable it (`endpoint.disabled`).
    Disable,
}

impl Health {
    /// What a failure at `now` means. Never call it for a fault of ours.
    pub fn failed(self, now: Timestamp) -> HealthVerdict {
        let Some(since) = self.failing_since else {
            return HealthVerdict::Failing(Self { failing_since: Some(now), notified: false });
        };
        let failing_for = now.since(since);
        // The first failure and this one are days apart: a short outage with many attempts disables nothing.
        if failing_for >= FAILING_MAX {
            HealthVerdict::Disable
        } else if !self.notified && failing_for >= FAILING_MAX.saturating_sub(FAILING_NOTICE) {
            HealthVerdict::Notify(Self { notified: true, ..self })
        } else {
            HealthVerdict::Failing(self)
        }
    }
}

/// How many messages an endpoint that keeps order gets in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Most of them: 1 to [`BATCH_MAX`]. 1: each by itself, its payload as the body.
    pub size: u16,
    /// How long the first waits for as many, in seconds.
    pub wait_secs: u16,
}

/// Most messages of one request: what is held of an endpoint's queue in memory.
pub const BATCH_MAX: u16 = 250;

impl Batch {
    /// Each message by itself.
    pub const SINGLE: Self = Self { size: 1, wait_secs: 0 };
}

/// A header that an endpoint's requests carry beside ours.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomHeader {
    /// Its value.
    pub value: String,
    /// Whether the value is shown masked.
    pub sensitive: bool,
}

impl std::fmt::Debug for CustomHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.sensitive { "CustomHeader(..)" } else { &self.value })
    }
}

/// Custom headers by name, in lower case.
pub type CustomHeaders = BTreeMap<String, CustomHeader>;

/// A subscription of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its number.
    pub no: EndpointNo,
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub app: AppNo,
    /// The user's own name for it, unique in the application.
    pub uid: Option<Uid>,
    /// Where webhooks go; empty unless the mode is push.
    pub url: String,
    /// For people.
    pub description: String,
    /// Which messages it wants.
    pub filter: Filter,
    /// Who moves along its deliveries.
    pub mode: Mode,
    /// Readers were done up to here when it was pushed again: nobody pushes what was owed before.
    pub read_seq: Seq,
    /// When it left push, as long as what was in flight then may not be over.
    pub draining_since: Option<Timestamp>,
    /// Whether it takes messages.
    pub state: EndpointState,
    /// How it has been failing.
    pub health: Health,
    /// Most deliveries a second; `None`: no limit.
    pub rate_limit: Option<u16>,
    /// Its own schedule; `None`: the event type's, else the server's.
    pub retry_schedule: Option<RetrySchedule>,
    /// One at a time, in order, each until success or exhaustion.
    pub fifo: bool,
    /// If so, how many of them at a time.
    pub batch: Batch,
    /// Where it would be disabled for failing it is held instead, and goes on taking messages.
    pub hold_when_failing: bool,
    /// Headers beside ours.
    pub headers: CustomHeaders,
    /// What signs.
    pub secrets: Secrets,
    /// Free pairs of text.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Endpoint {
    /// Whether it takes messages at all.
    pub fn is_enabled(&self) -> bool {
        self.state == EndpointState::Enabled
    }

    /// Until when what a push has brought may not be known, since the endpoint left push. Who leaves that out waits.
    pub fn drains_until(&self) -> Option<Timestamp> {
        self.draining_since.filter(|_| self.mode != Mode::Push).map(|since| since.after(DRAINING_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    #[test]
    fn five_days_of_nothing_but_failures_disable_an_endpoint_with_a_days_notice() {
        let at = Timestamp::from_millis;
        let HealthVerdict::Failing(health) = Health::default().failed(at(0)) else { panic!("first failure") };
        assert_eq!(health.failing_since, Some(at(0)));
        assert_eq!(health.failed(at(4 * DAY - 1)), HealthVerdict::Failing(health));
        let HealthVerdict::Notify(told) = health.failed(at(4 * DAY)) else { panic!("a day before") };
        assert_eq!(told.failed(at(5 * DAY - 1)), HealthVerdict::Failing(told));
        assert_eq!(told.failed(at(5 * DAY)), HealthVerdict::Disable);
    }
}
