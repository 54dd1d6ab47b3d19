//! Cut off anywhere, it goes on.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::Instant,
};

use pushpull_testkit::{Receiver, ask, new_database};
use serde_json::json;

use super::{migrate, serve, until_listed};
use crate::{
    site::{PATIENCE, Site},
    support::{Guarded, Home, text},
};

/// Messages of each application.
const MESSAGES: usize = 40;

/// A session that holds a table: what would write to it waits.
struct Holding(Guarded);

impl Holding {
    fn table(database: &str, table: &str) -> Self {
        let psql = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--tuples-only", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut holding = Self(Guarded(psql.unwrap()));
        let child: &mut Child = &mut holding.0.0;
        let lock = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE;\n\\echo held\n");
        child.stdin.as_mut().unwrap().write_all(lock.as_bytes()).unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "held\n");
        holding
    }
}

#[track_caller]
fn until(wanted: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {wanted}");
        std::thread::yield_now();
    }
}

/// Begins, and is killed: as soon as something is there, or once it cannot go on in this table.
fn cut_off(home: &Home, database: &str, table: &str) {
    let data = home.data();
    let args = ["migrate", "--from", data.to_str().unwrap(), "--to", database, "--batch", "3"];
    let holding = (!table.is_empty()).then(|| Holding::table(database, table));
    let migrating = Guarded(home.command(&args).stderr(Stdio::null()).spawn().unwrap());
    if holding.is_some() {
        let waits =
            format!("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass");
        until(table, || ask(database, &waits) == "1");
    } else {
        until("something is there", || ask(database, "SELECT to_regclass('message') IS NOT NULL") == "t");
    }
    drop(migrating);
}

async fn filled() -> (Site, Receiver) {
    let receiver = Receiver::ok().await;
    let site = serve(Home::of(None));
    for app in ["acme", "other"] {
        site.post("/app", &json!({"name": app, "uid": app}));
        site.post(&format!("/app/{app}/endpoint"), &json!({"uid": "hooks", "url": receiver.url("/")}));
        site.post(&format!("/app/{app}/endpoint"), &json!({"uid": "queue", "mode": "pull"}));
        for n in 0..MESSAGES {
            let message = json!({"eventType": "a", "payload": {"n": n}, "eventId": format!("{n}")});
            site.post(&format!("/app/{app}/msg"), &message);
        }
        until_listed(&site, &format!("/app/{app}/attempt/endpoint/hooks?limit=250"), MESSAGES);
    }
    (site, receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_batch_it_goes_on_after_it_and_ends_with_the_same() {
    let (mut site, _receiver) = filled().await;
    site.stop();
    let database = new_database();
    let written = || {
        let is_begun = ask(&database, "SELECT to_regclass('import_table') IS NOT NULL") == "t";
        if is_begun { ask(&database, "SELECT coalesce(sum(rows), 0) FROM import_table") } else { "0".into() }
    };
    let mut reached = Vec::new();
    // The first is killed as soon as something is there, each other one once it cannot go on in some table.
    for table in ["", "message", "delivery", "attempt", "event_id"] {
        cut_off(&site.home, &database, table);
        reached.push(written().parse::<u64>().unwrap());
        let refused = site.home.command(&["serve"]).env("PUSHPULL_STORE", &database).output().unwrap();
        assert!(text(&refused.stderr).contains("is not whole yet"), "{}", text(&refused.stderr));
    }
    assert!(reached.is_sorted() && reached[0] < reached[4], "{reached:?}");
    let said = migrate(&site.home, &database);
    assert!(said.contains(&format!("going on after {} of", reached[4])), "{reached:?} {said}");
    assert!(said.contains("are the same on both sides"), "{said}");

    let all_at_once = new_database();
    migrate(&site.home, &all_at_once);
    for table in ["app", "endpoint", "message", "delivery", "attempt", "event_id", "setting", "open_day"] {
        let rows = format!("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t");
        assert_eq!(ask(&database, &rows), ask(&all_at_once, &rows), "{table}");
    }
    let moved = serve(site.home.with_its_keys(&database));
    until_listed(&moved, "/app/other/attempt/endpoint/hooks?limit=250", MESSAGES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_served_since_or_another_does_not_go_on() {
    let (mut site, _receiver) = filled().await;
    site.stop();
    let database = new_database();
    migrate_partly(&site.home, &database);
    let other = Home::of(None);
    other.serve().stop();
    let args = |home: &Home| -> Vec<String> {
        ["migrate", "--from", home.data().to_str().unwrap(), "--to", &database].map(str::to_owned).into()
    };
    let refused = |home: &Home| {
        let args = args(home);
        home.fails(&args.iter().map(String::as_str).collect::<Vec<_>>(), 1)
    };
    let complaint = refused(&other);
    let from = site.home.data();
    assert!(complaint.contains(&format!("another store, that of {}", from.display())), "{complaint}");

    site.start_again();
    site.send("a", "{}");
    site.stop();
    let complaint = refused(&site.home);
    assert!(
        complaint.contains("was changed since it began") && complaint.contains("message rows: 80 and 81")
    );
}

/// Begins, and is killed before its end.
fn migrate_partly(home: &Home, database: &str) {
    let args = ["migrate", "--from", home.data().to_str().unwrap(), "--to", database].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // Nobody but this test makes a table of that name: what comes after the tables were made fails.
    ask(database, "CREATE TABLE message (key bigint)");
    let complaint = home.fails(&args, 1);
    assert!(complaint.contains("relation \"message\" already exists"), "{complaint}");
    ask(database, "DROP TABLE message");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_in_the_end_is_said_and_never_served() {
    let (mut site, _receiver) = filled().await;
    site.stop();
    let database = new_database();
    cut_off(&site.home, &database, "");
    cut_off(&site.home, &database, "event_id");
    ask(
        &database,
        "UPDATE delivery SET state = 4 WHERE key = (SELECT max(key) FROM delivery WHERE state = 1)",
    );
    let data = site.home.data();
    for _ in 0..2 {
        let complaint = site.home.fails(&["migrate", "--from", data.to_str().unwrap(), "--to", &database], 1);
        assert!(complaint.contains("delivery in state 1: 80 and 79"), "{complaint}");
        assert!(complaint.contains("it is not to be used"), "{complaint}");
    }
    let node = site.home.with_its_keys(&database);
    assert!(node.fails(&["serve"], 1).contains("is not whole yet"));
}
