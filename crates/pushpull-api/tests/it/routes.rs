//! Every route once, as it is when all goes well.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use http::Method;
use pushpull_domain::{
    DeliveryState,
    attempt::{ErrorClass, Outcome},
};
use serde_json::json;

use crate::{
    api::{START, TestApi},
    story::{Story, attempted, owed},
};

/// Takes down what was said in a story, and gives what was called in it.
macro_rules! told {
    ($name:literal, $story:expr) => {{
        let (text, called) = $story.end();
        insta::assert_snapshot!($name, text);
        called
    }};
}

#[tokio::test]
async fn every_route_answers() {
    let api = TestApi::start().await;
    let mut called = applications(&api).await;
    called.extend(event_types(&api).await);
    called.extend(endpoints(&api).await);
    called.extend(messages(&api).await);
    called.extend(attempts(&api).await);
    called.extend(feed(&api).await);
    called.extend(destinations(&api).await);
    called.extend(consumers(&api).await);
    called.extend(work_queues(&api).await);
    called.extend(the_rest(&api).await);

    let document = pushpull_api::openapi::document("0.0.0");
    let table: Vec<(Method, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| {
                (method.to_uppercase().parse().unwrap(), path.trim_start_matches("/api/v1").to_owned())
            })
        })
        .collect();
    let shown: BTreeSet<_> = called.iter().filter_map(|call| route_of(&table, call)).collect();
    let missing: Vec<_> = (0..table.len()).filter(|n| !shown.contains(n)).map(|n| &table[n]).collect();
    assert!(missing.is_empty(), "routes that no story calls: {missing:?}");
}

/// Which route of the table a call went to.
fn route_of(table: &[(Method, String)], (method, path): &(Method, String)) -> Option<usize> {
    let called: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        parts.len() == called.len()
            && parts.iter().zip(&called).all(|(part, given)| part.starts_with('{') || part == given)
    };
    table.iter().position(|(of, template)| of == method && fits(template))
}

type Called = Vec<(Method, String)>;

async fn applications(api: &TestApi) -> Called {
    let mut story = Story::about(api);
    let whole = json!({ "name": "Acme", "uid": "acme", "throttleRate": 50, "metadata": { "plan": "gold" } });
    story.post("/app", whole).await.is(201);
    story.post("/app?get_if_exists=true", json!({ "name": "Other", "uid": "acme" })).await.is(200);
    story.put("/app/other", json!({ "name": "Other" })).await.is(201);
    story.put("/app/other", json!({ "name": "Another", "rateLimit": 7 })).await.is(200);
    story.patch("/app/other", json!({ "rateLimit": null, "uid": "another" })).await.is(200);
    story.get("/app/acme").await.is(200);
    story.get("/app?limit=1").await.is(200);
    story.delete("/app/another").await.is(204);
    story.get("/app/another").await.is(404);
    told!("applications", story)
}

async fn event_types(api: &TestApi) -> Called {
    let mut story = Story::about(api);
    let schema = json!({ "type": "object", "examples": [{ "amount": 1.5 }] });
    let whole = json!({
        "name": "invoice.paid", "description": "An invoice was paid", "schemas": { "1": schema },
        "groupName": "billing", "retrySchedule": [5, 300.5],
    });
    story.post("/event-type", whole).await.is(201);
    story.put("/event-type/user.gone", json!({ "description": "A user left" })).await.is(201);
    story.put("/event-type/user.gone", json!({ "description": "Gone", "deprecated": true })).await.is(200);
    story.patch("/event-type/user.gone", json!({ "groupName": "users" })).await.is(200);
    story.get("/event-type/invoice.paid").await.is(200);
    story.get("/event-type?with_content=true").await.is(200);
    story.delete("/event-type/user.gone").await.is(204);
    story.get("/event-type").await.is(200);
    story.get("/event-type?include_archived=true&limit=1&iterator=invoice.paid").await.is(200);
    story.post("/event-type", json!({ "name": "user.gone", "description": "Back" })).await.is(201);
    story.delete("/event-type/user.gone?expunge=true").await.is(204);
    story.get("/event-type/user.gone").await.is(404);
    told!("event_types", story)
}

async fn endpoints(api: &TestApi) -> Called {
    let mut story = Story::about(api);
    let whole = json!({
        "url": "https://receiver.example/hook", "uid": "main", "description": "The main one",
        "eventTypes": ["invoice.paid"], "channels": ["eu"], "throttleRate": 10, "metadata": { "a": "b" },
        "headers": { "X-Team": "billing", "Authorization": "Basic YTpi" }, "retrySchedule": [1, 60],
        "fifo": true, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    });
    story.post("/app/acme/endpoint", whole).await.is(201);
    story.put("/app/acme/endpoint/spare", json!({ "url": "https://spare.example/" })).await.is(201);
    story.put("/app/acme/endpoint/spare", json!({ "url": "https://spare.example/2" })).await.is(200);
    story.patch("/app/acme/endpoint/main", json!({ "channels": null, "fifo": false })).await.is(200);
    story.get("/app/acme/endpoint/main").await.is(200);
    story.get("/app/acme/endpoint?limit=1&order=descending").await.is(200);

    story.get("/app/acme/endpoint/main/secret").await.is(200);
    let new = json!({ "key": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "gracePeriodSeconds": 60 });
    story.post("/app/acme/endpoint/main/secret/rotate", new).await.is(200);
    story.get("/app/acme/endpoint/main/secret").await.is(200);

    story.get("/app/acme/endpoint/main/headers").await.is(200);
    story.put("/app/acme/endpoint/main/headers", json!({ "headers": { "X-A": "1", "X-B": "2" } })).await;
    let change = json!({ "headers": { "X-A": null, "X-C": "3" }, "deleteHeaders": ["x-b"] });
    story.patch("/app/acme/endpoint/main/headers", change).await.is(204);
    story.get("/app/acme/endpoint/main/headers").await.is(200);

    story.delete("/app/acme/endpoint/spare").await.is(204);
    story.get("/app/acme/endpoint/spare").await.is(404);
    told!("endpoints", story)
}

async fn messages(api: &TestApi) -> Called {
    let mut story = Story::about(api);
    let whole = json!({
        "eventType": "invoice.paid", "payload": { "amount": 1.5, "of": ["a", null] }, "eventId": "evt-1",
        "channels": ["eu", "big"], "tags": ["march"], "deliverAt": "2026-11-24T10:46:00Z",
        "payloadRetentionPeriod": 30,
    });
    story.post("/app/acme/msg", whole).await.is(202);
    let without = json!({ "eventType": "invoice.paid", "payload": { "amount": 2 } });
    story.post("/app/acme/msg?with_content=false", without).await.is(202);
    let raw = json!({
        "eventType": "note", "payload": {},
        "transformationsParams": { "rawPayload": "<a/>", "headers": { "content-type": "text/xml" } },
    });
    story.post("/app/acme/msg", raw).await.is(202);
    let with_app = json!({
        "eventType": "note", "payload": {}, "eventId": "first", "application": { "name": "New", "uid": "new" },
    });
    story.post("/app/new/msg", with_app).await.is(202);
    story.get("/app/acme/msg/evt-1").await.is(200);
    story.get("/app/acme/msg/evt-1?with_content=false").await.is(200);
    story.get("/app/acme/msg?limit=2").await.is(200);
    story.delete("/app/new/msg/first/content").await.is(204);
    story.get("/app/new/msg/first").await.is(200);
    told!("messages", story)
}

/// An endpoint's queue, read.
async fn destinations(api: &TestApi) -> Called {
    let mut story = Story::about(api);
    let queue = json!({
        "type": "pollingEndpoint", "uid": "queue", "eventTypes": ["invoice.paid"], "channels": ["eu"],
        "batchSize": 1, "maxWaitSecs": 0, "metadata": { "a": "b" },
    });
    story.post("/app/acme/destination", queue).await.is(201);
    let line = json!({
        "type": "fifoEndpoint",
        "config": {
            "url": "https://line.example/", "key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "headers": { "X-Team": "billing", "Authorization": "Basic YTpi" },
        },
    });
    story.put("/app/acme/destination/line", line).await.is(201);
    let line = json!({ "type": "fifoEndpoint", "config": { "url": "https://line.example/2" } });
    story.put("/app/acme/destination/line", line).await.is(200);
    story
        .patch("/app/acme/destination/queue", json!({ "channels": null, "status": "disabled" }))
        .await
        .is(200);
    story.get("/app/acme/destination/line").await.is(200);
    story.get("/app/acme/destination?limit=1&order=descending").await.is(200);
    story.get("/app/acme/endpoint/queue").await.is(200);
    let new = json!({ "key": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD" });
    story.post("/app/acme/destination/line/secret/rotate", new).await.is(200);
    story.delete("/app/acme/destination/queue").await.is(204);
    story.delete("/app/acme/destination/line").await.is(204);
    story.get("/app/acme/destination").await.is(200);
    story.get("/app/acme/destination/main").await.is(404);
    told!("destinations", story)
}

async fn feed(api: &TestApi) -> Called {
    let mut story = Story::about(api);
    let page = story.get("/app/acme/poller/main?limit=2").await.is(200);
    let iterator = page.str("iterator");
    story.get(&format!("/app/acme/poller/main?iterator={iterator}&limit=1")).await.is(200);
    story.get("/app/acme/poller/main?from=latest&event_type=note").await.is(200);
    told!("feed", story)
}

/// The same, as named readers.
async fn consumers(api: &TestApi) -> Called {
    const READER: &str = "/app/acme/poller/main/consumer/billing";
    const LEASED: &str = "/app/acme/polling-endpoint/main/consumer/search";
    let mut story = Story::about(api);
    let page = story.get(&format!("{READER}?limit=1")).await.is(200);
    let iterator = page.str("iterator");
    story.get(&format!("{READER}?limit=1&iterator={iterator}")).await.is(200);
    story.get(&format!("{READER}/status")).await.is(200);
    story.post(&format!("{READER}/seek"), json!({ "after": "2026-11-24T00:00:00Z" })).await.is(200);

    let settings = json!({ "from": "earliest", "idle": 86_400, "maxDeliver": 5 });
    story.put("/app/acme/poller/main/consumer/search", settings.clone()).await.is(201);
    story.put("/app/acme/poller/main/consumer/search", settings).await.is(200);
    story.get(&format!("{LEASED}?limit=2&lease_duration_ms=60000&holder=one")).await.is(200);
    story.get(&format!("{LEASED}?limit=2")).await.is(200);
    story.get("/app/acme/poller/main/consumer/search/status").await.is(200);
    story.post(&format!("{LEASED}/commit"), json!({ "offset": 1, "holder": "one" })).await.is(204);
    story.get("/app/acme/poller/main/consumer?limit=1").await.is(200);
    story.delete("/app/acme/poller/main/consumer/search").await.is(204);
    told!("consumers", story)
}

/// The same, as workers that share a queue.
async fn work_queues(api: &TestApi) -> Called {
    const READER: &str = "/app/acme/poller/main/consumer/work";
    let mut story = Story::about(api);
    story.post(&format!("{READER}/pull"), json!({ "max": 2, "lease": 60, "holder": "one" })).await.is(200);
    let answers = json!({ "ack": [1], "nack": [{ "seq": 2, "do": "park" }], "holder": "one" });
    story.post(&format!("{READER}/ack"), answers).await.is(200);
    story.get(&format!("{READER}/parked")).await.is(200);
    story.get(&format!("{READER}/status")).await.is(200);
    story.post(&format!("{READER}/replay"), json!({ "seqs": [2] })).await.is(200);
    story.post(&format!("{READER}/pull"), json!({ "max": 1 })).await.is(200);
    let answers = json!({ "nack": [{ "seq": 2, "delay": 5 }], "extend": [{ "seq": 2, "lease": 60 }] });
    story.post(&format!("{READER}/ack"), answers).await.is(200);
    told!("work_queues", story)
}

async fn attempts(api: &TestApi) -> Called {
    let mut story = Story::about(api);
    let id = api.admin.get("/app/acme/msg/evt-1").await.str("id");
    let due_at = START.after(Duration::from_secs(5));
    let refused =
        Outcome::Refused { status: 500, body: Bytes::from_static(b"no disk left"), retry_after: None };
    attempted(api, &api.admin, "acme", &id, refused, owed(due_at)).await;
    story.get("/app/acme/msg/evt-1/endpoint").await.is(200);
    api.clock.set(due_at);
    let dns = Outcome::Failed { class: ErrorClass::Dns, detail: "receiver.example does not resolve".into() };
    attempted(api, &api.admin, "acme", &id, dns, owed(due_at.after(Duration::from_mins(5)))).await;
    api.clock.advance(Duration::from_mins(5));
    let delivered = Outcome::Delivered { status: 200, body: Bytes::from_static(b"thanks") };
    attempted(api, &api.admin, "acme", &id, delivered, DeliveryState::Delivered).await;

    story.get("/app/acme/endpoint/main/msg?limit=1").await.is(200);
    story.get("/app/acme/endpoint/main/stats").await.is(200);
    story.get("/app/acme/endpoint/main/audit?since=1").await.is(200);
    let list = story.get("/app/acme/attempt/endpoint/main").await.is(200).json();
    story.get("/app/acme/attempt/msg/evt-1?limit=1&with_msg=true").await.is(200);
    story.get("/app/acme/msg/evt-1/attempt?status=2&limit=1").await.is(200);
    story.get("/app/acme/msg/evt-1/endpoint/main/attempt?status_code_class=500&with_content=false").await;
    let attempt = list["data"][0]["id"].as_str().unwrap();
    story.get(&format!("/app/acme/msg/evt-1/attempt/{attempt}")).await.is(200);
    story.delete(&format!("/app/acme/msg/evt-1/attempt/{attempt}/content")).await.is(204);
    story.get(&format!("/app/acme/msg/evt-1/attempt/{attempt}")).await.is(200);

    story.post("/app/acme/msg/evt-1/endpoint/main/resend", json!({})).await.is(202);
    let since = json!({ "since": "2026-11-24T00:00:00Z" });
    story.post("/app/acme/endpoint/main/recover", since).await.is(202);
    let example = json!({ "eventType": "invoice.paid", "exampleIndex": 0 });
    story.post("/app/acme/endpoint/main/send-example", example).await.is(202);
    told!("attempts", story)
}

async fn the_rest(api: &TestApi) -> Called {
    let mut story = Story::about(api);
    story.get("/health").await.is(204);
    story.get("/health/ping").await.is(204);
    let token = "/auth/app/acme/poller/main/token";
    story.get(token).await.is(200);
    story.get(token).await.is(200);
    let change = json!({ "expiry": 3600, "oldTokenExpiry": 60 });
    story.post(&format!("{token}/rotate"), change).await.is(201);
    story.get(token).await.is(200);
    let access = story.post("/auth/app-portal-access/acme", json!({ "expiry": 3600 })).await.is(200);
    story.post("/auth/dashboard-access/acme", json!({})).await.is(200);
    let (text, mut called) = story.end();
    let portal = api.with_key(&access.str("token"));
    let out = portal.post("/auth/logout", json!({})).await.is(204);
    portal.get("/app/acme").await.is(401);
    called.push((Method::POST, "/auth/logout".into()));
    insta::assert_snapshot!("the_rest", format!("{text}=== POST /auth/logout (portal)\n--- {}", out.shown()));
    called
}
