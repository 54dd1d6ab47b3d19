//! A full disk: refused politely, nothing half done, and well again by itself.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Burst, Home, Posted, Server, Sink, eventually, post, say};

/// Longest time from space that is back to an answer of 202.
const WELL_AGAIN_MAX: Duration = Duration::from_secs(10);

/// So many of the refused messages are sent again: there is space for these.
const REPEATED: usize = 40;

/// Makes the data directory a file system of its own: 24 MiB.
const MOUNT: &str = r#"mount -t tmpfs -o size=24m tmpfs "$PUSHPULL_DATA" && exec "$@""#;

/// A server with little space.
async fn start() -> (Home, Server) {
    // Root may mount as it is; anybody else in a user namespace of their own.
    let mut space = vec!["unshare", "--mount"];
    if !rustix::process::geteuid().is_root() {
        space.push("--map-root-user");
    }
    space.extend(["sh", "-c", MOUNT, "sh"]);
    let home = Home::new().under(space);
    let server = home.start().await;
    (home, server)
}

/// The data directory as the server sees it.
fn inside(home: &Home, server: &Server) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", server.pid().as_raw_nonzero()));
    root.join(home.data().strip_prefix("/").unwrap())
}

/// Takes all the space that is left.
fn fill(ballast: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(ballast).unwrap();
    for size in [65_536, 4_096, 512] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

/// Posts until it is accepted; how long after the space came back that was.
async fn accepts_again(server: &Server, since: Instant) -> Duration {
    let mut client = server.client();
    let body = Bytes::from_static(br#"{"eventType":"a","payload":{}}"#);
    eventually("a message accepted", async || {
        let answer = client.call(Method::POST, "/api/v1/app/app/msg", body.clone()).await;
        (answer.status == 202).then(|| since.elapsed())
    })
    .await
}

fn refusals(posted: &[Posted]) -> Vec<(u16, &str)> {
    posted.iter().filter(|posted| !posted.is_accepted()).map(|p| (p.status, &*p.word)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_503_until_there_is_space_and_nothing_is_lost() {
    let sink = Sink::start(|_, _, _| 200).await;
    let (home, server) = start().await;
    let mut client = server.client();
    client.app("app").await;
    client.post("/api/v1/app/app/endpoint", &json!({"url": sink.url("/"), "uid": "e"})).await.expect(201);

    let before = post(server.address, Burst { name: "before", clients: 8, each: 20, size: 20_000 }).await;
    assert!(before.iter().all(Posted::is_accepted), "there was space: {:?}", refusals(&before));
    let ballast = inside(&home, &server).join("ballast");
    fill(&ballast);
    // What the log's file still has room for is taken; from some point on nothing is.
    let during = post(server.address, Burst { name: "during", clients: 8, each: 200, size: 20_000 }).await;
    let full: Vec<_> = during.iter().filter(|posted| !posted.is_accepted()).collect();
    assert!(full.len() > during.len() / 10, "never full: {} of {}", full.len(), during.len());
    for refused in &full {
        let answer = (refused.status, &*refused.word, refused.retry_after.as_deref());
        assert_eq!(answer, (503, "store_full", Some("10")), "{}", refused.key);
    }

    client.get("/api/v1/app/app/msg?limit=5").await.expect(200);
    client.get("/api/v1/app/app/endpoint/e").await.expect(200);
    client.get("/metrics").await.expect(200);
    client.get("/api/v1/health").await.expect(204);

    std::fs::remove_file(&ballast).unwrap();
    let space = Instant::now();
    let took = accepts_again(&server, space).await;
    say(format!(
        "{} accepted and {} refused while full; accepts again after {took:?}",
        during.len() - full.len(),
        full.len()
    ));
    assert!(took < WELL_AGAIN_MAX);

    // A repeat of what was refused is one message, whatever became of the first request.
    let mut accepted: Vec<(String, [u8; 32])> = Vec::new();
    let some = full.into_iter().take(REPEATED).chain(during.iter().filter(|posted| posted.is_accepted()));
    for posted in before.iter().chain(some) {
        let headers = [("idempotency-key", &*posted.key)];
        let path = "/api/v1/app/app/msg";
        let answer = client.try_call(Method::POST, path, posted.body.clone(), &headers).await.unwrap();
        let id = answer.expect(202).text("id");
        assert!(!posted.is_accepted() || posted.word == id, "{} became another message", posted.key);
        accepted.push((id, posted.hash));
    }
    let mut arrived = sink.take_ledger();
    for (id, hash) in &accepted {
        let place = ("/".to_owned(), id.clone());
        eventually("an accepted message", async || {
            arrived.extend(sink.take_ledger());
            arrived.get(&place).map(|found| {
                assert_eq!((found.len(), found[0].hash), (1, *hash), "{id} came twice, or with other bytes");
            })
        })
        .await;
    }
    // The message that found out that there is space again.
    assert_eq!(client.list("/api/v1/app/app/msg?with_content=false").await.len(), accepted.len() + 1);
    server.stop().await;
}
