//! Endpoints as they are asked for: created, or replaced as a whole.

use std::{collections::BTreeMap, str::FromStr};

use pushpull_domain::{
    AppNo, Batch, Chance, Channel, Endpoint, EndpointId, EndpointNo, EndpointState, EventTypeName, Filter,
    Health, Metadata, Mode, PushFrom, RetrySchedule, Secrets, Seq, Timestamp, Uid, chance,
    endpoint::{CustomHeaders, DisabledReason},
    signature::{Secret, SignatureType},
};
use pushpull_net::{Policy, Target};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{custom_headers, schema};
use crate::problem::Problem;

/// Most channels of an endpoint, or of a message.
pub const CHANNELS_MAX: usize = 10;
/// Most event types that an endpoint names. One that wants more wants all.
pub const EVENT_TYPES_MAX: usize = 1_000;

/// A new endpoint, or what is to replace one. Both generations of names are taken.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointIn {
    /// Where webhooks go. Needed for `push`; for another mode, absent keeps the one that a replaced endpoint has.
    #[schemars(extend("format" = "uri"), length(max = 65_536))]
    pub url: Option<String>,
    /// For people.
    #[schemars(extend("default" = ""))]
    pub description: Option<String>,
    /// The user's own name for it, unique in the application.
    #[schemars(with = "Option<schema::Uid>")]
    pub uid: Option<Uid>,
    /// Whether it takes no messages.
    #[schemars(extend("default" = false))]
    pub disabled: Option<bool>,
    /// Only these event types; `null`: all.
    #[schemars(with = "Option<Vec<schema::Name>>", length(min = 1), extend("uniqueItems" = true))]
    pub event_types: Option<Vec<EventTypeName>>,
    /// The older name of `eventTypes`.
    #[schemars(with = "Option<Vec<schema::Name>>", length(min = 1), extend("uniqueItems" = true))]
    pub filter_types: Option<Vec<EventTypeName>>,
    /// Only messages in one of these channels; `null`: all.
    #[schemars(with = "Option<Vec<schema::Channel>>", length(min = 1, max = 10), extend("uniqueItems" = true))]
    pub channels: Option<Vec<Channel>>,
    /// Most deliveries a second; `null`: no limit.
    #[schemars(range(min = 1))]
    pub throttle_rate: Option<u16>,
    /// The older name of `throttleRate`.
    #[schemars(range(min = 1))]
    pub rate_limit: Option<u16>,
    /// Free pairs of text.
    pub metadata: Option<Metadata>,
    /// Custom headers. When an endpoint is replaced: absent keeps those it has.
    pub headers: Option<BTreeMap<String, String>>,
    /// The signing secret; one is made if none is given. When an endpoint is replaced, it cannot be changed.
    #[schemars(with = "Option<schema::Secret>")]
    pub secret: Option<String>,
    /// Who moves along its deliveries; absent: `push`. When an endpoint is replaced: absent keeps the one it has.
    #[schemars(with = "Option<schema::Mode>")]
    pub mode: Option<Mode>,
    /// Its own waits between attempts, in seconds; `null`: the event type's, else the server's.
    #[schemars(with = "Option<Vec<f64>>")]
    pub retry_schedule: Option<RetrySchedule>,
    /// Always 1; older SDKs know it.
    pub version: Option<u16>,
    /// One at a time, in order.
    pub fifo: Option<bool>,
    /// Where it would be disabled for failing it is set to `held` instead, and goes on taking messages.
    pub hold_when_failing: Option<bool>,
    /// With `mode: push`, of an endpoint that was not pushed: where to go on. A consumer's name (after what it has
    /// committed), `earliest` (all that is still owed; what is exhausted is sent again by `recover`) or `latest` (only
    /// what comes from now on). Absent: after what its only consumer has committed; with several it must be said.
    #[schemars(with = "Option<schema::Uid>")]
    pub from: Option<String>,
}

/// What is asked of an endpoint, checked.
pub(crate) struct EndpointSettings {
    uid: Option<Uid>,
    url: Option<String>,
    description: String,
    disabled: bool,
    filter: Filter,
    rate_limit: Option<u16>,
    metadata: Metadata,
    headers: Option<CustomHeaders>,
    secret: Option<Secret>,
    mode: Option<Mode>,
    retry_schedule: Option<RetrySchedule>,
    fifo: bool,
    hold_when_failing: bool,
    from: PushFrom,
}

impl EndpointIn {
    /// Checks everything. `policy` says which URLs may be called.
    pub(crate) fn check(self, policy: &Policy) -> Result<EndpointSettings, Problem> {
        if let Some(url) = &self.url {
            check_url(url, policy)?;
        }
        check_version(self.version)?;
        let event_types = either(("eventTypes", self.event_types), ("filterTypes", self.filter_types))?;
        let rate_limit = either(("throttleRate", self.throttle_rate), ("rateLimit", self.rate_limit))?;
        Ok(EndpointSettings {
            uid: self.uid.map(check_uid::<EndpointId>).transpose()?,
            url: self.url,
            description: self.description.unwrap_or_default(),
            disabled: self.disabled.unwrap_or_default(),
            filter: Filter {
                event_types: check_event_types(event_types)?,
                channels: check_list("channels", self.channels, CHANNELS_MAX)?,
            },
            rate_limit: check_rate(rate_limit)?,
            metadata: self.metadata.unwrap_or_default(),
            headers: self.headers.map(|headers| check_headers(&headers)).transpose()?,
            secret: self.secret.map(|text| check_secret("secret", &text)).transpose()?,
            mode: self.mode,
            retry_schedule: self.retry_schedule,
            fifo: self.fifo.unwrap_or_default(),
            hold_when_failing: self.hold_when_failing.unwrap_or_default(),
            from: check_from(self.from.as_deref(), self.mode)?,
        })
    }
}

impl EndpointSettings {
    /// A new endpoint; the store gives it its number, id and times.
    pub(crate) fn create(
        mut self,
        app: AppNo,
        now: Timestamp,
        kind: SignatureType,
        source: &dyn Chance,
    ) -> Result<Endpoint, Problem> {
        let secret = self.secret.take().unwrap_or_else(|| Secret::generate(kind, source));
        let mut endpoint = Endpoint {
            no: EndpointNo(0),
            id: EndpointId::new(now, chance::bytes(source)),
            app,
            uid: None,
            url: String::new(),
            description: String::new(),
            filter: Filter::default(),
            mode: Mode::Push,
            read_seq: Seq(0),
            draining_since: None,
            state: EndpointState::Enabled,
            health: Health::default(),
            rate_limit: None,
            retry_schedule: None,
            fifo: false,
            batch: Batch::SINGLE,
            hold_when_failing: false,
            headers: CustomHeaders::new(),
            secrets: Secrets::new(secret),
            metadata: Metadata::new(),
            created_at: now,
            updated_at: now,
        };
        self.write_to(&mut endpoint, now);
        check_has_url(endpoint.mode, &endpoint.url)?;
        Ok(endpoint)
    }

    /// Replaces what an endpoint was told before, but for what is not given: its secret, headers and mode (a client
    /// that knows of no modes must not switch one), and its URL where that is not needed.
    pub(crate) fn replace(&self, endpoint: &mut Endpoint, now: Timestamp) -> Result<(), Problem> {
        if self.secret.as_ref().is_some_and(|secret| *secret != endpoint.secrets.current) {
            return Err(invalid("secret", "the secret of an endpoint is changed with secret/rotate"));
        }
        self.write_to(endpoint, now);
        check_has_url(endpoint.mode, self.url.as_deref().unwrap_or_default())
    }

    /// Replaces what a destination was told before. What only an endpoint can be told stays.
    pub(crate) fn replace_destination(&self, endpoint: &mut Endpoint, now: Timestamp) -> Result<(), Problem> {
        let kept = endpoint.clone();
        self.replace(endpoint, now)?;
        endpoint.description = kept.description;
        endpoint.rate_limit = kept.rate_limit;
        endpoint.retry_schedule = kept.retry_schedule;
        endpoint.hold_when_failing = kept.hold_when_failing;
        endpoint.mode = kept.mode;
        // One that is read may be pushed again, as it was.
        endpoint.fifo = kept.fifo;
        Ok(())
    }

    fn write_to(&self, endpoint: &mut Endpoint, now: Timestamp) {
        endpoint.uid.clone_from(&self.uid);
        if let Some(url) = &self.url {
            endpoint.url.clone_from(url);
        }
        endpoint.description.clone_from(&self.description);
        set_disabled(endpoint, self.disabled, now);
        endpoint.filter.clone_from(&self.filter);
        endpoint.rate_limit = self.rate_limit;
        endpoint.metadata.clone_from(&self.metadata);
        if let Some(headers) = &self.headers {
            endpoint.headers.clone_from(headers);
        }
        endpoint.mode = self.mode.unwrap_or(endpoint.mode);
        endpoint.retry_schedule.clone_from(&self.retry_schedule);
        endpoint.fifo = self.fifo;
        endpoint.hold_when_failing = self.hold_when_failing;
    }

    /// Where to go on, if it is pushed again.
    pub(crate) fn from(&self) -> &PushFrom {
        &self.from
    }

    /// Gives it a uid if it was not given one: what it was called by in the path.
    pub(crate) fn or_uid(mut self, uid: Option<Uid>) -> Self {
        self.uid = self.uid.or(uid);
        self
    }
}

/// Disables or enables an endpoint. One that is disabled already keeps since when and why.
pub(crate) fn set_disabled(endpoint: &mut Endpoint, disabled: bool, now: Timestamp) {
    if !disabled {
        endpoint.state = EndpointState::Enabled;
    } else if endpoint.is_enabled() {
        endpoint.state = EndpointState::Disabled { at: now, reason: DisabledReason::Owner };
    }
}

/// Takes a field under either of its names. Both are taken too, if they say the same: a client may write
/// back what it was answered.
pub(crate) fn either<T: PartialEq>(
    (_, new): (&str, Option<T>),
    (old_name, old): (&str, Option<T>),
) -> Result<Option<T>, Problem> {
    match (new, old) {
        (Some(new), Some(old)) if new != old => {
            Err(invalid(old_name, "this is another name of a field that is given too, with another value"))
        }
        (new, old) => Ok(new.or(old)),
    }
}

/// A URL that is given must be one that may be called, whoever moves along the deliveries; an empty one is none.
pub(crate) fn check_url(url: &str, policy: &Policy) -> Result<(), Problem> {
    if url.is_empty() {
        return Ok(());
    }
    Target::parse(url)
        .and_then(|target| policy.check_target_at_save(&target))
        .map_err(|error| invalid("url", error))
}

pub(crate) fn check_event_types(
    list: Option<Vec<EventTypeName>>,
) -> Result<Option<Vec<EventTypeName>>, Problem> {
    check_list("eventTypes", list, EVENT_TYPES_MAX)
}

/// A list that restricts: an empty one would let nothing pass.
pub(crate) fn check_list<T: Ord>(
    field: &str,
    list: Option<Vec<T>>,
    max: usize,
) -> Result<Option<Vec<T>>, Problem> {
    let Some(items) = list else { return Ok(None) };
    if items.is_empty() {
        return Err(invalid(field, "must have at least one item; leave it out for all"));
    }
    check_unique(field, &items, max)?;
    Ok(Some(items))
}

/// No item twice, and not too many.
pub(crate) fn check_unique<T: Ord>(field: &str, items: &[T], max: usize) -> Result<(), Problem> {
    if items.len() > max {
        return Err(invalid(field, format!("must have at most {max} items")));
    }
    let mut sorted: Vec<_> = items.iter().collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(invalid(field, "must not have an item twice"));
    }
    Ok(())
}

pub(crate) fn check_rate(rate: Option<u16>) -> Result<Option<u16>, Problem> {
    match rate {
        Some(0) => Err(invalid("throttleRate", "must be at least 1; leave it out for no limit")),
        rate => Ok(rate),
    }
}

/// An endpoint that is pushed has a URL.
pub(crate) fn check_has_url(mode: Mode, url: &str) -> Result<(), Problem> {
    if mode == Mode::Push && url.is_empty() {
        let place = vec!["body".into(), "url".into()];
        return Err(Problem::missing(place, "is needed unless `mode` is `pull` or `held`"));
    }
    Ok(())
}

/// Where to go on: said only together with the switch.
pub(crate) fn check_from(from: Option<&str>, mode: Option<Mode>) -> Result<PushFrom, Problem> {
    match from {
        None => Ok(PushFrom::Readers),
        Some(_) if mode != Some(Mode::Push) => Err(invalid("from", "goes with `mode`: `push` only")),
        Some("earliest") => Ok(PushFrom::Earliest),
        Some("latest") => Ok(PushFrom::Latest),
        Some(name) => name.parse().map(PushFrom::Consumer).map_err(|error| invalid("from", error)),
    }
}

/// The published API once had versions of endpoints; there is one.
pub(crate) fn check_version(version: Option<u16>) -> Result<(), Problem> {
    match version {
        None | Some(1) => Ok(()),
        Some(_) => Err(invalid("version", "only 1 is supported")),
    }
}

/// A uid that reads as an id of the same kind could never be found by.
pub(crate) fn check_uid<Id: FromStr>(uid: Uid) -> Result<Uid, Problem> {
    match uid.parse::<Id>() {
        Ok(_) => Err(invalid("uid", "must not look like an id of this server")),
        Err(_) => Ok(uid),
    }
}

pub(crate) fn check_secret(field: &str, text: &str) -> Result<Secret, Problem> {
    Secret::parse(text).map_err(|error| invalid(field, error))
}

/// Checks a whole set of custom headers.
pub(crate) fn check_headers(headers: &BTreeMap<String, String>) -> Result<CustomHeaders, Problem> {
    custom_headers::parse(headers).map_err(|(name, error)| header_problem(&name, error))
}

pub(crate) fn header_problem(name: &str, error: custom_headers::InvalidHeader) -> Problem {
    Problem::invalid(&["body", "headers", name], error)
}

pub(crate) fn invalid(field: &str, message: impl ToString) -> Problem {
    Problem::invalid(&["body", field], message)
}
