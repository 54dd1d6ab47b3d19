//! Requests that are repeated.

use std::time::Duration;

use serde_json::json;

use crate::api::TestApi;

#[tokio::test]
async fn a_message_with_the_same_key_is_sent_once() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let message = |n: u32| json!({ "eventType": "a", "payload": { "n": n } });
    let first = api.admin.post_once("/app/acme/msg", "k", message(1)).await.is(202);
    assert_eq!(api.admin.post_once("/app/acme/msg", "k", message(1)).await, first);
    let reused = api.admin.post_once("/app/acme/msg", "k", message(2)).await.is(422);
    assert_eq!(reused.json()["detail"][0]["loc"], json!(["header", "idempotency-key"]));
    assert_eq!(reused.json()["detail"][0]["type"], "idempotency_key_reused");
    // Another key, or none, is another request.
    let other = api.admin.post_once("/app/acme/msg", "l", message(1)).await.is(202);
    assert_ne!(other.str("id"), first.str("id"));
    api.admin.post("/app/acme/msg", message(1)).await.is(202);
    assert_eq!(api.admin.get("/app/acme/msg").await.json()["data"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn messages_with_one_key_at_the_same_time_are_one() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let message = || json!({ "eventType": "a", "payload": {} });
    let all = (0..20).map(|_| api.admin.post_once("/app/acme/msg", "k", message()));
    let answers = futures_util::future::join_all(all).await;
    for answer in &answers {
        assert_eq!(*answer, answers[0].clone().is(202));
    }
    assert_eq!(api.admin.get("/app/acme/msg").await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_for_another_application_is_another_key() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    api.store.app("other").await;
    let message = || json!({ "eventType": "a", "payload": {} });
    let first = api.admin.post_once("/app/acme/msg", "k", message()).await.is(202);
    let second = api.admin.post_once("/app/other/msg", "k", message()).await.is(202);
    assert_ne!(first.str("id"), second.str("id"));
}

#[tokio::test]
async fn a_repeated_message_is_answered_as_it_was_though_its_time_is_over() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let message = || json!({ "eventType": "a", "payload": {}, "deliverAt": "2026-11-24T09:46:01Z" });
    let first = api.admin.post_once("/app/acme/msg", "k", message()).await.is(202);
    api.clock.advance(Duration::from_secs(10));
    assert_eq!(api.admin.post_once("/app/acme/msg", "k", message()).await, first);
    api.admin.post("/app/acme/msg", message()).await.is(422);
}

#[tokio::test]
async fn whatever_is_made_with_a_key_is_made_once() {
    let api = TestApi::start().await;
    let app = |name: &str| json!({ "name": name });
    let first = api.admin.post_once("/app", "k", app("a")).await.is(201);
    assert_eq!(api.admin.post_once("/app", "k", app("a")).await, first);
    api.admin.post_once("/app", "k", app("b")).await.is(422);
    let all = (0..20).map(|_| api.admin.post_once("/app", "at once", app("c")));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.status == 201));
    assert_eq!(api.admin.get("/app").await.json()["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_failed_is_tried_again() {
    let api = TestApi::start().await;
    let example = || json!({ "eventType": "a" });
    api.store.app("acme").await;
    let endpoint = json!({ "url": "https://receiver.example/", "uid": "main" });
    api.admin.post("/app/acme/endpoint", endpoint).await.is(201);
    let path = "/app/acme/endpoint/main/send-example";
    api.admin.post_once(path, "k", example()).await.is(404);
    let schemas = json!({ "1": { "examples": [{}] } });
    let event_type = json!({ "name": "a", "description": "", "schemas": schemas });
    api.admin.post("/event-type", event_type).await.is(201);
    api.admin.post_once(path, "k", example()).await.is(202);
}

#[tokio::test]
async fn what_a_reader_posts_is_not_remembered() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    api.admin.post("/app/acme/endpoint", json!({ "mode": "pull", "uid": "main" })).await.is(201);
    for _ in 0..4 {
        api.admin.post("/app/acme/msg", json!({ "eventType": "a", "payload": {} })).await.is(202);
    }
    let worker = "/app/acme/poller/main/consumer/work";
    for seq in 1..=2 {
        let pulled = api.admin.post_once(&format!("{worker}/pull"), "k", json!({ "max": 1 })).await.is(200);
        assert_eq!(pulled.json()["data"][0]["seq"], seq, "the next, not the one before again");
        let answers = json!({ "nack": [{ "seq": seq, "do": "park" }] });
        api.admin.post_once(&format!("{worker}/ack"), "k", answers).await.is(200);
        let replayed = api.admin.post_once(&format!("{worker}/replay"), "k", json!({})).await.is(200);
        assert_eq!(replayed.json()["replayed"], 1);
        api.admin.post(&format!("{worker}/ack"), json!({ "ack": [seq] })).await.is(200);
    }
    for seq in 1..=2 {
        let reader = "/app/acme/poller/main/consumer/reader";
        api.admin.post_once(&format!("{reader}/seek"), "k", json!({ "seq": seq })).await.is(200);
        let leased = "/app/acme/polling-endpoint/main/consumer/leased";
        assert_eq!(api.admin.get(&format!("{leased}?limit=1")).await.json()["data"][0]["seq"], seq);
        api.admin.post_once(&format!("{leased}/commit"), "k", json!({ "offset": seq })).await.is(204);
    }
}

#[tokio::test]
async fn a_key_is_forgotten_after_twelve_hours() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let message = || json!({ "eventType": "a", "payload": {} });
    let app = || json!({ "name": "a" });
    let sent = api.admin.post_once("/app/acme/msg", "k", message()).await.is(202).str("id");
    let made = api.admin.post_once("/app", "k", app()).await.is(201).str("id");
    api.clock.advance(Duration::from_secs(12 * 3600 - 1));
    assert_eq!(api.admin.post_once("/app/acme/msg", "k", message()).await.str("id"), sent);
    assert_eq!(api.admin.post_once("/app", "k", app()).await.str("id"), made);
    api.clock.advance(Duration::from_secs(1));
    assert_ne!(api.admin.post_once("/app/acme/msg", "k", message()).await.str("id"), sent);
    assert_ne!(api.admin.post_once("/app", "k", app()).await.str("id"), made);
}

#[tokio::test]
async fn a_key_is_1_to_256_visible_characters() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let long = "k".repeat(257);
    for key in ["", &long] {
        for (path, body) in
            [("/app/acme/msg", json!({ "eventType": "a", "payload": {} })), ("/app", json!({ "name": "a" }))]
        {
            let answer = api.admin.post_once(path, key, body).await.is(422);
            assert_eq!(answer.json()["detail"][0]["loc"], json!(["header", "idempotency-key"]));
        }
    }
    api.admin.post_once("/app", &"k".repeat(256), json!({ "name": "a" })).await.is(201);
}
