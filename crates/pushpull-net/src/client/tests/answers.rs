//! What receivers may say, and what becomes of it.

use http::{HeaderName, HeaderValue};
use pushpull_domain::attempt::RESPONSE_BODY_MAX;
use tokio::time::Instant;

use super::receiver::*;
use crate::client::*;

#[tokio::test]
async fn a_request_is_sent_as_it_was_given() {
    let (seen, saw) = tokio::sync::oneshot::channel();
    let seen = std::sync::Mutex::new(Some(seen));
    let receiver = Receiver::start(move |_, mut peer| {
        let seen = seen.lock().unwrap().take();
        async move {
            let request = peer.read_request().await.unwrap();
            seen.unwrap().send(request).unwrap();
            peer.say(OK).await;
        }
    })
    .await;
    let headers = HeaderMap::from_iter([
        (HeaderName::from_static("webhook-id"), HeaderValue::from_static("msg_1")),
        (HeaderName::from_static("host"), HeaderValue::from_static("evil.example")),
        (HeaderName::from_static("content-length"), HeaderValue::from_static("1")),
        (HeaderName::from_static("transfer-encoding"), HeaderValue::from_static("chunked")),
        (HeaderName::from_static("connection"), HeaderValue::from_static("close")),
    ]);
    let target = receiver.target();
    let answer = client()
        .send(Request { target: &target, headers: &|| headers.clone(), body: &Bytes::from_static(b"hello") })
        .await;
    assert_eq!(answer.unwrap().status, 200);
    let request = saw.await.unwrap();
    let mut lines: Vec<_> = request.split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /hook?a=1 HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: 127.0.0.1:{}", receiver.port());
    assert_eq!(lines, ["", "content-length: 5", "hello", &host, "user-agent: pushpull", "webhook-id: msg_1"]);
}

#[tokio::test]
async fn an_empty_body_has_a_length_too() {
    let receiver = Receiver::start(|_, mut peer| async move {
        let request = peer.read_request().await.unwrap();
        let status = if request.contains("content-length: 0\r\n") { 200 } else { 411 };
        peer.say(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n")).await;
    })
    .await;
    let target = receiver.target();
    let request = Request { target: &target, headers: &HeaderMap::new, body: &Bytes::new() };
    assert_eq!(client().send(request).await.unwrap().status, 200);
}

/// Status and body of what a receiver says before it closes.
async fn check_answer(said: impl Into<Vec<u8>>, status: u16, body: &[u8]) {
    let said = said.into();
    let shown = String::from_utf8_lossy(&said[..said.len().min(120)]).into_owned();
    let receiver = Receiver::saying_and_closing(said).await;
    let answer = post(&client(), &receiver.target()).await.unwrap_or_else(|e| panic!("{shown:?}: {e:?}"));
    assert_eq!((answer.status, &answer.body[..], answer.truncated), (status, body, false), "{shown:?}");
}

#[tokio::test]
async fn a_complete_answer_comes_back_whatever_its_status() {
    check_answer(OK, 200, b"ok").await;
    check_answer("HTTP/1.1 204 No Content\r\n\r\n", 204, b"").await;
    check_answer("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", 410, b"").await;
    check_answer("HTTP/1.1 500 \r\ncontent-length: 4\r\n\r\noops", 500, b"oops").await;
    check_answer("HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n", 999, b"").await;
    check_answer("HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end").await;
    check_answer("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, b"until the end").await;
}

#[tokio::test]
async fn a_chunked_answer_comes_back_whole() {
    let said =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n";
    check_answer(said, 200, b"abcde").await;
}

#[tokio::test]
async fn informational_answers_are_skipped() {
    let said = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{OK}");
    check_answer(said, 200, b"ok").await;
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let canary = Receiver::saying(OK).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("http://{}/", canary.address);
        let said = format!("HTTP/1.1 {status} x\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::saying(said).await;
        let answer = post(&client(), &receiver.target()).await.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["location"], location);
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_compressed_body_stays_compressed() {
    let mut said = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n".to_vec();
    said.extend([0x1f, 0x8b, 8, 0]);
    check_answer(said, 200, &[0x1f, 0x8b, 8, 0]).await;
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_whole() {
    let body = "x".repeat(RESPONSE_BODY_MAX);
    let length = body.len();
    check_answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"), 200, body.as_bytes())
        .await;
    check_answer(
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"),
        200,
        body.as_bytes(),
    )
    .await;
}

#[tokio::test]
async fn a_body_of_100_mb_is_cut_and_its_connection_not_used_again() {
    let receiver = Receiver::start(|_, mut peer| async move {
        peer.read_request().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
        let piece = vec![b'x'; 10_000];
        for _ in 0..10_000 {
            if !peer.say(&piece).await {
                return;
            }
        }
    })
    .await;
    let client = client();
    let answer = post(&client, &receiver.target()).await.unwrap();
    assert_eq!((answer.status, answer.body.len(), answer.truncated), (200, RESPONSE_BODY_MAX, true));
    assert_eq!(client.idle_connections(), 0);
}

/// The class of what a receiver says before it closes.
async fn check_failure(said: impl Into<Vec<u8>>, expected: ErrorClass) {
    let said = said.into();
    let shown = String::from_utf8_lossy(&said[..said.len().min(120)]).into_owned();
    let receiver = Receiver::saying_and_closing(said).await;
    let failure = post(&client(), &receiver.target()).await.expect_err(&shown);
    assert_eq!(failure.class, expected, "{shown:?}: {}", failure.detail);
    assert!(!failure.detail.is_empty());
    assert_eq!(receiver.connections(), 1, "{shown:?}");
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for said in [
        "<html>HTTP/0.9 has no head</html>\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned(),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nx-nul: a\0b\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_owned(),
        format!("{chunked}zz\r\nabc\r\n0\r\n\r\n"),
        format!("{chunked}3\r\nabcdef\r\n0\r\n\r\n"),
        format!("{chunked}fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    ] {
        check_failure(said, ErrorClass::Protocol).await;
    }
}

#[tokio::test]
async fn too_large_a_head_is_a_protocol_failure() {
    for count in [101, 10_000] {
        let headers = "x: y\r\n".repeat(count);
        check_failure(format!("HTTP/1.1 200 OK\r\n{headers}\r\n"), ErrorClass::Protocol).await;
    }
    let hundred = "x: y\r\n".repeat(99);
    check_answer(format!("HTTP/1.1 200 OK\r\n{hundred}content-length: 0\r\n\r\n"), 200, b"").await;
    let giant = "y".repeat(8 * 1024 * 1024);
    check_failure(format!("HTTP/1.1 200 OK\r\nx: {giant}\r\n\r\n"), ErrorClass::Protocol).await;
}

#[tokio::test]
async fn a_flood_of_informational_answers_is_a_protocol_failure() {
    let receiver = Receiver::start(|_, mut peer| async move {
        peer.read_request().await;
        while peer.say("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000)).await {}
    })
    .await;
    assert_eq!(class(post(&client(), &receiver.target()).await), ErrorClass::Protocol);
}

#[tokio::test]
async fn an_answer_that_ends_too_soon_is_a_closed_connection() {
    for said in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nx: y\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
    ] {
        check_failure(said, ErrorClass::ConnectionClosed).await;
    }
}

#[tokio::test]
async fn a_reset_is_a_closed_connection() {
    for said in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"] {
        let receiver = Receiver::start(move |_, mut peer| async move {
            peer.read_request().await;
            peer.say(said).await;
            peer.reset();
        })
        .await;
        assert_eq!(
            class(post(&client(), &receiver.target()).await),
            ErrorClass::ConnectionClosed,
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn a_receiver_that_stalls_is_given_up_at_the_deadline() {
    for said in [
        "",
        "HTTP/1.1 200 OK\r\nx-half: ",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\n\r\nno end",
    ] {
        let receiver = Receiver::start(move |_, mut peer| async move {
            peer.read_request().await;
            peer.say(said).await;
            silence().await;
        })
        .await;
        let failure = post(&hasty_client(), &receiver.target()).await.unwrap_err();
        assert_eq!(failure.class, ErrorClass::Timeout, "{said:?}");
        assert!(failure.timings.total >= SHORT, "{said:?}");
        assert_eq!(failure.timings.first_byte.is_some(), !said.is_empty(), "{said:?}");
    }
}

#[tokio::test]
async fn a_body_that_drips_for_ever_is_given_up_at_the_deadline() {
    let receiver = Receiver::start(|_, mut peer| async move {
        peer.read_request().await;
        peer.say("HTTP/1.1 200 OK\r\n\r\n").await;
        let mut drip = tokio::time::interval(SHORT / 30);
        while peer.say("x").await {
            drip.tick().await;
        }
    })
    .await;
    let started = Instant::now();
    assert_eq!(class(post(&hasty_client(), &receiver.target()).await), ErrorClass::Timeout);
    assert!(started.elapsed() < SHORT * 10);
}

#[tokio::test]
async fn an_answer_before_the_request_was_read_is_an_answer() {
    let receiver = Receiver::start(|_, mut peer| async move {
        peer.say("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        silence().await;
    })
    .await;
    let client = client();
    let target = receiver.target();
    let body = Bytes::from(vec![b'x'; 32 * 1024 * 1024]);
    let answer =
        client.send(Request { target: &target, headers: &HeaderMap::new, body: &body }).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (413, &b"big"[..]));
    assert_eq!(client.idle_connections(), 0);
}

#[tokio::test]
async fn times_are_told_for_each_step() {
    let receiver = Receiver::saying(OK).await;
    let client = client();
    let first = post(&client, &receiver.target()).await.unwrap().timings;
    assert!(first.connect.is_some() && first.dns.is_none() && first.tls.is_none());
    assert!(first.connect <= first.first_byte && first.first_byte <= Some(first.total));
    let second = post(&client, &receiver.target()).await.unwrap().timings;
    assert!(second.connect.is_none() && second.first_byte.is_some());
}
