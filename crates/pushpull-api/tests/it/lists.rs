//! Lists: there and back, and what a filter leaves.

use std::time::Duration;

use bytes::Bytes;
use pushpull_domain::{
    DeliveryState,
    attempt::{ErrorClass, Outcome},
};
use serde_json::{Value, json};

use crate::{
    api::{START, TestApi},
    story::{attempted, owed},
};

/// What a page's items are known by.
fn names(page: &Value) -> Vec<String> {
    let name = |item: &Value| {
        item["eventId"].as_str().or(item["id"].as_str()).or(item["name"].as_str()).unwrap().to_owned()
    };
    page["data"].as_array().unwrap().iter().map(name).collect()
}

/// Goes through a list in pages of two, there and back, and finds what one page of all has.
async fn check(api: &TestApi, path: &str, count: usize) {
    let and = if path.contains('?') { '&' } else { '?' };
    let whole = api.admin.get(path).await.is(200).json();
    assert_eq!((names(&whole).len(), &whole["done"]), (count, &json!(true)), "{path}");

    let mut there = Vec::new();
    let mut iterator = String::new();
    let last = loop {
        let page = format!("{path}{and}limit=2&iterator={iterator}");
        let page = api.admin.get(&page).await.is(200).json();
        there.push(names(&page));
        if page["done"] == true {
            break page;
        }
        iterator = page["iterator"].as_str().unwrap().to_owned();
    };
    assert_eq!(there.concat(), names(&whole), "{path}: there");

    // What comes after the last page may come later: an iterator keeps the place.
    let next = format!("{path}{and}iterator={}", last["iterator"].as_str().unwrap());
    let nothing = api.admin.get(&next).await.is(200).json();
    assert_eq!((names(&nothing), &nothing["done"]), (vec![], &json!(true)));
    assert_eq!(nothing["iterator"], last["iterator"]);

    let mut back = vec![names(&last)];
    let mut iterator = last["prevIterator"].as_str().unwrap().to_owned();
    loop {
        let page = format!("{path}{and}limit=2&iterator={iterator}");
        let page = api.admin.get(&page).await.is(200).json();
        back.insert(0, names(&page));
        if page["done"] == true {
            break;
        }
        page["prevIterator"].as_str().unwrap().clone_into(&mut iterator);
    }
    assert_eq!(back.concat(), names(&whole), "{path}: back");
    api.admin.get(&format!("{path}{and}iterator=nothing%20known")).await.is(422);
    for limit in ["0", "251", "-1", "x"] {
        let answer = api.admin.get(&format!("{path}{and}limit={limit}")).await.is(422);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["query", "limit"]));
    }
}

/// Five of everything: applications, event types, endpoints; and messages, each attempted at all endpoints.
async fn five() -> TestApi {
    let api = TestApi::start().await;
    for n in 0..5 {
        api.admin.post("/app", json!({ "name": "n", "uid": format!("app-{n}") })).await.is(201);
        let event_type = json!({ "name": format!("type.{n}"), "description": "" });
        api.admin.post("/event-type", event_type).await.is(201);
        let endpoint = json!({ "url": "https://receiver.example/", "uid": format!("ep-{n}") });
        api.admin.post("/app/app-0/endpoint", endpoint).await.is(201);
    }
    for n in 0..5 {
        api.clock.advance(Duration::from_secs(1));
        let message = json!({
            "eventType": format!("type.{n}"), "payload": { "n": n }, "eventId": format!("evt-{n}"),
            "channels": [if n < 2 { "low" } else { "high" }, "all"],
            "tags": if n == 4 { json!(["last"]) } else { Value::Null },
        });
        let id = api.admin.post("/app/app-0/msg", message).await.is(202).str("id");
        let (outcome, state) = match n {
            0 => (refused(404), DeliveryState::Exhausted),
            1 => (refused(500), owed(START)),
            2 => {
                (Outcome::Failed { class: ErrorClass::Dns, detail: String::new() }, DeliveryState::Exhausted)
            }
            3 => (Outcome::Delivered { status: 201, body: Bytes::new() }, DeliveryState::Delivered),
            _ => continue,
        };
        attempted(&api, &api.admin, "app-0", &id, outcome, state).await;
    }
    api
}

fn refused(status: u16) -> Outcome {
    Outcome::Refused { status, body: Bytes::new(), retry_after: None }
}

#[tokio::test]
async fn every_list_is_gone_through_there_and_back() {
    let api = five().await;
    for path in [
        "/app",
        "/app?order=descending",
        "/event-type",
        "/event-type?order=descending",
        "/app/app-0/endpoint",
        "/app/app-0/endpoint?order=descending",
        "/app/app-0/msg",
        "/app/app-0/endpoint/ep-2/msg",
        "/app/app-0/msg/evt-0/endpoint",
    ] {
        check(&api, path, 5).await;
    }
    check(&api, "/app/app-0/attempt/endpoint/ep-2", 4).await;
    check(&api, "/app/app-0/attempt/msg/evt-0", 5).await;
    check(&api, "/app/app-0/msg/evt-0/attempt", 5).await;
    check(&api, "/app/app-0/msg?channel=high", 3).await;
}

#[tokio::test]
async fn a_list_grows_without_being_told_twice() {
    let api = five().await;
    let page = api.admin.get("/app?limit=3").await.is(200).json();
    api.admin.post("/app", json!({ "name": "new" })).await.is(201);
    api.admin.delete(&format!("/app/{}", names(&page)[2])).await.is(204);
    let next = format!("/app?iterator={}", page["iterator"].as_str().unwrap());
    assert_eq!(names(&api.admin.get(&next).await.is(200).json()).len(), 3);
}

#[tokio::test]
async fn an_empty_list_is_done() {
    let api = TestApi::start().await;
    let page = api.admin.get("/app").await.is(200).json();
    assert_eq!(page, json!({ "data": [], "iterator": null, "prevIterator": null, "done": true }));
}

#[track_caller]
fn same(found: &Value, expected: &[usize], path: &str) {
    let expected: Vec<_> = expected.iter().map(|n| format!("evt-{n}")).collect();
    assert_eq!(names(found), expected, "{path}");
}

#[tokio::test]
async fn filters_of_messages() {
    let api = five().await;
    let middle = START.after(Duration::from_secs(3));
    for (query, expected) in [
        ("channel=low".to_owned(), &[1, 0][..]),
        ("channel=all".into(), &[4, 3, 2, 1, 0]),
        ("channel=other".into(), &[]),
        ("tag=last".into(), &[4]),
        ("event_types=type.1".into(), &[1]),
        ("event_types=type.1&event_types=type.3".into(), &[3, 1]),
        ("event_types=type.1,type.3".into(), &[3, 1]),
        (format!("before={middle}"), &[1, 0]),
        (format!("after={middle}"), &[4, 3]),
        (format!("after={START}&before={middle}&channel=low"), &[1, 0]),
    ] {
        for list in ["/app/app-0/msg", "/app/app-0/endpoint/ep-1/msg"] {
            let path = format!("{list}?{query}");
            same(&api.admin.get(&path).await.is(200).json(), expected, &path);
        }
    }
    for bad in
        ["before=yesterday", "after=1", "channel=a%20b", "tag=a:b", "event_types=a%20b", "with_content=2"]
    {
        api.admin.get(&format!("/app/app-0/msg?{bad}")).await.is(422);
        api.admin.get(&format!("/app/app-0/endpoint/ep-1/msg?{bad}")).await.is(422);
    }
}

#[tokio::test]
async fn filters_of_an_endpoints_messages_by_how_they_stand() {
    let api = five().await;
    api.admin.delete("/app/app-0/msg/evt-1/content").await.is(204);
    for (status, expected) in [(0, &[3][..]), (1, &[4]), (2, &[2, 0]), (3, &[]), (4, &[1])] {
        let path = format!("/app/app-0/endpoint/ep-1/msg?status={status}");
        same(&api.admin.get(&path).await.is(200).json(), expected, &path);
    }
    // A client that does not know `Canceled` is told `Success`.
    let shown =
        |expanded: bool| format!("/app/app-0/endpoint/ep-1/msg?status=4&expanded_statuses={expanded}");
    let old = api.admin.get(&shown(false)).await.is(200).json();
    assert_eq!((&old["data"][0]["status"], &old["data"][0]["statusText"]), (&json!(0), &json!("success")));
    let new = api.admin.get(&shown(true)).await.is(200).json();
    assert_eq!((&new["data"][0]["status"], &new["data"][0]["statusText"]), (&json!(4), &json!("canceled")));
    let stats = api.admin.get("/app/app-0/endpoint/ep-1/stats").await.is(200).json();
    assert_eq!(stats, json!({ "success": 1, "pending": 1, "sending": 0, "fail": 2, "canceled": 1 }));
    let early = format!("/app/app-0/endpoint/ep-1/stats?until={}", START.after(Duration::from_secs(2)));
    assert_eq!(api.admin.get(&early).await.is(200).json()["fail"], 1);
}

#[tokio::test]
async fn filters_of_attempts() {
    let api = five().await;
    let of = |page: &Value| -> Vec<u64> {
        page["data"].as_array().unwrap().iter().map(|a| a["responseStatusCode"].as_u64().unwrap()).collect()
    };
    let middle = START.after(Duration::from_secs(3));
    for (query, expected) in [
        (String::new(), &[201, 0, 500, 404][..]),
        ("status=0".into(), &[201]),
        ("status=2".into(), &[0, 500, 404]),
        ("status=1".into(), &[]),
        ("status_code_class=0".into(), &[0]),
        ("status_code_class=400".into(), &[404]),
        ("status_code_class=500&status=2".into(), &[500]),
        ("status_code_class=500&status=0".into(), &[]),
        ("channel=low".into(), &[500, 404]),
        ("tag=last".into(), &[]),
        ("event_types=type.2,type.3".into(), &[201, 0]),
        (format!("before={middle}"), &[500, 404]),
        (format!("after={middle}"), &[201]),
    ] {
        let path = format!("/app/app-0/attempt/endpoint/ep-1?{query}");
        assert_eq!(of(&api.admin.get(&path).await.is(200).json()), expected, "{path}");
    }
    let endpoint = "/app/app-0/attempt/msg/evt-1?endpoint_id=ep-3";
    assert_eq!(of(&api.admin.get(endpoint).await.is(200).json()), [500]);
    let nothing = "/app/app-0/attempt/msg/evt-1?endpoint_id=nothing";
    assert_eq!(of(&api.admin.get(nothing).await.is(200).json()), [0; 0]);
    for bad in ["status=5", "status=x", "status_code_class=404", "before=x"] {
        api.admin.get(&format!("/app/app-0/attempt/endpoint/ep-1?{bad}")).await.is(422);
    }
}

#[tokio::test]
async fn attempts_at_endpoints_that_are_deleted_are_not_shown_and_end_no_list() {
    let api = five().await;
    for n in [4, 3] {
        api.admin.delete(&format!("/app/app-0/endpoint/ep-{n}")).await.is(204);
    }
    let page = api.admin.get("/app/app-0/attempt/msg/evt-0?limit=1").await.is(200).json();
    assert_eq!((names(&page).len(), &page["done"]), (1, &json!(false)));
    check(&api, "/app/app-0/attempt/msg/evt-0", 3).await;
    check(&api, "/app/app-0/msg/evt-0/endpoint", 3).await;
}

#[tokio::test]
async fn applications_are_left_out_by_what_their_endpoints_are() {
    let api = TestApi::start().await;
    let endpoint = |disabled: bool| json!({ "url": "https://receiver.example/", "disabled": disabled });
    for (uid, endpoints) in [("none", &[][..]), ("on", &[false]), ("both", &[false, true]), ("off", &[true])]
    {
        api.admin.post("/app", json!({ "name": "n", "uid": uid })).await.is(201);
        for disabled in endpoints {
            api.admin.post(&format!("/app/{uid}/endpoint"), endpoint(*disabled)).await.is(201);
        }
    }
    for (query, expected) in [
        ("", &["none", "on", "both", "off"][..]),
        ("exclude_apps_with_no_endpoints=true", &["on", "both", "off"]),
        ("exclude_apps_with_disabled_endpoints=true", &["none", "on", "both"]),
        ("exclude_apps_with_no_endpoints=true&exclude_apps_with_disabled_endpoints=true", &["on", "both"]),
    ] {
        let page = api.admin.get(&format!("/app?{query}")).await.is(200).json();
        let mut uids: Vec<_> =
            page["data"].as_array().unwrap().iter().map(|app| app["uid"].as_str().unwrap()).collect();
        // Made in the same instant: their ids say nothing of their order.
        uids.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(uids, expected, "{query}");
    }
    let play = api.admin.get("/app?exclude_apps_with_svix_play_endpoints=true").await.is(422);
    assert_eq!(play.json()["detail"][0]["loc"][1], "exclude_apps_with_svix_play_endpoints");
}
