use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Home, Served, call, text};

/// What a run measured, as its document says.
#[track_caller]
fn measured(home: &Home, args: &[&str]) -> Value {
    serde_json::from_str(&home.ok(&[args, &["--json"]].concat())).unwrap()
}

/// Whether a figure is there and above zero.
#[track_caller]
fn is_told(figures: &Value, path: &str) {
    let figure = figures.pointer(path).and_then(Value::as_f64);
    assert!(figure.is_some_and(|figure| figure > 0.0), "{path}: {figures:#}");
}

fn is_empty(home: &Home, name: &str) -> bool {
    std::fs::read_dir(home.path(name)).unwrap().next().is_none()
}

#[test]
fn a_small_run_tells_its_settings_and_figures_and_loses_nothing() {
    let home = Home::new();
    std::fs::create_dir(home.path("runs")).unwrap();
    let dir = home.path("runs").to_str().unwrap().to_owned();
    let document = measured(&home, &["bench", "deliver", "--messages", "200", "--dir", &dir]);

    for setting in
        ["version", "build", "cores", "cpu", "memory_mib", "kernel", "store", "fsync", "cores_shared_by"]
    {
        assert!(!document["settings"][setting].is_null(), "{setting}: {document:#}");
    }
    let deliver = &document["scenarios"][0];
    assert_eq!(deliver["plan"]["scenario"], "deliver");
    assert_eq!(deliver["plan"]["messages"], 200);
    for figure in [
        "/accepted_per_s",
        "/delivered_per_s",
        "/delivered_mb_per_s",
        "/end_to_end_ms/p50",
        "/end_to_end_ms/p99.9",
        "/end_to_end_ms/max",
        "/api_call_ms/p99",
        "/cpu_s_per_1k/server",
        "/cpu_s_per_1k/client",
        "/disk_bytes_per_message/kept",
        "/memory_mib/peak",
        "/ceiling/per_s",
        "/of_ceiling/rate",
    ] {
        is_told(&deliver["figures"], figure);
    }
    for fault in ["lost", "badly_signed", "altered", "duplicates"] {
        assert_eq!(deliver["faults"][fault], 0, "{deliver:#}");
    }
    assert_eq!(document["ok"], true);
    assert!(is_empty(&home, "runs"), "the temporary store is removed");
}

#[test]
fn a_store_on_postgres_is_made_and_removed() {
    let url = pushpull_testkit::new_database();
    let databases = || {
        pushpull_testkit::ask(
            &url,
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'pushpull_scratch_%'",
        )
    };
    let document = measured(&Home::new(), &["bench", "deliver", "--messages", "200", "--store", &url]);
    let deliver = &document["scenarios"][0];
    assert_eq!(deliver["faults"]["lost"], 0);
    for figure in ["/delivered_per_s", "/cpu_s_per_1k/server", "/disk_bytes_per_message/kept"] {
        is_told(&deliver["figures"], figure);
    }
    assert_eq!(deliver["figures"].pointer("/disk_bytes_per_message/written"), None, "not seen from here");
    assert_eq!(databases(), "0");
}

#[test]
fn each_endpoint_of_a_fan_out_gets_each_message_by_the_timetable() {
    let document = measured(
        &Home::new(),
        &["bench", "fan-out", "--rate", "100", "--duration", "1s", "--endpoints", "3"],
    );
    let fan_out = &document["scenarios"][0];
    assert_eq!(fan_out["plan"]["messages"], 100);
    assert_eq!(fan_out["faults"]["lost"], 0);
    is_told(&fan_out["figures"], "/sent_late_ms/p50");
}

#[test]
fn a_server_that_is_given_is_measured_and_left_as_it_was() {
    let home = Home::new();
    let mut command = home.command(&["serve"]);
    command.env("PUSHPULL_EGRESS_ALLOW", "127.0.0.1/32");
    let served = Served::start(command);
    let key_file = home.data().join("admin.key");
    let pid = served.pid().to_string();
    let given = ["--server", &served.url, "--server-pid", &pid, "--key-file", key_file.to_str().unwrap()];
    let document = measured(&home, &[&["bench", "deliver", "--messages", "20"], &given[..]].concat());
    let deliver = &document["scenarios"][0];
    assert_eq!(deliver["faults"]["lost"], 0);
    is_told(&deliver["figures"], "/memory_mib/peak");
    let key = std::fs::read_to_string(key_file).unwrap();
    let apps = call(served.address(), "GET", "/api/v1/app", Some(key.trim()), "");
    assert!(apps.contains(r#""data":[]"#), "{apps}");
    served.stop();
}

#[test]
fn interrupted_it_takes_its_server_and_its_store_with_it() {
    let home = Home::new();
    std::fs::create_dir(home.path("runs")).unwrap();
    let dir = home.path("runs").to_str().unwrap().to_owned();
    let mut command = home.command(&["bench", "idle", "--duration", "10m", "--dir", &dir]);
    let mut bench = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(bench.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("looking at it")));
    let children = format!("/proc/{0}/task/{0}/children", bench.id());
    let server = std::fs::read_to_string(children).unwrap().trim().to_owned();
    assert!(!server.is_empty());
    kill_process(Pid::from_child(&bench), Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert!(!std::fs::exists(format!("/proc/{server}")).unwrap());
    assert!(is_empty(&home, "runs"));
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_starts() {
    let home = Home::new();
    let complaint = home.fails(&["bench", "backlog", "--server", "http://127.0.0.1:1"], 2);
    assert!(complaint.contains("starts servers of its own"), "{complaint}");
    home.fails(&["bench", "deliver", "--server", "http://example.com"], 2);
    home.fails(&["bench", "deliver", "--messages", "2000000", "--endpoints", "1000"], 2);
    let complaint = home.fails(&["bench", "deliver", "--server", "http://127.0.0.1:1"], 1);
    assert!(complaint.contains("--key-file"), "{complaint}");
}

#[test]
fn the_help_leads_to_what_can_be_measured() {
    insta::assert_snapshot!("bench", text(&Home::new().run(&["bench", "--help"]).stdout));
}
