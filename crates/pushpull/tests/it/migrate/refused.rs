//! What cannot be meant is said by name, and changes nothing.

use pushpull_testkit::{ask, new_database};

use super::migrate;
use crate::support::Home;

/// What is complained of when this is moved.
#[track_caller]
fn complaint(home: &Home, database: &str, more: &[&str], code: i32) -> String {
    let data = home.data();
    let args = ["migrate", "--from", data.to_str().unwrap(), "--to", database];
    home.fails(&[&args, more].concat(), code)
}

/// A place with an embedded store that has a sealed secret.
fn served() -> Home {
    let home = Home::of(None);
    let site = super::serve(home);
    site.post("/app", &serde_json::json!({"name": "a", "uid": "a"}));
    site.post("/app/a/endpoint", &serde_json::json!({"uid": "queue", "mode": "pull"}));
    let mut site = site;
    site.stop();
    site.home
}

#[test]
fn what_is_no_store_or_no_database_is_refused() {
    let home = Home::of(None);
    let database = new_database();
    assert!(complaint(&home, &database, &[], 1).contains("there is no store in"));
    assert!(complaint(&home, "mysql://here/db", &[], 2).contains("--to must be like postgres://"));
    home.fails(&["migrate", "--to", &database], 2);
    let home = served();
    let missing = database.replace("/test_", "/missing_");
    assert!(complaint(&home, &missing, &[], 1).contains("does not exist"));
}

#[test]
fn a_store_that_is_served_is_refused() {
    let home = Home::of(None);
    let served = home.serve();
    let complaint = complaint(&home, &new_database(), &[], 1);
    assert!(complaint.contains(&format!("is in use by pushpull with process id {}", served.pid())));
}

#[test]
fn a_database_with_a_store_is_refused_and_left_alone() {
    let home = served();
    let database = new_database();
    Home::of(Some(database.clone())).serve().stop();
    let history = ask(&database, "SELECT value FROM setting WHERE name = 'history'");
    let complaint = complaint(&home, &database, &[], 1);
    assert!(complaint.contains("the database holds a store already: name an empty one"), "{complaint}");
    assert_eq!(ask(&database, "SELECT value FROM setting WHERE name = 'history'"), history);
}

#[test]
fn secrets_need_the_key_they_are_sealed_with() {
    let home = served();
    let database = new_database();
    let kept = home.path("kept.key");
    let key = home.data().join("master.key");
    std::fs::rename(&key, &kept).unwrap();
    assert!(complaint(&home, &database, &[], 1).contains("is missing, and without it the secrets"));
    let other = served();
    std::fs::copy(other.data().join("master.key"), &key).unwrap();
    let complaint = complaint(&home, &database, &[], 1);
    assert!(complaint.contains("are sealed with the master key"), "{complaint}");
    assert_eq!(ask(&database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    std::fs::copy(&kept, &key).unwrap();
    migrate(&home, &database);
    // The nodes need it as well.
    let node = Home::of(Some(database));
    std::fs::create_dir(node.data()).unwrap();
    std::fs::copy(other.data().join("master.key"), node.data().join("master.key")).unwrap();
    assert!(node.fails(&["serve"], 1).contains("the master key is not the one"));
}
