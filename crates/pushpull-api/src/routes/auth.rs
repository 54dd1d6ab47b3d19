//! Keys for an application's portal, and their end.

use std::time::Duration;

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use pushpull_domain::{
    KeyId, chance,
    key::{ApiKey, KeyHash, Scope, generate_token},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    auth::Caller,
    extract::Json,
    models::{endpoint_in::invalid, schema},
    path::AppRef,
    problem::{Impossible, Problem},
    routes::app::{self, ApplicationIn},
    state::Api,
};

/// How long a portal's key is valid when nothing else is said: 7 days, in seconds; also the longest.
const EXPIRY_MAX: u64 = 604_800;
/// The shortest: an hour, in seconds.
const EXPIRY_MIN: u64 = 3_600;
/// Characters of a key that are kept to know it by.
pub(super) const PREFIX_LEN: usize = 12;

/// What a portal's key is to allow.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AppPortalAccessIn {
    /// Makes this application, if the one in the path is not there.
    pub application: Option<ApplicationIn>,
    /// How long the key is valid, in seconds: an hour to 7 days.
    #[schemars(range(min = 3600, max = 604_800), extend("default" = 604_800))]
    pub expiry: Option<u64>,
    /// Not supported yet: a portal's key allows everything of its application.
    pub read_only: Option<bool>,
    /// Not supported yet.
    #[schemars(with = "Option<Vec<String>>")]
    pub capabilities: Option<Box<RawValue>>,
    /// Not supported yet.
    #[schemars(with = "Option<Vec<schema::Name>>", length(min = 1, max = 25))]
    pub feature_flags: Option<Box<RawValue>>,
    /// Not supported yet.
    #[schemars(with = "Option<String>", length(min = 1, max = 64))]
    pub session_id: Option<Box<RawValue>>,
}

/// A portal's key.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AppPortalAccessOut {
    /// Where the portal is, with the key.
    #[schemars(extend("format" = "uri"))]
    pub url: String,
    /// The key.
    pub token: String,
}

impl AppPortalAccessIn {
    fn check(&self) -> Result<Duration, Problem> {
        let unsupported = [
            ("readOnly", self.read_only == Some(true)),
            ("capabilities", self.capabilities.is_some()),
            ("featureFlags", self.feature_flags.is_some()),
            ("sessionId", self.session_id.is_some()),
        ];
        if let Some((field, _)) = unsupported.into_iter().find(|(_, given)| *given) {
            return Err(invalid(field, "is not supported yet"));
        }
        let expiry = self.expiry.unwrap_or(EXPIRY_MAX);
        if (EXPIRY_MIN..=EXPIRY_MAX).contains(&expiry) {
            Ok(Duration::from_secs(expiry))
        } else {
            Err(invalid("expiry", format!("must be {EXPIRY_MIN} to {EXPIRY_MAX} seconds")))
        }
    }
}

/// Gives an application a key of its own that ends by itself: a row, so that it can also be ended before.
pub(crate) async fn app_portal_access(
    State(api): State<Api>,
    caller: Caller,
    AppRef(name): AppRef,
    Json(given): Json<AppPortalAccessIn>,
) -> Result<Answer<AppPortalAccessOut>, Problem> {
    let expiry = given.check()?;
    let app = match given.application {
        Some(application) => app::get_or_create(&api, caller.environment, &name, application).await?,
        None => api.log.app(caller.environment, &name).await?.ok_or(Problem::NotFound("application"))?,
    };
    let now = api.now();
    let token = generate_token(&*api.chance);
    let key = ApiKey {
        id: KeyId::new(now, chance::bytes(&*api.chance)),
        environment: caller.environment,
        hash: KeyHash::of(&token),
        prefix: token.chars().take(PREFIX_LEN).collect(),
        name: "portal".into(),
        scope: Scope::App { no: app.app.no, id: app.app.id },
        created_at: now,
        last_used_at: None,
        revoked_at: Some(now.after(expiry)),
    };
    api.store().put_key(key).await.map_err(|error| Problem::refused("key", error))?;
    Ok(Answer(AppPortalAccessOut { url: format!("{}/portal#key={token}", api.public_url), token }))
}

/// The older name: it says nothing in its body.
pub(crate) async fn dashboard_access(
    state: State<Api>,
    caller: Caller,
    name: AppRef,
) -> Result<Answer<AppPortalAccessOut>, Problem> {
    app_portal_access(state, caller, name, Json(AppPortalAccessIn::default())).await
}

/// Ends the key that the request shows.
pub(crate) async fn logout(State(api): State<Api>, caller: Caller) -> Result<StatusCode, Problem> {
    let (Some(key), Scope::App { .. }) = (caller.key, &caller.scope) else {
        return Err(Problem::Impossible(Impossible::NotAPortalKey));
    };
    api.store().revoke_key(caller.environment, key).await?;
    api.keyring.forget_all();
    Ok(StatusCode::NO_CONTENT)
}
