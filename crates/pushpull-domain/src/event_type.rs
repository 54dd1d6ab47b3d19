//! Event types: the catalogue of what can happen.

use serde_json::value::RawValue;

use crate::{EnvironmentNo, EventTypeName, FeatureFlag, RetrySchedule, Timestamp};

/// The name of a kind of message, with what is said of it.
#[derive(Clone, Debug)]
pub struct EventType {
    /// Where it belongs.
    pub environment: EnvironmentNo,
    /// Its name, unique in the environment.
    pub name: EventTypeName,
    /// For people.
    pub description: String,
    /// Hidden from lists, kept for what refers to it.
    pub archived: bool,
    /// Still sent, but not to be built upon.
    pub deprecated: bool,
    /// JSON Schemas by version, as they were given.
    pub schemas: Option<Box<RawValue>>,
    /// Only applications with one of these features see it.
    pub feature_flags: Option<Vec<FeatureFlag>>,
    /// The group it is listed under.
    pub group_name: Option<String>,
    /// Its own schedule; `None`: the server's.
    pub retry_schedule: Option<RetrySchedule>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
