//! A few readers, each with a connection and a thread of its own: they see what is committed, and never wait
//! for the writer.

use std::{
    panic::AssertUnwindSafe,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use pushpull_store::Error;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::{fault::Fault, setup};

/// Readers that take both kinds of work.
const READERS: usize = 2;
/// Most reads of each kind that wait; beyond that the store is busy.
const QUEUE_MAX: usize = 4_096;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the readers. What looks at many rows waits in a queue of its own, and one reader never takes from
/// it: however many lists are asked for, the dispatcher and the configuration are read at once.
pub(crate) struct Readers {
    quick: Sender<Job>,
    long: Sender<Job>,
    closed: AtomicBool,
}

impl Readers {
    /// Opens the connections and starts their threads, which end when this is dropped.
    pub(crate) fn start(file: &Path) -> Result<Self, Fault> {
        let (quick, quick_queue) = crossbeam_channel::bounded::<Job>(QUEUE_MAX);
        let (long, long_queue) = crossbeam_channel::bounded::<Job>(QUEUE_MAX);
        start(file, "pushpull-reader", quick_queue.clone(), crossbeam_channel::never())?;
        for n in 0..READERS {
            start(file, &format!("pushpull-reader-{n}"), quick_queue.clone(), long_queue.clone())?;
        }
        Ok(Self { quick, long, closed: AtomicBool::new(false) })
    }

    /// From here on reads are refused; those that wait are still answered.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Reads a few rows: one consistent view.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.send(&self.quick, read).await
    }

    /// The same, for what looks at many rows.
    pub(crate) async fn read_long<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.send(&self.long, read).await
    }

    async fn send<T, F>(&self, jobs: &Sender<Job>, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::Closing);
        }
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            // Nobody waits any more for what was asked by a caller that went away.
            if !reply.is_closed() {
                drop(reply.send(in_one_view(conn, read).map_err(Error::from)));
            }
        });
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Closing,
        })?;
        answer.await.map_err(|_| Error::Closing)?
    }
}

fn start(file: &Path, name: &str, quick: Receiver<Job>, long: Receiver<Job>) -> Result<(), Fault> {
    let conn = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    setup::reader(&conn)?;
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || run(&conn, &quick, &long))
        .map_err(|error| Error::Unavailable(std::sync::Arc::new(error)))?;
    Ok(())
}

fn run(conn: &Connection, quick: &Receiver<Job>, long: &Receiver<Job>) {
    loop {
        let job = crossbeam_channel::select_biased! {
            recv(quick) -> job => job,
            recv(long) -> job => job,
        };
        let Ok(job) = job else { return };
        // A read that panics is a fault in one request, not in the reader.
        if std::panic::catch_unwind(AssertUnwindSafe(|| job(conn))).is_err() && !conn.is_autocommit() {
            drop(conn.execute_batch("ROLLBACK"));
        }
    }
}

fn in_one_view<T>(conn: &Connection, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    conn.prepare_cached("BEGIN")?.execute([])?;
    let result = read(conn);
    conn.prepare_cached("COMMIT")?.execute([])?;
    result
}
