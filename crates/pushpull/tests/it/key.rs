use crate::support::Home;

/// The fields of the only key of this name.
fn listed(home: &Home, name: &str) -> serde_json::Value {
    let keys: Vec<serde_json::Value> = serde_json::from_str(&home.ok(&["key", "ls", "--json"])).unwrap();
    let mut named = keys.into_iter().filter(|key| key["name"] == name);
    let key = named.next().unwrap();
    assert!(named.next().is_none());
    key
}

#[test]
fn a_key_is_made_used_listed_and_revoked_while_a_server_runs() {
    let home = Home::new();
    let served = home.serve();
    let token = home.ok(&["key", "create", "--name", "dashboard", "--scope", "read"]);
    let token = token.trim_end();
    assert!(token.starts_with("ppk_") && !token.contains(char::is_whitespace), "{token}");
    assert!(served.get("/metrics", Some(token)).starts_with("HTTP/1.1 200"));

    let key = listed(&home, "dashboard");
    assert_eq!(key["scope"], "read");
    assert_eq!(key["revokedAt"], serde_json::Value::Null);
    let table = home.ok(&["key", "ls"]);
    assert!(table.contains("dashboard") && !table.contains(token), "{table}");

    let id = key["id"].as_str().unwrap();
    home.ok(&["key", "revoke", id]);
    assert!(served.get("/metrics", Some(token)).starts_with("HTTP/1.1 401"));
    assert!(listed(&home, "dashboard")["revokedAt"].is_string());
    // Safe to repeat.
    home.ok(&["key", "revoke", id]);
}

#[test]
fn a_key_that_may_only_send_does_not_open_the_metrics() {
    let home = Home::new();
    let served = home.serve();
    let token = home.ok(&["key", "create", "--name", "sender", "--scope", "send"]);
    assert!(served.get("/metrics", Some(token.trim())).starts_with("HTTP/1.1 401"));
}

#[test]
fn keys_are_made_and_listed_while_no_server_runs() {
    let home = Home::new();
    home.serve().stop();
    let made = home.ok(&["key", "create", "--name", "nightly", "--scope", "admin", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert!(made["token"].as_str().unwrap().starts_with(made["prefix"].as_str().unwrap()));
    assert_eq!(listed(&home, "nightly")["id"], made["id"]);
    assert_eq!(listed(&home, "admin key file")["scope"], "admin");
}

#[test]
fn what_does_not_exist_is_named() {
    let home = Home::new();
    let complaint = home.fails(&["key", "ls"], 1);
    assert!(complaint.contains("there is no store"), "{complaint}");
    home.serve().stop();
    let complaint = home.fails(&["key", "create", "--name", "a", "--scope", "everything"], 1);
    assert!(complaint.contains("scope `everything` is none"), "{complaint}");
    let complaint =
        home.fails(&["key", "create", "--name", "a", "--scope", "app_000000000000000000000000000"], 1);
    assert!(complaint.contains("there is no application app_000000000000000000000000000"), "{complaint}");
    let complaint = home.fails(&["key", "revoke", "key_000000000000000000000000000"], 1);
    assert!(complaint.contains("there is no key"), "{complaint}");
    home.fails(&["key", "revoke", "not-an-id"], 2);
}
