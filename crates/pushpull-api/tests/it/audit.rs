//! Whether everything has arrived, asked over HTTP.

use bytes::Bytes;
use pushpull_domain::{DeliveryState, attempt::Outcome};
use serde_json::json;

use crate::{api::TestApi, story::attempted};

const AUDIT: &str = "/app/acme/endpoint/main/audit";

#[tokio::test]
async fn an_audit_tells_what_became_of_each_message() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let endpoint = json!({ "url": "https://receiver.example/", "uid": "main" });
    api.admin.post("/app/acme/endpoint", endpoint).await.is(201);
    let nothing = api.admin.get(AUDIT).await.is(200).json();
    assert_eq!(
        (&nothing["accepted"], &nothing["done"], &nothing["complete"]),
        (&json!(0), &json!(true), &json!(true))
    );

    let mut sent = Vec::new();
    for n in 0..4 {
        let message = json!({ "eventType": "a", "payload": { "n": n } });
        sent.push(api.admin.post("/app/acme/msg", message).await.is(202).str("id"));
    }
    let delivered = Outcome::Delivered { status: 204, body: Bytes::new() };
    attempted(&api, &api.admin, "acme", &sent[0], delivered, DeliveryState::Delivered).await;
    let complete = api.admin.get(AUDIT).await.is(200).json();
    assert_eq!(complete["complete"], true);
    let failed = Outcome::Refused { status: 500, body: Bytes::new(), retry_after: None };
    attempted(&api, &api.admin, "acme", &sent[1], failed, DeliveryState::Exhausted).await;
    api.admin.delete(&format!("/app/acme/msg/{}/content", sent[2])).await.is(204);
    insta::assert_snapshot!("audit", format!("{:#}", api.admin.get(AUDIT).await.is(200).json()));

    let owed = api.admin.get(&format!("{AUDIT}?since=4")).await.is(200).json();
    assert_eq!((&owed["first"], &owed["owed"], &owed["complete"]), (&json!(4), &json!(1), &json!(true)));
    let part = api.admin.get(&format!("{AUDIT}?since=2&until=3")).await.is(200).json();
    assert_eq!((&part["first"], &part["last"], &part["done"]), (&json!(2), &json!(2), &json!(true)));
    assert_eq!((&part["head"], &part["exhausted"]), (&json!(4), &json!(1)));

    for query in ["since=yesterday", "since=2999-01-01T00:00:00Z", "until=latest"] {
        let refused = api.admin.get(&format!("{AUDIT}?{query}")).await.is(422).json();
        let field = query.split_once('=').unwrap().0;
        assert_eq!(refused["detail"][0]["loc"], json!(["query", field]));
    }
}
