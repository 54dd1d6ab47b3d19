//! Which keys may call which routes: every scope against every route.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use pushpull_domain::key::Scope;
use serde_json::Value;

use crate::api::TestApi;

/// What each route is meant to take, said once more: a new route without a line here fails.
const EXPECTED: &[(&str, &str)] = &[
    ("v1.application.list", "admin send read"),
    ("v1.application.create", "admin"),
    ("v1.application.get", "admin send read app"),
    ("v1.application.upsert", "admin"),
    ("v1.application.patch", "admin"),
    ("v1.application.delete", "admin"),
    ("v1.endpoint.list", "admin read app"),
    ("v1.endpoint.create", "admin app"),
    ("v1.endpoint.get", "admin read app"),
    ("v1.endpoint.upsert", "admin app"),
    ("v1.endpoint.patch", "admin app"),
    ("v1.endpoint.delete", "admin app"),
    ("v1.endpoint.get-secret", "admin app"),
    ("v1.endpoint.rotate-secret", "admin app"),
    ("v1.endpoint.get-headers", "admin read app"),
    ("v1.endpoint.set-headers", "admin app"),
    ("v1.endpoint.patch-headers", "admin app"),
    ("v1.endpoint.get-stats", "admin read app"),
    ("v1.endpoint.audit", "admin read app"),
    ("v1.endpoint.send-example", "admin app"),
    ("v1.endpoint.recover", "admin app"),
    ("v1.destination.list", "admin read app"),
    ("v1.destination.create", "admin app"),
    ("v1.destination.get", "admin read app"),
    ("v1.destination.upsert", "admin app"),
    ("v1.destination.patch", "admin app"),
    ("v1.destination.delete", "admin app"),
    ("v1.destination.rotate-secret", "admin app"),
    ("v1.message.list", "admin read app"),
    ("v1.message.create", "admin send"),
    ("v1.message.get", "admin read app"),
    ("v1.message.expunge-content", "admin"),
    ("v1.message-attempt.list-attempted-messages", "admin read app"),
    ("v1.message-attempt.list-attempted-destinations", "admin read app"),
    ("v1.message-attempt.list-by-endpoint", "admin read app"),
    ("v1.message-attempt.list-by-msg", "admin read app"),
    ("v1.message-attempt.get", "admin read app"),
    ("v1.message-attempt.expunge-content", "admin app"),
    ("v1.message-attempt.resend", "admin app"),
    ("v1.message-attempt.list-by-msg-deprecated", "admin read app"),
    ("v1.message-attempt.list-by-endpoint-deprecated", "admin read app"),
    ("v1.message.poller.poll", "admin read app poller"),
    ("v1.message.poller.consumer-list", "admin read app poller"),
    ("v1.message.poller.consumer-poll", "admin app poller"),
    ("v1.message.poller.consumer-upsert", "admin app"),
    ("v1.message.poller.consumer-delete", "admin app"),
    ("v1.message.poller.consumer-status", "admin read app poller"),
    ("v1.message.poller.consumer-seek", "admin app poller"),
    ("v1.message.pollerv2.consumer-poll", "admin app poller"),
    ("v1.message.pollerv2.consumer-commit", "admin app poller"),
    ("v1.message.poller.consumer-pull", "admin app poller"),
    ("v1.message.poller.consumer-ack", "admin app poller"),
    ("v1.message.poller.consumer-parked", "admin read app poller"),
    ("v1.message.poller.consumer-replay", "admin app poller"),
    ("v1.event-type.list", "admin send read app"),
    ("v1.event-type.create", "admin"),
    ("v1.event-type.get", "admin send read app"),
    ("v1.event-type.upsert", "admin"),
    ("v1.event-type.patch", "admin"),
    ("v1.event-type.delete", "admin"),
    ("v1.authentication.app-portal-access", "admin"),
    ("v1.authentication.dashboard-access", "admin"),
    ("v1.authentication.get-poller-token", "admin app"),
    ("v1.authentication.rotate-poller-token", "admin app"),
    ("v1.authentication.logout", "admin send read app"),
    // Anybody: health_checks_take_no_key.
    ("v1.health.get", ""),
];

/// Each route: what it is called, its method, and its path with names that stand for nothing.
fn table() -> Vec<(String, Method, String)> {
    let document = pushpull_api::openapi::document("0.0.0");
    let mut table = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path: Vec<&str> = path
            .trim_start_matches("/api/v1")
            .split('/')
            .map(|part| if part.starts_with('{') { "nothing" } else { part })
            .collect();
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            table.push((id, method.to_uppercase().parse().unwrap(), path.join("/")));
        }
    }
    table.retain(|(id, ..)| id != "v1.health.ping");
    table
}

#[tokio::test]
async fn every_route_takes_the_scopes_it_is_meant_to_take_and_no_other() {
    let api = TestApi::start().await;
    let app = api.store.app("acme").await;
    let endpoint = api.store.endpoint(&app, "https://receiver.example/", |_| {}).await;
    let poller = Scope::Poller { app: app.no, app_id: app.id, no: endpoint.no, id: endpoint.id };
    let keys = [
        ("admin", api.admin.clone()),
        ("send", api.with_scope(Scope::Send).await),
        ("read", api.with_scope(Scope::Read).await),
        ("app", api.with_scope(Scope::App { no: app.no, id: app.id }).await),
        ("poller", api.with_scope(poller).await),
    ];
    let expected: BTreeMap<&str, &str> = EXPECTED.iter().copied().collect();
    let table = table();
    let ids: BTreeSet<&str> = table.iter().map(|(id, ..)| &**id).collect();
    assert_eq!(ids, expected.keys().copied().collect(), "routes, and what is expected of them");

    for (id, method, path) in table.iter().filter(|(id, ..)| id != "v1.health.get") {
        let mut allowed = Vec::new();
        for (scope, client) in &keys {
            let answer = client.call(method.clone(), path, "", &[]).await;
            match answer.status {
                403 => assert_eq!(answer.json()["code"], "insufficient_scope"),
                _ => allowed.push(*scope),
            }
        }
        assert_eq!(allowed.join(" "), expected[&**id], "{id}");
        let nobody = api.without_key().call(method.clone(), path, "", &[]).await.is(401);
        assert_eq!(nobody.headers["www-authenticate"], "Bearer");
    }
}

#[tokio::test]
async fn health_checks_take_no_key() {
    let api = TestApi::start().await;
    api.without_key().get("/health").await.is(204);
    api.without_key().get("/health/ping").await.is(204);
    api.without_key().call(Method::HEAD, "/health", "", &[]).await.is(204);
}

#[tokio::test]
async fn the_document_says_which_scopes_a_route_takes() {
    let document = pushpull_api::openapi::document("0.0.0");
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|m| m.as_object().unwrap().values());
    let expected: BTreeMap<&str, &str> = EXPECTED.iter().copied().collect();
    for operation in operations.filter(|operation| operation.get("security").is_some()) {
        let words: Vec<&str> =
            operation["x-scopes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(words.join(" "), expected[operation["operationId"].as_str().unwrap()]);
    }
}

#[tokio::test]
async fn who_may_only_send_makes_no_application_with_a_message() {
    let api = TestApi::start().await;
    let sender = api.with_scope(Scope::Send).await;
    let message = || serde_json::json!({ "eventType": "a", "payload": {}, "application": { "name": "New" } });
    sender.post("/app/new/msg", message()).await.is(403);
    api.admin.post("/app/new/msg", message()).await.is(202);
    sender.post("/app/new/msg", message()).await.is(202);
}
