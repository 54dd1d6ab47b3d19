//! Killed while everything is made for the first time: the next start finds nothing half made.

use std::sync::Arc;

use crate::support::{Client, Home, say};

/// The system calls that leave something behind, or between which something is left; and from how many of them
/// to try one.
const CALLS: [(&str, usize); 7] = [
    ("openat", 25),
    ("write", 2),
    ("pwrite64", 26),
    ("fsync", 5),
    ("fdatasync", 1),
    ("ftruncate", 1),
    ("renameat2", 1),
];
/// More calls of a kind than a first start makes.
const CALLS_MAX: usize = 200;

/// A home with nothing in it, where every key is to be made.
fn home() -> Home {
    let home = Home::new();
    std::fs::remove_dir(home.data()).unwrap();
    let key = home.data().join("admin.key").display().to_string();
    home.with("PUSHPULL_ADMIN_KEY_FILE", key)
}

/// Kills a first start at the `nth` call of a kind on one of its threads, and starts again. `false`: there are fewer.
async fn check(call: &str, nth: usize) -> bool {
    let inject = format!("inject={call}:signal=KILL:when={nth}");
    let trace = format!("trace={call}");
    // Not with `--seccomp-bpf`, which has strace 6.1 count no further than to one.
    let tracer = ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let home = home().under(tracer);
    let killed = home.spawn().ready().await;
    if let Ok(server) = killed {
        server.kill().await;
        return false;
    }
    let home = home.under([""; 0]);
    let server = match home.spawn().ready().await {
        Ok(server) => server,
        Err(status) => panic!("killed at {call} {nth}, it never started again: {status}"),
    };
    let key = std::fs::read_to_string(home.data().join("admin.key")).unwrap();
    let mut client = Client::new(server.address, Arc::from(key.trim()));
    client.app("app").await;
    server.stop().await;
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_is_killed_anywhere_is_followed_by_one_that_works() {
    for (call, step) in CALLS {
        let mut kills = 0;
        while check(call, 1 + kills * step).await {
            kills += 1;
            assert!(kills * step < CALLS_MAX, "{call} without end");
        }
        say(format!("killed at {kills} places of {call}"));
    }
}
