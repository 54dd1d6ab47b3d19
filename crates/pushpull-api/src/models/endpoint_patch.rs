//! Endpoints as they are changed in part.

use pushpull_domain::{
    Channel, Endpoint, EndpointId, EventTypeName, Metadata, Mode, PushFrom, RetrySchedule, Secrets,
    Timestamp, Uid,
};
use pushpull_net::Policy;
use schemars::JsonSchema;
use serde::Deserialize;

use super::endpoint_in::{
    self, CHANNELS_MAX, check_event_types, check_from, check_has_url, check_list, check_rate, check_secret,
    check_uid, check_url, check_version, set_disabled,
};
use super::schema;
use crate::{
    extract::{Patch, given},
    problem::Problem,
};

/// What is to change of an endpoint: what is absent stays, and `null` takes away where that has a meaning.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPatch {
    /// Where webhooks go. Only `push` needs one.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "String", extend("format" = "uri"))]
    pub url: Option<String>,
    /// For people.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "String")]
    pub description: Option<String>,
    /// The user's own name for it, unique in the application.
    #[schemars(with = "Option<schema::Uid>")]
    pub uid: Patch<Uid>,
    /// Whether it takes no messages. Enabling it begins its record of failures anew.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "bool")]
    pub disabled: Option<bool>,
    /// Only these event types; `null`: all.
    #[schemars(with = "Option<Vec<schema::Name>>", extend("uniqueItems" = true))]
    pub event_types: Patch<Vec<EventTypeName>>,
    /// The older name of `eventTypes`.
    #[schemars(with = "Option<Vec<schema::Name>>", extend("uniqueItems" = true))]
    pub filter_types: Patch<Vec<EventTypeName>>,
    /// Only messages in one of these channels; `null`: all.
    #[schemars(with = "Option<Vec<schema::Channel>>", extend("uniqueItems" = true))]
    pub channels: Patch<Vec<Channel>>,
    /// Most deliveries a second; `null`: no limit.
    #[schemars(with = "Option<u16>", range(min = 1))]
    pub throttle_rate: Patch<u16>,
    /// The older name of `throttleRate`.
    #[schemars(with = "Option<u16>", range(min = 1))]
    pub rate_limit: Patch<u16>,
    /// Free pairs of text, in place of those it has.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Metadata")]
    pub metadata: Option<Metadata>,
    /// A secret to be put in place at once, without overlap, as SDKs of 1.x can ask for. `secret/rotate` has one.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "schema::Secret")]
    pub secret: Option<String>,
    /// Who moves along its deliveries.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "schema::Mode")]
    pub mode: Option<Mode>,
    /// Its own waits between attempts, in seconds; `null`: the event type's, else the server's.
    #[schemars(with = "Option<Vec<f64>>")]
    pub retry_schedule: Patch<RetrySchedule>,
    /// Always 1; older SDKs know it.
    pub version: Option<u16>,
    /// One at a time, in order.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "bool")]
    pub fifo: Option<bool>,
    /// Where it would be disabled for failing it is set to `held` instead, and goes on taking messages.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "bool")]
    pub hold_when_failing: Option<bool>,
    /// With `mode: push`, of an endpoint that was not pushed: where to go on. A consumer's name (after what it has
    /// committed), `earliest` (all that is still owed; what is exhausted is sent again by `recover`) or `latest` (only
    /// what comes from now on). Absent: after what its only consumer has committed; with several it must be said.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "schema::Uid")]
    pub from: Option<String>,
}

impl EndpointPatch {
    /// Where to go on, if it is pushed again.
    pub(crate) fn from(&self) -> Result<PushFrom, Problem> {
        check_from(self.from.as_deref(), self.mode)
    }

    /// Changes an endpoint as asked; on an error it may be changed in part, and is to be thrown away.
    pub(crate) fn apply(
        &self,
        endpoint: &mut Endpoint,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(), Problem> {
        check_version(self.version)?;
        if let Some(url) = &self.url {
            check_url(url, policy)?;
            endpoint.url.clone_from(url);
        }
        if let Some(description) = &self.description {
            endpoint.description.clone_from(description);
        }
        if let Some(uid) = self.uid.given() {
            endpoint.uid = uid.cloned().map(check_uid::<EndpointId>).transpose()?;
        }
        if let Some(disabled) = self.disabled {
            set_disabled(endpoint, disabled, now);
        }
        if let Some(types) = either(("eventTypes", &self.event_types), ("filterTypes", &self.filter_types))? {
            endpoint.filter.event_types = check_event_types(types.cloned())?;
        }
        if let Some(channels) = self.channels.given() {
            endpoint.filter.channels = check_list("channels", channels.cloned(), CHANNELS_MAX)?;
        }
        if let Some(rate) = either(("throttleRate", &self.throttle_rate), ("rateLimit", &self.rate_limit))? {
            endpoint.rate_limit = check_rate(rate.copied())?;
        }
        if let Some(metadata) = &self.metadata {
            endpoint.metadata.clone_from(metadata);
        }
        if let Some(text) = &self.secret {
            let secret = check_secret("secret", text)?;
            if secret != endpoint.secrets.current {
                endpoint.secrets = Secrets::new(secret);
            }
        }
        if let Some(mode) = self.mode {
            endpoint.mode = mode;
        }
        if let Some(schedule) = self.retry_schedule.given() {
            endpoint.retry_schedule = schedule.cloned();
        }
        if let Some(fifo) = self.fifo {
            endpoint.fifo = fifo;
        }
        if let Some(hold_when_failing) = self.hold_when_failing {
            endpoint.hold_when_failing = hold_when_failing;
        }
        check_has_url(endpoint.mode, &endpoint.url)
    }
}

/// What a field with two names is to become.
#[expect(clippy::option_option, reason = "absent and null are different things in a patch")]
fn either<'a, T: PartialEq>(
    new: (&str, &'a Patch<T>),
    old: (&str, &'a Patch<T>),
) -> Result<Option<Option<&'a T>>, Problem> {
    endpoint_in::either((new.0, new.1.given()), (old.0, old.1.given()))
}
