//! The HTTP API: every route in one table, one file a resource, one place where an error becomes an answer.
//!
//! Absent on purpose: any driver, listening, TLS. What is here is an [`axum::Router`]; the binary serves it.

use std::sync::Arc;

use pushpull_domain::{Chance, Clock, seal::MasterKey, signature::SignatureType};
use pushpull_net::Policy;
use pushpull_store::Log;

/// What the API is made of.
pub struct Parts {
    /// The log and the store behind it.
    pub log: Arc<Log>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub chance: Arc<dyn Chance>,
    /// Which URLs endpoints may have.
    pub policy: Policy,
    /// Which kind of secret an endpoint gets when none is given.
    pub signature_type: SignatureType,
    /// Longest payload of a message, in bytes.
    pub payload_max: usize,
    /// What application tokens are signed with, when there is no `jwt_secret`.
    pub master_key: MasterKey,
    /// What a Svix server's tokens were signed with (HS256); `None`: they are not taken.
    pub jwt_secret: Option<Box<[u8]>>,
    /// Where this server is reached from outside, without a slash at its end.
    pub public_url: String,
}

/// All routes.
pub fn router(parts: Parts) -> axum::Router {
    let _ = parts;
    axum::Router::new()
}
