//! An endpoint's queue over HTTP: what may be asked, and each way in which it is answered.

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request};
use pushpull_api::Origins;
use pushpull_domain::{DeliveryState, attempt::Outcome};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tower::ServiceExt;

use crate::{
    api::{Answer, Client, TestApi},
    story::attempted,
};

const EVENTS: (&str, &str) = ("accept", "text/event-stream");
const LINES: (&str, &str) = ("accept", "application/x-ndjson");
const SINK: &str = "/app/acme/poller/sink";

/// An application with an endpoint and so many messages, `even` and `odd` in turn from 1 on.
async fn start(count: u64) -> TestApi {
    filled(TestApi::start().await, count).await
}

async fn filled(api: TestApi, count: u64) -> TestApi {
    api.store.app("acme").await;
    let endpoint = json!({ "url": "https://receiver.example/", "uid": "sink" });
    api.admin.post("/app/acme/endpoint", endpoint).await.is(201);
    for n in 1..=count {
        publish(&api.admin, n).await;
    }
    api
}

async fn publish(client: &Client, n: u64) {
    let name = if n.is_multiple_of(2) { "even" } else { "odd" };
    let message = json!({ "eventType": name, "payload": { "n": n }, "channels": [format!("c{n}")] });
    client.post("/app/acme/msg", message).await.is(202);
}

fn seqs(page: &Value) -> Vec<u64> {
    page["data"].as_array().unwrap().iter().map(|item| item["seq"].as_u64().unwrap()).collect()
}

async fn page(api: &TestApi, query: &str) -> Value {
    api.admin.get(&format!("{SINK}?{query}")).await.is(200).json()
}

#[tokio::test]
async fn a_reader_that_follows_the_iterator_sees_each_message_once() {
    let api = start(5).await;
    let (mut query, mut seen) = ("limit=2".to_owned(), Vec::new());
    loop {
        let page = page(&api, &query).await;
        assert_eq!(page["pending"], 5 - (seen.len() + seqs(&page).len()));
        seen.extend(seqs(&page));
        query = format!("limit=2&iterator={}", page["iterator"].as_str().unwrap());
        if page["done"] == true {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    assert_eq!(seqs(&page(&api, &query).await), [0; 0]);
    publish(&api.admin, 6).await;
    assert_eq!(seqs(&page(&api, &query).await), [6]);
}

#[tokio::test]
async fn a_reader_begins_and_ends_where_it_says() {
    let api = start(3).await;
    api.clock.advance(std::time::Duration::from_mins(1));
    publish(&api.admin, 4).await;
    let then = "2026-11-24T09:47:00Z";
    for (query, expected) in [
        ("from=earliest".to_owned(), &[1, 2, 3, 4][..]),
        ("from=latest".to_owned(), &[]),
        ("from=3".to_owned(), &[3, 4]),
        ("from=0".to_owned(), &[1, 2, 3, 4]),
        ("from=99".to_owned(), &[]),
        (format!("from={then}"), &[4]),
        (format!("until={then}"), &[1, 2, 3]),
        ("from=2&until=4".to_owned(), &[2, 3]),
        ("until=1".to_owned(), &[]),
        ("after=2026-11-24T09:46:00Z".to_owned(), &[4]),
        ("event_type=odd".to_owned(), &[1, 3]),
        ("event_type=odd,even&channel=c2".to_owned(), &[2]),
        ("from=2&wait=0".to_owned(), &[2, 3, 4]),
    ] {
        let page = page(&api, &query).await;
        assert_eq!((seqs(&page), &page["done"]), (expected.to_vec(), &json!(true)), "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_told_by_its_place() {
    let api = start(1).await;
    for (query, place) in [
        ("limit=0", "limit"),
        ("limit=251", "limit"),
        ("wait=-1", "wait"),
        ("wait=61", "wait"),
        ("min=0&wait=1", "min"),
        ("limit=5&min=6&wait=1", "min"),
        ("from=yesterday", "from"),
        ("from=-1", "from"),
        ("from=2030-01-01T00:00:00Z", "from"),
        ("until=latest", "until"),
        ("until=2030-01-01T00:00:00Z", "until"),
        ("after=2030-01-01T00:00:00Z", "after"),
        ("after=1", "after"),
        ("event_type=a%20b", "event_type"),
        ("channel=a%20b", "channel"),
        ("delivered=maybe", "delivered"),
    ] {
        for headers in [&[][..], &[EVENTS], &[LINES]] {
            // Who streams is not asked for a limit or a wait.
            let of_pages = matches!(place, "limit" | "min") || query == "wait=61";
            if of_pages && !headers.is_empty() {
                continue;
            }
            let answer = api.admin.call(Method::GET, &format!("{SINK}?{query}"), "", headers).await.is(422);
            assert_eq!(answer.json()["detail"][0]["loc"], json!(["query", place]), "{query}");
        }
    }
}

#[tokio::test]
async fn an_iterator_opens_only_its_own_queue() {
    let api = start(2).await;
    let other = json!({ "url": "https://receiver.example/", "uid": "other" });
    api.admin.post("/app/acme/endpoint", other).await.is(201);
    let own = page(&api, "limit=1").await["iterator"].as_str().unwrap().to_owned();
    let foreign = api.admin.get("/app/acme/poller/other").await.is(200).str("iterator");
    let changed = format!("{}B{}", &own[..5], &own[6..]);
    assert_ne!(own, changed);
    for bad in [&*foreign, &changed, &own[..43], "x", "%00"] {
        for headers in [&[][..], &[EVENTS], &[LINES]] {
            let path = format!("{SINK}?iterator={bad}");
            let answer = api.admin.call(Method::GET, &path, "", headers).await.is(400);
            assert_eq!(answer.json()["code"], "invalid_iterator", "{bad}");
        }
    }
    assert_eq!(seqs(&page(&api, &format!("iterator={own}")).await), [2]);
    assert_eq!(seqs(&page(&api, "iterator=").await), [1, 2], "empty counts as absent");
}

#[tokio::test]
async fn what_retention_took_is_told_not_skipped() {
    let api = start(2).await;
    let old = page(&api, "limit=1").await["iterator"].as_str().unwrap().to_owned();
    let ninety_days = std::time::Duration::from_hours(24 * 90);
    api.clock.advance(ninety_days + std::time::Duration::from_hours(25));
    publish(&api.admin, 3).await;
    let keep =
        pushpull_store::Retention { messages: ninety_days, payloads: ninety_days, idempotency: ninety_days };
    while api.log().trim(keep).await.unwrap().more {}
    for headers in [&[][..], &[EVENTS], &[LINES]] {
        let answer =
            api.admin.call(Method::GET, &format!("{SINK}?iterator={old}"), "", headers).await.is(410);
        assert_eq!(answer.json()["code"], "iterator_expired");
        assert!(answer.text().contains("seq 3"), "{}", answer.text());
    }
    assert_eq!(seqs(&page(&api, "from=earliest").await), [3]);
    assert_eq!(seqs(&page(&api, "").await), [3], "who begins has missed nothing");
}

/// The pieces of a stream, until it ends or enough is read.
async fn stream(
    client: &Client,
    path: &str,
    headers: &[(&str, &str)],
    enough: impl Fn(&str) -> bool,
) -> String {
    let mut request = Request::get(format!("/api/v1{path}")).header("authorization", client.bearer());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    while !enough(&text)
        && let Some(piece) = body.next().await
    {
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    text
}

#[tokio::test]
async fn events_come_as_they_are_committed_and_go_on_after_the_last_id() {
    let api = start(2).await;
    let path = format!("{SINK}?event_type=odd");
    let text = stream(&api.admin, &path, &[EVENTS], |text| text.matches("id: ").count() == 2).await;
    let blocks: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(blocks[0], "retry: 3000");
    let (id, rest) = blocks[1].strip_prefix("id: ").unwrap().split_once('\n').unwrap();
    let data = rest.strip_prefix("event: odd\ndata: ").unwrap();
    assert_eq!(serde_json::from_str::<Value>(data).unwrap()["payload"]["n"], 1);
    assert_eq!(page(&api, &format!("iterator={id}")).await["data"][0]["seq"], 2, "an id is an iterator");
    // What the filter left out moves the id all the same.
    let passed = blocks[2].strip_prefix("id: ").unwrap();

    let resumed = [EVENTS, ("last-event-id", passed)];
    let path = format!("{SINK}?iterator=wrong");
    let reading = stream(&api.admin, &path, &resumed, |text| text.contains("\"n\":4"));
    let writing = async {
        for n in 3..=4 {
            publish(&api.admin, n).await;
        }
    };
    let (text, ()) = tokio::join!(reading, writing);
    let ns: Vec<_> = (1..=4).filter(|n| text.contains(&format!("\"n\":{n}"))).collect();
    assert_eq!(ns, [3, 4], "{text}");
    assert_eq!(page(&api, &format!("iterator={passed}")).await["data"][0]["seq"], 3);
}

#[tokio::test]
async fn an_event_with_lines_in_it_is_one_event() {
    let api = start(0).await;
    let text = "{\"eventType\":\"a\",\"payload\":{\n  \"a\": 1,\r\n  \"b\": \"x\\ny\"\n}}";
    api.admin.call(Method::POST, "/app/acme/msg", text, &[]).await.is(202);
    let text = stream(&api.admin, SINK, &[EVENTS], |text| text.contains("seq")).await;
    let block = text.split("\n\n").nth(1).unwrap();
    let data: Vec<_> = block.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(block.lines().count(), data.len() + 2, "{block}");
    assert_eq!(serde_json::from_str::<Value>(&data.join("\n")).unwrap()["payload"]["b"], "x\ny");
    let lines = api.admin.call(Method::GET, SINK, "", &[LINES]).await.is(200).text();
    assert_eq!(lines.lines().count(), 2, "{lines}");
}

#[tokio::test]
async fn a_stream_of_events_ends_with_its_range_and_with_the_server() {
    let api = start(3).await;
    let text = stream(&api.admin, &format!("{SINK}?until=3"), &[EVENTS], |_| false).await;
    assert_eq!(text.matches("event: ").count(), 2, "{text}");
    // It may lie ahead.
    let path = format!("{SINK}?from=3&until=5");
    let (text, ()) = tokio::join!(stream(&api.admin, &path, &[EVENTS], |_| false), publish(&api.admin, 4));
    assert_eq!(text.matches("event: ").count(), 2, "{text}");
    let path = format!("{SINK}?from=latest");
    let closing = |text: &str| {
        if text.contains("id: ") {
            api.close_feed();
        }
        false
    };
    let text = stream(&api.admin, &path, &[EVENTS], closing).await;
    assert!(text.starts_with("retry: 3000\n\nid: "), "{text}");
}

#[tokio::test]
async fn a_stream_of_events_that_may_not_wait_ends() {
    let api = filled(TestApi::start_with(Origins::None, 0).await, 1).await;
    let text = stream(&api.admin, SINK, &[EVENTS], |text| text.matches("id: ").count() > 2).await;
    assert_eq!(text.matches("id: ").count(), 1, "{text}");
    assert_eq!(text.matches("data: ").count(), 1, "{text}");
}

/// Three messages, of which a push brought the second, and an endpoint that has just left push.
async fn left_push() -> TestApi {
    let api = start(3).await;
    let messages = api.admin.get("/app/acme/msg").await.is(200).json();
    let second = messages["data"][1]["id"].as_str().unwrap();
    let delivered = Outcome::Delivered { status: 200, body: Bytes::new() };
    attempted(&api, &api.admin, "acme", second, delivered, DeliveryState::Delivered).await;
    assert_eq!(
        seqs(&page(&api, "delivered=false").await),
        [1, 3],
        "what is in flight counts as not delivered"
    );
    api.admin.patch("/app/acme/endpoint/sink", json!({ "mode": "pull" })).await.is(200);
    api
}

/// What was in flight has ended.
async fn drained(api: &TestApi) {
    let (endpoint, app) = api.log().draining_endpoints().await.unwrap()[0];
    let app = api.log().app_by_no(app).await.unwrap().unwrap();
    let since = app.endpoints.iter().find(|e| e.no == endpoint).unwrap().draining_since.unwrap();
    assert!(api.log().end_draining(endpoint, since).await.unwrap());
}

#[tokio::test]
async fn what_no_push_brought_is_shown_when_it_is_known() {
    let api = left_push().await;
    assert_eq!(seqs(&page(&api, "").await), [1, 2, 3], "who reads everything need not wait");
    let unknown = page(&api, "delivered=false").await;
    assert_eq!((seqs(&unknown), &unknown["done"], &unknown["pending"]), (vec![], &json!(false), &json!(3)));
    let again = format!("delivered=false&wait=60&iterator={}", unknown["iterator"].as_str().unwrap());
    let (known, ()) = tokio::join!(page(&api, &again), drained(&api));
    assert_eq!((seqs(&known), &known["done"]), (vec![1, 3], &json!(true)));
    assert_eq!(seqs(&page(&api, "delivered=true").await), [1, 2, 3]);
}

#[tokio::test]
async fn an_export_of_what_no_push_brought_waits_until_that_is_known() {
    let api = left_push().await;
    let path = format!("{SINK}?delivered=false");
    let (export, ()) = tokio::join!(api.admin.call(Method::GET, &path, "", &[LINES]), drained(&api));
    let (seqs, end) = lines(&export.is(200).text());
    assert_eq!((seqs, &end["done"]), (vec![1, 3], &json!(true)));
}

#[tokio::test]
async fn an_export_that_may_not_wait_says_that_it_is_not_all() {
    let api = left_push().await;
    api.close_feed();
    let path = format!("{SINK}?delivered=false");
    let export = api.admin.call(Method::GET, &path, "", &[LINES]).await.is(200);
    let (seqs, end) = lines(&export.text());
    assert_eq!((seqs.len(), &end["done"], &end["count"]), (0, &json!(false), &json!(0)));
    assert!(end["error"].as_str().unwrap().contains("not known yet"), "{end}");
    let events = stream(&api.admin, &path, &[EVENTS], |_| false).await;
    assert_eq!((events.matches("id: ").count(), events.matches("data: ").count()), (1, 0), "{events}");
}

fn lines(text: &str) -> (Vec<u64>, Value) {
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let end = lines.pop().unwrap();
    (lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect(), end)
}

#[tokio::test]
async fn an_export_ends_with_where_to_go_on() {
    let api = start(1_203).await;
    let export = async |query: &str| {
        let answer = api.admin.call(Method::GET, &format!("{SINK}?{query}"), "", &[LINES]).await.is(200);
        assert_eq!(answer.headers["content-type"], "application/x-ndjson");
        lines(&answer.text())
    };
    let (all, end) = export("").await;
    assert_eq!(all, (1..=1_203).collect::<Vec<_>>());
    assert_eq!((&end["done"], &end["count"]), (&json!(true), &json!(1_203)));
    publish(&api.admin, 1_204).await;
    let (more, _) = export(&format!("iterator={}", end["iterator"].as_str().unwrap())).await;
    assert_eq!(more, [1_204]);
    assert_eq!(export("from=1000&until=1003").await.0, [1_000, 1_001, 1_002]);
    assert_eq!(export("event_type=even&until=7").await, {
        let (_, end) = export("from=1&until=7").await;
        (vec![2, 4, 6], json!({ "iterator": end["iterator"], "done": true, "count": 3 }))
    });
    let (none, end) = export("from=latest").await;
    assert_eq!((none.len(), &end["count"]), (0, &json!(0)));
}

#[tokio::test]
async fn the_form_is_the_first_that_is_accepted() {
    let api = start(1).await;
    let form = async |accept: &str| {
        let path = format!("{SINK}?until=2");
        let answer = api.admin.call(Method::GET, &path, "", &[("accept", accept)]).await.is(200);
        answer.headers["content-type"].to_str().unwrap().to_owned()
    };
    for (accept, expected) in [
        ("text/event-stream", "text/event-stream"),
        ("Application/X-NDJSON; q=0.5", "application/x-ndjson"),
        ("text/event-stream;q=0, application/x-ndjson", "application/x-ndjson"),
        ("text/event-stream; Q=0.0", "application/json"),
        ("*/*, text/event-stream", "application/json"),
        ("text/html, application/x-ndjson, text/event-stream", "application/x-ndjson"),
        ("text/html", "application/json"),
    ] {
        assert_eq!(form(accept).await, expected, "{accept}");
    }
}

#[tokio::test]
async fn a_last_id_that_cannot_be_read_is_no_new_beginning() {
    let api = start(1).await;
    let request = Request::get(format!("/api/v1{SINK}"))
        .header("authorization", api.admin.bearer())
        .header("accept", "text/event-stream")
        .header("last-event-id", http::HeaderValue::from_bytes(b"\xff").unwrap());
    let answer = api.admin.send(request.body(Body::empty()).unwrap()).await.is(400);
    assert_eq!(answer.json()["code"], "invalid_iterator");
}

#[tokio::test]
async fn a_head_takes_no_lease_and_makes_no_consumer() {
    let api = start(1).await;
    for path in ["/app/acme/polling-endpoint/sink/consumer/c", &format!("{SINK}/consumer/c"), SINK] {
        api.admin.call(Method::HEAD, path, "", &[]).await.is(405);
    }
    api.admin.get(&format!("{SINK}/consumer/c/status")).await.is(404);
}

#[tokio::test]
async fn an_export_is_compressed_as_the_reader_takes_it() {
    let api = start(700).await;
    let export = async |coding: &str| -> Answer {
        let headers = [LINES, ("accept-encoding", coding)];
        api.admin.call(Method::GET, SINK, "", &headers).await.is(200)
    };
    let plain = export("identity").await;
    assert!(!plain.headers.contains_key("content-encoding"));
    for (asked, coding) in [
        ("zstd", "zstd"),
        ("gzip, zstd;q=0.5", "zstd"),
        ("gzip", "gzip"),
        ("GZIP;q=1, zstd;q=0", "gzip"),
        ("br, gzip;q=0.1", "gzip"),
    ] {
        let answer = export(asked).await;
        assert_eq!(answer.headers["content-encoding"], coding, "{asked}");
        assert_eq!(answer.headers["vary"], "Accept-Encoding");
        assert!(answer.body.len() < plain.body.len() / 3, "{asked}: {}", answer.body.len());
        assert_eq!(unpacked(coding, &answer.body).await, plain.text(), "{asked}");
    }
    assert!(!export("br").await.headers.contains_key("content-encoding"));
}

async fn unpacked(coding: &str, packed: &Bytes) -> String {
    let mut text = String::new();
    match coding {
        "zstd" => ZstdDecoder::new(&packed[..]).read_to_string(&mut text).await,
        _ => GzipDecoder::new(&packed[..]).read_to_string(&mut text).await,
    }
    .unwrap();
    text
}
