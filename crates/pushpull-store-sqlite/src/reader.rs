//! A few readers, each with a connection and a thread of its own: they see what is committed, and never wait
//! for the writer.

use std::{
    panic::AssertUnwindSafe,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender};
use pushpull_store::Error;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::{fault::Fault, queue::Queue, setup};

/// Readers that take both kinds of work.
const READERS: usize = 2;
/// Most reads of each kind that wait; beyond that the store is busy.
const QUEUE_MAX: usize = 4_096;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the readers. What looks at many rows waits in a queue of its own, and one reader never takes from
/// it: however many lists are asked for, the dispatcher and the configuration are read at once.
pub(crate) struct Readers {
    quick: Queue<Job>,
    long: Queue<Job>,
    closed: AtomicBool,
    running: Mutex<Option<Running>>,
}

struct Running {
    /// Dropped to end the threads.
    stop: Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Opens the connections and starts their threads.
    pub(crate) fn start(file: &Path) -> Result<Self, Fault> {
        let (quick, quick_queue) = Queue::new(QUEUE_MAX);
        let (long, long_queue) = Queue::new(QUEUE_MAX);
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let mut threads = Vec::with_capacity(READERS + 1);
        for n in 0..=READERS {
            let long = if n == 0 { crossbeam_channel::never() } else { long_queue.clone() };
            let queues = Queues { quick: quick_queue.clone(), long, stopped: stopped.clone() };
            threads.push(start(file, n, queues)?);
        }
        let running = Mutex::new(Some(Running { stop, threads }));
        Ok(Self { quick, long, closed: AtomicBool::new(false), running })
    }

    /// From here on reads are refused; those that wait are still answered. Blocks until they are. Safe to repeat.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let running = self.running.lock().expect("nobody panics while holding this lock").take();
        let Some(Running { stop, threads }) = running else { return };
        drop(stop);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a reader of the store panicked");
            }
        }
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

    async fn send<T, F>(&self, jobs: &Queue<Job>, read: F) -> Result<T, Error>
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
        jobs.send(job)?;
        answer.await.map_err(|_| Error::Closing)?
    }
}

struct Queues {
    quick: Receiver<Job>,
    long: Receiver<Job>,
    stopped: Receiver<()>,
}

fn start(file: &Path, n: usize, queues: Queues) -> Result<JoinHandle<()>, Fault> {
    let conn = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    setup::reader(&conn)?;
    std::thread::Builder::new()
        .name(format!("pushpull-reader-{n}"))
        .spawn(move || run(&conn, &queues))
        .map_err(|error| Error::Unavailable(std::sync::Arc::new(error)).into())
}

fn run(conn: &Connection, queues: &Queues) {
    loop {
        let job = crossbeam_channel::select_biased! {
            recv(queues.quick) -> job => job,
            recv(queues.long) -> job => job,
            recv(queues.stopped) -> _ => return,
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
