//! What `SQLite` says, in the store's words.

use std::sync::Arc;

use pushpull_store::{Error, WriteError};
use rusqlite::ErrorCode;

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
    error.sqlite_error().is_some_and(|e| {
        e.code == ErrorCode::DiskFull || e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    })
}

/// Whether what was written may be lost although it was said to be there: after a failed fsync the kernel
/// drops the pages and the next fsync succeeds. Nothing may be acknowledged from then on.
pub(crate) fn is_fatal(error: &rusqlite::Error) -> bool {
    !is_full(error)
        && matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
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
