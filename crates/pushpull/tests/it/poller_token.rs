//! A poller token in a URL leaves no trace: not in the log, not in the store.

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use crate::support::{Home, Served, call};

/// The JSON of an answer, which must have succeeded.
#[track_caller]
fn json(answer: &str) -> Value {
    assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// What is answered over HTTP/2, whose library logs by itself.
async fn status_over_http2(served: &Served, path: &str) -> u16 {
    let stream = tokio::net::TcpStream::connect(served.address()).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("{}{path}", served.url)).body(Empty::<&[u8]>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    drop(sender);
    connection.await.unwrap().unwrap();
    status
}

#[tokio::test]
async fn a_token_in_a_url_is_never_logged() {
    let home = Home::new();
    let mut command = home.command(&["serve"]);
    command.env("PUSHPULL_LOG", "trace");
    let served = Served::start(command);
    let key = std::fs::read_to_string(home.data().join("admin.key")).unwrap();
    let key = Some(key.trim());
    let post = |path, body| json(&call(served.address(), "POST", path, key, body));
    post("/api/v1/app", r#"{"name":"a","uid":"a"}"#);
    post("/api/v1/app/a/endpoint", r#"{"uid":"queue","mode":"pull"}"#);
    let token = json(&served.get("/api/v1/auth/app/a/poller/queue/token", key));
    let token = token["token"].as_str().unwrap();

    let at = |path: &str| format!("/api/v1{path}?limit=1&access_token={token}");
    let read = at("/app/a/poller/queue");
    json(&served.get(&read, None));
    assert_eq!(status_over_http2(&served, &read).await, 200);
    // Where it is not taken, it is not told either.
    for (path, status) in [("/app/a/endpoint", 401), ("/app/a/poller/other", 404), ("/nothing", 404)] {
        assert!(served.get(&at(path), None).starts_with(&format!("HTTP/1.1 {status}")));
        assert_eq!(status_over_http2(&served, &at(path)).await, status);
    }
    let twice = served.get(&read, key);
    assert!(twice.starts_with("HTTP/1.1 401") && !twice.contains(token), "{twice}");

    for file in std::fs::read_dir(home.data()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(token.len()).any(|part| part == token.as_bytes()), "it is sealed at rest");
    }
    let log = served.stop();
    assert!(log.contains("/api/v1/app/a/poller/queue"), "requests are logged: {log}");
    assert!(!log.contains(token), "{log}");
    assert!(!log.contains("access_token"), "nor what comes beside it");
}
