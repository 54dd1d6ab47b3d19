//! Destinations as they are asked for: what the SDKs make endpoints with that are read, or pushed in order.
//!
//! A destination is an endpoint, and what is asked of one is checked as it is of an endpoint.

use std::collections::BTreeMap;

use pushpull_domain::{
    AppNo, Batch, Chance, Channel, Endpoint, EventTypeName, Metadata, Mode, Timestamp, Uid,
    endpoint::BATCH_MAX, signature::SignatureType,
};
use pushpull_net::Policy;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    endpoint_in::{EndpointIn, EndpointSettings, invalid},
    endpoint_patch::EndpointPatch,
    schema,
};
use crate::{
    extract::{Patch, given},
    problem::Problem,
};

/// Longest that the first message of a batch waits for others, in seconds: 5 minutes, so that nothing is late for long.
const BATCH_WAIT_MAX: u16 = 300;

/// What there is of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DestinationKind {
    /// It is read.
    Polling,
    /// It is pushed, one message at a time, in order.
    Fifo,
}

impl DestinationKind {
    /// What an endpoint is as a destination; `None`: it is none.
    pub(crate) fn of(endpoint: &Endpoint) -> Option<Self> {
        match endpoint.mode {
            Mode::Pull => Some(Self::Polling),
            Mode::Push | Mode::Held if endpoint.fifo => Some(Self::Fifo),
            // It was never pushed.
            Mode::Held if endpoint.url.is_empty() => Some(Self::Polling),
            Mode::Push | Mode::Held => None,
        }
    }

    /// Its word in JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "pollingEndpoint",
            Self::Fifo => "fifoEndpoint",
        }
    }

    fn parse(word: &str) -> Result<Self, Problem> {
        [Self::Polling, Self::Fifo].into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
            let shown: String = word.chars().take(64).collect();
            invalid("type", format!("`{shown}` is not supported: `pollingEndpoint` or `fifoEndpoint`"))
        })
    }
}

/// Whether a destination takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DestinationStatusIn {
    /// It does.
    Enabled,
    /// It does not.
    Disabled,
}

impl DestinationStatusIn {
    fn is_disabled(self) -> bool {
        self == Self::Disabled
    }
}

/// Where a `fifoEndpoint` sends, and how. A `pollingEndpoint` has none of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct DestinationConfigIn {
    /// Where webhooks go.
    #[schemars(extend("format" = "uri"), length(min = 1, max = 65_536))]
    pub url: Option<String>,
    /// Custom headers. When a destination is replaced: absent keeps those it has.
    pub headers: Option<BTreeMap<String, String>>,
    /// The signing secret; one is made if none is given. When a destination is replaced, it cannot be changed.
    #[schemars(with = "Option<schema::Secret>")]
    pub key: Option<String>,
}

/// A new destination, or what is to replace one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationIn {
    /// What it is: `pollingEndpoint` or `fifoEndpoint`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it sends, and how.
    pub config: Option<DestinationConfigIn>,
    /// The user's own name for it, unique among the application's endpoints.
    #[schemars(with = "Option<schema::Uid>")]
    pub uid: Option<Uid>,
    /// Whether it takes messages.
    pub status: Option<DestinationStatusIn>,
    /// Messages of one request: 1 to 250. Above 1, of a `fifoEndpoint`: the body is a list of them.
    #[schemars(range(min = 1, max = 250), extend("default" = 1))]
    pub batch_size: Option<u16>,
    /// How long the first of a batch waits for it to be full, in seconds: 0 to 300. 0: it is what there is.
    #[schemars(range(max = 300), extend("default" = 0))]
    pub max_wait_secs: Option<u16>,
    /// Only these event types; absent or empty: all.
    #[schemars(with = "Option<Vec<schema::Name>>", extend("uniqueItems" = true))]
    pub event_types: Option<Vec<EventTypeName>>,
    /// Only messages in one of these channels; absent or empty: all.
    #[schemars(with = "Option<Vec<schema::Channel>>", length(max = 10), extend("uniqueItems" = true))]
    pub channels: Option<Vec<Channel>>,
    /// Free pairs of text.
    pub metadata: Option<Metadata>,
}

/// What is asked of a destination, checked.
pub(crate) struct DestinationSettings {
    pub(crate) kind: DestinationKind,
    batch: Batch,
    endpoint: EndpointSettings,
}

impl DestinationIn {
    /// Checks everything. `policy` says which URLs may be called.
    pub(crate) fn check(self, policy: &Policy) -> Result<DestinationSettings, Problem> {
        let kind = DestinationKind::parse(&self.kind)?;
        let batch = check_batch(kind, Batch::SINGLE, self.batch_size, self.max_wait_secs)?;
        let config = self.config.unwrap_or_default();
        match kind {
            DestinationKind::Fifo if config.url.as_deref().unwrap_or_default().is_empty() => {
                return Err(in_config(missing("url")));
            }
            DestinationKind::Polling => config.check_empty()?,
            DestinationKind::Fifo => {}
        }
        let endpoint = EndpointIn {
            url: config.url,
            headers: config.headers,
            secret: config.key,
            uid: self.uid,
            disabled: self.status.map(DestinationStatusIn::is_disabled),
            event_types: self.event_types.filter(|list| !list.is_empty()),
            channels: self.channels.filter(|list| !list.is_empty()),
            metadata: self.metadata,
            mode: Some(if kind == DestinationKind::Polling { Mode::Pull } else { Mode::Push }),
            fifo: Some(kind == DestinationKind::Fifo),
            description: None,
            filter_types: None,
            throttle_rate: None,
            rate_limit: None,
            retry_schedule: None,
            version: None,
            hold_when_failing: None,
            from: None,
        };
        Ok(DestinationSettings { kind, batch, endpoint: endpoint.check(policy).map_err(in_config)? })
    }
}

impl DestinationSettings {
    /// Gives it a uid if it was not given one: what it was called by in the path.
    pub(crate) fn or_uid(self, uid: Option<Uid>) -> Self {
        Self { endpoint: self.endpoint.or_uid(uid), ..self }
    }

    /// A new endpoint; the store gives it its number, id and times.
    pub(crate) fn create(
        self,
        app: AppNo,
        now: Timestamp,
        kind: SignatureType,
        source: &dyn Chance,
    ) -> Result<Endpoint, Problem> {
        let endpoint = self.endpoint.create(app, now, kind, source).map_err(in_config)?;
        Ok(Endpoint { batch: self.batch, ..endpoint })
    }

    /// Replaces what a destination was told before; what only an endpoint can be told stays.
    pub(crate) fn replace(&self, endpoint: &mut Endpoint, now: Timestamp) -> Result<(), Problem> {
        if self.kind == DestinationKind::Fifo {
            endpoint.batch = self.batch;
        }
        self.endpoint.replace_destination(endpoint, now).map_err(in_config)
    }
}

impl DestinationConfigIn {
    fn check_empty(&self) -> Result<(), Problem> {
        let given =
            [("url", self.url.is_some()), ("headers", self.headers.is_some()), ("key", self.key.is_some())];
        match given.into_iter().find(|(_, given)| *given) {
            Some((field, _)) => Err(Problem::invalid(
                &["body", "config", field],
                "a `pollingEndpoint` is read, and sends nothing: it has no configuration",
            )),
            None => Ok(()),
        }
    }
}

/// What is to change of a destination's configuration.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DestinationConfigPatch {
    /// Where webhooks go.
    #[schemars(extend("format" = "uri"), length(min = 1, max = 65_536))]
    pub url: Option<String>,
}

/// What is to change of a destination: what is absent stays.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DestinationPatch {
    /// What it is; it cannot be changed here.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Where it sends.
    pub config: Option<DestinationConfigPatch>,
    /// The user's own name for it, unique among the application's endpoints; `null` takes it away.
    #[schemars(with = "Option<schema::Uid>")]
    pub uid: Patch<Uid>,
    /// Whether it takes messages. Enabling it begins its record of failures anew.
    pub status: Option<DestinationStatusIn>,
    /// Messages of one request: 1 to 250.
    #[schemars(range(min = 1, max = 250))]
    pub batch_size: Option<u16>,
    /// How long the first of a batch waits for it to be full, in seconds: 0 to 300.
    #[schemars(range(max = 300))]
    pub max_wait_secs: Option<u16>,
    /// Only these event types; `null` or empty: all.
    #[schemars(with = "Option<Vec<schema::Name>>", extend("uniqueItems" = true))]
    pub event_types: Patch<Vec<EventTypeName>>,
    /// Only messages in one of these channels; `null` or empty: all.
    #[schemars(with = "Option<Vec<schema::Channel>>", extend("uniqueItems" = true))]
    pub channels: Patch<Vec<Channel>>,
    /// Free pairs of text, in place of those it has.
    #[serde(deserialize_with = "given")]
    #[schemars(with = "Metadata")]
    pub metadata: Option<Metadata>,
}

/// What is to change of a destination.
pub(crate) struct DestinationChange {
    kind: Option<DestinationKind>,
    batch_size: Option<u16>,
    max_wait_secs: Option<u16>,
    endpoint: EndpointPatch,
}

impl DestinationPatch {
    /// Checks what can be checked without the destination, and says what it is of an endpoint.
    pub(crate) fn check(self) -> Result<DestinationChange, Problem> {
        let kind = self.kind.as_deref().map(DestinationKind::parse).transpose()?;
        let endpoint = EndpointPatch {
            url: self.config.and_then(|config| config.url),
            uid: self.uid,
            disabled: self.status.map(DestinationStatusIn::is_disabled),
            event_types: or_all(self.event_types),
            channels: or_all(self.channels),
            metadata: self.metadata,
            ..EndpointPatch::default()
        };
        Ok(DestinationChange {
            kind,
            batch_size: self.batch_size,
            max_wait_secs: self.max_wait_secs,
            endpoint,
        })
    }
}

impl DestinationChange {
    /// Changes a destination as asked; on an error it may be changed in part, and is to be thrown away.
    pub(crate) fn apply(
        &self,
        is: DestinationKind,
        endpoint: &mut Endpoint,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(), Problem> {
        check_kind(self.kind.unwrap_or(is), is)?;
        endpoint.batch = check_batch(is, endpoint.batch, self.batch_size, self.max_wait_secs)?;
        let url = self.endpoint.url.clone();
        match is {
            DestinationKind::Polling => DestinationConfigIn { url, ..Default::default() }.check_empty()?,
            DestinationKind::Fifo if url.is_some_and(|url| url.is_empty()) => {
                return Err(in_config(missing("url")));
            }
            DestinationKind::Fifo => {}
        }
        self.endpoint.apply(endpoint, policy, now).map_err(in_config)
    }
}

/// What a destination is cannot be changed with it: an endpoint's mode can, with what is to be said about that.
pub(crate) fn check_kind(given: DestinationKind, is: DestinationKind) -> Result<(), Problem> {
    if given == is {
        return Ok(());
    }
    Err(invalid(
        "type",
        format!("is `{}`: it is changed with the endpoint's `mode` and `fifo`, not here", is.as_str()),
    ))
}

/// What is not given stays as it is; so does what an endpoint that is read has for when it is pushed again.
fn check_batch(
    kind: DestinationKind,
    is: Batch,
    size: Option<u16>,
    wait_secs: Option<u16>,
) -> Result<Batch, Problem> {
    let (size_max, wait_max, why) = match kind {
        DestinationKind::Fifo => (BATCH_MAX, BATCH_WAIT_MAX, ""),
        DestinationKind::Polling => (1, 0, ": a reader says itself how much it wants"),
    };
    if size.is_some_and(|size| !(1..=size_max).contains(&size)) {
        return Err(invalid("batchSize", format!("must be 1 to {size_max}{why}")));
    }
    if wait_secs.is_some_and(|wait| wait > wait_max) {
        return Err(invalid("maxWaitSecs", format!("must be at most {wait_max}{why}")));
    }
    match kind {
        DestinationKind::Fifo => {
            Ok(Batch { size: size.unwrap_or(is.size), wait_secs: wait_secs.unwrap_or(is.wait_secs) })
        }
        DestinationKind::Polling => Ok(is),
    }
}

/// An empty list of a destination restricts nothing, as the published API has it.
fn or_all<T>(list: Patch<Vec<T>>) -> Patch<Vec<T>> {
    match list {
        Patch::Value(items) if items.is_empty() => Patch::Null,
        other => other,
    }
}

fn missing(field: &str) -> Problem {
    Problem::missing(vec!["body".into(), field.into()], "field required")
}

/// Where an endpoint has something, a destination may have it deeper and under another name.
fn in_config(problem: Problem) -> Problem {
    let Problem::Invalid { mut place, message, kind } = problem else { return problem };
    if place.get(1).is_some_and(|field| ["url", "headers", "secret"].contains(&&**field)) {
        place.insert(1, "config".into());
        if place[2] == "secret" {
            place[2] = "key".into();
        }
    }
    Problem::Invalid { place, message, kind }
}
