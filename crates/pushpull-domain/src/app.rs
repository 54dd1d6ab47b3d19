//! Environments and applications: whose messages these are.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{AppId, Endpoint, EnvironmentId, Timestamp, Uid};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);
    };
}
pub(crate) use number;

number!(
    /// The number a store knows an environment by. Never shown.
    EnvironmentNo
);
number!(
    /// The number a store knows an application by. Never shown, never used again; under 2^23.
    AppNo
);

/// Free pairs of text that users keep with a thing.
pub type Metadata = BTreeMap<String, String>;

/// Everything else belongs to one environment; nothing crosses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its number.
    pub no: EnvironmentNo,
    /// Its id.
    pub id: EnvironmentId,
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// One consumer of messages: usually a customer of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its number.
    pub no: AppNo,
    /// Its id.
    pub id: AppId,
    /// Where it belongs.
    pub environment: EnvironmentNo,
    /// The user's own name for it, unique in the environment.
    pub uid: Option<Uid>,
    /// For people.
    pub name: String,
    /// Most deliveries a second to all its endpoints together; `None`: no limit.
    pub rate_limit: Option<u16>,
    /// Free pairs of text.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// An application and its endpoints as they stood at one configuration version: what a message is matched
/// against. Endpoints are in the order they were made.
#[derive(Clone, Debug)]
pub struct AppSnapshot {
    /// The application.
    pub app: App,
    /// Grows with each change to the application or one of its endpoints.
    pub version: u64,
    /// Those that are not deleted.
    pub endpoints: Vec<Arc<Endpoint>>,
}
