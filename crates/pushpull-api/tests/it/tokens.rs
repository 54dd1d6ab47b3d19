//! Keys and tokens: which are taken, for how long, and how they end.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::api::{JWT_SECRET, START, TestApi};

const ORG: &str = "org_23rb8YdGqMT0qIzpgGwdXfHirMu";

fn token(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn signed(claims: &Value) -> String {
    token(Algorithm::HS256, JWT_SECRET, claims)
}

#[tokio::test]
async fn a_token_of_an_organization_is_admin_of_an_environment_made_on_first_sight() {
    let api = TestApi::start().await;
    let organization = api.with_key(&signed(&json!({ "sub": ORG, "iss": "svix-server" })));
    assert_eq!(organization.get("/app").await.is(200).json()["data"], json!([]));
    let app = organization.post("/app", json!({ "name": "a", "uid": "a" })).await.is(201).str("id");
    // Another token of the same organization, as another server would have signed it.
    let again = api.with_key(&signed(&json!({ "sub": ORG, "exp": START.as_secs() + 60 })));
    assert_eq!(again.get("/app/a").await.is(200).str("id"), app);
    api.admin.get("/app/a").await.is(404);
}

#[tokio::test]
async fn a_token_of_an_application_is_a_portals() {
    let api = TestApi::start().await;
    let organization = api.with_key(&signed(&json!({ "sub": ORG })));
    let app = organization.post("/app", json!({ "name": "a", "uid": "a" })).await.is(201).str("id");
    organization.post("/app", json!({ "name": "b", "uid": "b" })).await.is(201);
    let portal = api.with_key(&signed(&json!({ "sub": app, "org": ORG })));
    portal.get("/app/a").await.is(200);
    portal.get(&format!("/app/{app}/endpoint")).await.is(200);
    portal.get("/app/b").await.is(404);
    portal.get("/app").await.is(403);
    portal.post("/app/a/msg", json!({ "eventType": "a", "payload": {} })).await.is(403);
    // Of an organization that has no such application.
    let elsewhere = json!({ "sub": app, "org": "org_23rb8YdGqMT0qIzpgGwdXfHirMv" });
    api.with_key(&signed(&elsewhere)).get("/app/a").await.is(401);
}

#[tokio::test]
async fn a_token_counts_from_its_beginning_to_its_end() {
    let api = TestApi::start().await;
    let now = START.as_secs();
    let short = api.with_key(&signed(&json!({ "sub": ORG, "nbf": now, "exp": now + 60 })));
    short.get("/app").await.is(200);
    api.clock.advance(Duration::from_secs(59));
    short.get("/app").await.is(200);
    api.clock.advance(Duration::from_secs(1));
    short.get("/app").await.is(401);
    let later = api.with_key(&signed(&json!({ "sub": ORG, "nbf": now + 120 })));
    later.get("/app").await.is(401);
    api.clock.advance(Duration::from_mins(1));
    later.get("/app").await.is(200);
}

#[tokio::test]
async fn a_token_that_nobody_signed_is_refused() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    let api = TestApi::start().await;
    let claims = json!({ "sub": ORG });
    let good = signed(&claims);
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let other_claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"org_23rb8YdGqMT0qIzpgGwdXfHirMv"}"#);
    let bad = [
        token(Algorithm::HS256, b"another secret, also known to some", &claims),
        token(Algorithm::HS256, b"", &claims),
        token(Algorithm::HS512, JWT_SECRET, &claims),
        token(Algorithm::HS384, JWT_SECRET, &claims),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{head}.{body}."),
        format!("{head}.{other_claims}.{signature}"),
        signed(&json!({ "sub": "somebody" })),
        signed(&json!({ "sub": "app_23rb8YdGqMT0qIzpgGwdXfHirMu" })),
        signed(&json!({ "sub": ORG, "org": ORG })),
        signed(&json!({ "org": ORG })),
        signed(&json!({})),
        "x".repeat(5000),
    ];
    for token in bad {
        let answer = api.with_key(&token).get("/app").await.is(401);
        assert_eq!(answer.json()["code"], "authentication_failed", "{token}");
    }
    api.with_key(&good).get("/app").await.is(200);
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_five_seconds() {
    let api = TestApi::start().await;
    let environment = api.store.environment.clone();
    let scope = pushpull_domain::key::Scope::Admin;
    let id = api.put_key(&environment, scope, "a key to be revoked").await;
    let client = api.with_key("a key to be revoked");
    client.get("/app").await.is(200);
    assert!(api.log().revoke_key(environment.no, id).await.unwrap());
    api.clock.advance(Duration::from_secs(5));
    client.get("/app").await.is(401);
}

#[tokio::test]
async fn the_use_of_a_key_is_noted() {
    let api = TestApi::start().await;
    let used = async || api.log().keys(api.store.environment.no).await.unwrap()[0].last_used_at;
    assert_eq!(used().await, None);
    api.admin.get("/app").await.is(200);
    assert_eq!(used().await, Some(START));
    api.clock.advance(Duration::from_secs(30));
    api.admin.get("/app").await.is(200);
    assert_eq!(used().await, Some(START));
    api.clock.advance(Duration::from_secs(30));
    api.admin.get("/app").await.is(200);
    assert_eq!(used().await, Some(START.after(Duration::from_mins(1))));
}

#[tokio::test]
async fn a_portals_key_is_given_used_and_logged_out() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let access = api.admin.post("/auth/app-portal-access/acme", json!({})).await.is(200);
    assert!(access.str("url").ends_with(&access.str("token")));
    let portal = api.with_key(&access.str("token"));
    portal.get("/app/acme").await.is(200);
    portal.post("/app/acme/endpoint", json!({ "url": "https://receiver.example/" })).await.is(201);
    portal.post("/auth/logout", json!({})).await.is(204);
    // At once, not when it would have been forgotten.
    portal.get("/app/acme").await.is(401);
    let refused = api.admin.post("/auth/logout", json!({})).await.is(400);
    assert_eq!(refused.json()["code"], "not_a_portal_key");
    api.admin.get("/app/acme").await.is(200);
}

#[tokio::test]
async fn a_portals_key_ends_by_itself() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    for (body, lasts) in [(json!({ "expiry": 3600 }), 3600), (json!({}), 604_800)] {
        let access = api.admin.post("/auth/app-portal-access/acme", body).await.is(200);
        let portal = api.with_key(&access.str("token"));
        api.clock.advance(Duration::from_secs(lasts - 1));
        portal.get("/app/acme").await.is(200);
        api.clock.advance(Duration::from_secs(1));
        portal.get("/app/acme").await.is(401);
    }
    for expiry in [3599, 604_801] {
        let body = json!({ "expiry": expiry });
        api.admin.post("/auth/app-portal-access/acme", body).await.is(422);
    }
}

#[tokio::test]
async fn a_portals_key_may_make_its_application() {
    let api = TestApi::start().await;
    let with = |uid: &str| json!({ "application": { "name": "New", "uid": uid } });
    api.admin.post("/auth/app-portal-access/new", json!({})).await.is(404);
    api.admin.post("/auth/app-portal-access/new", with("other")).await.is(422);
    api.admin.post("/auth/app-portal-access/new", with("new")).await.is(200);
    api.admin.post("/auth/app-portal-access/new", json!({})).await.is(200);
    assert_eq!(api.admin.get("/app/new").await.is(200).str("name"), "New");
}

#[tokio::test]
async fn what_a_portals_key_cannot_have_yet_is_refused_by_name() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    for (field, value) in [
        ("readOnly", json!(true)),
        ("capabilities", json!(["ViewBase"])),
        ("featureFlags", json!(["beta"])),
        ("sessionId", json!("s")),
    ] {
        let body = json!({ field: value });
        let answer = api.admin.post("/auth/app-portal-access/acme", body).await.is(422);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", field]));
    }
}

#[tokio::test]
async fn a_portal_does_not_see_event_types_behind_a_feature() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    for name in ["a", "b", "c", "d"] {
        let flags = if name == "d" { Value::Null } else { json!(["beta"]) };
        let event_type = json!({ "name": name, "description": "", "featureFlags": flags });
        api.admin.post("/event-type", event_type).await.is(201);
    }
    let access = api.admin.post("/auth/app-portal-access/acme", json!({})).await.is(200);
    let portal = api.with_key(&access.str("token"));
    // The first page that would hold any.
    let page = portal.get("/event-type?limit=1").await.is(200).json();
    assert_eq!((page["data"][0]["name"].as_str(), &page["done"]), (Some("d"), &json!(true)));
    let none = portal.get("/event-type?limit=1&iterator=-d").await.is(200).json();
    assert_eq!((&none["data"], &none["done"]), (&json!([]), &json!(true)));
    portal.get("/event-type/a").await.is(404);
    portal.get("/event-type/d").await.is(200);
    assert_eq!(api.admin.get("/event-type").await.json()["data"].as_array().unwrap().len(), 4);
}
