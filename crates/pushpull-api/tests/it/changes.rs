//! What is changed in part, replaced, and made under a name.

use serde_json::{Value, json};

use crate::api::{Answer, TestApi};

/// Changes one field in the three ways: absent leaves it, a value sets it, `null` takes it away.
async fn check(api: &TestApi, path: &str, field: &str, value: Value) {
    let changed = api.admin.patch(path, json!({ field: value })).await.is(200).json();
    assert_eq!(changed[field], value, "{path}: {field}");
    let kept = api.admin.patch(path, json!({})).await.is(200).json();
    assert_eq!(kept[field], value, "{path}: an absent {field}");
    let taken = api.admin.patch(path, json!({ field: null })).await.is(200).json();
    assert!(taken.get(field).is_none(), "{path}: a {field} that is null: {taken}");
}

#[tokio::test]
async fn null_takes_away_and_absent_leaves() {
    let api = TestApi::start().await;
    let app = format!("/app/{}", api.store.app("acme").await.id);
    check(&api, &app, "uid", json!("new")).await;
    check(&api, &app, "throttleRate", json!(7)).await;
    check(&api, &app, "rateLimit", json!(8)).await;

    let endpoint = json!({ "url": "https://receiver.example/" });
    let id = api.admin.post(&format!("{app}/endpoint"), endpoint).await.is(201).str("id");
    let endpoint = format!("{app}/endpoint/{id}");
    for (field, value) in [
        ("uid", json!("main")),
        ("throttleRate", json!(7)),
        ("rateLimit", json!(8)),
        ("eventTypes", json!(["a", "b"])),
        ("filterTypes", json!(["c"])),
        ("channels", json!(["x"])),
        ("retrySchedule", json!([1, 2.5])),
    ] {
        check(&api, &endpoint, field, value).await;
    }

    api.admin.post("/event-type", json!({ "name": "a", "description": "" })).await.is(201);
    for (field, value) in [
        ("schemas", json!({ "1": { "type": "object" } })),
        ("groupName", json!("group")),
        ("featureFlags", json!(["beta"])),
        ("retrySchedule", json!([])),
    ] {
        check(&api, "/event-type/a", field, value).await;
    }
}

#[tokio::test]
async fn null_is_refused_where_there_is_nothing_to_take_away() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let endpoint = json!({ "url": "https://receiver.example/", "uid": "main" });
    api.admin.post("/app/acme/endpoint", endpoint).await.is(201);
    api.admin.post("/event-type", json!({ "name": "a", "description": "" })).await.is(201);
    let paths = ["/app/acme", "/app/acme/endpoint/main", "/event-type/a"];
    let fields: [&[&str]; 3] = [
        &["name", "metadata"],
        &["url", "description", "disabled", "metadata", "mode", "fifo", "holdWhenFailing", "from"],
        &["description", "archived", "deprecated"],
    ];
    for (path, fields) in paths.into_iter().zip(fields) {
        let before = api.admin.get(path).await.is(200);
        for field in fields {
            let answer = api.admin.patch(path, json!({ *field: null })).await.is(422);
            assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", field]), "{path}");
        }
        assert_eq!(api.admin.get(path).await, before);
    }
}

#[tokio::test]
async fn a_field_with_two_names_is_taken_under_either_but_not_as_two() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let with = |rest: Value| {
        let mut body = json!({ "url": "https://receiver.example/" });
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        body
    };
    let same = json!({ "eventTypes": ["a"], "filterTypes": ["a"], "throttleRate": 1, "rateLimit": 1 });
    api.admin.post("/app/acme/endpoint", with(same)).await.is(201);
    let two = json!({ "throttleRate": 1, "rateLimit": 2 });
    let answer = api.admin.post("/app/acme/endpoint", with(two.clone())).await.is(422);
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "rateLimit"]));
    let two_lists = json!({ "eventTypes": ["a"], "filterTypes": ["b"] });
    api.admin.post("/app/acme/endpoint", with(two_lists)).await.is(422);
    api.admin.patch("/app/acme", two).await.is(422);
}

#[tokio::test]
async fn a_put_makes_or_replaces_by_uid_and_only_replaces_by_id() {
    let api = TestApi::start().await;
    let app = api.admin.put("/app/acme", json!({ "name": "a", "throttleRate": 5 })).await.is(201);
    let replaced = api.admin.put("/app/acme", json!({ "name": "b" })).await.is(200);
    assert_eq!(replaced.str("id"), app.str("id"));
    assert_eq!((replaced.str("uid"), replaced.json().get("throttleRate")), ("acme".into(), None));
    let by_id = format!("/app/{}", app.str("id"));
    assert_eq!(api.admin.put(&by_id, json!({ "name": "c", "uid": "new" })).await.is(200).str("uid"), "new");
    api.admin.put("/app/app_3MY3EG5wZ4byj8jyEmXX1HZDMl9", json!({ "name": "d" })).await.is(404);

    let endpoint = |rest: &str| json!({ "url": format!("https://receiver.example/{rest}") });
    let made = api.admin.put("/app/new/endpoint/main", endpoint("")).await.is(201);
    let replaced = api.admin.put("/app/new/endpoint/main", endpoint("2")).await.is(200);
    assert_eq!((replaced.str("id"), replaced.str("uid")), (made.str("id"), "main".into()));
    api.admin.put("/app/new/endpoint/ep_3MY3EG6NmYZmX36eQz78iVnTOLJ", endpoint("")).await.is(404);

    api.admin.put("/event-type/a", json!({ "description": "1" })).await.is(201);
    api.admin.put("/event-type/a", json!({ "description": "2" })).await.is(200);
}

#[tokio::test]
async fn what_is_replaced_keeps_its_secret_and_headers() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let with_headers = json!({ "url": "https://receiver.example/", "headers": { "x-a": "1" } });
    api.admin.put("/app/acme/endpoint/main", with_headers).await.is(201);
    let secret = api.admin.get("/app/acme/endpoint/main/secret").await.is(200).str("key");
    let plain = || json!({ "url": "https://receiver.example/2" });
    api.admin.put("/app/acme/endpoint/main", plain()).await.is(200);
    assert_eq!(api.admin.get("/app/acme/endpoint/main/secret").await.str("key"), secret);
    assert_eq!(api.admin.get("/app/acme/endpoint/main/headers").await.json()["headers"]["x-a"], "1");
    let mut same = plain();
    same["secret"] = secret.into();
    api.admin.put("/app/acme/endpoint/main", same).await.is(200);
    let mut other = plain();
    other["secret"] = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into();
    api.admin.put("/app/acme/endpoint/main", other).await.is(422);
}

#[tokio::test]
async fn a_uid_is_one_things_and_never_reads_as_an_id() {
    let api = TestApi::start().await;
    let taken = |answer: Answer| assert_eq!(answer.is(409).json()["code"], "conflict");
    api.store.app("a").await;
    api.store.app("b").await;
    taken(api.admin.post("/app", json!({ "name": "x", "uid": "a" })).await);
    taken(api.admin.patch("/app/b", json!({ "uid": "a" })).await);
    taken(api.admin.put("/app/b", json!({ "name": "x", "uid": "a" })).await);
    let endpoint = |uid: &str| json!({ "url": "https://receiver.example/", "uid": uid });
    api.admin.post("/app/a/endpoint", endpoint("main")).await.is(201);
    taken(api.admin.post("/app/a/endpoint", endpoint("main")).await);
    api.admin.post("/app/b/endpoint", endpoint("main")).await.is(201);
    let event_type = || json!({ "name": "e", "description": "" });
    api.admin.post("/event-type", event_type()).await.is(201);
    taken(api.admin.post("/event-type", event_type()).await);

    let as_id = json!({ "name": "x", "uid": "app_3MY3EG5wZ4byj8jyEmXX1HZDMl9" });
    api.admin.post("/app", as_id).await.is(422);
    api.admin.post("/app/a/endpoint", endpoint("ep_3MY3EG6NmYZmX36eQz78iVnTOLJ")).await.is(422);
    api.admin.post("/app/a/endpoint", endpoint("app_3MY3EG5wZ4byj8jyEmXX1HZDMl9")).await.is(201);
}

#[tokio::test]
async fn an_application_is_got_if_it_exists_also_by_many_at_once() {
    let api = TestApi::start().await;
    let app = || json!({ "name": "a", "uid": "a" });
    let all = (0..10).map(|_| api.admin.post("/app?get_if_exists=true", app()));
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| answer.str("id") == answers[0].str("id")));
    api.admin.post("/app", app()).await.is(409);
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let (name, rate) = (json!({ "name": "new" }), json!({ "throttleRate": 9 }));
    let metadata = json!({ "metadata": { "a": "b" } });
    let all = [name, rate, metadata].map(|change| api.admin.patch("/app/acme", change));
    for answer in futures_util::future::join_all(all).await {
        answer.is(200);
    }
    let app = api.admin.get("/app/acme").await.json();
    assert_eq!((&app["name"], &app["throttleRate"]), (&json!("new"), &json!(9)));
    assert_eq!(app["metadata"], json!({ "a": "b" }));
}
