use std::{net::TcpListener, os::unix::fs::PermissionsExt};

use crate::support::{Home, text};

/// What the checks found: (check, verdict, text).
fn findings(home: &Home, args: &[&str]) -> (Option<i32>, Vec<(String, String, String)>) {
    let output = home.run(&[&["doctor", "--json"], args].concat());
    let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let field = |finding: &serde_json::Value, name: &str| match &finding[name] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let found = found.iter().map(|finding| {
        let words = format!("{}; {}", field(finding, "what"), field(finding, "fix"));
        (field(finding, "check"), field(finding, "verdict"), words)
    });
    (output.status.code(), found.collect())
}

#[track_caller]
fn expect(home: &Home, args: &[&str], code: i32, check: &str, verdict: &str, words: &str) {
    let (ended, found) = findings(home, args);
    assert_eq!(ended, Some(code), "{found:?}");
    assert!(found.iter().any(|(c, v, w)| c == check && v == verdict && w.contains(words)), "{found:?}");
}

#[test]
fn a_machine_before_the_first_start_is_fit() {
    let home = Home::new();
    expect(&home, &[], 0, "store", "ok", "will be made on first start");
    assert!(!home.data().exists());
}

#[test]
fn a_store_whose_books_balance_is_said_so() {
    let home = Home::new();
    home.serve().stop();
    expect(&home, &[], 0, "store", "ok", "its books balance: 0 deliveries");
    expect(&home, &[], 0, "listen address", "ok", "is free");
}

#[test]
fn each_check_is_one_line() {
    let home = Home::new();
    let said = text(&home.run(&["doctor"]).stdout);
    assert!(said.lines().all(|line| ["ok ", "warn ", "FAIL "].iter().any(|v| line.starts_with(v))), "{said}");
    assert!(said.contains("ok    config         every setting is valid"), "{said}");
}

#[test]
fn a_master_key_that_others_can_read_is_told_with_the_command_that_mends_it() {
    let home = Home::new();
    home.serve().stop();
    let key = home.data().join("master.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    expect(&home, &[], 0, "master key", "warn", &format!("chmod 600 {}", key.display()));
}

#[test]
fn an_address_that_somebody_else_has_fails() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    expect(&home, &["--listen", &address], 1, "listen address", "FAIL", "ss -ltnp");
}

#[test]
fn a_server_at_work_is_recognized_by_its_address() {
    let home = Home::new();
    let served = home.serve();
    let address = served.address().to_string();
    let words = format!("process {}, and it is healthy", served.pid());
    expect(&home, &["--listen", &address], 0, "listen address", "ok", &words);
}

#[test]
fn a_store_that_does_not_open_fails() {
    let home = Home::new();
    home.serve().stop();
    // Without its log, from which SQLite would put the file together again.
    let _ = std::fs::remove_file(home.data().join("pushpull.db-wal"));
    std::fs::write(home.data().join("pushpull.db"), "this is no database, and it was never one").unwrap();
    expect(&home, &[], 1, "store", "FAIL", "pushpull restore FILE");
}

#[test]
fn wrong_settings_fail() {
    expect(&Home::new(), &["--log-format", "xml"], 1, "config", "FAIL", "pushpull config check");
}

#[test]
fn an_open_address_without_tls_is_warned_of() {
    expect(&Home::new(), &["--listen", "0.0.0.0:0"], 0, "encryption", "warn", "--tls-cert");
    let (_, found) = findings(&Home::new(), &["--listen", "0.0.0.0:0", "--trusted-proxies", "10.0.0.0/8"]);
    assert!(found.iter().all(|(check, ..)| check != "encryption"), "{found:?}");
}
