//! An fsync that fails: the process ends, and nothing it acknowledged is lost.
//!
//! The kernel drops what it could not write and lets the next fsync succeed, so whoever goes on after a failed
//! one acknowledges what is not there. A disk that lies about an fsync cannot be noticed by anybody.

use std::time::Duration;

use serde_json::json;

use crate::support::{Burst, Home, Sink, eventually, post, say};

/// What is asked of the tracer: `strace` fails the system call, the program runs as our own child.
const TRACER: [&str; 8] =
    ["strace", "-D", "-f", "--seccomp-bpf", "-q", "-ttt", "-e", "trace=fsync,fdatasync,sync_file_range"];
/// Longest time from a failed fsync to an answer that says 2xx: what was committed before is still on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// Fails the `nth` fsync of each thread on one file of the store, under load.
async fn check(file: &str, nth: usize) {
    let home = Home::new();
    let sink = Sink::start(|_, _, _| 200).await;
    let server = home.start().await;
    let mut client = server.client();
    client.app("app").await;
    client.post("/api/v1/app/app/endpoint", &json!({"url": sink.url("/"), "uid": "e"})).await.expect(201);
    server.stop().await;

    let log = home.path("strace");
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={nth}");
    let path = home.data().join(file);
    let mut tracer: Vec<String> = TRACER.map(String::from).into();
    tracer.extend(["-e".into(), inject, "-P".into(), path.display().to_string()]);
    tracer.extend(["-o".into(), log.display().to_string()]);
    let home = home.under(tracer);
    let mut posted = Vec::new();
    let status = match home.spawn().ready().await {
        Ok(server) => {
            // More than can be written until the call in question: each ends when the server does.
            let burst = Burst { name: "burst", clients: 8, each: 5_000, size: 500 };
            posted = post(server.address, burst).await;
            server.ended().await
        }
        Err(status) => status,
    };
    assert!(!status.success(), "{file}, {nth}: ended as if all were well");
    let failed_at = failed_at(&std::fs::read_to_string(&log).unwrap());
    let late = posted.iter().filter(|p| p.is_accepted()).map(|p| p.at.as_millis() - failed_at).max();
    let late = late.unwrap_or_default();
    say(format!(
        "{file}, fsync {nth}: {} acknowledged, the last {late} ms after the error; {status}",
        posted.iter().filter(|p| p.is_accepted()).count()
    ));
    assert!(
        late < ON_ITS_WAY.as_millis() as i64,
        "{file}, {nth}: acknowledged {late} ms after a failed fsync"
    );

    let home = home.under([""; 0]);
    let server = home.start().await;
    let mut arrived = sink.take_ledger();
    for accepted in posted.iter().filter(|posted| posted.is_accepted()) {
        let place = ("/".to_owned(), accepted.word.clone());
        eventually("an acknowledged message", async || {
            arrived.extend(sink.take_ledger());
            arrived.get(&place).map(|found| assert!(found.iter().all(|a| a.hash == accepted.hash)))
        })
        .await;
    }
    server.stop().await;
}

/// When the tracer let a call fail, in milliseconds.
fn failed_at(log: &str) -> i64 {
    let line = log.lines().find(|line| line.contains("(INJECTED)"));
    let line = line.unwrap_or_else(|| panic!("no call was made to fail:\n{log}"));
    let seconds: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (seconds * 1_000.0) as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_of_the_log_ends_the_process() {
    for nth in [1, 2, 3, 10, 60] {
        check("pushpull.db-wal", nth).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_fsync_of_a_checkpoint_ends_the_process() {
    for nth in [1, 2] {
        check("pushpull.db", nth).await;
    }
}
