//! `pushpull nodes`, with servers that come and go.

use std::time::{Duration, Instant};

use pushpull_testkit::new_database;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{site::PATIENCE, support::Home};

/// What is promised for a node that dies: its lease runs out, and others take what was its.
const REPLACED_MAX: Duration = Duration::from_secs(5);
/// For a busy machine, and for the command itself.
const ROOM: Duration = Duration::from_secs(10);

/// What the command says, and its exit code.
fn listed(home: &Home) -> (Value, Option<i32>) {
    let output = home.run(&["nodes", "--json"]);
    (serde_json::from_slice(&output.stdout).unwrap_or_default(), output.status.code())
}

/// Of each node, whether it is alive, and how many shards it has.
fn shares(nodes: &Value) -> Vec<(bool, usize)> {
    let nodes = nodes.as_array().unwrap().iter();
    nodes.map(|node| (node["state"] == "alive", node["shards"].as_array().unwrap().len())).collect()
}

/// Waits until this is what is listed.
#[track_caller]
fn until(home: &Home, limit: Duration, wanted: &[(bool, usize)], code: i32) -> Value {
    let since = Instant::now();
    loop {
        let (nodes, ended) = listed(home);
        if nodes.is_array() && shares(&nodes) == wanted && ended == Some(code) {
            return nodes;
        }
        assert!(since.elapsed() < limit, "{wanted:?} and {code} never came: {nodes} and {ended:?}");
    }
}

#[test]
fn who_works_on_a_store_is_listed_and_a_dead_node_is_replaced() {
    let database = new_database();
    let one = Home::of(Some(database.clone()));
    let mut first = one.serve();
    let two = one.with_its_keys(&database);
    let mut second = two.serve();
    let nodes = until(&one, PATIENCE, &[(true, 32), (true, 32)], 0);
    let held = |node: usize| nodes[node]["shards"].as_array().unwrap().iter().map(|no| no.as_u64().unwrap());
    let mut shards: Vec<u64> = held(0).chain(held(1)).collect();
    shards.sort_unstable();
    assert_eq!(shards, (0..64).collect::<Vec<_>>(), "each belongs to one");
    assert!(nodes[0]["leaseMs"].as_u64().is_some_and(|left| left <= 4_000), "{nodes}");
    assert_eq!(
        (&nodes[0]["version"], &nodes[0]["owedEndpoints"], &nodes[0]["lagMs"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!(0), &json!(0))
    );

    let table = one.ok(&["nodes"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NODE", "NAME", "VERSION", "STATE", "SINCE", "SHARDS", "OWED", "LAG"]);
    assert_eq!(lines.len(), 3, "{table}");
    for (line, node) in lines[1..].iter().zip(nodes.as_array().unwrap()) {
        let since = node["startedAt"].as_str().unwrap();
        let (no, name) = (node["node"].to_string(), node["name"].as_str().unwrap());
        assert_eq!(*line, [&no, name, env!("CARGO_PKG_VERSION"), "alive", since, "32", "0", "0.0s"]);
    }

    first.signal(Signal::KILL);
    first.wait();
    until(&one, REPLACED_MAX + ROOM, &[(false, 0), (true, 64)], 0);
    second.signal(Signal::KILL);
    second.wait();
    until(&one, REPLACED_MAX + ROOM, &[(false, 0), (false, 64)], 1);
    let table = one.run(&["nodes"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains(" dead "), "{table:?}");
}

#[test]
fn a_node_that_stops_leaves_no_trace_but_shards_that_nobody_holds() {
    let home = Home::of(Some(new_database()));
    home.serve().stop();
    let nodes = until(&home, PATIENCE, &[(false, 64)], 1);
    assert_eq!((&nodes[0]["node"], &nodes[0]["state"]), (&json!(0), &json!("nobody")));
}

#[test]
fn a_store_in_a_file_has_no_nodes() {
    let complaint = Home::of(None).fails(&["nodes"], 2);
    assert!(complaint.contains("nodes are of a PostgreSQL store (--store postgres://...)"), "{complaint}");
}
