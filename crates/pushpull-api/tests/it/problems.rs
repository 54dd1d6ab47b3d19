//! Every way a request can fail, as people see it; and `docs/errors.md`, which has a section for each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Arc,
};

use axum::{body::Body, response::IntoResponse};
use http::{Method, Request};
use http_body_util::BodyExt;
use pushpull_api::problem::{Code, Conflict, Problem, Unreadable};
use pushpull_domain::{DeliveryState, Seq, attempt::Outcome, key::Scope};
use pushpull_store::Error as StoreError;
use serde_json::{Value, json};

use crate::{
    api::{Answer, TestApi},
    story::attempted,
};

const PAGE: &str = include_str!("../../../../docs/errors.md");

/// What was answered, by code. The code of a 422 is the type of its fault.
#[derive(Default)]
struct Seen(BTreeMap<&'static str, String>);

impl Seen {
    #[track_caller]
    fn note(&mut self, code: Code, answer: Answer) {
        let body = answer.json();
        match code {
            Code::Validation => assert_eq!(body["detail"][0]["type"], "value_error"),
            Code::IdempotencyKeyReused => assert_eq!(body["detail"][0]["type"], code.as_str()),
            _ => assert_eq!(body["code"], code.as_str()),
        }
        insta::assert_snapshot!(code.as_str(), answer.shown());
        let example = format!("```json\n{body}\n```");
        assert!(PAGE.contains(&example), "docs/errors.md, {code}: the example is to be\n{example}");
        assert!(self.0.insert(code.as_str(), example).is_none(), "twice: {code}");
    }
}

#[tokio::test]
async fn every_code_is_answered_as_the_page_says() {
    let api = TestApi::start().await;
    let mut seen = Seen::default();
    asked_wrongly(&api, &mut seen).await;
    not_allowed(&api, &mut seen).await;
    in_the_way(&api, &mut seen).await;
    between_readers(&api, &mut seen).await;
    ours(&mut seen).await;
    let all: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(seen.0.keys().copied().collect::<BTreeSet<_>>(), all);
}

async fn asked_wrongly(api: &TestApi, seen: &mut Seen) {
    api.store.app("acme").await;
    let endpoint = json!({ "url": "https://receiver.example/", "uid": "main" });
    api.admin.post("/app/acme/endpoint", endpoint).await.is(201);

    let text = "{\n  \"name\": \"Acme\",\n}";
    seen.note(Code::MalformedJson, api.admin.call(Method::POST, "/app", text, &[]).await.is(400));
    let url = json!({ "url": "https://user:secret@receiver.example/" });
    seen.note(Code::Validation, api.admin.post("/app/acme/endpoint", url).await.is(422));
    let large = json!({ "eventType": "a", "payload": "x".repeat(2_000) });
    seen.note(Code::PayloadTooLarge, api.admin.post("/app/acme/msg", large).await.is(413));
    let cut = futures_util::stream::iter([Ok("{"), Err("the connection broke")]);
    let request =
        Request::post("/api/v1/app/acme/msg").header("authorization", "Bearer admin key of the tests");
    let answer = api.admin.send(request.body(Body::from_stream(cut)).unwrap()).await.is(400);
    seen.note(Code::BodyCut, answer);
    seen.note(Code::NoSuchPath, api.admin.get("/apps").await.is(404));
    let made_up = api.admin.get("/app/acme/poller/main?iterator=made-up").await.is(400);
    seen.note(Code::InvalidIterator, made_up);
    seen.note(Code::MethodNotAllowed, api.admin.delete("/app").await.is(405));
}

async fn not_allowed(api: &TestApi, seen: &mut Seen) {
    let unknown = api.with_key("unknown").get("/app").await.is(401);
    seen.note(Code::AuthenticationFailed, unknown);
    let reader = api.with_scope(Scope::Read).await;
    seen.note(Code::InsufficientScope, reader.post("/app", json!({ "name": "a" })).await.is(403));
    seen.note(Code::NotFound, api.admin.get("/app/nothing").await.is(404));
    seen.note(Code::NotAPortalKey, api.admin.post("/auth/logout", json!({})).await.is(400));
}

async fn in_the_way(api: &TestApi, seen: &mut Seen) {
    let taken = api.admin.post("/app", json!({ "name": "a", "uid": "acme" })).await.is(409);
    seen.note(Code::Conflict, taken);
    let message = |n: u32| json!({ "eventType": "a", "payload": { "n": n }, "eventId": format!("evt-{n}") });
    let id = api.admin.post_once("/app/acme/msg", "k", message(1)).await.is(202).str("id");
    let reused = api.admin.post_once("/app/acme/msg", "k", message(2)).await.is(422);
    seen.note(Code::IdempotencyKeyReused, reused);
    seen.note(Code::EventIdTaken, api.admin.post("/app/acme/msg", message(1)).await.is(409));

    let failed = Outcome::Refused { status: 500, body: bytes::Bytes::new(), retry_after: None };
    attempted(api, &api.admin, "acme", &id, failed, DeliveryState::Exhausted).await;
    let resend = format!("/app/acme/msg/{id}/endpoint/main/resend");
    api.admin.patch("/app/acme/endpoint/main", json!({ "disabled": true })).await.is(200);
    seen.note(Code::EndpointDisabled, api.admin.post(&resend, json!({})).await.is(400));
    api.admin.patch("/app/acme/endpoint/main", json!({ "disabled": false })).await.is(200);
    api.admin.patch("/app/acme/endpoint/main", json!({ "mode": "held" })).await.is(200);
    seen.note(Code::EndpointNotPushed, api.admin.post(&resend, json!({})).await.is(409));
    api.admin.patch("/app/acme/endpoint/main", json!({ "mode": "push" })).await.is(200);
    api.admin.delete(&format!("/app/acme/msg/{id}/content")).await.is(204);
    seen.note(Code::PayloadExpired, api.admin.post(&resend, json!({})).await.is(400));
}

/// Where one reader of a queue stands in another's way.
async fn between_readers(api: &TestApi, seen: &mut Seen) {
    api.store.app("read").await;
    let endpoint = json!({ "mode": "pull", "uid": "main" });
    api.admin.post("/app/read/endpoint", endpoint).await.is(201);
    api.admin.post("/app/read/msg", json!({ "eventType": "a", "payload": {} })).await.is(202);
    let leased = "/app/read/polling-endpoint/main/consumer/billing";
    api.admin.get(&format!("{leased}?holder=one")).await.is(200);
    seen.note(Code::LeaseHeld, api.admin.get(&format!("{leased}?holder=two")).await.is(409));
    let reader = "/app/read/poller/main/consumer/work";
    api.admin.post(&format!("{reader}/pull"), json!({})).await.is(200);
    seen.note(Code::WorkQueueNotDone, api.admin.get(reader).await.is(409));
}

/// What only a store in trouble, or a race, brings about.
async fn ours(seen: &mut Seen) {
    let source = || Arc::new(std::io::Error::other("said by the system"));
    let row = StoreError::Inconsistent { table: "message", row: "7".into(), what: "said by us".into() };
    for problem in [
        Problem::Conflict(Conflict::ChangedMeanwhile { what: "endpoint" }),
        Problem::Conflict(Conflict::TooManyEndpoints),
        Problem::Conflict(Conflict::TooManyConsumers),
        Problem::Unreadable(Unreadable::Overtaken { earliest: Seq(8_812) }),
        Problem::Store(StoreError::Full(source())),
        Problem::Store(StoreError::Busy),
        Problem::Store(StoreError::Unavailable(source())),
        Problem::Store(StoreError::Closing),
        Problem::Store(row),
    ] {
        let code = problem.code();
        let (parts, body) = problem.into_response().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body };
        // The chain of causes is for the log.
        assert!(!answer.text().contains("said by"), "{}", answer.text());
        seen.note(code, answer);
    }
}

#[test]
fn the_page_of_errors_has_a_section_for_each_code_and_no_other() {
    let sections: Vec<_> = PAGE.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let sections: BTreeSet<_> =
        sections.iter().filter_map(|s| s.strip_prefix('`')?.strip_suffix('`')).collect();
    let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(sections, codes);
}

#[tokio::test]
async fn faults_of_a_body_are_told_by_their_place() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let mut text = String::new();
    for (path, body) in [
        ("/app", json!({})),
        ("/app", json!([])),
        ("/app", json!({ "name": "" })),
        ("/app", json!({ "name": "x".repeat(513) })),
        ("/app", json!({ "name": "a", "uid": "a b" })),
        ("/app", json!({ "name": "a", "throttleRate": 0 })),
        ("/app", json!({ "name": "a", "throttleRate": 70_000 })),
        ("/app", json!({ "name": "a", "metadata": { "a": 1 } })),
        ("/app/acme/endpoint", json!({ "url": "ftp://receiver.example/" })),
        ("/app/acme/endpoint", json!({ "url": "http://receiver.example/" })),
        ("/app/acme/endpoint", json!({ "url": "https://10.0.0.1/" })),
        ("/app/acme/endpoint", json!({ "url": "", "mode": "push" })),
        ("/app/acme/endpoint", json!({ "url": "https://receiver.example/", "mode": 1 })),
        ("/app/acme/endpoint", json!({ "url": "https://receiver.example/", "version": 2 })),
        ("/app/acme/endpoint", json!({ "url": "https://receiver.example/", "eventTypes": [] })),
        ("/app/acme/endpoint", json!({ "url": "https://receiver.example/", "eventTypes": ["a", "b c"] })),
        ("/app/acme/endpoint", json!({ "url": "https://receiver.example/", "channels": ["a", "a"] })),
        ("/app/acme/endpoint", json!({ "url": "https://receiver.example/", "headers": { "host": "a" } })),
        ("/app/acme/endpoint", json!({ "url": "https://receiver.example/", "secret": "whsec_short" })),
        ("/app/acme/endpoint", json!({ "url": "https://receiver.example/", "retrySchedule": [-1] })),
        ("/event-type", json!({ "name": "a" })),
        ("/event-type", json!({ "name": "a", "description": "", "archived": "yes" })),
        ("/event-type", json!({ "name": "a", "description": "", "schemas": { "1": true } })),
        ("/event-type", json!({ "name": "a", "description": "", "featureFlags": ["a", 1] })),
        ("/app/acme/msg", json!({ "eventType": "a" })),
        ("/app/acme/msg", json!({ "payload": {} })),
        ("/app/acme/msg", json!({ "eventType": "a", "payload": {}, "channels": ["a", "b c"] })),
        ("/app/new/msg", json!({ "eventType": "a", "payload": {}, "application": { "uid": "new" } })),
    ] {
        let answer = api.admin.post(path, body.clone()).await.is(422);
        let fault = &answer.json()["detail"][0];
        let place: Vec<_> = fault["loc"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let said = fault["msg"].as_str().unwrap();
        let body = body.to_string().replace(&"x".repeat(513), "x...");
        let kind = fault["type"].as_str().unwrap();
        writeln!(text, "{path} {body}\n  {} ({kind}): {said}", place.join(".")).unwrap();
    }
    insta::assert_snapshot!("faults", text);
}
