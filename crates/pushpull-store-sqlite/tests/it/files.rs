//! What is on the disk: modes, copies, what is put back.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use pushpull_domain::{FixedClock, SeededChance};
use pushpull_store::{
    Upkeep,
    conformance::fixture::{START, World, message},
};
use pushpull_store_sqlite::{FILE_NAME, Sqlite, restore};

use crate::support::{InDir, open, options};

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::at(START))
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let dir = InDir::new();
    let store = open(options(dir.path(), clock()));
    store.backup(dir.path().join("copy")).await.unwrap();
    let names = names(dir.path());
    assert_eq!(names, ["copy", "pushpull.db", "pushpull.db-shm", "pushpull.db-wal"]);
    for name in names {
        let mode = std::fs::metadata(dir.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_closed_store_is_one_file() {
    let dir = InDir::new();
    let world = World::of(open(options(dir.path(), clock())), clock()).await;
    world.app("one").await;
    world.store.close().await;
    assert_eq!(names(dir.path()), [FILE_NAME]);
}

#[tokio::test]
async fn a_copy_that_was_cut_off_is_made_anew() {
    let dir = InDir::new();
    let store = open(options(dir.path(), clock()));
    let copy = dir.path().join("copy");
    std::fs::write(dir.path().join("copy.part"), "half of it").unwrap();
    store.backup(copy.clone()).await.unwrap();
    assert!(!names(dir.path()).contains(&"copy.part".to_owned()));
    let nowhere = dir.path().join("no-such-directory").join("copy");
    assert!(store.backup(nowhere).await.is_err());
}

#[tokio::test]
async fn what_is_restored_gives_space_back_like_the_first() {
    let dir = InDir::new();
    let world = World::of(open(options(dir.path(), clock())), clock()).await;
    let app = world.app("one").await;
    world.publish(&app, message("x")).await;
    let copy = dir.path().join("copy");
    world.store.backup(copy.clone()).await.unwrap();
    let there = dir.path().join("there");
    std::fs::create_dir(&there).unwrap();
    restore(&copy, &there, &SeededChance::new(5)).unwrap();
    let restored = World::of(open(options(&there, clock())), clock()).await;
    restored.publish(&app, message("y")).await;
    let conn = rusqlite::Connection::open(there.join(FILE_NAME)).unwrap();
    let pragma =
        |name: &str| conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((pragma("auto_vacuum"), pragma("page_size")), (2, 8_192));
}

#[tokio::test]
async fn a_restore_touches_nothing_that_is_in_its_way() {
    let dir = InDir::new();
    let store = open(options(dir.path(), clock()));
    let copy = dir.path().join("copy");
    store.backup(copy.clone()).await.unwrap();
    for left in ["", "-wal", "-shm", "-journal"] {
        let there = tempfile::tempdir().unwrap();
        let name = format!("{FILE_NAME}{left}");
        std::fs::write(there.path().join(&name), "mine").unwrap();
        let refused = restore(&copy, there.path(), &SeededChance::new(5)).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("{name}: is in the way: move it elsewhere first")), "{refused}");
        assert_eq!(names(there.path()), std::slice::from_ref(&name));
        assert_eq!(std::fs::read(there.path().join(name)).unwrap(), b"mine");
    }
    let there = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("other"), "no database at all").unwrap();
    assert!(restore(&dir.path().join("other"), there.path(), &SeededChance::new(5)).is_err());
    assert!(!there.path().join(FILE_NAME).exists());
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_refused_by_name() {
    let dir = InDir::new();
    drop(open(options(dir.path(), clock())));
    let conn = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    conn.execute("INSERT INTO schema_version (version, checksum) VALUES (9999, x'00')", []).unwrap();
    conn.close().unwrap();
    let refused = Sqlite::open(options(dir.path(), clock())).unwrap_err().to_string();
    assert!(refused.ends_with("it was written by a newer program (version 9999)"), "{refused}");
}
