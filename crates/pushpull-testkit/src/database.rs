//! Databases of their own on the PostgreSQL server that the tests were given.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    process::Command,
    sync::Arc,
};

use pushpull_domain::{Clock, SeededChance, seal::MasterKey};
use pushpull_store_postgres::Options;

/// The URL of a server that tests may make databases on, as `./scripts/postgres with` sets it.
const SERVER: &str = "PUSHPULL_TEST_POSTGRES";
/// `postgres`: tests that take either store take PostgreSQL.
const STORE: &str = "PUSHPULL_TEST_STORE";

/// Whether tests that take either store are to take PostgreSQL.
///
/// # Panics
/// If they are to take one that there is not: as if nothing had been said, they would pass without having tried it.
#[expect(clippy::disallowed_methods, reason = "what tests run on is said in their environment")]
pub fn on_postgres() -> bool {
    match std::env::var(STORE).as_deref() {
        Err(_) | Ok("") => false,
        Ok("postgres") => true,
        Ok(store) => panic!("{STORE} is `{store}`: must be `postgres`, or not set"),
    }
}

/// A new, empty database; its URL. It goes with the server, which others may use at the same time.
///
/// # Panics
/// If there is no server.
pub fn new_database() -> String {
    let server = server();
    let name = format!("test_{:016x}", RandomState::new().build_hasher().finish());
    ask(&server, &format!("CREATE DATABASE {name}"));
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

/// What a node on this database is opened with. Its chance is its own if its seed is.
pub fn postgres_options(url: &str, clock: Arc<dyn Clock>, seed: u64) -> Options {
    Options {
        url: url.to_owned(),
        clock,
        chance: Arc::new(SeededChance::new(seed)),
        master_key: MasterKey::new([7; 32]),
        older_master_keys: Vec::new(),
        serves: true,
    }
}

/// The URL of the server's first database.
#[expect(clippy::disallowed_methods, reason = "where the server is, is said in the environment")]
fn server() -> String {
    std::env::var(SERVER).unwrap_or_else(|_| {
        panic!("{SERVER} is not set: run this as `./scripts/postgres with cargo nextest run ...`")
    })
}
