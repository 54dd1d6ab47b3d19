//! Who calls, and what they may do.
//!
//! A request shows a key (`Authorization: Bearer …`): one of ours, found by its hash, or, where the secret of
//! a Svix server is configured, a token that was signed with it. What was found is remembered for a few
//! seconds, so a revoked key is refused everywhere within [`REMEMBERED`]. Reading an endpoint's queue takes a
//! poller token in the URL too (see [`in_url`]).

pub(crate) mod in_url;

use std::{sync::Arc, time::Duration};

use axum::extract::{FromRequestParts, Request};
use http::{HeaderMap, header, request::Parts};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use moka::sync::Cache;
use pushpull_domain::{
    AppId, EndpointId, EnvironmentId, EnvironmentNo, Timestamp,
    key::{ApiKey, KeyHash, Scope},
};
use pushpull_store::Ref;
use serde::Deserialize;

use self::in_url::InUrl;
use crate::{problem::Problem, state::Api};

/// How long a key that was found is used without asking the store again: a revoked one is refused after this.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(5);
/// Most keys that are remembered.
const REMEMBERED_MAX: u64 = 100_000;
/// Longest token that is looked at, in bytes.
const TOKEN_MAX: usize = 4096;
/// How exactly the last use of a key is kept.
const USE_STEP: Duration = Duration::from_mins(1);

const NO_KEY: Problem = Problem::Unauthenticated("a key is needed: `Authorization: Bearer KEY`");
const BAD_KEY: Problem = Problem::Unauthenticated("the key is not known, or it was revoked or has expired");

/// What a route takes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Changing applications and event types, making keys.
    Admin,
    /// Sending messages.
    Send,
    /// Reading about all applications.
    Environment,
    /// Reading applications and event types.
    Catalog,
    /// Reading an application's endpoints, messages and attempts.
    Read,
    /// Changing an application's endpoints, seeing their secrets, sending to them again.
    Configure,
    /// Reading an endpoint's queue, where the reader keeps its place.
    Poll,
    /// Reading it as a consumer: making one, moving its place, leasing what others are not handed meanwhile.
    Consume,
}

impl Need {
    fn is_met_by(self, scope: &Scope) -> bool {
        let word = match scope {
            Scope::Admin => "admin",
            Scope::Send => "send",
            Scope::Read => "read",
            // Not sending: a portal is in the hands of the customer, who is not to speak in the sender's name.
            Scope::App { .. } => "app",
            Scope::Poller { .. } => "poller",
        };
        self.words().contains(&word)
    }

    /// The scopes that meet it; `app`: a key of the application; `poller`: a poller token of the endpoint.
    pub(crate) const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Admin => &["admin"],
            Self::Send => &["admin", "send"],
            Self::Environment => &["admin", "send", "read"],
            Self::Catalog => &["admin", "send", "read", "app"],
            Self::Read => &["admin", "read", "app"],
            Self::Configure => &["admin", "app"],
            Self::Poll => &["admin", "read", "app", "poller"],
            // Not reading alone: what is committed by mistake, the consumer whose it is never sees.
            Self::Consume => &["admin", "app", "poller"],
        }
    }

    /// Whether it is for those who read a queue, who may be a page in a browser.
    pub(crate) const fn is_for_readers(self) -> bool {
        matches!(self, Self::Poll | Self::Consume)
    }

    /// The same, for people.
    pub(crate) const fn scopes(self) -> &'static str {
        match self {
            Self::Admin => "scope admin",
            Self::Send => "scope admin or send",
            Self::Environment => "scope admin, send or read",
            Self::Catalog => "scope admin, send or read, or a key of the application",
            Self::Read => "scope admin or read, or a key of the application",
            Self::Configure => "scope admin, or a key of the application",
            Self::Poll => "scope admin or read, a key of the application, or a poller token of the endpoint",
            Self::Consume => "scope admin, a key of the application, or a poller token of the endpoint",
        }
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Where the key is valid.
    pub(crate) environment: EnvironmentNo,
    /// What it allows.
    pub(crate) scope: Scope,
    /// From then on it is refused.
    expires_at: Option<Timestamp>,
    /// The key, if it is one of ours.
    pub(crate) key: Option<pushpull_domain::KeyId>,
}

impl Caller {
    /// Whether this application is there for the caller at all.
    pub(crate) fn sees(&self, app: AppId) -> bool {
        match &self.scope {
            Scope::App { id, .. } | Scope::Poller { app_id: id, .. } => *id == app,
            Scope::Admin | Scope::Send | Scope::Read => true,
        }
    }

    /// Whether the queue of this endpoint, in an application that the caller sees, is there for it.
    pub(crate) fn reads(&self, endpoint: EndpointId) -> bool {
        match &self.scope {
            Scope::Poller { id, .. } => *id == endpoint,
            Scope::Admin | Scope::Send | Scope::Read | Scope::App { .. } => true,
        }
    }
}

/// The keys that are known, each with when it was looked up.
pub(crate) struct Keyring {
    known: Cache<KeyHash, (Arc<Caller>, Timestamp)>,
    jwt: Option<(DecodingKey, Validation)>,
}

impl Keyring {
    pub(crate) fn new(jwt_secret: Option<&[u8]>) -> Self {
        let jwt = jwt_secret.map(|secret| {
            let mut validation = Validation::new(Algorithm::HS256);
            // Times are checked here, by the clock that is handed in; nobody but us is an audience.
            validation.required_spec_claims.clear();
            validation.validate_exp = false;
            validation.validate_aud = false;
            (DecodingKey::from_secret(secret), validation)
        });
        Self { known: Cache::new(REMEMBERED_MAX), jwt }
    }

    fn recall(&self, hash: &KeyHash, now: Timestamp) -> Option<Arc<Caller>> {
        let (caller, since) = self.known.get(hash)?;
        // A clock that was put back makes nothing older: what it seems to have known before is asked again.
        (since <= now && now.since(since) < REMEMBERED).then_some(caller)
    }

    /// Refuses a key at once, on this server.
    pub(crate) fn forget_all(&self) {
        self.known.invalidate_all();
    }
}

/// What a Svix server's token says.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    org: Option<String>,
    exp: Option<i64>,
    nbf: Option<i64>,
}

/// Finds out who calls, for [`Caller`] to be taken from the request, and whether the key meets the route's need.
pub(crate) async fn authorize(api: &Api, need: Need, request: &mut Request) -> Result<(), Problem> {
    let in_url = request.extensions_mut().remove::<InUrl>().filter(|_| need.is_for_readers());
    let caller = match in_url {
        Some(shown) => InUrl::only_poller(known(api, shown.token(request.headers())?).await?)?,
        None => known(api, token(request.headers())?).await?,
    };
    if !need.is_met_by(&caller.scope) {
        return Err(Problem::Forbidden(need.scopes()));
    }
    request.extensions_mut().insert(caller);
    Ok(())
}

async fn known(api: &Api, token: &str) -> Result<Arc<Caller>, Problem> {
    let hash = KeyHash::of(token);
    let now = api.now();
    let caller = if let Some(known) = api.keyring.recall(&hash, now) {
        known
    } else {
        let found = Arc::new(Box::pin(find(api, token, hash, now)).await?.ok_or(BAD_KEY)?);
        api.keyring.known.insert(hash, (Arc::clone(&found), now));
        found
    };
    match caller.expires_at {
        Some(end) if end <= now => Err(BAD_KEY),
        _ => Ok(caller),
    }
}

/// RFC 6750 s. 2.1.
fn token(headers: &HeaderMap) -> Result<&str, Problem> {
    let value = headers.get(header::AUTHORIZATION).ok_or(NO_KEY)?.to_str().map_err(|_| BAD_KEY)?;
    let (scheme, token) = value.split_once(' ').ok_or(NO_KEY)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(NO_KEY);
    }
    of_some_length(token.trim())
}

fn of_some_length(token: &str) -> Result<&str, Problem> {
    if token.is_empty() || token.len() > TOKEN_MAX { Err(BAD_KEY) } else { Ok(token) }
}

async fn find(api: &Api, token: &str, hash: KeyHash, now: Timestamp) -> Result<Option<Caller>, Problem> {
    if let Some(key) = api.store().key(hash).await? {
        note_use(api, &key, now).await;
        return Ok(Some(Caller {
            environment: key.environment,
            scope: key.scope,
            expires_at: key.revoked_at,
            key: Some(key.id),
        }));
    }
    let Some((key, validation)) = &api.keyring.jwt else { return Ok(None) };
    match jsonwebtoken::decode::<Claims>(token, key, validation) {
        Ok(token) => svix_token(api, token.claims, now).await,
        Err(_) => Ok(None),
    }
}

/// A token of an organization, which is an environment made on first sight, or of one of its applications.
async fn svix_token(api: &Api, claims: Claims, now: Timestamp) -> Result<Option<Caller>, Problem> {
    let at = |secs: i64| Timestamp::from_millis(secs.saturating_mul(1000));
    if claims.nbf.is_some_and(|from| at(from) > now) {
        return Ok(None);
    }
    let organization = claims.org.as_ref().unwrap_or(&claims.sub);
    let Ok(id) = organization.parse::<EnvironmentId>() else { return Ok(None) };
    let environment = api.store().ensure_environment(id, "").await?.no;
    let scope = if claims.org.is_none() {
        Scope::Admin
    } else {
        let Ok(app) = claims.sub.parse::<AppId>() else { return Ok(None) };
        let Some(snapshot) = api.log.app(environment, &Ref::Id(app)).await? else { return Ok(None) };
        Scope::App { no: snapshot.app.no, id: app }
    };
    Ok(Some(Caller { environment, scope, expires_at: claims.exp.map(at), key: None }))
}

/// Notes that a key was used. Not worth failing a request for.
async fn note_use(api: &Api, key: &ApiKey, now: Timestamp) {
    if key.last_used_at.is_some_and(|last| now.since(last) < USE_STEP) {
        return;
    }
    if let Err(error) = api.store().touch_keys(vec![(key.hash, now)]).await {
        tracing::warn!(error = &error as &dyn std::error::Error, key.id = %key.id, "a key's use was not noted");
    }
}

/// Put there by [`authorize`], which every route with a need has around it.
impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        parts.extensions.get::<Arc<Self>>().map(|caller| (**caller).clone()).ok_or(NO_KEY)
    }
}
