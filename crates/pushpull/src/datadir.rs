//! The data directory: its lock, and the files with keys in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Seek, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use pushpull_domain::{chance, key, seal::MasterKey};
use pushpull_store_sqlite::FILE_NAME;

use crate::{chance::SystemChance, config::Place};

/// The file that a running server holds locked, with its process id inside.
const LOCK_FILE: &str = "pushpull.lock";
/// Fewest and most characters of an admin key.
const ADMIN_KEY_LEN: std::ops::RangeInclusive<usize> = 20..=200;

/// Makes the data directory if there is none, for this user's eyes only.
pub(crate) fn make(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("make the data directory {}", dir.display()))
}

/// Held while a server runs, or while something is done that no server may see. Freed by the system when the
/// process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Who holds the lock.
#[derive(Debug)]
pub(crate) struct Held {
    /// The process, as far as it said.
    pub(crate) pid: String,
}

impl Lock {
    /// Takes the lock, or says who holds it.
    pub(crate) fn try_take(dir: &Path) -> Result<std::result::Result<Self, Held>> {
        let path = dir.join(LOCK_FILE);
        let open = || -> std::io::Result<std::result::Result<Self, Held>> {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    file.read_to_string(&mut pid)?;
                    return Ok(Err(Held { pid: pid.trim().to_owned() }));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Ok(Self { _file: file }))
        };
        open().with_context(|| format!("lock {}", path.display()))
    }

    /// Takes the lock; refused while a server runs.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        match Self::try_take(dir)? {
            Ok(lock) => Ok(lock),
            Err(Held { pid }) => {
                bail!("the data directory {} is in use by pushpull with process id {pid}", dir.display())
            }
        }
    }
}

/// The master key and those used before it, newest first. Made if there is none and nothing was sealed yet, in this
/// store.
pub(crate) fn master_keys(place: &Place, store: &str, is_new: bool) -> Result<Vec<MasterKey>> {
    let path = &place.master_key_file;
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            ensure!(
                is_new,
                "the master key {} is missing, and without it the secrets in {store} cannot be opened: \
                 put it back from where you keep it, or copy it from another node",
                path.display(),
            );
            let key = STANDARD.encode(chance::bytes::<32>(&SystemChance));
            write_secret(path, &key)?;
            key
        }
        Err(error) => return Err(error).with_context(|| format!("read the master key {}", path.display())),
    };
    let keys: Option<Vec<MasterKey>> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(master_key).collect();
    match keys {
        Some(keys) if !keys.is_empty() => Ok(keys),
        _ => bail!("{} must hold master keys, each 32 bytes in base64 on a line of its own", path.display()),
    }
}

fn master_key(line: &str) -> Option<MasterKey> {
    STANDARD.decode(line).ok()?.try_into().ok().map(MasterKey::new)
}

/// The admin key of a file.
#[derive(Debug)]
pub(crate) struct AdminKey {
    /// Its text.
    pub(crate) token: String,
    /// Whether it was made just now.
    pub(crate) is_new: bool,
}

/// The admin key in its file, made if there is none.
pub(crate) fn admin_key(path: &Path) -> Result<AdminKey> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let token = text.trim_end_matches(['\r', '\n']);
            let fits = ADMIN_KEY_LEN.contains(&token.len()) && token.bytes().all(|c| c.is_ascii_graphic());
            ensure!(fits, "{} must hold an admin key: 20 to 200 visible characters", path.display());
            Ok(AdminKey { token: token.to_owned(), is_new: false })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let token = key::generate_token(&SystemChance);
            write_secret(path, &token)?;
            Ok(AdminKey { token, is_new: true })
        }
        Err(error) => Err(error).with_context(|| format!("read the admin key {}", path.display())),
    }
}

/// Writes a secret to a new file that only this user can read, on stable storage. The file is there whole or not
/// at all: one that a kill or a full disk had left empty would be taken for the user's own, and refused.
fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".key-").tempfile_in(dir)?;
        writeln!(file, "{secret}")?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)?;
        File::open(dir)?.sync_all()
    };
    write().with_context(|| format!("write a new key to {}", path.display()))
}

/// The file of the embedded store.
pub(crate) fn store_file(place: &Place) -> PathBuf {
    place.data.join(FILE_NAME)
}
