//! Readers that stop reading, over both kinds of HTTP: they hold little, are cut off, and go on later from the last that
//! they got.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::support::{Home, Server, say};

/// Messages in the queue, and bytes of each payload: far more than sockets and pieces hold.
const MESSAGES: u64 = 1_500;
const SIZE: usize = 20_000;
/// Readers of each kind that stop.
const READERS: usize = 20;
/// Most memory that they may take together, in MiB: some 2 for each.
const MEMORY_MAX: u64 = 80;
/// Longest until they are cut off: half a minute without a byte, and a moment.
const CUT_OFF_MAX: Duration = Duration::from_secs(40);

/// Streams of one connection, and the most that they may take together, in MiB: of those that asked for pages, one each.
const STREAMS: usize = 90;
const STREAMS_MEMORY_MAX: u64 = 200;
/// Longest until a connection ends whose streams nobody reads: half a minute, half as long again, and a moment.
const UNREAD_MAX: Duration = Duration::from_mins(1);

/// A reader that asks for everything and takes nothing; what it gets once it reads again, until it is cut off.
async fn stalled(server: &Server, accept: &str, stopped: &tokio::sync::Barrier) -> Vec<u8> {
    // A small window, so that the server soon cannot write.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream: TcpStream = socket.connect(server.address).await.unwrap();
    let request = format!(
        "GET /api/v1/app/app/poller/sink HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\naccept: {accept}\r\n\r\n",
        Home::KEY
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // The answer has begun.
    let mut got = vec![0; 1_024];
    stream.read_exact(&mut got).await.unwrap();
    stopped.wait().await;
    stopped.wait().await;
    // Reset, or an end: what is in the sockets still comes.
    let mut rest = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "who stopped reading is still being sent to");
    got.extend(rest);
    got
}

/// A server with a queue of many large messages.
async fn start() -> Server {
    let server = Home::new().start().await;
    let mut client = server.client();
    client.app("app").await;
    let sink = json!({ "mode": "pull", "uid": "sink" });
    client.post("/api/v1/app/app/endpoint", &sink).await.expect(201);
    let filling = "x".repeat(SIZE);
    for n in 0..MESSAGES {
        let message = json!({ "eventType": "a", "payload": { "n": n, "filling": filling } });
        client.post("/api/v1/app/app/msg", &message).await.expect(202);
    }
    server
}

/// Over HTTP/2 the connection itself is alive and answers pings: what is left is each of its streams.
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_its_http2_streams_unread_is_cut_off() {
    let server = start().await;
    let before = server.memory_peak();
    let stream = TcpSocket::new_v4().unwrap().connect(server.address).await.unwrap();
    let (mut send, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut speaking = JoinSet::new();
    speaking.spawn(connection);
    let mut answers = Vec::new();
    for n in 0..STREAMS {
        let accept = ["application/json", "application/x-ndjson", "text/event-stream"][n % 3];
        let request = Request::get(format!("http://{}/api/v1/app/app/poller/sink?limit=250", server.address))
            .header("authorization", format!("Bearer {}", Home::KEY))
            .header("accept", accept);
        send.ready().await.unwrap();
        answers.push(send.send_request(request.body(Empty::new()).unwrap()).await.unwrap());
        assert_eq!(answers[n].status(), 200);
    }
    let ended = timeout(UNREAD_MAX, speaking.join_next()).await;
    let held = server.memory_peak() - before;
    say(format!("{} streams that nobody read held {held} MiB", answers.len()));
    assert!(ended.is_ok(), "the connection is still served");
    assert!(held < STREAMS_MEMORY_MAX, "{held} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_reading_holds_little_and_is_cut_off() {
    let server = start().await;
    let mut client = server.client();
    let before = server.memory_peak();
    let stopped = std::sync::Arc::new(tokio::sync::Barrier::new(2 * READERS + 1));
    let server = std::sync::Arc::new(server);
    let mut readers = JoinSet::new();
    for n in 0..2 * READERS {
        let (server, stopped) = (server.clone(), stopped.clone());
        let accept = if n % 2 == 0 { "application/x-ndjson" } else { "text/event-stream" };
        readers.spawn(async move { stalled(&server, accept, &stopped).await });
    }
    stopped.wait().await;
    // Meanwhile others are served.
    let since = Instant::now();
    while since.elapsed() < CUT_OFF_MAX {
        let page = client.get("/api/v1/app/app/poller/sink?limit=1").await.expect(200).json();
        assert_eq!(page["data"][0]["seq"], 1);
        crate::support::let_pass(Duration::from_millis(500)).await;
    }
    let held = server.memory_peak() - before;
    stopped.wait().await;
    let got = readers.join_all().await;
    let whole = (MESSAGES as usize) * SIZE;
    let most = got.iter().map(Vec::len).max().unwrap();
    say(format!("{} readers that stopped held {held} MiB; the most that one got is {most} bytes", got.len()));
    assert!(most < whole / 4, "{most} bytes");
    assert!(held < MEMORY_MAX, "{held} MiB");

    // Each line that came whole is a place to go on from.
    let lines = got.iter().find(|got| got.starts_with(b"HTTP/1.1 200") && has(got, b"x-ndjson")).unwrap();
    let text = String::from_utf8_lossy(lines);
    let last: Vec<u64> = text.lines().filter_map(seq).collect();
    let next = last.last().expect("some lines came") + 1;
    let path = format!("/api/v1/app/app/poller/sink?from={next}&limit=1");
    let page = client.call(Method::GET, &path, Bytes::new()).await.expect(200).json();
    assert_eq!(page["data"][0]["seq"], next);
}

fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// The seq of a line that came whole.
fn seq(line: &str) -> Option<u64> {
    serde_json::from_str::<Value>(line).ok()?["seq"].as_u64()
}
