//! Input that is wrong, too long, too deep, too slow: an exact answer, nothing stored, and nobody else disturbed.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot::error::TryRecvError,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::support::{Answer, Client, Home, PATIENCE, Server, percentile, say};

/// Longest that a connection without a whole request is kept: 10 s for a head, 30 s for a body, and a moment.
const REAPED_MAX: Duration = Duration::from_secs(40);
/// Most bytes of a payload, as it is when nobody sets it.
const PAYLOAD_MAX: usize = 1024 * 1024;

/// A server that allows no network but the public one, with an application.
async fn start() -> (Server, Client) {
    let server = Home::new().with("PUSHPULL_EGRESS_ALLOW", "").start().await;
    let mut client = server.client();
    client.app("app").await;
    (server, client)
}

/// Status and code; of a field's fault, where it is.
fn verdict(answer: &Answer) -> (u16, String) {
    let place = answer.json()["detail"][0]["loc"]
        .as_array()
        .map(|steps| steps.iter().map(|step| step.as_str().unwrap_or("?")).collect::<Vec<_>>().join("."));
    (answer.status, place.unwrap_or_else(|| answer.code()))
}

async fn check(client: &mut Client, path: &str, body: impl Into<Bytes>, expected: (u16, &str)) {
    let body = body.into();
    let start = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
    let started = Instant::now();
    let answer = client.call(Method::POST, path, body).await;
    let (status, word) = verdict(&answer);
    assert_eq!((status, &*word), expected, "{path} {start}: {}", String::from_utf8_lossy(&answer.body));
    assert!(started.elapsed() < Duration::from_secs(5), "{path} {start}: {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_meant_is_refused_and_not_stored() {
    let (server, mut client) = start().await;
    let msg = "/api/v1/app/app/msg";
    let long = "x".repeat(257);
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let cases: Vec<(Vec<u8>, (u16, &str))> = vec![
        (b"".into(), (400, "malformed_json")),
        (b"{".into(), (400, "malformed_json")),
        (b"{\"eventType\":\"a\",\n \"payload\":{},}".into(), (400, "malformed_json")),
        (b"{\"eventType\":\"a\",\"payload\":{}} x".into(), (400, "malformed_json")),
        (b"{\"eventType\":\"a\",\"payload\":\"\xff\"}".into(), (400, "malformed_json")),
        (b"{\"eventType\":\"a\",\"payload\":01}".into(), (400, "malformed_json")),
        (b"{\"eventType\":\"a\",\"payload\":NaN}".into(), (400, "malformed_json")),
        (b"\xef\xbb\xbf{\"eventType\":\"a\",\"payload\":{}}".into(), (400, "malformed_json")),
        (b"[]".into(), (422, "body")),
        // A struct can also be read from a list of its fields, which nobody means.
        (br#" ["a",{},null,null,null,null,null,null,null,null]"#.into(), (422, "body")),
        (b"{}".into(), (422, "body.eventType")),
        (br#"{"eventType":"a"}"#.into(), (422, "body.payload")),
        (br#"{"eventType":7,"payload":{}}"#.into(), (422, "body.eventType")),
        (br#"{"eventType":"a b","payload":{}}"#.into(), (422, "body.eventType")),
        (format!(r#"{{"eventType":"{long}","payload":{{}}}}"#).into(), (422, "body.eventType")),
        (br#"{"eventType":"a","eventType":"b","payload":{}}"#.into(), (422, "body")),
        (br#"{"eventType":"a","payload":{},"channels":"a"}"#.into(), (422, "body.channels")),
        (
            br#"{"eventType":"a","payload":{},"payloadRetentionHours":1e99}"#.into(),
            (422, "body.payloadRetentionHours"),
        ),
        (
            br#"{"eventType":"a","payload":{},"payloadRetentionHours":-1}"#.into(),
            (422, "body.payloadRetentionHours"),
        ),
        (format!(r#"{{"eventType":{},"payload":{{}}}}"#, deep(100_000)).into(), (422, "body.eventType")),
        (
            format!(r#"{{"eventType":"a","payload":{{}},"channels":{}}}"#, deep(100_000)).into(),
            (422, "body.channels.0"),
        ),
        (format!(r#"{{"eventType":"a","payload":{}}}"#, "[".repeat(100_000)).into(), (400, "malformed_json")),
        (
            format!(r#"{{"eventType":"a","payload":"{}"}}"#, "x".repeat(PAYLOAD_MAX)).into(),
            (413, "payload_too_large"),
        ),
    ];
    for (body, expected) in cases {
        check(&mut client, msg, body, expected).await;
    }
    let answer = client
        .call(Method::POST, msg, Bytes::from_static(b"{\"eventType\":\"a\",\n  \"payload\":{],}"))
        .await;
    let detail = answer.text("detail");
    assert!(detail.contains("line 2, column 14"), "{detail}");
    let answer = client.try_call(Method::POST, msg, valid(), &[("idempotency-key", &long)]).await.unwrap();
    assert_eq!(verdict(&answer), (422, "header.idempotency-key".into()));
    healthy(&mut client, 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_odd_but_json_is_taken_byte_for_byte() {
    let (server, mut client) = start().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let duplicates = format!("{{{}\"a\":1}}", "\"a\":0,".repeat(170_000));
    let huge_number = r#"{"n":1e999999,"m":-0,"k":"\ud83d\ude00","u":"é"}"#.to_owned();
    for payload in [deep, duplicates, huge_number] {
        let started = Instant::now();
        let body = format!(r#"{{"eventType":"a","payload":{payload}}}"#);
        let answer = client.call(Method::POST, "/api/v1/app/app/msg?with_content=false", body.into()).await;
        let id = answer.expect(202).text("id");
        let shown = client.get(&format!("/api/v1/app/app/msg/{id}")).await.expect(200);
        let shown = String::from_utf8(shown.body.to_vec()).unwrap();
        assert!(shown.contains(&format!(r#""payload":{payload}"#)), "{}", &shown[..200]);
        assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    }
    healthy(&mut client, 3).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_cannot_be_meant_is_refused_and_not_stored() {
    let (server, mut client) = start().await;
    let endpoints = "/api/v1/app/app/endpoint";
    for url in [
        "",
        "x",
        "/x",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://@127.0.0.1/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "http://example.com/a\tb",
        "https://exa mple.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/",
        "https://localhost/",
        "https://a.localhost/",
        "https://0/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://[2002:a00:1::]/",
    ] {
        check(&mut client, endpoints, json!({"url": url}).to_string(), (422, "body.url")).await;
    }
    let long = "x".repeat(257);
    let with = |field: &str, value: Value| json!({"url": "https://example.com/", field: value}).to_string();
    check(&mut client, endpoints, with("uid", json!(long)), (422, "body.uid")).await;
    check(&mut client, endpoints, with("uid", json!(7)), (422, "body.uid")).await;
    check(&mut client, endpoints, with("eventTypes", json!([long])), (422, "body.eventTypes.0")).await;
    check(&mut client, endpoints, with("throttleRate", json!(0)), (422, "body.throttleRate")).await;
    check(&mut client, endpoints, with("throttleRate", json!(70_000)), (422, "body.throttleRate")).await;
    check(&mut client, endpoints, with("secret", json!("whsec_short")), (422, "body.secret")).await;
    check(&mut client, endpoints, with("retrySchedule", json!([-1])), (422, "body.retrySchedule")).await;
    check(&mut client, endpoints, "{\"url\":", (400, "malformed_json")).await;
    let long_url = format!("https://example.com/{}", "x".repeat(70_000));
    check(&mut client, endpoints, json!({"url": long_url}).to_string(), (422, "body.url")).await;
    check(&mut client, "/api/v1/app", json!({"name": "a", "uid": long}).to_string(), (422, "body.uid")).await;
    let deep = format!(r#"{{"url":"https://example.com/","metadata":{}}}"#, "[".repeat(100_000));
    check(&mut client, endpoints, deep, (422, "body.metadata")).await;
    let deep = format!(r#"{{"url":"https://example.com/","unknown":{}}}"#, "[".repeat(100_000));
    check(&mut client, endpoints, deep, (400, "malformed_json")).await;
    // A megabyte of one key is one pair of text: the last one, as JSON is read everywhere.
    let pairs = r#""a":"0","#.repeat(120_000);
    let taken = format!(r#"{{"url":"https://example.com/","metadata":{{{pairs}"a":"1"}}}}"#);
    let taken = client.call(Method::POST, endpoints, taken.into()).await.expect(201);
    assert_eq!(taken.json()["metadata"], json!({"a": "1"}));
    assert_eq!(client.list(endpoints).await.len(), 1);
    assert_eq!(client.list("/api/v1/app").await.len(), 1);
    healthy(&mut client, 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_before_it_is_there() {
    let (server, mut client) = start().await;
    let head = |more: &str| {
        let key = Home::KEY;
        format!(
            "POST /api/v1/app/app/msg HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{more}\r\n\r\n"
        )
    };
    let announced = exchange(&server, head("content-length: 3000000000").as_bytes()).await;
    assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");
    let expecting = head("content-length: 3000000000\r\nexpect: 100-continue");
    let expecting = exchange(&server, expecting.as_bytes()).await;
    assert!(expecting.starts_with("HTTP/1.1 413"), "{expecting}");

    let other = head("content-length: 1048577").replace("/msg ", "/endpoint ");
    let other = exchange(&server, other.as_bytes()).await;
    assert!(other.starts_with("HTTP/1.1 413"), "{other}");

    // In pieces, so that nobody can know how long it is; the last piece is never sent.
    let (mut reading, mut writing) = connect(&server).await.into_split();
    writing.write_all(head("transfer-encoding: chunked").as_bytes()).await.unwrap();
    let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut sent = 0;
    let endless = async {
        // Once it is refused the server takes no more.
        while writing.write_all(piece.as_bytes()).await.is_ok() {
            sent += 0x10000;
        }
        std::future::pending::<()>().await;
    };
    let mut status = [0; 12];
    tokio::select! {
        read = timeout(PATIENCE, reading.read_exact(&mut status)) => { read.expect("an answer").unwrap(); }
        () = endless => {}
    }
    assert_eq!(&status, b"HTTP/1.1 413");
    assert!(sent < 64 * PAYLOAD_MAX, "{sent} bytes were taken");
    say(format!("413 after {sent} bytes of a body without end"));
    healthy(&mut client, 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_long_is_refused() {
    let (server, mut client) = start().await;
    let long = format!("x-more: {}\r\n", "a".repeat(1_000)).repeat(2_000);
    let many = "x-more: 1\r\n".repeat(10_000);
    for headers in [long, many] {
        let request = format!("GET /api/v1/health/ping HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        let answer = exchange(&server, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    }
    let path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
    let answer = exchange(&server, path.as_bytes()).await;
    assert!(["HTTP/1.1 414", "HTTP/1.1 404"].iter().any(|status| answer.starts_with(status)), "{answer}");
    for nonsense in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
    {
        let answer = exchange(&server, nonsense).await;
        assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{answer}");
    }
    healthy(&mut client, 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_never_finish_a_request_are_shut_out_and_disturb_nobody() {
    let (server, mut client) = start().await;
    let key = Home::KEY;
    let post = format!("POST /api/v1/app/app/msg HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n");
    let starts = [
        String::new(),
        "GET /api/v1/health/ping HTTP/1.1\r\nhost: x\r\n".to_owned(),
        format!("{post}content-length: 1000\r\n\r\n{{"),
        format!("{post}transfer-encoding: chunked\r\n\r\n5\r\n{{"),
    ];
    let started = Instant::now();
    let mut slow = JoinSet::new();
    for n in 0..400 {
        let start = starts[n % starts.len()].clone();
        let mut stream = connect(&server).await;
        slow.spawn(async move {
            stream.write_all(start.as_bytes()).await.unwrap();
            let mut drip = tokio::time::interval(Duration::from_secs(1));
            let mut answer = [0; 64];
            loop {
                tokio::select! {
                    read = stream.read(&mut answer) => if matches!(read, Ok(0) | Err(_)) {
                        return (n % 4, started.elapsed());
                    },
                    _ = drip.tick() => { let _ = stream.write_all(b"x").await; }
                }
            }
        });
    }
    let (over, mut go_on) = tokio::sync::oneshot::channel::<()>();
    let mut beside = JoinSet::new();
    beside.spawn(async move {
        let mut times = Vec::new();
        while go_on.try_recv() == Err(TryRecvError::Empty) {
            let asked = Instant::now();
            client.get("/api/v1/health/ping").await.expect(204);
            times.push(asked.elapsed());
        }
        (client, times)
    });
    let mut ended = [Duration::ZERO; 4];
    while let Some(next) = timeout(REAPED_MAX, slow.join_next()).await.expect("somebody is never shut out") {
        let (kind, after) = next.unwrap();
        ended[kind] = ended[kind].max(after);
    }
    drop(over);
    let (mut client, mut times) = beside.join_next().await.unwrap().unwrap();
    let (served, slowest) = (times.len(), percentile(&mut times, 1.0));
    say(format!("shut out after at most {ended:?}; {served} requests beside them, the slowest {slowest:?}"));
    assert!(started.elapsed() < REAPED_MAX, "{ended:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    healthy(&mut client, 0).await;
    server.stop().await;
}

fn valid() -> Bytes {
    Bytes::from_static(br#"{"eventType":"a","payload":{}}"#)
}

/// The server holds so many messages, and takes another.
async fn healthy(client: &mut Client, messages: usize) {
    assert_eq!(client.list("/api/v1/app/app/msg?with_content=false").await.len(), messages);
    client.call(Method::POST, "/api/v1/app/app/msg", valid()).await.expect(202);
}

#[expect(clippy::disallowed_methods, reason = "a test calls the server it started")]
async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Sends bytes; what is answered until the server closes. A reset says nothing.
async fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server).await;
    // The server may close while this is being written.
    let _ = stream.write_all(bytes).await;
    let mut answer = vec![0; 4_096];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer, or an end");
    String::from_utf8_lossy(&answer[..read.unwrap_or_default()]).into_owned()
}
