//! Putting a backup in place, as another history: positions handed out since it was made must not be taken
//! for the ones that will be given again.

use std::{fs, path::Path, sync::Arc};

use pushpull_domain::Chance;
use pushpull_store::Error;
use rusqlite::Connection;

use crate::{
    FILE_NAME,
    fault::{Fault, inconsistent},
    make_private,
};

/// Puts a backup into a data directory in which no server runs. Refused if there is a store already: move it
/// away first.
pub fn restore(backup: &Path, dir: &Path, chance: &dyn Chance) -> Result<(), Error> {
    restore_or_fault(backup, dir, chance).map_err(Error::from)
}

fn restore_or_fault(backup: &Path, dir: &Path, chance: &dyn Chance) -> Result<(), Fault> {
    let io = |error: std::io::Error| Fault::from(Error::Unavailable(Arc::new(error)));
    let file = dir.join(FILE_NAME);
    // A log that was left behind would be played back into whatever file has its name.
    for left in ["", "-wal", "-shm", "-journal"].map(|end| dir.join(format!("{FILE_NAME}{end}"))) {
        if left.exists() {
            return Err(inconsistent("store", left.display(), "is in the way: move it elsewhere first"));
        }
    }
    let new = dir.join(format!("{FILE_NAME}.restoring"));
    drop(fs::remove_file(&new));
    make_private(&new).map_err(io)?;
    // Not `fs::copy`, which would take the backup's mode over.
    let mut from = fs::File::open(backup).map_err(io)?;
    let mut to = fs::OpenOptions::new().append(true).open(&new).map_err(io)?;
    std::io::copy(&mut from, &mut to).map_err(io)?;
    drop(to);
    let conn = Connection::open(&new)?;
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(inconsistent("backup", backup.display(), verdict));
    }
    let changed =
        conn.execute("UPDATE setting SET value = ?1 WHERE name = 'history'", [chance.word().cast_signed()])?;
    if changed != 1 {
        return Err(inconsistent("backup", backup.display(), "is no backup of a pushpull store"));
    }
    conn.close().map_err(|(_, error)| error)?;
    fs::File::open(&new).and_then(|f| f.sync_all()).map_err(io)?;
    fs::rename(&new, &file).map_err(io)?;
    fs::File::open(dir).and_then(|d| d.sync_all()).map_err(io)
}
