//! Databases of their own on the PostgreSQL server that the tests were given.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// The URL of a server that tests may make databases on, as `./scripts/postgres with` sets it.
const SERVER: &str = "PUSHPULL_TEST_POSTGRES";
/// `postgres`: tests that take either store take PostgreSQL.
const STORE: &str = "PUSHPULL_TEST_STORE";

static MADE: AtomicU32 = AtomicU32::new(0);

/// Whether tests that take either store are to take PostgreSQL.
#[expect(clippy::disallowed_methods, reason = "what tests run on is said in their environment")]
pub fn on_postgres() -> bool {
    std::env::var(STORE).is_ok_and(|store| store == "postgres")
}

/// A new, empty database; its URL. It goes with the server.
///
/// # Panics
/// If there is no server.
pub fn new_database() -> String {
    let server = server();
    let name = format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::SeqCst));
    let made = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--command", &format!("CREATE DATABASE {name}"), &server])
        .output()
        .expect("psql runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (before, query) = server.split_once('?').unwrap_or((&server, ""));
    let (host, _) = before.rsplit_once('/').expect("the URL names a database");
    format!("{host}/{name}?{query}")
}

/// What a database answers, as text.
///
/// # Panics
/// If it refuses.
#[track_caller]
pub fn ask(url: &str, sql: &str) -> String {
    let asked = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", sql, url])
        .output()
        .expect("psql runs");
    assert!(asked.status.success(), "{sql}: {}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8(asked.stdout).expect("text").trim_end().to_owned()
}

/// The URL of the server's first database.
#[expect(clippy::disallowed_methods, reason = "where the server is, is said in the environment")]
fn server() -> String {
    std::env::var(SERVER).unwrap_or_else(|_| {
        panic!("{SERVER} is not set: run this as `./scripts/postgres with cargo nextest run ...`")
    })
}
