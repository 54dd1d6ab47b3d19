//! Who moves along an endpoint's deliveries, and what that changes for those who ask.

use serde_json::{Value, json};

use crate::api::TestApi;

#[tokio::test]
async fn only_an_endpoint_that_is_pushed_needs_a_url() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    for (n, body) in [json!({ "mode": "pull" }), json!({ "mode": "held", "url": "" })].into_iter().enumerate()
    {
        let made = api.admin.post("/app/acme/endpoint", body.clone()).await.is(201).json();
        assert_eq!((&made["mode"], &made["url"]), (&body["mode"], &json!("")));
        let path = format!("/app/acme/endpoint/{}", made["id"].as_str().unwrap());
        api.admin.patch(&path, json!({ "mode": "push" })).await.faults_at("url");
        let url = format!("https://receiver.example/{n}");
        let pushed = api.admin.patch(&path, json!({ "mode": "push", "url": url })).await.is(200).json();
        assert_eq!((pushed.get("mode"), &pushed["url"]), (None, &json!(url)), "push is the usual mode");
        let pulled = api.admin.patch(&path, json!({ "mode": "pull" })).await.is(200).json();
        assert_eq!(pulled["url"], json!(url), "kept for the way back");
    }
    for body in [json!({}), json!({ "url": "" }), json!({ "mode": "push" })] {
        api.admin.post("/app/acme/endpoint", body).await.faults_at("url");
    }
    // A URL is checked whoever moves along: it may be called one day.
    api.admin
        .post("/app/acme/endpoint", json!({ "mode": "pull", "url": "https://10.0.0.1/" }))
        .await
        .faults_at("url");
    api.admin.post("/app/acme/endpoint", json!({ "mode": "never" })).await.faults_at("mode");
}

#[tokio::test]
async fn a_client_that_knows_of_no_modes_does_not_switch_one() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let made = json!({ "mode": "pull", "url": "https://receiver.example/1" });
    api.admin.put("/app/acme/endpoint/main", made).await.is(201);
    let replaced =
        api.admin.put("/app/acme/endpoint/main", json!({ "description": "a" })).await.is(200).json();
    assert_eq!(replaced["mode"], "pull");
    assert_eq!(replaced["url"], "https://receiver.example/1");
    let push = |url| json!({ "mode": "push", "url": url });
    api.admin.put("/app/acme/endpoint/main", push("")).await.faults_at("url");
    let pushed =
        api.admin.put("/app/acme/endpoint/main", push("https://receiver.example/2")).await.is(200).json();
    assert_eq!(pushed.get("mode"), None::<&Value>);
    api.admin.put("/app/acme/endpoint/main", json!({ "description": "b" })).await.faults_at("url");
}

#[tokio::test]
async fn what_is_sent_by_hand_joins_the_queue_of_an_endpoint_that_is_not_pushed() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let message = json!({ "eventType": "a", "payload": {} });
    let before = api.admin.post("/app/acme/msg", message.clone()).await.is(202).str("id");
    api.admin.post("/app/acme/endpoint", json!({ "mode": "pull", "uid": "main" })).await.is(201);
    let after = api.admin.post("/app/acme/msg", message).await.is(202).str("id");
    let resend = |id: &str| format!("/app/acme/msg/{id}/endpoint/main/resend");
    api.admin.post(&resend(&before), json!({})).await.is(202);
    for id in [&before, &after] {
        let again = api.admin.post(&resend(id), json!({})).await.is(409);
        assert_eq!(again.str("code"), "endpoint_not_pushed");
    }
    let ping = json!({ "eventType": "svix.ping" });
    api.admin.post("/app/acme/endpoint/main/send-example", ping).await.is(202);
    let stats = api.admin.get("/app/acme/endpoint/main/stats").await.is(200).json();
    assert_eq!((&stats["pending"], &stats["fail"]), (&json!(3), &json!(0)));
}

#[tokio::test]
async fn an_endpoint_is_pushed_again_from_where_it_is_said() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let path = "/app/acme/endpoint/main";
    let body = json!({ "mode": "pull", "uid": "main", "url": "https://receiver.example/" });
    api.admin.post("/app/acme/endpoint", body).await.is(201);
    let message = json!({ "eventType": "a", "payload": {} });
    api.admin.post("/app/acme/msg", message).await.is(202);

    // It only goes with the switch that it is about.
    for body in [
        json!({ "from": "latest" }),
        json!({ "mode": "held", "from": "latest" }),
        json!({ "from": 7 }),
        json!({ "mode": "push", "from": "a b" }),
    ] {
        api.admin.patch(path, body).await.faults_at("from");
    }
    let nobody = api.admin.patch(path, json!({ "mode": "push", "from": "nobody" })).await;
    nobody.clone().faults_at("from");
    assert_eq!(nobody.json()["detail"][0]["msg"], "must say where to go on: `earliest`, `latest`");
    assert_eq!(api.admin.get(path).await.is(200).json()["mode"], "pull", "refused, it is as it was");

    let pending = async || api.store.log.store().backlog().await.unwrap().pending;
    let push = |from: &str| json!({ "mode": "push", "from": from });
    api.admin.patch(path, push("latest")).await.is(200);
    assert_eq!(pending().await, 0);
    let left = api.admin.patch(path, json!({ "mode": "pull" })).await.is(200).json();
    // No dispatcher runs here that could say that nothing is in flight.
    assert_eq!(left["draining"], true);
    let again = json!({ "mode": "push", "from": "earliest", "url": "https://receiver.example/" });
    assert_eq!(api.admin.put(path, again).await.is(200).json().get("draining"), None::<&Value>);
    assert_eq!(pending().await, 1);
    api.admin.patch(path, push("earliest")).await.is(200);
    assert_eq!(pending().await, 1, "said again it changes nothing");
}

#[tokio::test]
async fn an_endpoint_says_that_it_is_held_when_failing() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let body = json!({ "url": "https://receiver.example/", "holdWhenFailing": true, "uid": "main" });
    let made = api.admin.post("/app/acme/endpoint", body).await.is(201).json();
    assert_eq!(made["holdWhenFailing"], true);
    let path = "/app/acme/endpoint/main";
    assert_eq!(api.admin.patch(path, json!({})).await.is(200).json()["holdWhenFailing"], true);
    let not = api.admin.patch(path, json!({ "holdWhenFailing": false })).await.is(200).json();
    assert_eq!(not.get("holdWhenFailing"), None);
}
