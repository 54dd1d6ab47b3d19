//! `pushpull backup` and `pushpull restore`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use pushpull_store_sqlite::FILE_NAME;

use super::Ending;
use crate::{
    chance::SystemChance,
    config::{Backend, Flags, Place},
    datadir::{self, Lock},
    store,
};

/// Write a consistent copy of the store to a new file, while serving or not
#[derive(Debug, Args)]
#[command(
    after_help = "The master key is not in the copy: keep it elsewhere, or nothing sealed can be opened."
)]
pub(crate) struct Backup {
    /// Where to; it must not exist
    file: PathBuf,
    #[command(flatten)]
    flags: Flags<false>,
}

/// Put a backup in place; no server may run on the data directory
#[derive(Debug, Args)]
#[command(
    after_help = "Iterators handed out before a restore are refused after it: their positions are given anew."
)]
pub(crate) struct Restore {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    flags: Flags<false>,
}

impl Backup {
    pub(super) fn run(self) -> Result<ExitCode> {
        let place = place_of_file(&self.flags)?;
        let written = super::runtime()?.block_on(async {
            let store = store::open_existing(&place).await?;
            let written = store.backup(self.file.clone()).await;
            store.close().await;
            anyhow::Ok(written)
        })?;
        written.with_context(|| format!("write the backup {}", self.file.display()))?;
        let bytes = fs::metadata(&self.file).context("look at the backup")?.len();
        eprintln!("wrote {} ({bytes} bytes)", self.file.display());
        eprintln!(
            "not in it: the master key {}, without which it is of no use",
            place.master_key_file.display()
        );
        Ok(ExitCode::SUCCESS)
    }
}

impl Restore {
    pub(super) fn run(self) -> Result<ExitCode> {
        let place = place_of_file(&self.flags)?;
        ensure!(self.file.is_file(), "there is no backup {}", self.file.display());
        datadir::make(&place.data)?;
        let _lock = Lock::take(&place.data)?;
        if let Some(old) = store_files(&place.data)?.first() {
            anyhow::bail!(
                "{} is in the way: move every file named {FILE_NAME}* elsewhere first",
                old.display()
            );
        }
        let restored = pushpull_store_sqlite::restore(&self.file, &place.data, &SystemChance);
        if restored.is_err() {
            // A half of it would stand in the way of the next try.
            for left in store_files(&place.data)? {
                fs::remove_file(&left).with_context(|| format!("remove {}", left.display()))?;
            }
        }
        restored.with_context(|| format!("restore {}", self.file.display()))?;
        eprintln!("restored {} as a new history; start it with `pushpull serve`", place.data.display());
        if !place.master_key_file.exists() {
            eprintln!(
                "before that, put the master key it was made with at {}",
                place.master_key_file.display()
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The place of a store that is a file: the only kind that is copied here.
fn place_of_file(flags: &Flags<false>) -> Result<Place> {
    let place = Place::load(flags)?;
    match place.store {
        Backend::File => Ok(place),
        Backend::Postgres(_) => Err(Ending::usage(
            "a PostgreSQL store is backed up and restored with PostgreSQL's own means (pg_basebackup, pg_dump): docs/postgres.md",
        )
        .into()),
    }
}

/// The store's file and those beside it. A write-ahead log left from another store would be taken for the new
/// one's, and spoil it.
fn store_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(FILE_NAME) {
                files.push(entry.path());
            }
        }
        Ok(files)
    };
    read().with_context(|| format!("look into {}", dir.display()))
}
