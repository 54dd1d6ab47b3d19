//! An endpoint's signing secret.

use std::time::Duration;

use axum::{Json as Answer, extract::State};
use pushpull_domain::{Endpoint, signature::Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    extract::Json,
    models::{
        endpoint_in::{check_secret, invalid},
        schema,
    },
    path::AtEndpoint,
    problem::Problem,
    routes::endpoint,
    state::Api,
};

/// How long the old secret signs along when nothing else is said: a day.
const GRACE_DEFAULT: u32 = 86_400;
/// Longest that an old secret signs along: 7 days, in seconds.
const GRACE_MAX: u32 = 604_800;

/// What a receiver verifies with.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EndpointSecretOut {
    /// The HMAC secret (`whsec_`), or the public key of an ed25519 pair (`whpk_`).
    pub key: String,
}

/// A new secret to be put in place.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSecretRotateIn {
    /// The new secret; absent: one is made, of the kind that there is.
    #[schemars(with = "Option<schema::Secret>")]
    pub key: Option<String>,
    /// How long the old one signs along, in seconds.
    #[schemars(range(max = 604_800), extend("default" = 86_400))]
    pub grace_period_seconds: Option<u32>,
}

pub(crate) async fn get(AtEndpoint { endpoint, .. }: AtEndpoint) -> Answer<EndpointSecretOut> {
    shown(&endpoint)
}

fn shown(endpoint: &Endpoint) -> Answer<EndpointSecretOut> {
    Answer(EndpointSecretOut { key: endpoint.secrets.current.to_verifier_text() })
}

/// Answers with what is in place now, as the SDKs from 2.9 read it; those before read nothing.
pub(crate) async fn rotate(
    State(api): State<Api>,
    AtEndpoint { app, endpoint }: AtEndpoint,
    Json(given): Json<EndpointSecretRotateIn>,
) -> Result<Answer<EndpointSecretOut>, Problem> {
    let grace = given.grace_period_seconds.unwrap_or(GRACE_DEFAULT);
    if grace > GRACE_MAX {
        return Err(invalid("gracePeriodSeconds", format!("must be at most {GRACE_MAX}")));
    }
    let new = match &given.key {
        Some(text) => check_secret("key", text)?,
        None => Secret::generate(endpoint.secrets.current.kind(), &*api.chance),
    };
    let now = api.now();
    let old_until = now.after(Duration::from_secs(grace.into()));
    let written = endpoint::edit(&api, app.app.no, endpoint.id, |endpoint| {
        endpoint.secrets.rotate(new.clone(), old_until, now);
        Ok(())
    });
    Ok(shown(&*written.await?))
}
