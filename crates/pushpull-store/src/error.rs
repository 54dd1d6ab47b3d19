//! What may go wrong between us and storage.

use std::sync::Arc;

/// Storage did not do what was asked. Whoever asked may ask again later, unless it is
/// [`Error::Inconsistent`] or [`Error::Foreign`].
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No space left. Reads go on; writes are taken again as soon as there is space.
    #[error("no space is left for the store")]
    Full(#[source] Source),
    /// More is waiting to be written than may wait.
    #[error("the store has too much to write")]
    Busy,
    /// The store cannot be reached or did not answer.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Source),
    /// What is stored contradicts itself.
    #[error("the store is inconsistent: {table} {row}: {what}")]
    Inconsistent {
        /// Where.
        table: &'static str,
        /// Which row.
        row: String,
        /// What is wrong with it.
        what: String,
    },
    /// The tables are those of another program, or of a later version of this one.
    #[error("the store is not one of this program: {0}")]
    Foreign(String),
    /// The store is closing.
    #[error("the store is closing")]
    Closing,
}

/// What the driver said.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why a write of the catalogue was refused. Nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The uid, or name, belongs to another.
    #[error("the {0} is taken")]
    Taken(&'static str),
    /// Somebody else changed it since it was read: read it and try again.
    #[error("it was changed meanwhile")]
    Stale,
    /// It is gone.
    #[error("it does not exist")]
    NotFound,
    /// Where the dispatcher is to go on is not clear: these are the endpoint's consumers, and none of them is named.
    #[error("the consumer to go on from is not named")]
    WhichConsumer(Vec<String>),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] Error),
}
