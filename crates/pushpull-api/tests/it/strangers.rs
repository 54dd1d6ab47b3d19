//! Nothing crosses environments or applications: what belongs to somebody else is answered, byte for byte, as
//! what does not exist.

use bytes::Bytes;
use http::Method;
use pushpull_domain::{DeliveryState, attempt::Outcome, key::Scope};
use serde_json::json;

use crate::{
    api::{Answer, Client, TestApi},
    story::attempted,
};

/// An application with one of everything, by their ids.
#[derive(Clone, Debug)]
struct Whole {
    app: String,
    endpoint: String,
    destination: String,
    message: String,
    attempt: String,
}

impl Whole {
    /// The path of a route, with these ids.
    fn fill(&self, path: &str) -> String {
        path.replace("{app_id}", &self.app)
            .replace("{endpoint_id}", &self.endpoint)
            .replace("{sink_id}", &self.endpoint)
            .replace("{destination_id}", &self.destination)
            .replace("{consumer_id}", "reader")
            .replace("{msg_id}", &self.message)
            .replace("{attempt_id}", &self.attempt)
    }

    fn id_mut(&mut self, kind: &str) -> &mut String {
        match kind {
            "app_id" => &mut self.app,
            "endpoint_id" | "sink_id" => &mut self.endpoint,
            "destination_id" => &mut self.destination,
            "msg_id" => &mut self.message,
            "attempt_id" => &mut self.attempt,
            other => panic!("no such kind of id: {other}"),
        }
    }
}

async fn whole(client: &Client, uid: &str) -> Whole {
    let app = client.post("/app", json!({ "name": uid, "uid": uid })).await.is(201).str("id");
    let endpoint = json!({ "url": "https://receiver.example/", "uid": "main" });
    let endpoint = client.post(&format!("/app/{app}/endpoint"), endpoint).await.is(201).str("id");
    let destination = json!({ "type": "pollingEndpoint", "uid": "queue", "channels": ["none"] });
    let destination = client.post(&format!("/app/{app}/destination"), destination).await.is(201).str("id");
    let message = json!({ "eventType": "a", "payload": {}, "eventId": "evt" });
    let message = client.post(&format!("/app/{app}/msg"), message).await.is(202).str("id");
    client.put(&format!("/app/{app}/poller/{endpoint}/consumer/reader"), json!({})).await.is(201);
    Whole { app, endpoint, destination, message, attempt: String::new() }
}

async fn attempt(api: &TestApi, client: &Client, of: &Whole) -> String {
    let delivered = Outcome::Delivered { status: 200, body: Bytes::new() };
    attempted(api, client, &of.app, &of.message, delivered, DeliveryState::Delivered).await;
    let list = client.get(&format!("/app/{}/attempt/msg/{}", of.app, of.message)).await.is(200).json();
    list["data"][0]["id"].as_str().unwrap().to_owned()
}

/// A body that is right for a route, so that nothing but the ids can be wrong.
fn body(method: &Method, path: &str) -> &'static str {
    let last = path.rsplit('/').next().unwrap();
    match (method, last) {
        (&Method::GET | &Method::DELETE, _) => "",
        (_, "headers") => r#"{"headers":{}}"#,
        (_, "send-example") => r#"{"eventType":"svix.ping"}"#,
        (_, "recover") => r#"{"since":"2026-11-24T00:00:00Z"}"#,
        (_, "seek") => r#"{"seq":1}"#,
        (_, "commit") => r#"{"offset":0}"#,
        (_, "msg") => r#"{"eventType":"a","payload":{}}"#,
        (&Method::POST, "endpoint") | (&Method::PUT, "{endpoint_id}") => r#"{"url":"https://new.example/"}"#,
        (&Method::POST, "destination") | (&Method::PUT, "{destination_id}") => {
            r#"{"type":"pollingEndpoint"}"#
        }
        (&Method::PUT, "{app_id}") => r#"{"name":"new"}"#,
        _ => "{}",
    }
}

/// Each route that names something by an id, with those kinds of ids.
fn routes() -> Vec<(Method, String, Vec<String>)> {
    let document = pushpull_api::openapi::document("0.0.0");
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let kinds: Vec<String> = path
            .split('/')
            .filter_map(|p| Some(p.strip_prefix('{')?.strip_suffix('}')?.to_owned()))
            // A name that is made up on the way, below an endpoint.
            .filter(|kind| kind != "consumer_id")
            .collect();
        for method in methods.as_object().unwrap().keys() {
            if !kinds.is_empty() && !kinds.contains(&"event_type_name".to_owned()) {
                let path = path.trim_start_matches("/api/v1").to_owned();
                routes.push((method.to_uppercase().parse().unwrap(), path, kinds.clone()));
            }
        }
    }
    routes
}

async fn call(client: &Client, method: &Method, path: &str, ids: &Whole) -> Answer {
    client.call(method.clone(), &ids.fill(path), body(method, path), &[]).await
}

#[tokio::test]
async fn what_is_foreign_unknown_malformed_or_deleted_is_answered_alike() {
    let api = TestApi::start().await;
    let mut own = whole(&api.admin, "own").await;
    own.attempt = attempt(&api, &api.admin, &own).await;
    let mut foreign_app = whole(&api.admin, "foreign").await;
    foreign_app.attempt = attempt(&api, &api.admin, &foreign_app).await;
    let elsewhere = api.elsewhere().await;
    let mut foreign_environment = whole(&elsewhere, "own").await;
    foreign_environment.attempt = attempt(&api, &elsewhere, &foreign_environment).await;
    let mut deleted = whole(&api.admin, "deleted").await;
    deleted.attempt = attempt(&api, &api.admin, &deleted).await;
    api.admin.delete(&format!("/app/{}", deleted.app)).await.is(204);
    let gone = json!({ "url": "https://gone.example/" });
    let gone = api.admin.post(&format!("/app/{}/endpoint", own.app), gone).await.is(201).str("id");
    api.admin.delete(&format!("/app/{}/endpoint/{gone}", own.app)).await.is(204);

    let portal = {
        let id = own.app.parse().unwrap();
        let found = api.store.log.app(api.store.environment.no, &pushpull_store::Ref::Id(id)).await;
        let app = found.unwrap().unwrap();
        api.with_scope(Scope::App { no: app.app.no, id }).await
    };

    let mut checked = 0;
    for (method, path, kinds) in routes() {
        // Creates under any name that can be a uid.
        let upsert = method == Method::PUT && path.ends_with("_id}");
        for kind in &kinds {
            let mut strange = vec![
                foreign_environment.clone().id_mut(kind).clone(),
                deleted.clone().id_mut(kind).clone(),
                unknown(kind).to_owned(),
                "%00".to_owned(),
                "a%20b%2F..".to_owned(),
                "x".repeat(257),
            ];
            if kind != "app_id" {
                strange.push(foreign_app.clone().id_mut(kind).clone());
            }
            if matches!(&**kind, "endpoint_id" | "sink_id") {
                strange.push(gone.clone());
            }
            if kind == "destination_id" {
                strange.extend([own.endpoint.clone(), gone.clone()]);
            }
            if !(upsert && path.ends_with(&format!("{{{kind}}}"))) {
                strange.extend(["ep_short".to_owned(), "nothing".to_owned()]);
            }
            let mut first = None;
            for id in strange {
                let mut ids = own.clone();
                id.clone_into(ids.id_mut(kind));
                let answer = call(&api.admin, &method, &path, &ids).await.is(404);
                assert_eq!(*first.get_or_insert_with(|| answer.clone()), answer, "{method} {path}: {id}");
                checked += 1;
            }
            if kind == "app_id" {
                // Of the same environment, but not the key's.
                let mut ids = own.clone();
                foreign_app.app.clone_into(&mut ids.app);
                let answer = call(&portal, &method, &path, &ids).await;
                if answer.status != 403 {
                    assert_eq!(first, Some(answer), "{method} {path} with a portal's key");
                }
                foreign_app.clone_into(&mut ids);
                let answer = call(&portal, &method, &path, &ids).await;
                assert!(answer.status == 403 || first == Some(answer), "{method} {path} with a portal's key");
            }
        }
    }
    assert!(checked > 400, "{checked}");
}

/// Well-formed, and nothing's.
fn unknown(kind: &str) -> &'static str {
    match kind {
        "app_id" => "app_3MY3EG5wZ4byj8jyEmXX1HZDMl9",
        "endpoint_id" | "sink_id" | "destination_id" => "ep_3MY3EG6NmYZmX36eQz78iVnTOLJ",
        "msg_id" => "msg_3MY3EG5ubIbYucE8s64HJMjXzBR",
        _ => "atmpt_3MY3qaSlUY4Drak2ZUt8YktukFt",
    }
}

#[tokio::test]
async fn what_is_ones_own_is_found_on_every_route() {
    let api = TestApi::start().await;
    for (method, path, _) in routes() {
        if method == Method::DELETE {
            continue;
        }
        let uid = format!("app{}", path.len());
        let mut own = whole(&api.admin, &format!("{uid}-{}", method.as_str())).await;
        own.attempt = attempt(&api, &api.admin, &own).await;
        let answer = call(&api.admin, &method, &path, &own).await;
        assert!(answer.status < 300, "{method} {path}: {}", answer.shown());
        api.admin.delete(&format!("/app/{}", own.app)).await.is(204);
    }
}

#[tokio::test]
async fn an_idempotency_key_tells_nobody_what_others_were_answered() {
    let api = TestApi::start().await;
    let (own, other) = (api.store.app("own").await, api.store.app("other").await);
    let endpoint = || json!({ "url": "https://receiver.example/" });
    let path = format!("/app/{}/endpoint", other.id);
    api.admin.post_once(&path, "k", endpoint()).await.is(201);
    let portal = api.with_scope(Scope::App { no: own.no, id: own.id }).await;
    let same = portal.post_once(&path, "k", endpoint()).await;
    let unused = portal.post_once(&path, "l", endpoint()).await.is(404);
    assert_eq!(same, unused);
}

#[tokio::test]
async fn a_name_in_another_environment_is_a_name_that_is_free() {
    let api = TestApi::start().await;
    let elsewhere = api.elsewhere().await;
    let event_type = || json!({ "name": "a", "description": "here" });
    api.admin.post("/event-type", event_type()).await.is(201);
    elsewhere.get("/event-type/a").await.is(404);
    elsewhere.patch("/event-type/a", json!({})).await.is(404);
    elsewhere.delete("/event-type/a?expunge=true").await.is(404);
    elsewhere.post("/event-type", event_type()).await.is(201);
    elsewhere.delete("/event-type/a?expunge=true").await.is(204);
    api.admin.get("/event-type/a").await.is(200);
    assert_eq!(elsewhere.get("/app").await.json()["data"], json!([]));
}
