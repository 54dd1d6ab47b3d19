//! The token that reads one endpoint's queue.

use std::time::Duration;

use axum::{Json as Answer, extract::State, http::StatusCode};
use pushpull_domain::{
    KeyId, Timestamp, chance,
    key::{ApiKey, KeyHash, PollerToken, Scope, generate_token},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::PREFIX_LEN;
use crate::{extract::Json, models::endpoint_in::invalid, path::AtEndpoint, problem::Problem, state::Api};

/// Longest time that a token may be given: a year, in seconds.
const EXPIRY_MAX: u64 = 31_536_000;
/// How long the token before stays valid when nothing else is said, in seconds.
const OLD_EXPIRY_DEFAULT: u64 = 300;
/// The longest, in seconds: a day.
const OLD_EXPIRY_MAX: u64 = 86_400;

/// A new token to be put in place.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RotatePollerTokenIn {
    /// How long the new token is valid, in seconds, up to a year; absent: until it is rotated.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub expiry: Option<u64>,
    /// How long the tokens before are valid still, in seconds, up to a day; 0: they are refused within 5 s.
    #[schemars(range(max = 86_400), extend("default" = 300))]
    pub old_token_expiry: Option<u64>,
}

/// A token.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiTokenOut {
    /// Its id, as `pushpull key ls` shows it.
    #[schemars(with = "String", regex(pattern = "^key_[A-Za-z0-9]{27}$"))]
    pub id: KeyId,
    /// What is to be shown: `Authorization: Bearer TOKEN`, or `?access_token=TOKEN`.
    pub token: String,
    /// What `pushpull key ls` calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<[&'static str; 1]>,
    /// When it was made.
    #[schemars(extend("format" = "date-time"))]
    pub created_at: String,
    /// From then on it is refused; absent: it is valid until it is rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: Option<String>,
}

impl RotatePollerTokenIn {
    /// How long the new one is valid, and those before.
    fn check(&self) -> Result<(Option<Duration>, Duration), Problem> {
        let old = self.old_token_expiry.unwrap_or(OLD_EXPIRY_DEFAULT);
        if self.expiry.is_some_and(|expiry| !(1..=EXPIRY_MAX).contains(&expiry)) {
            return Err(invalid("expiry", format!("must be 1 to {EXPIRY_MAX} seconds")));
        }
        if old > OLD_EXPIRY_MAX {
            return Err(invalid("oldTokenExpiry", format!("must be at most {OLD_EXPIRY_MAX} seconds")));
        }
        Ok((self.expiry.map(Duration::from_secs), Duration::from_secs(old)))
    }
}

/// The token there is; made, without an end, if there is none that is valid.
pub(crate) async fn get(State(api): State<Api>, at: AtEndpoint) -> Result<Answer<ApiTokenOut>, Problem> {
    if let Some(current) = api.store().poller_token(at.endpoint.no).await? {
        return Ok(shown(current));
    }
    put(&api, &at, None, None).await
}

pub(crate) async fn rotate(
    State(api): State<Api>,
    at: AtEndpoint,
    Json(given): Json<RotatePollerTokenIn>,
) -> Result<(StatusCode, Answer<ApiTokenOut>), Problem> {
    let (expiry, old_expiry) = given.check()?;
    let now = api.now();
    let made = put(&api, &at, expiry.map(|expiry| now.after(expiry)), Some(now.after(old_expiry))).await?;
    Ok((StatusCode::CREATED, made))
}

async fn put(
    api: &Api,
    AtEndpoint { app, endpoint }: &AtEndpoint,
    until: Option<Timestamp>,
    old_until: Option<Timestamp>,
) -> Result<Answer<ApiTokenOut>, Problem> {
    let text = generate_token(&*api.chance);
    let now = api.now();
    let key = ApiKey {
        id: KeyId::new(now, chance::bytes(&*api.chance)),
        environment: app.app.environment,
        hash: KeyHash::of(&text),
        prefix: text.chars().take(PREFIX_LEN).collect(),
        name: "poller".into(),
        scope: Scope::Poller { app: app.app.no, app_id: app.app.id, no: endpoint.no, id: endpoint.id },
        created_at: now,
        last_used_at: None,
        revoked_at: until,
    };
    let put = api.store().put_poller_token(PollerToken { key, text }, old_until).await;
    put.map(shown).map_err(|error| Problem::refused("endpoint", error))
}

fn shown(PollerToken { key, text }: PollerToken) -> Answer<ApiTokenOut> {
    Answer(ApiTokenOut {
        id: key.id,
        token: text,
        name: Some(key.name),
        scopes: Some(["poller"]),
        created_at: key.created_at.to_string(),
        expires_at: key.revoked_at.map(|at| at.to_string()),
    })
}
