//! Checkpoints, on a thread of their own: moving pages from the write-ahead log into the file.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{RecvTimeoutError, Sender};
use pushpull_store::Error;
use rusqlite::Connection;

use crate::{
    fault::{Fault, is_fatal, translate},
    setup,
    tx::Shared,
};

/// How often, while something is written.
const INTERVAL: Duration = Duration::from_millis(500);
/// Pages in the log from which on the writer finishes the checkpoint itself, so that the log begins anew
/// instead of growing: 64 MiB.
const LOG_PAGES_MAX: i64 = 8_192;

#[derive(Default)]
struct State {
    /// Something was written since the last checkpoint.
    written: AtomicBool,
    /// The log is long: nobody but the writer can catch up with the writer.
    finish: AtomicBool,
}

/// The checkpointing thread.
pub(crate) struct Checkpointer {
    state: Arc<State>,
    shared: Arc<Shared>,
    stop: Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Checkpointer {
    pub(crate) fn start(file: &Path, shared: Arc<Shared>) -> Result<Self, Fault> {
        let conn = Connection::open(file)?;
        setup::checkpointer(&conn)?;
        let state = Arc::new(State::default());
        let (stop, stopped) = crossbeam_channel::bounded::<()>(1);
        let (seen, watched) = (Arc::clone(&state), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("pushpull-checkpoint".into())
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                    if !seen.written.swap(false, Ordering::Relaxed) {
                        continue;
                    }
                    if checkpoint(&conn, &watched).is_some_and(|pages| pages > LOG_PAGES_MAX) {
                        seen.finish.store(true, Ordering::Relaxed);
                    }
                }
            })
            .map_err(|error| Error::Unavailable(Arc::new(error)))?;
        Ok(Self { state, shared, stop, thread })
    }

    /// What the writer is to do after each commit.
    pub(crate) fn after_commit(&self) -> Box<dyn FnMut(&Connection) + Send> {
        let (state, shared) = (Arc::clone(&self.state), Arc::clone(&self.shared));
        Box::new(move |conn| {
            state.written.store(true, Ordering::Relaxed);
            if state.finish.swap(false, Ordering::Relaxed) {
                checkpoint(conn, &shared);
            }
        })
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the store's checkpointer panicked");
        }
    }
}

/// Moves what can be moved without waiting for anybody; how many pages the log has, if that went well.
///
/// A failed fsync is as fatal here as in a commit: the kernel may have dropped pages of the log that a commit is
/// just about to acknowledge. A full disk is not: what could not be moved stays in the log.
fn checkpoint(conn: &Connection, shared: &Shared) -> Option<i64> {
    match conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1)) {
        Ok(pages) => Some(pages),
        Err(error) if is_fatal(&error) => {
            shared.die(&translate(error));
            None
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no checkpoint");
            None
        }
    }
}
