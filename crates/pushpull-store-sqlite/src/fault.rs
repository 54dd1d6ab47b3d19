//! What `SQLite` says, in the store's words.

use std::sync::Arc;

use pushpull_store::{Error, WriteError};
use rusqlite::{ErrorCode, ffi};

/// Why a piece of work inside a transaction failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// `SQLite` failed.
    Sql(rusqlite::Error),
    /// The work itself was refused: nothing of it is written.
    Refused(WriteError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        Self::Refused(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(WriteError::Store(error))
    }
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sql(error) => Self::Store(translate(error)),
            Fault::Refused(error) => error,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match WriteError::from(fault) {
            WriteError::Store(error) => error,
            refused => Self::Unavailable(Arc::new(refused)),
        }
    }
}

/// A driver's error as the store's.
pub(crate) fn translate(error: rusqlite::Error) -> Error {
    if is_full(&error) {
        return Error::Full(Arc::new(error));
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy,
        _ => Error::Unavailable(Arc::new(error)),
    }
}

/// Whether there was no space. The index of the write-ahead log has an error of its own for it.
fn is_full(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|e| e.code == ErrorCode::DiskFull || e.extended_code == ffi::SQLITE_IOERR_SHMSIZE)
}

/// Whether what was written may be lost although it was said to be there: after a failed fsync the kernel
/// drops the pages and the next fsync succeeds. Nothing may be acknowledged from then on.
///
/// A write that failed is not among these: it was not acknowledged, and is rolled back (a quota that is used up
/// fails like this).
pub(crate) fn is_fatal(error: &rusqlite::Error) -> bool {
    let Some(error) = error.sqlite_error() else { return false };
    match error.code {
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => true,
        ErrorCode::SystemIoFailure => {
            !matches!(error.extended_code, ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_WRITE)
        }
        _ => false,
    }
}

/// Whether an error is the fault of the one statement: its values are too big or contradict what is there. The
/// transaction goes on without it.
pub(crate) fn blames_one(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        None | Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    )
}

/// A row that contradicts its table.
pub(crate) fn inconsistent(
    table: &'static str,
    row: impl std::fmt::Display,
    what: impl std::fmt::Display,
) -> Fault {
    Error::Inconsistent { table, row: row.to_string(), what: what.to_string() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn only_what_may_have_lost_an_acknowledged_write_is_fatal() {
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_DIR_FSYNC,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_IOERR_SHORT_READ,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
        ] {
            assert!(is_fatal(&error(code)), "{code}");
        }
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_SHMSIZE,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
            ffi::SQLITE_TOOBIG,
            ffi::SQLITE_READONLY,
        ] {
            assert!(!is_fatal(&error(code)), "{code}");
        }
    }

    #[test]
    fn no_space_is_told_apart_from_a_broken_disk() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(matches!(translate(error(code)), Error::Full(_)), "{code}");
        }
        assert!(matches!(translate(error(ffi::SQLITE_BUSY)), Error::Busy));
        assert!(matches!(translate(error(ffi::SQLITE_IOERR_WRITE)), Error::Unavailable(_)));
    }
}
