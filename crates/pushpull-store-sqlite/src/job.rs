//! Pieces of work that the writer does besides appending.

use pushpull_store::{Error, WriteError};
use tokio::sync::oneshot;

use crate::{
    fault::{Fault, is_fatal},
    tx::Tx,
};

/// A piece of work other than an append.
pub(crate) trait Job: Send {
    /// Does it. `false`: it was refused, and what it wrote is to be undone.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<bool, rusqlite::Error>;
    fn answer(self: Box<Self>, committed: Result<(), Error>);
    /// Whether a failure of it must leave no trace while the rest of the transaction stands.
    fn isolated(&self) -> bool;
}

pub(crate) struct Work<T, F> {
    body: Option<F>,
    result: Option<Result<T, WriteError>>,
    isolated: bool,
    reply: oneshot::Sender<Result<T, WriteError>>,
}

impl<T, F> Work<T, F> {
    /// Work whose result goes to whoever holds the other end.
    pub(crate) fn new(body: F, isolated: bool, reply: oneshot::Sender<Result<T, WriteError>>) -> Self {
        Self { body: Some(body), result: None, isolated, reply }
    }
}

impl<T: Send, F> Job for Work<T, F>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<bool, rusqlite::Error> {
        let work = self.body.take().expect("a job runs once");
        let result = match work(tx) {
            Ok(value) => Ok(value),
            // SQLite ends the whole transaction on some errors; then nobody's work stands.
            Err(Fault::Sql(error)) if !self.isolated || tx.conn.is_autocommit() || is_fatal(&error) => {
                return Err(error);
            }
            Err(fault) => Err(fault.into()),
        };
        let keep = result.is_ok();
        self.result = Some(result);
        Ok(keep)
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let result = match committed {
            Ok(()) => self.result.expect("a job that was committed has run"),
            Err(error) => Err(WriteError::Store(error)),
        };
        // Who asked may have gone away; what was written stays written.
        let _ = self.reply.send(result);
    }

    fn isolated(&self) -> bool {
        self.isolated
    }
}

/// Runs a job within the transaction. An error means that the whole transaction is lost.
pub(crate) fn run(tx: &mut Tx<'_>, job: &mut dyn Job) -> Result<(), rusqlite::Error> {
    if !job.isolated() {
        return job.run(tx).map(drop);
    }
    tx.conn.prepare_cached("SAVEPOINT job")?.execute([])?;
    let tally = *tx.tally;
    if !job.run(tx)? {
        tx.conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
        // What it learnt and counted on the way was never written.
        tx.memory.apps.clear();
        tx.memory.endpoints.clear();
        *tx.tally = tally;
    }
    tx.conn.prepare_cached("RELEASE job")?.execute([])?;
    Ok(())
}
