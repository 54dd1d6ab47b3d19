//! Tokens that read one endpoint's queue: made, shown again, rotated, and what they open.

use std::time::Duration;

use http::Method;
use pushpull_api::Origins;
use pushpull_domain::key::Scope;
use serde_json::json;

use crate::api::{Client, TestApi};

const TOKEN: &str = "/auth/app/acme/poller/main/token";

/// An application with an endpoint.
async fn start() -> TestApi {
    start_for(Origins::None).await
}

async fn start_for(origins: Origins) -> TestApi {
    let api = TestApi::start_for(origins).await;
    api.store.app("acme").await;
    let endpoint = json!({ "url": "https://receiver.example/", "uid": "main" });
    api.admin.post("/app/acme/endpoint", endpoint).await.is(201);
    api
}

async fn rotate(api: &TestApi, body: serde_json::Value) -> String {
    api.admin.post(&format!("{TOKEN}/rotate"), body).await.is(201).str("token")
}

#[tokio::test]
async fn a_token_is_made_on_first_asking_and_shown_again() {
    let api = start().await;
    let first = api.admin.get(TOKEN).await.is(200);
    assert!(first.str("token").starts_with("ppk_"));
    assert_eq!(first.json().get("expiresAt"), None);
    assert_eq!(api.admin.get(TOKEN).await.is(200), first);
    let app = api.store.app("other").await;
    let portal = api.with_scope(Scope::App { no: app.no, id: app.id }).await;
    portal.get(TOKEN).await.is(404);
}

#[tokio::test]
async fn many_who_ask_first_are_shown_one_token() {
    let api = start().await;
    let shown = futures_util::future::join_all((0..20).map(|_| api.admin.get(TOKEN))).await;
    for one in &shown {
        assert_eq!(one.status, 200);
        assert_eq!(one, &shown[0]);
    }
}

#[tokio::test]
async fn a_token_that_ended_is_followed_by_another() {
    let api = start().await;
    let short = rotate(&api, json!({ "expiry": 60 })).await;
    let shown = api.admin.get(TOKEN).await;
    assert_eq!(shown.str("token"), short);
    assert_eq!(shown.str("expiresAt"), "2026-11-24T09:47:00.000Z");
    api.clock.advance(Duration::from_mins(1));
    let next = api.admin.get(TOKEN).await.is(200);
    assert_ne!(next.str("token"), short);
    assert_eq!(next.json().get("expiresAt"), None);
}

#[tokio::test]
async fn times_out_of_bounds_are_refused_by_name() {
    let api = start().await;
    for (field, value) in [
        ("expiry", json!(0)),
        ("expiry", json!(31_536_001)),
        ("expiry", json!(-1)),
        ("oldTokenExpiry", json!(86_401)),
        ("oldTokenExpiry", json!(-1)),
    ] {
        let answer = api.admin.post(&format!("{TOKEN}/rotate"), json!({ field: value })).await.is(422);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", field]));
    }
    rotate(&api, json!({ "expiry": 31_536_000, "oldTokenExpiry": 86_400 })).await;
    rotate(&api, json!({ "expiry": 1, "oldTokenExpiry": 0 })).await;
    rotate(&api, json!({ "expiry": null, "oldTokenExpiry": null })).await;
}

const QUEUE: &str = "/app/acme/poller/main";

/// The token of the endpoint.
async fn token(api: &TestApi) -> String {
    api.admin.get(TOKEN).await.is(200).str("token")
}

/// A path that shows a token.
fn showing(path: &str, token: &str) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sign}access_token={token}")
}

#[tokio::test]
async fn a_token_reads_its_own_queue_and_nothing_else() {
    let api = start().await;
    api.admin.post("/app/acme/endpoint", json!({ "mode": "pull", "uid": "other" })).await.is(201);
    api.store.app("foreign").await;
    api.admin.post("/app/foreign/endpoint", json!({ "mode": "pull", "uid": "main" })).await.is(201);
    api.admin.post("/app/acme/msg", json!({ "eventType": "a", "payload": 1 })).await.is(202);
    let reader = api.with_key(&token(&api).await);
    assert_eq!(reader.get(QUEUE).await.is(200), api.admin.get(QUEUE).await);
    let page = reader.get(QUEUE).await.json();
    assert_eq!(page["data"][0]["payload"], 1);

    let unknown_endpoint = reader.get("/app/acme/poller/nothing").await.is(404);
    assert_eq!(reader.get("/app/acme/poller/other").await, unknown_endpoint);
    assert_eq!(api.admin.get("/app/acme/poller/nothing").await, unknown_endpoint);
    let unknown_app = reader.get("/app/nothing/poller/main").await.is(404);
    assert_eq!(reader.get("/app/foreign/poller/main").await, unknown_app);
    assert_eq!(api.admin.get("/app/nothing/poller/main").await, unknown_app);

    // What is there is answered as what is not: the route is not the token's to call.
    let refused = reader.get("/app/nothing/endpoint/nothing").await.is(403);
    for path in ["/app/acme/endpoint/main", "/app/acme/endpoint/other", "/app/foreign/endpoint/main"] {
        assert_eq!(reader.get(path).await, refused);
    }
    reader.get(TOKEN).await.is(403);
    reader.post(&format!("{TOKEN}/rotate"), json!({})).await.is(403);
    reader.post("/auth/logout", json!({})).await.is(403);
}

#[tokio::test]
async fn a_rotated_token_is_refused_when_its_time_is_over() {
    let api = start().await;
    let first = token(&api).await;
    let reader = api.with_key(&first);
    reader.get(QUEUE).await.is(200);
    let second = rotate(&api, json!({})).await;
    api.clock.advance(Duration::from_secs(299));
    reader.get(QUEUE).await.is(200);
    api.clock.advance(Duration::from_secs(1));
    reader.get(QUEUE).await.is(401);
    let reader = api.with_key(&second);
    reader.get(QUEUE).await.is(200);
    let third = rotate(&api, json!({ "expiry": 60, "oldTokenExpiry": 0 })).await;
    // As every key that ends before its time: it is remembered so long, and what is remembered of others stays.
    api.clock.advance(Duration::from_secs(4));
    reader.get(QUEUE).await.is(200);
    api.clock.advance(Duration::from_secs(1));
    reader.get(QUEUE).await.is(401);
    let reader = api.with_key(&third);
    api.clock.advance(Duration::from_secs(54));
    reader.get(QUEUE).await.is(200);
    api.clock.advance(Duration::from_secs(1));
    reader.get(QUEUE).await.is(401);
}

#[tokio::test]
async fn a_token_of_a_deleted_endpoint_opens_nothing() {
    let api = start().await;
    let reader = api.with_key(&token(&api).await);
    reader.get(QUEUE).await.is(200);
    api.admin.delete("/app/acme/endpoint/main").await.is(204);
    reader.get(QUEUE).await.is(404);
    let again = json!({ "mode": "pull", "uid": "main" });
    api.admin.post("/app/acme/endpoint", again).await.is(201);
    reader.get(QUEUE).await.is(404);
    api.clock.advance(Duration::from_secs(5));
    reader.get(QUEUE).await.is(401);
}

#[tokio::test]
async fn a_token_may_stand_in_the_url_where_a_queue_is_read() {
    let api = start().await;
    api.admin.post("/app/acme/msg", json!({ "eventType": "a", "payload": 1 })).await.is(202);
    let (token, nobody) = (token(&api).await, api.without_key());
    let page = nobody.get(&showing(&format!("{QUEUE}?limit=1"), &token)).await.is(200);
    assert_eq!(page.body, api.admin.get(&format!("{QUEUE}?limit=1")).await.body);
    assert_eq!(page.headers["cache-control"], "no-store");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    assert!(!page.text().contains(&token));
    for path in ["/app/acme/endpoint/main", "/app/acme", TOKEN] {
        nobody.get(&showing(path, &token)).await.is(401);
    }
    let pull = format!("{QUEUE}/consumer/one/pull");
    nobody.post(&showing(&pull, &token), json!({})).await.is(401);
    nobody.call(Method::HEAD, &showing(QUEUE, &token), "", &[]).await.is(405);
    nobody.post(&showing("/app/acme/msg", &token), json!({ "eventType": "a", "payload": 1 })).await.is(401);
}

#[tokio::test]
async fn no_other_key_may_stand_in_a_url() {
    let api = start().await;
    let app = api.store.snapshot(&api.store.app("own").await).await;
    let nobody = api.without_key();
    api.put_key(&api.store.environment, Scope::Read, "read").await;
    api.put_key(&api.store.environment, Scope::App { no: app.app.no, id: app.app.id }, "portal").await;
    for key in ["admin%20key%20of%20the%20tests", "read", "portal"] {
        let refused = nobody.get(&showing(QUEUE, key)).await.is(401);
        assert_eq!(refused.json()["code"], "authentication_failed");
        assert!(refused.str("detail").contains("poller tokens only"), "{}", refused.text());
        assert_eq!(refused.headers["cache-control"], "no-store");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    let token = token(&api).await;
    for (path, key) in [
        (showing(QUEUE, "unknown"), None),
        (showing(QUEUE, ""), None),
        (showing(&showing(QUEUE, &token), &token), None),
        (showing(QUEUE, &token), Some("admin key of the tests")),
        (showing(QUEUE, &token), Some(&*token)),
    ] {
        let client = key.map_or_else(|| api.without_key(), |key| api.with_key(key));
        let refused = client.get(&path).await.is(401);
        assert_eq!(refused.headers["referrer-policy"], "no-referrer");
    }
}

const PAGE: (&str, &str) = ("origin", "https://page.example");
const STRANGER: (&str, &str) = ("origin", "https://stranger.example");

#[tokio::test]
async fn pages_of_named_origins_may_read_a_queue_and_no_other() {
    let api = start_for(Origins::parse(PAGE.1).unwrap()).await;
    let reader = api.with_key(&token(&api).await);
    let get = async |client: &Client, path: &str, origin| {
        let answer = client.call(Method::GET, path, "", &[origin]).await;
        let header = |name| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        (answer.status, header("access-control-allow-origin"), header("vary"))
    };
    let varying = || Some("origin".to_owned());
    let allowed = || Some("https://page.example".to_owned());
    assert_eq!(get(&reader, QUEUE, PAGE).await, (200, allowed(), varying()));
    assert_eq!(get(&reader, QUEUE, STRANGER).await, (200, None, varying()));
    // A page is told why it is refused.
    assert_eq!(get(&api.without_key(), QUEUE, PAGE).await, (401, allowed(), varying()));
    assert_eq!(get(&reader, "/app/acme/poller/nothing", PAGE).await, (404, allowed(), varying()));
    assert_eq!(get(&api.admin, "/app/acme/endpoint", PAGE).await, (200, None, None));
    // Two things that an answer varies by.
    let lines =
        reader.call(Method::GET, QUEUE, "", &[PAGE, ("accept", "application/x-ndjson")]).await.is(200);
    let varies: Vec<_> = lines.headers.get_all("vary").iter().collect();
    assert_eq!(varies, ["Accept-Encoding", "origin"]);
}

#[tokio::test]
async fn a_browser_may_ask_before_it_asks() {
    let api = start_for(Origins::parse(PAGE.1).unwrap()).await;
    let nobody = api.without_key();
    let ask = ("access-control-request-method", "GET");
    let told = nobody.call(Method::OPTIONS, QUEUE, "", &[PAGE, ask]).await.is(204);
    insta::assert_snapshot!(told.shown(), @r"
    204
    vary: origin
    access-control-allow-origin: https://page.example
    access-control-allow-methods: GET
    access-control-allow-headers: accept, authorization, content-type, idempotency-key, last-event-id
    access-control-max-age: 7200
    ");
    let stranger = nobody.call(Method::OPTIONS, QUEUE, "", &[STRANGER, ask]).await.is(204);
    assert_eq!(stranger.headers.get("access-control-allow-origin"), None);
    assert_eq!(stranger.headers.get("access-control-allow-methods"), None);
    // The same for what does not exist.
    assert_eq!(nobody.call(Method::OPTIONS, "/app/no/poller/no", "", &[PAGE, ask]).await, told);
    nobody.call(Method::OPTIONS, QUEUE, "", &[PAGE]).await.is(405);
    nobody.call(Method::OPTIONS, "/app/acme/endpoint", "", &[PAGE, ask]).await.is(405);
}

#[tokio::test]
async fn without_origins_browsers_are_told_nothing() {
    let api = TestApi::start().await;
    let ask = ("access-control-request-method", "GET");
    let answer = api.admin.call(Method::GET, QUEUE, "", &[PAGE]).await.is(404);
    assert_eq!(answer.headers.get("vary"), None);
    assert_eq!(answer.headers.get("access-control-allow-origin"), None);
    api.without_key().call(Method::OPTIONS, QUEUE, "", &[PAGE, ask]).await.is(405);

    let api = TestApi::start_for(Origins::Any).await;
    let answer = api.admin.call(Method::GET, QUEUE, "", &[STRANGER]).await.is(404);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(answer.headers.get("vary"), None);
    assert_eq!(answer.headers.get("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn a_token_reads_as_a_named_consumer_too_and_sets_none_up() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    for uid in ["main", "other"] {
        api.admin.post("/app/acme/endpoint", json!({ "mode": "pull", "uid": uid })).await.is(201);
    }
    api.admin.post("/app/acme/msg", json!({ "eventType": "a", "payload": 1 })).await.is(202);
    let token = token(&api).await;
    let reader = api.with_key(&token);
    let leased = "/app/acme/polling-endpoint/main/consumer/one";
    let page = api.without_key().get(&showing(leased, &token)).await.is(200);
    let offset = page.json()["data"][0]["offset"].as_u64().unwrap();
    reader.post(&format!("{leased}/commit"), json!({ "offset": offset })).await.is(204);
    let consumer = format!("{QUEUE}/consumer/two");
    assert_eq!(reader.get(&consumer).await.is(200).json()["data"][0]["payload"], 1);
    reader.get(&format!("{QUEUE}/consumer/one/status")).await.is(200);
    reader.put(&consumer, json!({})).await.is(403);
    reader.delete(&consumer).await.is(403);
    let unknown = reader.get("/app/acme/poller/nothing/consumer/two").await.is(404);
    assert_eq!(reader.get("/app/acme/poller/other/consumer/two").await, unknown);
    let seek = json!({ "after": "2026-11-24T00:00:00Z" });
    assert_eq!(reader.post("/app/acme/poller/other/consumer/two/seek", seek).await, unknown);
}

#[tokio::test]
async fn a_page_in_a_browser_may_read_as_a_consumer() {
    let api = start_for(Origins::parse(PAGE.1).unwrap()).await;
    let reader = api.with_key(&token(&api).await);
    let consumer = format!("{QUEUE}/consumer/one");
    let read = reader.call(Method::GET, &consumer, "", &[PAGE]).await.is(200);
    assert_eq!(read.headers["access-control-allow-origin"], PAGE.1);
    let ask = ("access-control-request-method", "POST");
    let told = reader.call(Method::OPTIONS, &format!("{consumer}/ack"), "", &[PAGE, ask]).await.is(204);
    assert_eq!(told.headers["access-control-allow-methods"], "POST");
}

#[tokio::test]
async fn a_key_that_only_reads_moves_no_consumer() {
    let api = start().await;
    api.admin.post("/app/acme/msg", json!({ "eventType": "a", "payload": 1 })).await.is(202);
    let consumer = format!("{QUEUE}/consumer/one");
    let iterator = api.admin.get(&consumer).await.is(200).str("iterator");
    let reader = api.with_scope(Scope::Read).await;
    let refused = reader.get(&format!("{consumer}?iterator={iterator}")).await.is(403);
    assert_eq!(refused.str("code"), "insufficient_scope");
    reader.get("/app/acme/polling-endpoint/main/consumer/new").await.is(403);
    reader.get(QUEUE).await.is(200);
    assert_eq!(reader.get(&format!("{consumer}/status")).await.is(200).json()["committed"], 0);
    let listed = reader.get(&format!("{QUEUE}/consumer")).await.is(200).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}
