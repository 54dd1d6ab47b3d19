//! The HTTP API: every route in one table, one file a resource, one place where an error becomes an answer.
//!
//! It is the Svix API, v1, with additions in the same style. Absent on purpose: any driver, listening, TLS.
//! What is here is an [`axum::Router`]; the binary serves it.

mod accept;
mod auth;
mod cors;
mod extract;
mod idempotency;
pub mod models;
pub mod openapi;
mod paging;
mod path;
pub mod problem;
mod route;
pub mod routes;
mod state;

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use pushpull_domain::{Chance, Clock, signature::SignatureType};
use pushpull_feed::Feed;
use pushpull_net::Policy;
use pushpull_store::Log;

pub use cors::Origins;
pub use models::example;

use crate::{problem::Problem, route::Route, state::Api};

/// How often a change is tried again because somebody else changed the same thing at the same time.
const EDIT_TRIES: usize = 10;

/// What the API is made of.
pub struct Parts {
    /// The log and the store behind it.
    pub log: Arc<Log>,
    /// What reads its queues.
    pub feed: Arc<Feed>,
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
    /// What a Svix server's tokens were signed with (HS256); `None`: they are not taken.
    pub jwt_secret: Option<Box<[u8]>>,
    /// Whose pages may read an endpoint's queue.
    pub origins: Origins,
    /// Where this server is reached from outside, without a slash at its end.
    pub public_url: String,
    /// The program's version, for the `OpenAPI` document.
    pub version: &'static str,
}

/// All routes.
pub fn router(parts: Parts) -> Router {
    let document = Json(openapi::document(parts.version));
    let api = Api::new(parts);
    let show = get(move || std::future::ready(document.clone()));
    let routes: Vec<Route> = routes::all().collect();
    let mut router = cors::preflights(&api.origins, &routes);
    // Whole paths, not nested: that would write each request's URI anew.
    for route in routes {
        router = router.route(&format!("/api/v1{}", route.path), route.into_handler());
    }
    router
        .route("/openapi.json", show.clone())
        .route("/api/v1/openapi.json", show)
        .fallback(async || Problem::NoRoute)
        .method_not_allowed_fallback(async || Problem::NoMethod)
        .with_state(api)
}
