use std::{path::Path, sync::Arc};

use pushpull_domain::{FixedClock, SeededChance, seal::MasterKey};
use pushpull_store::Upkeep as _;
use pushpull_store_sqlite::{Options, Sqlite};

use crate::support::Home;

/// Which history a data directory holds.
fn history(dir: &Path) -> u64 {
    let options = Options {
        dir: dir.to_owned(),
        clock: Arc::new(FixedClock::default()),
        chance: Arc::new(SeededChance::new(1)),
        master_key: MasterKey::new([0; 32]),
        older_master_keys: Vec::new(),
        on_fatal: Box::new(|error| panic!("{error}")),
    };
    Sqlite::open(options).unwrap().history()
}

#[test]
fn a_backup_made_while_serving_is_restored_as_another_history() {
    let home = Home::new();
    let served = home.serve();
    let token = home.ok(&["key", "create", "--name", "kept", "--scope", "read"]);
    let file = home.path("backup");
    let file = file.to_str().unwrap();
    home.ok(&["backup", file]);
    home.ok(&["key", "create", "--name", "later", "--scope", "read"]);
    served.stop();

    let other = Home::new();
    other.ok(&["restore", file]);
    std::fs::copy(home.data().join("master.key"), other.data().join("master.key")).unwrap();
    assert_ne!(history(&home.data()), history(&other.data()));
    let served = other.serve();
    assert!(served.get("/metrics", Some(token.trim())).starts_with("HTTP/1.1 200"));
    let keys = other.ok(&["key", "ls"]);
    assert!(keys.contains("kept") && !keys.contains("later"), "{keys}");
}

#[test]
fn a_backup_writes_over_nothing() {
    let home = Home::new();
    home.serve().stop();
    let file = home.path("precious");
    std::fs::write(&file, "").unwrap();
    let complaint = home.fails(&["backup", file.to_str().unwrap()], 1);
    assert!(complaint.contains("precious"), "{complaint}");
    assert_eq!(std::fs::read(&file).unwrap(), b"");
}

#[test]
fn a_restore_needs_the_server_stopped_and_the_old_store_out_of_the_way() {
    let home = Home::new();
    let served = home.serve();
    let file = home.path("backup");
    let file = file.to_str().unwrap();
    home.ok(&["backup", file]);
    let complaint = home.fails(&["restore", file], 1);
    assert!(complaint.contains("is in use by pushpull with process id"), "{complaint}");
    served.stop();
    let complaint = home.fails(&["restore", file], 1);
    assert!(complaint.contains("in the way"), "{complaint}");
}

#[test]
fn a_log_left_from_another_store_is_not_taken_for_the_backups() {
    let home = Home::new();
    home.serve().stop();
    let file = home.path("backup");
    let file = file.to_str().unwrap();
    home.ok(&["backup", file]);
    let other = Home::new();
    std::fs::create_dir(other.data()).unwrap();
    std::fs::write(other.data().join("pushpull.db-wal"), "left over").unwrap();
    let complaint = other.fails(&["restore", file], 1);
    assert!(complaint.contains("pushpull.db-wal is in the way"), "{complaint}");
}

#[test]
fn what_is_no_backup_is_refused_and_leaves_no_store() {
    let home = Home::new();
    let file = home.path("notes.txt");
    std::fs::write(&file, "not a database at all, but a text that is long enough to be read").unwrap();
    let complaint = home.fails(&["restore", file.to_str().unwrap()], 1);
    assert!(complaint.contains("file is not a database"), "{complaint}");
    let left: Vec<_> =
        std::fs::read_dir(home.data()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["pushpull.lock"]);
    let complaint = home.fails(&["restore", "/nowhere/backup"], 1);
    assert!(complaint.contains("there is no backup /nowhere/backup"), "{complaint}");
}

#[test]
fn a_postgresql_store_is_left_to_postgresqls_own_means() {
    // Nothing is asked of it, so it need not be there.
    let home = Home::of(Some("postgres://pushpull@127.0.0.1:1/pushpull".to_owned()));
    let file = home.path("copy");
    for what in ["backup", "restore"] {
        let complaint = home.fails(&[what, file.to_str().unwrap()], 2);
        let wanted =
            "backed up and restored with PostgreSQL's own means (pg_basebackup, pg_dump): docs/postgres.md";
        assert!(complaint.contains(wanted), "{complaint}");
    }
    assert!(!home.data().exists() && !file.exists());
}
