//! Messages: what is taken, and what it does.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use pushpull_domain::{DeliveryState, Payload};
use pushpull_store::Ref;
use serde_json::{Value, json};

use crate::api::{PAYLOAD_MAX, START, TestApi};

/// A message as it is stored.
async fn stored(api: &TestApi, id: &str) -> std::sync::Arc<pushpull_domain::Message> {
    let app = Ref::Uid("acme".parse().unwrap());
    let app = api.store.log.app(api.store.environment.no, &app).await.unwrap().unwrap();
    api.log().message(app.app.no, id.parse().unwrap()).await.unwrap().unwrap()
}

async fn started() -> TestApi {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let endpoint = json!({ "url": "https://receiver.example/", "uid": "main" });
    api.admin.post("/app/acme/endpoint", endpoint).await.is(201);
    api
}

#[tokio::test]
async fn a_payload_is_kept_and_shown_byte_for_byte() {
    let api = started().await;
    for payload in [r#"{ "a" : 1.10, "b":"\u00e9" , "b": [ ] }"#, "[1,  2]", r#""text""#, "1e2", "null", "{}"]
    {
        let body = format!(r#"{{"eventType":"a","payload": {payload} }}"#);
        let sent = api.admin.call(http::Method::POST, "/app/acme/msg", &body, &[]).await.is(202);
        assert!(sent.text().contains(&format!(r#""payload":{payload},"#)), "{}", sent.text());
        let got = api.admin.get(&format!("/app/acme/msg/{}", sent.str("id"))).await.is(200);
        assert_eq!(got.body, sent.body);
        let Payload::Kept(bytes) = &stored(&api, &sent.str("id")).await.payload else { panic!("kept") };
        assert_eq!(bytes, payload);
    }
}

#[tokio::test]
async fn a_raw_payload_is_sent_as_it_is_with_its_content_type() {
    let api = started().await;
    let raw = |params: Value| json!({ "eventType": "a", "payload": {}, "transformationsParams": params });
    for (params, payload, content_type) in [
        (
            json!({ "rawPayload": "<a/>", "headers": { "Content-Type": "text/xml" } }),
            "<a/>",
            Some("text/xml"),
        ),
        (json!({ "rawPayload": "{\"a\":1}" }), "{\"a\":1}", None),
        (json!({ "headers": { "content-type": "application/x" } }), "{}", Some("application/x")),
        (Value::Null, "{}", None),
    ] {
        let id = api.admin.post("/app/acme/msg", raw(params)).await.is(202).str("id");
        let message = stored(&api, &id).await;
        let Payload::Kept(bytes) = &message.payload else { panic!("kept") };
        assert_eq!((&bytes[..], message.content_type.as_deref()), (payload.as_bytes(), content_type));
    }
}

#[tokio::test]
async fn a_message_is_owed_from_when_it_is_to_be_delivered() {
    let api = started().await;
    let hour = START.after(Duration::from_hours(1));
    for (deliver_at, due_at) in [(None, START), (Some("2026-11-24T11:46:00+01:00"), hour)] {
        let body = json!({ "eventType": "a", "payload": {}, "deliverAt": deliver_at });
        let id = api.admin.post("/app/acme/msg", body).await.is(202).str("id");
        let message = stored(&api, &id).await;
        let delivery = api.log().deliveries_of(message.key).await.unwrap()[0];
        assert!(matches!(delivery.state, DeliveryState::Owed { due_at: Some(at), .. } if at == due_at));
    }
    for bad in ["2026-11-24T09:45:59Z", "2026-11-25T09:46:01Z", "soon"] {
        let body = json!({ "eventType": "a", "payload": {}, "deliverAt": bad });
        let answer = api.admin.post("/app/acme/msg", body).await.is(422);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "deliverAt"]));
    }
}

#[tokio::test]
async fn a_payload_is_kept_as_long_as_is_asked() {
    let api = started().await;
    for (field, value, hours) in [("payloadRetentionPeriod", 2, 48), ("payloadRetentionHours", 5, 5)] {
        let body = json!({ "eventType": "a", "payload": {}, field: value });
        let id = api.admin.post("/app/acme/msg", body).await.is(202).str("id");
        let expires = stored(&api, &id).await.payload_expires_at;
        assert_eq!(expires, Some(START.after(Duration::from_secs(hours * 3600))));
    }
    for (field, value) in
        [("payloadRetentionPeriod", 0), ("payloadRetentionPeriod", 91), ("payloadRetentionHours", 2161)]
    {
        let body = json!({ "eventType": "a", "payload": {}, field: value });
        api.admin.post("/app/acme/msg", body).await.is(422);
    }
}

#[tokio::test]
async fn a_message_is_found_by_its_id_or_its_event_id() {
    let api = started().await;
    let body = || json!({ "eventType": "a", "payload": {}, "eventId": "evt", "tags": ["b", "a"] });
    let sent = api.admin.post("/app/acme/msg", body()).await.is(202);
    for name in [sent.str("id"), "evt".into()] {
        assert_eq!(api.admin.get(&format!("/app/acme/msg/{name}")).await.is(200).body, sent.body);
    }
    assert_eq!(sent.json()["tags"], json!(["b", "a"]));
    let taken = api.admin.post("/app/acme/msg", body()).await.is(409);
    assert_eq!(taken.json()["code"], "event_id_taken");
}

#[tokio::test]
async fn a_message_goes_to_those_that_want_it() {
    let api = started().await;
    let mut endpoints = vec!["main".to_owned()];
    for (uid, rest) in [
        ("types", json!({ "eventTypes": ["a", "b"] })),
        ("channels", json!({ "channels": ["x"] })),
        ("other", json!({ "filterTypes": ["b"] })),
        ("off", json!({ "disabled": true })),
    ] {
        let mut body = json!({ "url": "https://receiver.example/", "uid": uid });
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        api.admin.post("/app/acme/endpoint", body).await.is(201);
        endpoints.push(uid.to_owned());
    }
    for (channels, expected) in
        [(Value::Null, vec!["main", "types"]), (json!(["x", "y"]), vec!["channels", "main", "types"])]
    {
        let body = json!({ "eventType": "a", "payload": {}, "channels": channels });
        let id = api.admin.post("/app/acme/msg", body).await.is(202).str("id");
        let list = api.admin.get(&format!("/app/acme/msg/{id}/endpoint")).await.is(200).json();
        let mut found: Vec<_> =
            list["data"].as_array().unwrap().iter().map(|e| e["uid"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_there() {
    let api = started().await;
    let message = |n: usize| json!({ "eventType": "a", "payload": "x".repeat(n) });
    api.admin.post("/app/acme/msg", message(PAYLOAD_MAX - 2)).await.is(202);
    for n in [PAYLOAD_MAX - 1, 10 * PAYLOAD_MAX, 200 * PAYLOAD_MAX] {
        let answer = api.admin.post("/app/acme/msg", message(n)).await.is(413);
        assert_eq!(answer.json()["code"], "payload_too_large");
    }
    let request = |body: Body| {
        Request::post("/api/v1/app/acme/msg")
            .header("authorization", "Bearer admin key of the tests")
            .body(body)
    };
    // Announced to be large: the body, which never comes, is not waited for.
    let mut announced =
        request(Body::from_stream(futures_util::stream::pending::<Result<&str, String>>())).unwrap();
    announced.headers_mut().insert("content-length", "10000000".parse().unwrap());
    api.admin.send(announced).await.is(413);
    // Not announced, and without an end.
    let endless = futures_util::stream::repeat_with(|| Ok::<_, String>("x".repeat(1000)));
    api.admin.send(request(Body::from_stream(endless)).unwrap()).await.is(413);
    // Cut off.
    let cut = futures_util::stream::iter([Ok("{"), Err("the connection broke")]);
    let answer = api.admin.send(request(Body::from_stream(cut)).unwrap()).await.is(400);
    assert_eq!(answer.json()["code"], "body_cut");
    api.admin.post("/app", json!({ "name": "x".repeat(2_000_000) })).await.is(413);
}

#[tokio::test]
async fn nothing_is_stored_of_what_is_refused() {
    let api = started().await;
    let good = || json!({ "eventType": "a", "payload": {} });
    for (field, value) in [
        ("eventType", json!("a b")),
        ("eventType", json!("x".repeat(257))),
        ("eventId", json!("")),
        ("channels", json!([])),
        ("channels", json!(["a", "a"])),
        ("channels", json!((0..11).map(|n| n.to_string()).collect::<Vec<_>>())),
        ("tags", json!(["a:b"])),
        ("tags", json!(["1", "2", "3", "4", "5", "6"])),
        ("transformationsParams", json!({ "script": "x" })),
        ("transformationsParams", json!({ "headers": { "x-a": "1" } })),
        ("payloadRetentionHours", json!("1")),
    ] {
        let mut body = good();
        body[field] = value.clone();
        let answer = api.admin.post("/app/acme/msg", body).await.is(422);
        assert_eq!(answer.json()["detail"][0]["loc"][1], field, "{value}: {}", answer.text());
    }
    let mut with_app = good();
    with_app["application"] = json!({ "name": "" });
    let answer = api.admin.post("/app/new/msg", with_app).await.is(422);
    assert_eq!(answer.json()["detail"][0]["loc"][0], "body");
    assert_eq!(api.admin.get("/app/acme/msg").await.json()["data"], json!([]));
    api.admin.get("/app/new").await.is(404);
}
