//! Destinations: endpoints that are read, or pushed in order, as the SDKs make them.

use std::time::Duration;

use bytes::Bytes;
use pushpull_domain::{DeliveryState, attempt::Outcome, endpoint::DisabledReason};
use serde_json::{Value, json};

use crate::{
    api::{START, TestApi},
    story::{attempted, owed},
};

const LIST: &str = "/app/acme/destination";

async fn start() -> TestApi {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    api
}

fn fifo(more: &Value) -> Value {
    let mut body = json!({ "type": "fifoEndpoint", "config": { "url": "https://line.example/" } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A message to the application; its id.
async fn send(api: &TestApi) -> String {
    api.admin.post("/app/acme/msg", json!({ "eventType": "a", "payload": 1 })).await.is(202).str("id")
}

#[tokio::test]
async fn a_destination_is_an_endpoint() {
    let api = start().await;
    let made = api.admin.post(LIST, json!({ "type": "pollingEndpoint", "uid": "queue" })).await.is(201);
    let endpoint = api.admin.get("/app/acme/endpoint/queue").await.is(200).json();
    assert_eq!((&endpoint["id"], &endpoint["mode"]), (&json!(made.str("id")), &json!("pull")));
    let made = api.admin.put(&format!("{LIST}/line"), fifo(&json!({}))).await.is(201);
    let endpoint = api.admin.get("/app/acme/endpoint/line").await.is(200).json();
    assert_eq!((&endpoint["id"], &endpoint["fifo"]), (&json!(made.str("id")), &json!(true)));
    assert_eq!((&endpoint["url"], endpoint.get("mode")), (&json!("https://line.example/"), None));

    // And an endpoint is a destination, if it is read or pushed in order.
    for (uid, body, kind) in [
        ("a", json!({ "mode": "pull" }), Some("pollingEndpoint")),
        ("b", json!({ "mode": "pull", "url": "https://a.example/" }), Some("pollingEndpoint")),
        ("c", json!({ "mode": "held" }), Some("pollingEndpoint")),
        ("d", json!({ "mode": "held", "url": "https://a.example/", "fifo": true }), Some("fifoEndpoint")),
        ("e", json!({ "url": "https://a.example/", "fifo": true }), Some("fifoEndpoint")),
        ("f", json!({ "url": "https://a.example/" }), None),
        ("g", json!({ "mode": "held", "url": "https://a.example/" }), None),
    ] {
        api.admin.put(&format!("/app/acme/endpoint/{uid}"), body).await.is(201);
        let shown = api.admin.get(&format!("{LIST}/{uid}")).await.is(if kind.is_some() { 200 } else { 404 });
        assert_eq!(shown.json().get("type").and_then(Value::as_str), kind, "{uid}");
    }
    let listed = api.admin.get(LIST).await.is(200).json();
    let uids: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|d| d["uid"].as_str().unwrap()).collect();
    assert_eq!(uids.len(), 7, "{uids:?}");
    assert!(!uids.contains(&"f") && !uids.contains(&"g"));
    api.admin.delete(&format!("{LIST}/f")).await.is(404);
    api.admin.delete(&format!("{LIST}/e")).await.is(204);
    api.admin.get("/app/acme/endpoint/e").await.is(404);
}

#[tokio::test]
async fn destinations_are_gone_through_there_and_back() {
    let api = start().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let endpoint = json!({ "url": "https://a.example/" });
        api.admin.post("/app/acme/endpoint", endpoint).await.is(201);
        let body = if n == 1 { fifo(&json!({})) } else { json!({ "type": "pollingEndpoint" }) };
        ids.push(api.admin.post(LIST, body).await.is(201).str("id"));
        api.clock.advance(Duration::from_secs(1));
    }
    let page = async |query: &str| {
        let page = api.admin.get(&format!("{LIST}?limit=2{query}")).await.is(200).json();
        let of = |destination: &Value| destination["id"].as_str().unwrap().to_owned();
        (page["data"].as_array().unwrap().iter().map(of).collect::<Vec<_>>(), page)
    };
    let (first, answer) = page("").await;
    assert_eq!((&first[..], &answer["done"]), (&ids[..2], &json!(false)));
    let next = answer["iterator"].as_str().unwrap();
    let (second, answer) = page(&format!("&iterator={next}")).await;
    assert_eq!((&second[..], &answer["done"]), (&ids[2..], &json!(true)));
    let back = answer["prevIterator"].as_str().unwrap();
    assert_eq!(page(&format!("&iterator={back}")).await.0, ids[..2]);
    assert_eq!(page("&order=descending").await.0, [ids[2].clone(), ids[1].clone()]);
}

#[tokio::test]
async fn what_is_not_made_is_refused_by_name() {
    let api = start().await;
    let polling = |more: Value| {
        let mut body = json!({ "type": "pollingEndpoint" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (place, body) in [
        ("type", json!({})),
        ("type", json!({ "type": "amazonS3", "config": { "bucket": "b" } })),
        ("type", json!({ "type": "http", "config": { "url": "https://a.example/" } })),
        ("batchSize", polling(json!({ "batchSize": 2 }))),
        ("batchSize", fifo(&json!({ "batchSize": 0 }))),
        ("batchSize", fifo(&json!({ "batchSize": 251 }))),
        ("maxWaitSecs", fifo(&json!({ "maxWaitSecs": 301 }))),
        ("maxWaitSecs", polling(json!({ "maxWaitSecs": 1 }))),
        ("status", polling(json!({ "status": "paused" }))),
        ("uid", polling(json!({ "uid": "a b" }))),
        ("eventTypes", polling(json!({ "eventTypes": ["a", "a"] }))),
        ("channels", polling(json!({ "channels": ["a", "a"] }))),
        ("config.url", polling(json!({ "config": { "url": "https://a.example/" } }))),
        ("config.key", polling(json!({ "config": { "key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" } }))),
        ("config.url", json!({ "type": "fifoEndpoint" })),
        ("config.url", fifo(&json!({ "config": { "url": "" } }))),
        ("config.url", fifo(&json!({ "config": { "url": "https://10.0.0.1/" } }))),
        ("config.key", fifo(&json!({ "config": { "url": "https://a.example/", "key": "whsec_x" } }))),
        (
            "config.headers.Host",
            fifo(&json!({ "config": { "url": "https://a.example/", "headers": { "Host": "b" } } })),
        ),
    ] {
        for answer in [
            api.admin.post(LIST, body.clone()).await,
            api.admin.put(&format!("{LIST}/new"), body.clone()).await,
        ] {
            let loc: Vec<_> = std::iter::once("body").chain(place.split('.')).collect();
            assert_eq!(answer.is(422).json()["detail"][0]["loc"], json!(loc), "{body}");
        }
    }
    let refused = api.admin.post(LIST, json!({ "type": "amazonS3" })).await;
    assert_eq!(
        refused.json()["detail"][0]["msg"],
        "`amazonS3` is not supported: `pollingEndpoint` or `fifoEndpoint`"
    );
    // The route is for what comes later.
    let path = format!("{LIST}/new/transformation");
    assert_eq!(api.admin.get(&path).await.is(404).str("code"), "no_such_path");
}

#[tokio::test]
async fn a_destination_that_is_replaced_keeps_what_only_an_endpoint_is_told() {
    let api = start().await;
    let more = json!({ "eventTypes": ["a"], "metadata": { "a": "b" }, "status": "disabled" });
    api.admin.put(&format!("{LIST}/line"), fifo(&more)).await.is(201);
    let change = json!({ "description": "kept", "throttleRate": 7, "retrySchedule": [1], "mode": "held", "rateLimit": 7 });
    api.admin.patch("/app/acme/endpoint/line", change).await.is(200);
    let secret = api.admin.get("/app/acme/endpoint/line/secret").await.str("key");
    let shown = api.admin.put(&format!("{LIST}/line"), fifo(&json!({}))).await.is(200).json();
    assert_eq!(
        (&shown["uid"], shown.get("eventTypes"), &shown["metadata"]),
        (&json!("line"), None, &json!({}))
    );
    assert_eq!(shown["status"], "paused", "its mode is the endpoint's to change");
    let endpoint = api.admin.get("/app/acme/endpoint/line").await.json();
    assert_eq!((&endpoint["description"], &endpoint["throttleRate"]), (&json!("kept"), &json!(7)));
    assert_eq!((&endpoint["retrySchedule"], &endpoint["mode"]), (&json!([1]), &json!("held")));
    assert_eq!(api.admin.get("/app/acme/endpoint/line/secret").await.str("key"), secret);
    let other_key = json!({ "url": "https://a.example/", "key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" });
    let refused = api.admin.put(&format!("{LIST}/line"), fifo(&json!({ "config": other_key }))).await.is(422);
    assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", "config", "key"]));
}

#[tokio::test]
async fn a_destination_is_changed_in_part_but_stays_what_it_is() {
    let api = start().await;
    api.admin.put(&format!("{LIST}/line"), fifo(&json!({ "channels": ["eu"] }))).await.is(201);
    api.admin
        .put(&format!("{LIST}/queue"), json!({ "type": "pollingEndpoint", "eventTypes": [] }))
        .await
        .is(201);
    let line = async |change: Value| api.admin.patch(&format!("{LIST}/line"), change).await;
    let same = json!({ "type": "fifoEndpoint", "config": {}, "status": null, "batchSize": null });
    let before = api.admin.get(&format!("{LIST}/line")).await.json();
    let after = line(same).await.is(200).json();
    for field in ["uid", "type", "config", "status", "channels", "metadata"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let all = json!({ "channels": [], "eventTypes": [] });
    assert_eq!(line(all).await.is(200).json().get("channels"), None);
    line(json!({ "channels": ["eu"] })).await.is(200);
    let change = json!({
        "type": "fifoEndpoint", "config": { "url": "https://b.example/" }, "uid": "renamed", "channels": null,
        "status": "disabled", "metadata": { "c": "d" }, "eventTypes": ["a"],
    });
    let shown = line(change).await.is(200).json();
    assert_eq!(
        (&shown["config"]["url"], &shown["status"]),
        (&json!("https://b.example/"), &json!("disabled"))
    );
    assert_eq!((&shown["uid"], shown.get("channels")), (&json!("renamed"), None));

    let queue = async |change: Value| {
        let refused = api.admin.patch(&format!("{LIST}/queue"), change).await.is(422);
        refused.json()["detail"][0]["loc"].clone()
    };
    assert_eq!(queue(json!({ "type": "fifoEndpoint" })).await, json!(["body", "type"]));
    assert_eq!(queue(json!({ "type": "sqs" })).await, json!(["body", "type"]));
    assert_eq!(
        queue(json!({ "config": { "url": "https://a.example/" } })).await,
        json!(["body", "config", "url"])
    );
    assert_eq!(queue(json!({ "maxWaitSecs": 5 })).await, json!(["body", "maxWaitSecs"]));
    let other = api.admin.put(&format!("{LIST}/queue"), fifo(&json!({}))).await.is(422);
    assert_eq!(other.json()["detail"][0]["loc"], json!(["body", "type"]));
}

#[tokio::test]
async fn a_batch_is_set_with_the_destination_and_kept_by_its_endpoint() {
    let api = start().await;
    let line = format!("{LIST}/line");
    let batch = |answer: crate::api::Answer| {
        let shown = answer.json();
        (shown["batchSize"].as_u64().unwrap(), shown["maxWaitSecs"].as_u64().unwrap())
    };
    let made = json!({ "batchSize": 250, "maxWaitSecs": 300 });
    assert_eq!(batch(api.admin.put(&line, fifo(&made)).await.is(201)), (250, 300));
    assert_eq!(batch(api.admin.patch(&line, json!({ "batchSize": 100 })).await.is(200)), (100, 300));
    assert_eq!(batch(api.admin.patch(&line, json!({ "maxWaitSecs": 10 })).await.is(200)), (100, 10));
    api.admin
        .put("/app/acme/endpoint/line", json!({ "url": "https://a.example/", "fifo": true }))
        .await
        .is(200);
    assert_eq!(batch(api.admin.get(&line).await.is(200)), (100, 10));
    api.admin.patch("/app/acme/endpoint/line", json!({ "mode": "pull" })).await.is(200);
    assert_eq!(batch(api.admin.get(&line).await.is(200)), (1, 0));
    // What is told of it while it is read changes nothing of how it was pushed.
    let read = json!({ "type": "pollingEndpoint", "batchSize": 1, "maxWaitSecs": 0 });
    assert_eq!(batch(api.admin.put(&line, read).await.is(200)), (1, 0));
    api.admin.patch(&line, json!({ "batchSize": 1, "maxWaitSecs": 0 })).await.is(200);
    api.admin.patch("/app/acme/endpoint/line", json!({ "mode": "push" })).await.is(200);
    let pushed = api.admin.get(&line).await.is(200);
    assert_eq!(pushed.str("type"), "fifoEndpoint");
    assert_eq!(batch(pushed), (100, 10));
    assert_eq!(batch(api.admin.put(&line, fifo(&json!({}))).await.is(200)), (1, 0));
}

#[tokio::test]
async fn a_destination_says_how_it_stands() {
    let api = TestApi::start().await;
    let app = api.store.app("acme").await;
    api.admin.put(&format!("{LIST}/line"), fifo(&json!({}))).await.is(201);
    let line = async || api.admin.get(&format!("{LIST}/line")).await.is(200).json();
    let begin = line().await;
    assert_eq!((&begin["status"], begin.get("nextRetryAt")), (&json!("enabled"), None));
    let first = send(&api).await;
    send(&api).await;
    assert_eq!(line().await["currentIterator"], begin["currentIterator"], "nothing is done yet");

    let no = api.store.snapshot(&app).await.endpoints[0].no;
    let refused = || Outcome::Refused { status: 500, body: Bytes::new(), retry_after: None };
    let due_at = START.after(Duration::from_mins(5));
    attempted(&api, &api.admin, "acme", &first, refused(), owed(due_at)).await;
    let shown = line().await;
    assert_eq!((&shown["status"], &shown["nextRetryAt"]), (&json!("retrying"), &json!(due_at.to_string())));
    assert_eq!(shown["failureReason"], "the last attempt was answered 500");
    assert_eq!(shown["currentIterator"], begin["currentIterator"]);

    let delivered = Outcome::Delivered { status: 200, body: Bytes::new() };
    attempted(&api, &api.admin, "acme", &first, delivered, DeliveryState::Delivered).await;
    let shown = line().await;
    assert_eq!((&shown["status"], shown.get("failureReason")), (&json!("enabled"), None));
    let iterator = shown["currentIterator"].as_str().unwrap();
    let rest = api.admin.get(&format!("/app/acme/poller/line?iterator={iterator}")).await.is(200).json();
    assert_eq!(rest["data"].as_array().unwrap().len(), 1, "what it is not done with");

    assert!(api.log().disable_endpoint(no, DisabledReason::Gone).await.unwrap());
    let shown = line().await;
    assert_eq!(
        (&shown["status"], &shown["failureReason"]),
        (&json!("disabled"), &json!("it answered 410 Gone"))
    );
    api.admin.patch("/app/acme/endpoint/line", json!({ "disabled": false })).await.is(200);
    assert!(api.log().disable_endpoint(no, DisabledReason::Failing).await.unwrap());
    assert_eq!(line().await["failureReason"], "nothing but failures for 5 days");
}

#[tokio::test]
async fn what_a_polling_endpoint_holds_is_read_from_its_iterator() {
    let api = start().await;
    let made = api.admin.post(LIST, json!({ "type": "pollingEndpoint", "uid": "queue" })).await.is(201);
    let ids = [send(&api).await, send(&api).await];
    let iterator = made.str("currentIterator");
    let page = api.admin.get(&format!("/app/acme/poller/queue?iterator={iterator}")).await.is(200).json();
    let read: Vec<_> = page["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(read, ids);
    assert_eq!(api.admin.get(&format!("{LIST}/queue")).await.str("currentIterator"), iterator);
}

#[tokio::test]
async fn what_readers_had_done_is_behind_a_line_that_is_pushed_again() {
    let api = start().await;
    api.admin.put(&format!("{LIST}/line"), fifo(&json!({}))).await.is(201);
    let first = send(&api).await;
    let delivered = Outcome::Delivered { status: 200, body: Bytes::new() };
    attempted(&api, &api.admin, "acme", &first, delivered, DeliveryState::Delivered).await;
    api.admin.patch("/app/acme/endpoint/line", json!({ "mode": "pull" })).await.is(200);
    send(&api).await;
    let last = send(&api).await;
    let consumer = "/app/acme/poller/line/consumer/one";
    api.admin.post(&format!("{consumer}/seek"), json!({ "seq": 3 })).await.is(200);
    api.admin.patch("/app/acme/endpoint/line", json!({ "mode": "push" })).await.is(200);
    let line = api.admin.get(&format!("{LIST}/line")).await.is(200);
    let rest = format!("/app/acme/poller/line?iterator={}", line.str("currentIterator"));
    let rest = api.admin.get(&rest).await.is(200).json();
    assert_eq!((&rest["data"][0]["id"], &rest["pending"]), (&json!(last), &json!(0)));
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
}
