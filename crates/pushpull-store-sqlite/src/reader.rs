//! A few readers, each with a connection and a thread of its own: they see what is committed, and never wait
//! for the writer.

use std::path::Path;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use pushpull_store::Error;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::{fault::Fault, setup};

/// Readers: two keep both kinds of work going, a long list and the dispatcher's paging.
const READERS: usize = 3;
/// Most reads that wait; beyond that the store is busy.
const QUEUE_MAX: usize = 4_096;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the readers.
pub(crate) struct Readers {
    jobs: Sender<Job>,
}

impl Readers {
    /// Opens the connections and starts their threads, which end when this is dropped.
    pub(crate) fn start(file: &Path) -> Result<Self, Fault> {
        let (jobs, queue) = crossbeam_channel::bounded::<Job>(QUEUE_MAX);
        for n in 0..READERS {
            let conn = Connection::open_with_flags(
                file,
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?;
            setup::reader(&conn)?;
            let queue = queue.clone();
            std::thread::Builder::new()
                .name(format!("pushpull-reader-{n}"))
                .spawn(move || run(&conn, &queue))
                .map_err(|error| Error::Unavailable(std::sync::Arc::new(error)))?;
        }
        Ok(Self { jobs })
    }

    /// Reads: one consistent view.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            // Who asked may have gone away.
            let _ = reply.send(in_one_view(conn, read).map_err(Error::from));
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Closing,
        })?;
        answer.await.map_err(|_| Error::Closing)?
    }
}

fn run(conn: &Connection, queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        job(conn);
    }
}

fn in_one_view<T>(conn: &Connection, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    conn.prepare_cached("BEGIN")?.execute([])?;
    let result = read(conn);
    conn.prepare_cached("COMMIT")?.execute([])?;
    result
}
