//! Named consumers and work queues, as a client meets them.

use std::time::Duration;

use http::Method;
use pushpull_domain::{DeliveryState, attempt::Outcome};
use pushpull_store::Retention;
use serde_json::{Value, json};

use crate::{
    api::{Answer, START, TestApi},
    story::attempted,
};

const READER: &str = "/app/acme/poller/main/consumer/billing";
const LEASED: &str = "/app/acme/polling-endpoint/main/consumer/billing";

const NONE: [u64; 0] = [];

/// Longer than messages are kept here.
const TOO_OLD: Duration = Duration::from_hours(92 * 24);

/// An application with an endpoint that is read, and so many messages.
async fn queue(count: u64) -> TestApi {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    api.admin.post("/app/acme/endpoint", json!({ "mode": "pull", "uid": "main" })).await.is(201);
    publish(&api, count).await;
    api
}

async fn publish(api: &TestApi, count: u64) {
    for n in 0..count {
        let message = json!({ "eventType": "a", "payload": { "n": n } });
        api.admin.post("/app/acme/msg", message).await.is(202);
    }
}

async fn trim(api: &TestApi) {
    let days = Duration::from_hours(90 * 24);
    let retention = Retention { messages: days, payloads: days, idempotency: Duration::from_hours(12) };
    while api.store.store.trim(retention).await.unwrap().more {}
}

fn seqs(answer: &Answer) -> Vec<u64> {
    let body = answer.json();
    body["data"].as_array().unwrap().iter().map(|item| item["seq"].as_u64().unwrap()).collect()
}

async fn read(api: &TestApi, path: &str) -> Vec<u64> {
    seqs(&api.admin.get(path).await.is(200))
}

async fn committed(api: &TestApi) -> u64 {
    let status = api.admin.get(&format!("{READER}/status")).await.is(200).json();
    status["committed"].as_u64().unwrap()
}

#[tokio::test]
async fn an_iterator_says_that_the_page_before_was_handled() {
    let api = queue(5).await;
    let first = api.admin.get(&format!("{READER}?limit=2")).await.is(200);
    assert_eq!(seqs(&first), [1, 2]);
    assert_eq!(
        read(&api, &format!("{READER}?limit=2")).await,
        [1, 2],
        "again: nobody said that it was handled"
    );
    let next = format!("{READER}?limit=2&iterator={}", first.str("iterator"));
    let second = api.admin.get(&next).await.is(200);
    assert_eq!((seqs(&second), committed(&api).await), (vec![3, 4], 2));
    assert_eq!(read(&api, &next).await, [3, 4], "a request that is repeated");
    assert_eq!(read(&api, &format!("{READER}?limit=9")).await, [3, 4, 5], "a reader that was started anew");
    let last = api.admin.get(&format!("{READER}?iterator={}", second.str("iterator"))).await.is(200);
    assert_eq!((seqs(&last), last.json()["done"].clone(), committed(&api).await), (vec![5], json!(true), 4));

    // An older one asks for what comes after it; what was handled stays so.
    assert_eq!(read(&api, &next).await, [3, 4]);
    assert_eq!(committed(&api).await, 4);
    // Another consumer has its own place.
    assert_eq!(read(&api, "/app/acme/poller/main/consumer/other?limit=1").await, [1]);
}

#[tokio::test]
async fn a_bad_iterator_is_refused_as_the_official_clients_need_it() {
    let api = queue(3).await;
    api.admin.post("/app/acme/endpoint", json!({ "mode": "pull", "uid": "other" })).await.is(201);
    let foreign = api.admin.get("/app/acme/poller/other").await.is(200).str("iterator");
    let mine = api.admin.get(READER).await.is(200).str("iterator");
    for iterator in ["made-up", &foreign, &mine[..20], "2"] {
        let refused = api.admin.get(&format!("{READER}?iterator={iterator}")).await.is(400);
        assert_eq!(refused.str("code"), "invalid_iterator", "{iterator}");
        let refused =
            api.admin.post(&format!("{READER}/seek"), json!({ "iterator": iterator })).await.is(400);
        assert_eq!(refused.str("code"), "invalid_iterator", "{iterator}");
    }
    assert_eq!(committed(&api).await, 0);
    assert_eq!(read(&api, READER).await, [1, 2, 3]);
}

#[tokio::test]
async fn what_retention_removed_is_told_until_it_was_heard() {
    let api = queue(4).await;
    let first = api.admin.get(&format!("{READER}?limit=1")).await.is(200).str("iterator");
    api.admin.get(&format!("{LEASED}-two?limit=1")).await.is(200);
    api.clock.advance(TOO_OLD);
    trim(&api).await;
    // Nothing is kept, and still it is told.
    let gap = json!({ "from": 1, "until": 4 });
    let empty = api.admin.get(READER).await.is(200).json();
    assert_eq!((&empty["data"], &empty["gap"]), (&json!([]), &gap));

    publish(&api, 2).await;
    let expired = api.admin.get(&format!("{READER}?iterator={first}")).await.is(400);
    assert_eq!(expired.str("code"), "invalid_iterator");
    let gap = json!({ "from": 2, "until": 4 });
    for _ in 0..2 {
        let page = api.admin.get(&format!("{READER}?limit=1")).await.is(200);
        assert_eq!((seqs(&page), &page.json()["gap"]), (vec![5], &gap), "the first was handled before");
    }
    let page = api.admin.get(&format!("{READER}?limit=1")).await.is(200);
    let next = api.admin.get(&format!("{READER}?iterator={}", page.str("iterator"))).await.is(200).json();
    assert_eq!((&next["data"][0]["seq"], next.get("gap")), (&json!(6), None));

    // The same with a lease: the end of the gap can be committed.
    let leased = api.admin.get(&format!("{LEASED}-two?limit=1")).await.is(200);
    assert_eq!((seqs(&leased), &leased.json()["gap"]), (vec![5], &json!({ "from": 1, "until": 4 })));
    api.admin.post(&format!("{LEASED}-two/commit"), json!({ "offset": 4 })).await.is(204);
    api.clock.advance(Duration::from_secs(30));
    let rest = api.admin.get(&format!("{LEASED}-two")).await.is(200).json();
    assert_eq!((&rest["data"][0]["seq"], rest.get("gap")), (&json!(5), None));
}

#[tokio::test]
async fn a_gap_with_nothing_after_it_is_handed_out_and_committed() {
    let api = queue(4).await;
    api.admin.put(READER, json!({})).await.is(201);
    api.clock.advance(TOO_OLD);
    trim(&api).await;
    for _ in 0..2 {
        let leased = api.admin.get(&format!("{LEASED}?holder=one")).await.is(200).json();
        assert_eq!((&leased["data"], &leased["gap"]["until"]), (&json!([]), &json!(4)));
    }
    api.admin.post(&format!("{LEASED}/commit?holder=one"), json!({ "offset": 4 })).await.is(204);
    assert_eq!(api.admin.get(LEASED).await.is(200).json().get("gap"), None);
}

#[tokio::test]
async fn workers_are_told_of_a_gap_until_one_says_that_it_heard() {
    let api = queue(4).await;
    api.admin.put(READER, json!({})).await.is(201);
    api.clock.advance(TOO_OLD);
    trim(&api).await;
    let pull = async || api.admin.post(&format!("{READER}/pull"), json!({})).await.is(200).json();
    for _ in 0..2 {
        assert_eq!(pull().await, json!({ "data": [], "done": true, "gap": { "from": 1, "until": 4 } }));
    }
    let heard = api.admin.post(&format!("{READER}/ack"), json!({ "ack": [4] })).await.is(200).json();
    assert_eq!(heard["committed"], 4);
    assert_eq!(pull().await, json!({ "data": [], "done": true }));
}

#[tokio::test]
async fn what_a_holder_did_not_commit_comes_back_when_its_lease_ends() {
    let api = queue(5).await;
    let ask = format!("{LEASED}?limit=3&lease_duration_ms=60000");
    assert_eq!(read(&api, &ask).await, [1, 2, 3]);
    assert_eq!(read(&api, &ask).await, NONE, "one at a time");
    api.admin.post(&format!("{LEASED}/commit"), json!({ "offset": 1 })).await.is(204);
    assert_eq!(read(&api, &ask).await, NONE);
    api.clock.advance(Duration::from_mins(1));
    assert_eq!(read(&api, &ask).await, [2, 3, 4]);
    api.admin.post(&format!("{LEASED}/commit"), json!({ "offset": 4 })).await.is(204);
    assert_eq!(read(&api, &ask).await, [5], "at once, when all was committed");
}

#[tokio::test]
async fn of_many_who_read_at_once_one_is_handed_it() {
    let api = queue(3).await;
    let read = || api.admin.get(LEASED);
    let answers = futures_util::future::join_all((0..8).map(|_| read())).await;
    let handed: Vec<Vec<u64>> =
        answers.into_iter().map(|answer| seqs(&answer.is(200))).filter(|seqs| !seqs.is_empty()).collect();
    assert_eq!(handed, [[1, 2, 3]]);
}

#[tokio::test]
async fn a_named_holder_is_told_who_is_before_it_and_gets_its_own_again() {
    let api = queue(3).await;
    assert_eq!(read(&api, &format!("{LEASED}?limit=2&holder=one")).await, [1, 2]);
    assert_eq!(read(&api, &format!("{LEASED}?limit=9&holder=one")).await, [1, 2, 3]);
    assert_eq!(read(&api, LEASED).await, NONE);
    for refused in [
        api.admin.get(&format!("{LEASED}?holder=two")).await,
        api.admin.post(&format!("{LEASED}/commit"), json!({ "offset": 1, "holder": "two" })).await,
        api.admin.post(&format!("{LEASED}/commit"), json!({ "offset": 1 })).await,
        api.admin.get(READER).await,
        api.admin.post(&format!("{READER}/pull"), json!({})).await,
    ] {
        let refused = refused.is(409);
        assert_eq!(refused.str("code"), "lease_held");
        assert!(refused.text().contains("`one`"), "{}", refused.text());
    }
    api.admin.post(&format!("{LEASED}/commit?holder=one"), json!({ "offset": 2 })).await.is(204);
    assert_eq!(committed(&api).await, 2);
}

#[tokio::test]
async fn a_commit_of_what_was_not_handed_out_is_refused_by_name() {
    let api = queue(5).await;
    let commit =
        async |offset| api.admin.post(&format!("{LEASED}/commit"), json!({ "offset": offset })).await;
    commit(1).await.is(404);
    assert_eq!(read(&api, &format!("{LEASED}?limit=2")).await, [1, 2]);
    let refused = commit(3).await.is(422).json();
    assert_eq!(refused["detail"][0]["loc"], json!(["body", "offset"]));
    assert_eq!(refused["detail"][0]["msg"], "is ahead of what was handed out, which is up to 2");
    commit(2).await.is(204);
    commit(1).await.is(204);
    assert_eq!(committed(&api).await, 2, "an older commit changes nothing");
}

#[tokio::test]
async fn a_new_consumer_begins_where_it_says() {
    let api = queue(3).await;
    assert_eq!(read(&api, &format!("{LEASED}-new?starting_position=latest")).await, NONE);
    assert_eq!(read(&api, &format!("{LEASED}-old?starting_position=earliest")).await, [1, 2, 3]);
    api.clock.advance(Duration::from_secs(1));
    publish(&api, 1).await;
    assert_eq!(read(&api, &format!("{LEASED}-new?starting_position=earliest")).await, [4], "only a new one");
    for (name, from, first) in
        [("seq", json!("3"), 3), ("time", json!(START.after(Duration::from_secs(1)).to_string()), 4)]
    {
        let path = format!("/app/acme/poller/main/consumer/{name}");
        api.admin.put(&path, json!({ "from": from })).await.is(201);
        api.admin.put(&path, json!({ "from": "earliest" })).await.is(200);
        assert_eq!(read(&api, &format!("{path}?limit=1")).await, [first]);
    }
}

#[tokio::test]
async fn no_consumer_is_put_beyond_the_end() {
    let api = queue(3).await;
    let put = async |from: &str| api.admin.put(READER, json!({ "from": from })).await;
    for from in ["5", "1099511627777", "18446744073709551615"] {
        let plain = format!("/app/acme/poller/main?from={from}");
        let iterator = api.admin.get(&plain).await.is(200).str("iterator");
        put(from).await.faults_at("from");
        let read = api.admin.get(&format!("{READER}?iterator={iterator}")).await.is(400);
        assert_eq!(read.str("code"), "invalid_iterator");
        api.admin.post(&format!("{READER}/seek"), json!({ "iterator": iterator })).await.is(400);
    }
    put("4").await.is(201);
    assert_eq!(committed(&api).await, 3);
}

#[tokio::test]
async fn a_consumer_is_put_to_another_place() {
    let api = queue(3).await;
    api.clock.advance(Duration::from_secs(1));
    publish(&api, 2).await;
    let seek = async |to: Value| api.admin.post(&format!("{READER}/seek"), to).await.is(200).str("iterator");
    seek(json!({ "after": START.to_string() })).await;
    assert_eq!(read(&api, READER).await, [4, 5], "after is exclusive, as published");
    seek(json!({ "seq": 2 })).await;
    let page = api.admin.get(&format!("{READER}?limit=2")).await.is(200);
    assert_eq!(seqs(&page), [2, 3]);
    let there = seek(json!({ "iterator": page.str("iterator") })).await;
    assert_eq!(there, page.str("iterator"));
    assert_eq!(read(&api, READER).await, [4, 5]);
    // Whoever holds a lease.
    api.admin.get(&format!("{LEASED}?holder=one")).await.is(200);
    seek(json!({ "seq": 1 })).await;
    assert_eq!(read(&api, READER).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn what_a_push_brought_is_left_out_once_it_is_not_pushed() {
    let api = TestApi::start().await;
    api.store.app("acme").await;
    let endpoint = json!({ "url": "https://receiver.example/", "uid": "main" });
    api.admin.post("/app/acme/endpoint", endpoint).await.is(201);
    publish(&api, 3).await;
    let list = api.admin.get("/app/acme/msg").await.is(200).json();
    let second = list["data"][1]["id"].as_str().unwrap();
    let delivered = Outcome::Delivered { status: 200, body: bytes::Bytes::new() };
    attempted(&api, &api.admin, "acme", second, delivered, DeliveryState::Delivered).await;
    assert_eq!(read(&api, &format!("{LEASED}-copy")).await, [1, 2, 3], "pushed, a reader has a copy");
    api.admin.patch("/app/acme/endpoint/main", json!({ "mode": "held" })).await.is(200);
    assert_eq!(read(&api, READER).await, NONE, "what is in flight may yet arrive");
    assert_eq!(read(&api, &format!("{LEASED}-leased")).await, NONE);
    let pulled = api.admin.post("/app/acme/poller/main/consumer/work/pull", json!({})).await.is(200);
    assert_eq!(seqs(&pulled), NONE);
    api.clock.advance(Duration::from_secs(61));
    assert_eq!(read(&api, READER).await, [1, 3]);
    assert_eq!(read(&api, &format!("{LEASED}-leased")).await, [1, 3]);
    let pulled = api.admin.post("/app/acme/poller/main/consumer/work/pull", json!({})).await.is(200);
    assert_eq!(seqs(&pulled), [1, 3]);
}

#[tokio::test]
async fn workers_share_a_queue() {
    let api = queue(4).await;
    let pull = async |body: Value| api.admin.post(&format!("{READER}/pull"), body).await.is(200);
    let ack = async |body: Value| api.admin.post(&format!("{READER}/ack"), body).await.is(200).json();
    let first = pull(json!({ "max": 2, "holder": "one" })).await;
    assert_eq!((seqs(&first), first.json()["done"].clone()), (vec![1, 2], json!(false)));
    let second = pull(json!({ "max": 9, "holder": "two" })).await;
    assert_eq!((seqs(&second), second.json()["done"].clone()), (vec![3, 4], json!(true)));
    assert_eq!(ack(json!({ "ack": [3, 4], "holder": "two" })).await, json!({ "committed": 0, "lost": [] }));
    let stolen = json!({ "nack": [{ "seq": 1 }], "holder": "two" });
    assert_eq!(ack(stolen).await, json!({ "committed": 0, "lost": [1] }));
    let answers = json!({ "ack": [1], "nack": [{ "seq": 2, "delay": 5, "do": "retry" }], "holder": "one" });
    assert_eq!(ack(answers).await, json!({ "committed": 1, "lost": [] }));
    assert_eq!(seqs(&pull(json!({})).await), NONE);
    api.clock.advance(Duration::from_secs(5));
    let again = pull(json!({})).await;
    assert_eq!(again.json()["data"][0]["attempt"], 2);
    assert_eq!(ack(json!({ "nack": [{ "seq": 2, "do": "skip" }] })).await["committed"], 4);
    let refused = api.admin.post(&format!("{READER}/ack"), json!({ "ack": [5] })).await.is(422).json();
    assert_eq!(refused["detail"][0]["loc"], json!(["body", "ack"]));
}

#[tokio::test]
async fn bad_input_is_named_by_its_field() {
    let api = queue(1).await;
    let (reader, leased) = (READER, LEASED);
    let check = async |answer: Answer, place: &str| {
        let answer = answer.is(422).json();
        let loc: Vec<&str> = answer["detail"][0]["loc"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| part.as_str().unwrap())
            .collect();
        assert_eq!(loc.join("."), place, "{answer}");
    };
    for (query, place) in [
        ("limit=0", "query.limit"),
        ("limit=251", "query.limit"),
        ("wait=-1", "query.wait"),
        ("wait=61", "query.wait"),
        ("min=0", "query.min"),
        ("limit=2&min=3", "query.min"),
    ] {
        check(api.admin.get(&format!("{reader}?{query}")).await, place).await;
    }
    for (query, place) in [
        ("limit=0", "query.limit"),
        ("lease_duration_ms=999", "query.lease_duration_ms"),
        ("lease_duration_ms=43200001", "query.lease_duration_ms"),
        ("lease_duration_ms=-5", "query.lease_duration_ms"),
        ("starting_position=middle", "query.starting_position"),
        ("holder=a%20b", "query.holder"),
        ("wait=-1", "query.wait"),
    ] {
        check(api.admin.get(&format!("{leased}?{query}")).await, place).await;
    }
    check(api.admin.get("/app/acme/poller/main/consumer/a%20b").await, "path.consumer_id").await;
    let tomorrow = START.after(Duration::from_hours(24)).to_string();
    for (method, rest, body, place) in [
        (Method::POST, "/seek", json!({}), "body.after"),
        (Method::POST, "/seek", json!({ "after": "yesterday" }), "body.after"),
        (Method::POST, "/seek", json!({ "after": tomorrow }), "body.after"),
        (Method::POST, "/seek", json!({ "seq": 1, "after": START.to_string() }), "body.after"),
        (Method::POST, "/seek", json!({ "seq": 0 }), "body.seq"),
        (Method::POST, "/seek", json!({ "seq": 3 }), "body.seq"),
        (Method::PUT, "", json!({ "from": "middle" }), "body.from"),
        (Method::PUT, "", json!({ "from": tomorrow }), "body.from"),
        (Method::PUT, "", json!({ "idle": 59 }), "body.idle"),
        (Method::PUT, "", json!({ "idle": 31_622_401 }), "body.idle"),
        (Method::PUT, "", json!({ "maxDeliver": -1 }), "body.maxDeliver"),
        (Method::PUT, "", json!({ "maxDeliver": 1_001 }), "body.maxDeliver"),
        (Method::POST, "/pull", json!({ "max": 0 }), "body.max"),
        (Method::POST, "/pull", json!({ "max": 251 }), "body.max"),
        (Method::POST, "/pull", json!({ "lease": 0 }), "body.lease"),
        (Method::POST, "/pull", json!({ "lease": 43_201 }), "body.lease"),
        (Method::POST, "/pull", json!({ "wait": 61 }), "body.wait"),
        (Method::POST, "/pull", json!({ "wait": -1 }), "body.wait"),
        (Method::POST, "/pull", json!({ "holder": "" }), "body.holder"),
        (Method::POST, "/ack", json!({ "ack": vec![1; 1_001] }), "body.ack"),
        (Method::POST, "/ack", json!({ "nack": [{ "seq": 1, "delay": 43_201 }] }), "body.nack.0.delay"),
        (Method::POST, "/ack", json!({ "nack": [{ "seq": 1, "do": "drop" }] }), "body.nack.0.do"),
        (
            Method::POST,
            "/ack",
            json!({ "nack": [{ "seq": 1, "do": "park", "delay": 1 }] }),
            "body.nack.0.delay",
        ),
        (Method::POST, "/ack", json!({ "extend": [{ "seq": 1, "lease": 0 }] }), "body.extend.0.lease"),
        (Method::POST, "/replay", json!({ "seqs": vec![1; 1_001] }), "body.seqs"),
    ] {
        check(api.admin.call(method, &format!("{reader}{rest}"), &body.to_string(), &[]).await, place).await;
    }
    // Nothing of it made a consumer.
    assert_eq!(api.admin.get("/app/acme/poller/main/consumer").await.is(200).json()["data"], json!([]));
}

#[tokio::test]
async fn a_consumer_that_is_not_there_has_no_status_and_nothing_to_answer_for() {
    let api = queue(1).await;
    for (method, rest, body) in [
        (Method::GET, "/status", ""),
        (Method::GET, "/parked", ""),
        (Method::DELETE, "", ""),
        (Method::POST, "/ack", r#"{"ack":[1]}"#),
        (Method::POST, "/replay", "{}"),
    ] {
        let answer = api.admin.call(method, &format!("{READER}{rest}"), body, &[]).await.is(404);
        assert_eq!(answer.str("detail"), "there is no such consumer");
    }
}

#[tokio::test]
async fn an_endpoint_has_so_many_consumers_and_the_next_is_refused() {
    let api = queue(1).await;
    let paths: Vec<String> = (0..1_000).map(|n| format!("/app/acme/poller/main/consumer/{n}")).collect();
    let made = paths.iter().map(|path| api.admin.put(path, json!({})));
    for made in futures_util::future::join_all(made).await {
        made.is(201);
    }
    let refused = api.admin.get(READER).await.is(409);
    assert_eq!(refused.str("code"), "too_many_consumers");
}
