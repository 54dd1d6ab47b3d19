//! Stores in directories of their own.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use pushpull_domain::{FixedClock, SeededChance, seal::MasterKey};
use pushpull_store::{Store, conformance::Maker};
use pushpull_store_sqlite::{Options, Sqlite, restore};
use tempfile::TempDir;

/// Makes stores in a directory that is removed when this is dropped.
pub(crate) struct InDir(TempDir);

impl InDir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Maker for InDir {
    fn open(&self, clock: Arc<FixedClock>) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async { open(options(self.path(), clock)) as Arc<dyn Store> })
    }

    fn restore(&self, backup: PathBuf, clock: Arc<FixedClock>) -> BoxFuture<'_, Arc<dyn Store>> {
        Box::pin(async move {
            let dir = self.path().join("restored");
            std::fs::create_dir(&dir).unwrap();
            restore(&backup, &dir, &SeededChance::new(99)).unwrap();
            open(options(&dir, clock)) as Arc<dyn Store>
        })
    }
}

/// What a store in a directory is opened with. A fatal error fails the test.
pub(crate) fn options(dir: &Path, clock: Arc<FixedClock>) -> Options {
    Options {
        dir: dir.to_owned(),
        clock,
        chance: Arc::new(SeededChance::new(7)),
        master_key: MasterKey::new([7; 32]),
        older_master_keys: Vec::new(),
        on_fatal: Box::new(|error| panic!("{error}")),
    }
}

/// The same, which notes what is fatal.
pub(crate) fn noting(dir: &Path, clock: Arc<FixedClock>) -> (Options, Arc<Mutex<Vec<String>>>) {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&noted);
    let on_fatal =
        Box::new(move |error: &pushpull_store::Error| note.lock().unwrap().push(error.to_string()));
    (Options { on_fatal, ..options(dir, clock) }, noted)
}

pub(crate) fn open(options: Options) -> Arc<Sqlite> {
    Arc::new(Sqlite::open(options).unwrap())
}
