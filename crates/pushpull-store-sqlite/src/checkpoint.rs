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
    writer::Shared,
};

/// How often, while something is written.
const INTERVAL: Duration = Duration::from_millis(500);
/// Pages in the log from which on the writer finishes the checkpoint itself, so that the log begins anew
/// instead of growing: 64 MiB.
const LOG_PAGES_MAX: i64 = 8_192;

struct State {
    shared: Arc<Shared>,
    /// Something was written since the last checkpoint.
    written: AtomicBool,
    /// The log is long: nobody but the writer can catch up with the writer.
    finish: AtomicBool,
}

/// The checkpointing thread.
pub(crate) struct Checkpointer {
    state: Arc<State>,
    stop: Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Checkpointer {
    pub(crate) fn start(file: &Path, shared: Arc<Shared>) -> Result<Self, Fault> {
        let conn = Connection::open(file)?;
        setup::checkpointer(&conn)?;
        let state =
            Arc::new(State { shared, written: AtomicBool::new(false), finish: AtomicBool::new(false) });
        let (stop, stopped) = crossbeam_channel::bounded::<()>(1);
        let seen = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("pushpull-checkpoint".into())
            .spawn(move || {
                while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                    if !seen.written.swap(false, Ordering::Relaxed) {
                        continue;
                    }
                    if seen.checkpoint(&conn).is_some_and(|pages| pages > LOG_PAGES_MAX) {
                        seen.finish.store(true, Ordering::Relaxed);
                    }
                }
            })
            .map_err(|error| Error::Unavailable(Arc::new(error)))?;
        Ok(Self { state, stop, thread })
    }

    /// What the writer is to do after each commit.
    pub(crate) fn after_commit(&self) -> Box<dyn FnMut(&Connection) + Send> {
        let state = Arc::clone(&self.state);
        Box::new(move |conn| {
            state.written.store(true, Ordering::Relaxed);
            if state.finish.swap(false, Ordering::Relaxed) {
                state.checkpoint(conn);
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

impl State {
    /// Moves what can be moved without waiting for anybody; how many pages the log has, if it could be done.
    fn checkpoint(&self, conn: &Connection) -> Option<i64> {
        let moved = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1));
        moved.map_err(|error| self.failed(error)).ok()
    }

    fn failed(&self, error: rusqlite::Error) {
        let fatal = is_fatal(&error);
        let error = translate(error);
        tracing::warn!(error = &error as &dyn std::error::Error, fatal, "no checkpoint");
        // The log was synced when it was written; but a disk that fails an fsync is trusted with nothing more.
        if fatal {
            (self.shared.on_fatal)(&error);
        }
    }
}
