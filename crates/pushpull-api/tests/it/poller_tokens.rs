//! Tokens that read one endpoint's queue: made, shown again, rotated, and what they open.

use std::time::Duration;

use pushpull_domain::key::Scope;
use serde_json::json;

use crate::api::TestApi;

const TOKEN: &str = "/auth/app/acme/poller/main/token";

/// An application with an endpoint.
async fn start() -> TestApi {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let endpoint = json!({ "url": "https://receiver.example/", "uid": "main" });
    api.admin.post("/app/acme/endpoint", endpoint).await.is(201);
    api
}

async fn rotate(api: &TestApi, body: serde_json::Value) -> String {
    api.admin.post(&format!("{TOKEN}/rotate"), body).await.is(201).str("token")
}

#[tokio::test]
async fn a_token_is_made_on_first_asking_and_shown_again() {
    let api = start().await;
    let first = api.admin.get(TOKEN).await.is(200);
    assert!(first.str("token").starts_with("ppk_"));
    assert_eq!(first.json().get("expiresAt"), None);
    assert_eq!(api.admin.get(TOKEN).await.is(200), first);
    let app = api.store.app("other").await;
    let portal = api.with_scope(Scope::App { no: app.no, id: app.id }).await;
    portal.get(TOKEN).await.is(404);
}

#[tokio::test]
async fn many_who_ask_first_are_shown_one_token() {
    let api = start().await;
    let shown = futures_util::future::join_all((0..20).map(|_| api.admin.get(TOKEN))).await;
    for one in &shown {
        assert_eq!(one.status, 200);
        assert_eq!(one, &shown[0]);
    }
}

#[tokio::test]
async fn a_token_that_ended_is_followed_by_another() {
    let api = start().await;
    let short = rotate(&api, json!({ "expiry": 60 })).await;
    let shown = api.admin.get(TOKEN).await;
    assert_eq!(shown.str("token"), short);
    assert_eq!(shown.str("expiresAt"), "2026-11-24T09:47:00.000Z");
    api.clock.advance(Duration::from_secs(60));
    let next = api.admin.get(TOKEN).await.is(200);
    assert_ne!(next.str("token"), short);
    assert_eq!(next.json().get("expiresAt"), None);
}

#[tokio::test]
async fn times_out_of_bounds_are_refused_by_name() {
    let api = start().await;
    for (field, value) in [
        ("expiry", json!(0)),
        ("expiry", json!(31_536_001)),
        ("expiry", json!(-1)),
        ("oldTokenExpiry", json!(86_401)),
        ("oldTokenExpiry", json!(-1)),
    ] {
        let answer = api.admin.post(&format!("{TOKEN}/rotate"), json!({ field: value })).await.is(422);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", field]));
    }
    rotate(&api, json!({ "expiry": 31_536_000, "oldTokenExpiry": 86_400 })).await;
    rotate(&api, json!({ "expiry": 1, "oldTokenExpiry": 0 })).await;
    rotate(&api, json!({ "expiry": null, "oldTokenExpiry": null })).await;
}
