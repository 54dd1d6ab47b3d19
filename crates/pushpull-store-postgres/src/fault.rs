//! What PostgreSQL says, in the store's words.

use std::sync::Arc;

use pushpull_store::{Error, WriteError};
use tokio_postgres::error::SqlState;

/// Why a piece of work failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server or the connection to it failed.
    Sql(tokio_postgres::Error),
    /// The work itself was refused: nothing of it is written.
    Refused(WriteError),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
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

impl Fault {
    /// Whether a row like this is there already; the name of the constraint that says so.
    pub(crate) fn is_taken(&self) -> Option<&str> {
        let Self::Sql(error) = self else { return None };
        let error = error.as_db_error()?;
        (*error.code() == SqlState::UNIQUE_VIOLATION).then(|| error.constraint().unwrap_or_default())
    }

    /// Whether a table was not there: a day that was removed.
    pub(crate) fn lacks_a_table(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        error.code() == Some(&SqlState::UNDEFINED_TABLE)
    }

    /// Whether the server refused a value that it was given.
    pub(crate) fn blames_a_value(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        error.code().is_some_and(|code| matches!(code.code().get(..2), Some("22" | "23" | "54")))
    }

    /// Whether another transaction was in the way: nothing was written, and the same work may succeed now.
    pub(crate) fn is_collision(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(error.code(), Some(code) if *code == SqlState::T_R_DEADLOCK_DETECTED
            || *code == SqlState::T_R_SERIALIZATION_FAILURE)
    }
}

/// A driver's error as the store's.
pub(crate) fn translate(error: tokio_postgres::Error) -> Error {
    let busy = [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::TOO_MANY_CONNECTIONS,
    ];
    match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => Error::Full(Arc::new(error)),
        Some(code) if busy.contains(code) => Error::Busy,
        _ => Error::Unavailable(Arc::new(error)),
    }
}

/// A row that contradicts its table.
pub(crate) fn inconsistent(
    table: &'static str,
    row: impl std::fmt::Display,
    what: impl std::fmt::Display,
) -> Fault {
    Error::Inconsistent { table, row: row.to_string(), what: what.to_string() }.into()
}
