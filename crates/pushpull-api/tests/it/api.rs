//! The API over a store of its own, with a clock that stands still and chance from a seed: the same calls
//! give the same bytes.

use std::{fmt::Write, sync::Arc};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use pushpull_api::{Origins, Parts, router};
use pushpull_domain::{
    Environment, EnvironmentId, FixedClock, Iterators, KeyId, SeededChance, Timestamp, chance,
    key::{ApiKey, KeyHash, Scope},
    seal::MasterKey,
    signature::SignatureType,
};
use pushpull_feed::Feed;
use pushpull_net::Policy;
use pushpull_store::Store;
use pushpull_testkit::TestStore;
use serde_json::Value;
use tower::ServiceExt;

/// When every test begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_513_560_000);
/// What the tokens of a Svix server are signed with here.
pub(crate) const JWT_SECRET: &[u8] = b"a secret that both servers know!";
/// More readers than wait here.
const WAITING_MAX: usize = 100;
/// Longest payload that is taken here, in bytes.
pub(crate) const PAYLOAD_MAX: usize = 1_000;

/// The API and what is behind it.
pub(crate) struct TestApi {
    /// The store behind it.
    pub(crate) store: TestStore,
    /// What time it is.
    pub(crate) clock: Arc<FixedClock>,
    chance: Arc<SeededChance>,
    router: Router,
    feed: Arc<Feed>,
    /// Calls with an admin key of the first environment.
    pub(crate) admin: Client,
}

impl TestApi {
    pub(crate) async fn start() -> Self {
        Self::start_for(Origins::None).await
    }

    /// With pages of these origins, which may read queues.
    pub(crate) async fn start_for(origins: Origins) -> Self {
        Self::start_with(origins, WAITING_MAX).await
    }

    /// With so many readers that may wait.
    pub(crate) async fn start_with(origins: Origins, waiting_max: usize) -> Self {
        let clock = Arc::new(FixedClock::at(START));
        let store = TestStore::open(Arc::clone(&clock) as _).await;
        let chance = Arc::new(SeededChance::new(1));
        let iterators = Iterators::new(7, &MasterKey::new([7; 32]), &[]);
        let feed = Arc::new(Feed::with_waiting_max(Arc::clone(&store.log), iterators, waiting_max));
        let router = router(Parts {
            log: Arc::clone(&store.log),
            feed: Arc::clone(&feed),
            clock: Arc::clone(&clock) as _,
            chance: Arc::clone(&chance) as _,
            policy: Policy::default(),
            signature_type: SignatureType::Hmac256,
            payload_max: PAYLOAD_MAX,
            jwt_secret: Some(JWT_SECRET.into()),
            origins,
            public_url: "https://pushpull.example".into(),
            version: "0.0.0",
        });
        let admin = Client { router: router.clone(), key: Some("admin key of the tests".into()) };
        let api = Self { store, clock, chance, router, feed, admin };
        api.put_key(&api.store.environment, Scope::Admin, "admin key of the tests").await;
        api
    }

    /// Calls with a new key of the first environment.
    pub(crate) async fn with_scope(&self, scope: Scope) -> Client {
        let token = format!("a key with scope {}", scope.to_text());
        self.put_key(&self.store.environment, scope, &token).await;
        self.with_key(&token)
    }

    /// Calls with an admin key of another environment.
    pub(crate) async fn elsewhere(&self) -> Client {
        let id = EnvironmentId::new(START, [2; 15]);
        let environment = self.store.log.store().ensure_environment(id, "other").await.unwrap();
        self.put_key(&environment, Scope::Admin, "admin key of another environment").await;
        self.with_key("admin key of another environment")
    }

    /// Calls with this key.
    pub(crate) fn with_key(&self, key: &str) -> Client {
        Client { router: self.router.clone(), key: Some(key.to_owned()) }
    }

    /// Calls without a key.
    pub(crate) fn without_key(&self) -> Client {
        Client { router: self.router.clone(), key: None }
    }

    /// Nobody waits for news any more.
    pub(crate) fn close_feed(&self) {
        self.feed.close();
    }

    pub(crate) fn log(&self) -> &Arc<dyn Store> {
        self.store.log.store()
    }

    pub(crate) async fn put_key(&self, environment: &Environment, scope: Scope, token: &str) -> KeyId {
        let id = KeyId::new(START, chance::bytes(&*self.chance));
        let key = ApiKey {
            id,
            environment: environment.no,
            hash: KeyHash::of(token),
            prefix: token.chars().take(5).collect(),
            name: "test".into(),
            scope,
            created_at: START,
            last_used_at: None,
            revoked_at: None,
        };
        self.log().put_key(key).await.unwrap();
        id
    }
}

/// Somebody who calls.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    key: Option<String>,
}

impl Client {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "", &[]).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, "", &[]).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, &body.to_string(), &[]).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, &body.to_string(), &[]).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, &body.to_string(), &[]).await
    }

    /// A POST that may be repeated.
    pub(crate) async fn post_once(&self, path: &str, key: &str, body: Value) -> Answer {
        self.call(Method::POST, path, &body.to_string(), &[("idempotency-key", key)]).await
    }

    /// What a call by hand is to have as its `Authorization`.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.key.as_deref().unwrap_or_default())
    }

    /// For a call by hand whose answer is read piece by piece.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Any call; `path` is below `/api/v1`.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// A call that is made by hand.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Refused for this field of the body.
    #[track_caller]
    pub(crate) fn faults_at(self, field: &str) {
        let refused = self.is(422);
        assert_eq!(
            refused.json()["detail"][0]["loc"],
            serde_json::json!(["body", field]),
            "{}",
            refused.text()
        );
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A text in the body.
    #[track_caller]
    pub(crate) fn str(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("no {field}: {}", self.text())).to_owned()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status, headers and body, as people see them.
    pub(crate) fn shown(&self) -> String {
        let mut out = format!("{}\n", self.status);
        for (name, value) in &self.headers {
            // How long it is says nothing that the body does not.
            if name != "content-length" {
                writeln!(out, "{name}: {}", value.to_str().unwrap()).unwrap();
            }
        }
        if !self.body.is_empty() {
            writeln!(out, "\n{:#}", self.json()).unwrap();
        }
        out
    }
}
