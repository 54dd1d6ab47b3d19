//! The one writer: takes what waits, one transaction, one fsync, then answers everyone.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, RwLock},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use pushpull_domain::{AppNo, Chance, Clock, EndpointNo, Message, Timestamp, seal::Sealer};
use pushpull_store::{Append, Appended, CommitListener, Error, WriteError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    append,
    fault::{Fault, is_fatal, translate},
};

/// Most commands that wait for the writer; beyond that the store is busy.
const QUEUE_MAX: usize = 8_192;
/// Most commands in one transaction: bounds how long the first of them waits.
const BATCH_MAX: usize = 512;
/// How long the writer waits for more after a batch that was not alone: less than an fsync takes, and it
/// saves one for each message that comes within it.
const GATHER: Duration = Duration::from_micros(150);
/// Fewest commands of a batch that count as load.
const LOAD_MIN: usize = 8;

/// What the writer may use besides the connection.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Arc<dyn Chance>,
    pub(crate) sealer: Sealer,
    pub(crate) listeners: RwLock<Vec<Arc<dyn CommitListener>>>,
    /// Called when nothing may be acknowledged any more: the process is to end.
    pub(crate) on_fatal: Box<dyn Fn(&Error) + Send + Sync>,
}

/// What the writer knows without asking: counters of the applications and endpoints in use. Read from the
/// tables when first needed, forgotten when a transaction fails.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) apps: HashMap<AppNo, AppMemory>,
    pub(crate) endpoints: HashMap<EndpointNo, EndpointMemory>,
    /// Time never goes back in the log, whatever the machine's clock does.
    pub(crate) last_at: Timestamp,
}

pub(crate) struct AppMemory {
    /// `None`: the application is gone.
    pub(crate) version: Option<u64>,
    pub(crate) last_position: u64,
}

pub(crate) struct EndpointMemory {
    pub(crate) last_seq: u64,
    pub(crate) last_attempt: u64,
    pub(crate) url: Option<(Arc<str>, i64)>,
}

/// What listeners are told after the commit.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) appended: Vec<Arc<Message>>,
    pub(crate) rescheduled: Vec<EndpointNo>,
    pub(crate) configured: Vec<AppNo>,
}

/// A transaction in progress.
pub(crate) struct Tx<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) memory: &'a mut Memory,
    pub(crate) news: &'a mut News,
    pub(crate) shared: &'a Shared,
    /// The moment of this transaction: not before that of the one before.
    pub(crate) now: Timestamp,
}

/// A piece of work other than an append.
trait Job: Send {
    /// Does it. `false`: it was refused, and what it wrote is to be undone.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<bool, rusqlite::Error>;
    fn answer(self: Box<Self>, committed: Result<(), Error>);
    /// Whether a failure of it must leave no trace while the rest of the transaction stands.
    fn isolated(&self) -> bool;
}

struct Work<T, F> {
    body: Option<F>,
    result: Option<Result<T, WriteError>>,
    isolated: bool,
    reply: oneshot::Sender<Result<T, WriteError>>,
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

enum Command {
    Append(Box<Append>, oneshot::Sender<Result<Appended, Error>>),
    Job(Box<dyn Job>),
    Close,
}

/// The way to the writer.
pub(crate) struct Writer {
    commands: Sender<Command>,
    thread: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Writer {
    /// Starts the writer's thread. `after_commit` is called between transactions.
    pub(crate) fn start(
        conn: Connection,
        shared: Arc<Shared>,
        after_commit: Box<dyn FnMut(&Connection) + Send>,
    ) -> std::io::Result<Self> {
        let (commands, queue) = crossbeam_channel::bounded(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("pushpull-writer".into())
            .spawn(move || Loop { conn, shared, memory: Memory::default(), after_commit }.run(&queue))?;
        Ok(Self { commands, thread: std::sync::Mutex::new(Some(thread)) })
    }

    fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Closing,
        })
    }

    /// Appends a message.
    pub(crate) async fn append(&self, append: Append) -> Result<Appended, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Append(Box::new(append), reply))?;
        answer.await.map_err(|_| Error::Closing)?
    }

    /// Does a piece of work in a transaction of its own kind: all of it, or nothing.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.submit(work, true).await
    }

    /// The same without a savepoint: for frequent work that only fails when storage does.
    pub(crate) async fn run_bare<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        self.submit(work, false).await.map_err(|error| Fault::Refused(error).into())
    }

    async fn submit<T, F>(&self, work: F, isolated: bool) -> Result<T, WriteError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Job(Box::new(Work { body: Some(work), result: None, isolated, reply })))?;
        answer.await.map_err(|_| WriteError::Store(Error::Closing))?
    }

    /// Writes what waits, then ends the writer. Blocks until it has ended.
    pub(crate) fn close(&self) {
        // A full queue drains by itself, so this does not wait for ever.
        let _ = self.commands.send(Command::Close);
        let thread = self.thread.lock().expect("nobody panics while holding this lock").take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

struct Loop {
    conn: Connection,
    shared: Arc<Shared>,
    memory: Memory,
    after_commit: Box<dyn FnMut(&Connection) + Send>,
}

/// What is to be said to whom once the transaction is over.
enum Answer {
    Append(oneshot::Sender<Result<Appended, Error>>, Result<Appended, Error>),
    Job(Box<dyn Job>),
}

impl Answer {
    fn say(self, committed: Result<(), Error>) {
        match self {
            // Who asked may have gone away; what was written stays written.
            Self::Append(reply, appended) => drop(reply.send(committed.and(appended))),
            Self::Job(job) => job.answer(committed),
        }
    }
}

impl Loop {
    fn run(mut self, queue: &Receiver<Command>) {
        let mut batch = VecDeque::with_capacity(BATCH_MAX);
        let mut loaded = false;
        while let Ok(first) = queue.recv() {
            batch.push_back(first);
            gather(queue, &mut batch, loaded);
            loaded = batch.len() >= LOAD_MIN;
            let closing = batch.iter().any(|command| matches!(command, Command::Close));
            if let Err(error) = self.batch(&mut batch) {
                // Whoever waits gets no answer, and nobody is acknowledged from here on.
                (self.shared.on_fatal)(&error);
                return;
            }
            (self.after_commit)(&self.conn);
            if closing {
                return;
            }
        }
    }

    /// One transaction and its answers. An error means that nothing more may be acknowledged, ever.
    fn batch(&mut self, commands: &mut VecDeque<Command>) -> Result<(), Error> {
        let mut answers = Vec::with_capacity(commands.len());
        let mut news = News::default();
        let Err(sql) = self.write(commands, &mut answers, &mut news) else {
            self.tell(&news);
            for answer in answers {
                answer.say(Ok(()));
            }
            return Ok(());
        };
        let fatal = is_fatal(&sql);
        let error = translate(sql);
        tracing::error!(error = &error as &dyn std::error::Error, fatal, "nothing of a batch was written");
        if fatal {
            return Err(error);
        }
        self.memory = Memory { last_at: self.memory.last_at, ..Memory::default() };
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("ROLLBACK").map_err(translate)?;
        }
        answers.extend(commands.drain(..).filter_map(|command| match command {
            Command::Append(_, reply) => Some(Answer::Append(reply, Err(error.clone()))),
            Command::Job(job) => Some(Answer::Job(job)),
            Command::Close => None,
        }));
        for answer in answers {
            answer.say(Err(error.clone()));
        }
        Ok(())
    }

    /// Takes the commands in order and commits. On an error some are left, and `answers` has the others.
    fn write(
        &mut self,
        commands: &mut VecDeque<Command>,
        answers: &mut Vec<Answer>,
        news: &mut News,
    ) -> Result<(), rusqlite::Error> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.memory.last_at = self.memory.last_at.max(self.shared.clock.now());
        let mut tx = Tx {
            conn: &self.conn,
            now: self.memory.last_at,
            memory: &mut self.memory,
            news,
            shared: &self.shared,
        };
        while let Some(command) = commands.pop_front() {
            match command {
                Command::Append(append, reply) => match append::append(&mut tx, *append) {
                    Ok(appended) => answers.push(Answer::Append(reply, Ok(appended))),
                    Err(Fault::Refused(refused)) => {
                        answers.push(Answer::Append(reply, Err(Fault::Refused(refused).into())));
                    }
                    Err(Fault::Sql(error)) => {
                        answers.push(Answer::Append(reply, Err(Error::Busy)));
                        return Err(error);
                    }
                },
                Command::Job(mut job) => {
                    let done = run_job(&mut tx, &mut *job);
                    answers.push(Answer::Job(job));
                    done?;
                }
                Command::Close => {}
            }
        }
        #[cfg(feature = "faults")]
        if crate::faults::acknowledges_early() {
            let (appends, jobs) = answers.drain(..).partition(|answer| matches!(answer, Answer::Append(..)));
            *answers = jobs;
            Vec::into_iter(appends).for_each(|append| append.say(Ok(())));
            crate::faults::be_late();
        }
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn tell(&self, news: &News) {
        let listeners = self.shared.listeners.read().expect("nobody panics while holding this lock");
        for listener in listeners.iter() {
            for app in &news.configured {
                listener.configured(*app);
            }
            if !news.appended.is_empty() {
                listener.appended(&news.appended);
            }
            for endpoint in &news.rescheduled {
                listener.rescheduled(*endpoint);
            }
        }
    }
}

fn run_job(tx: &mut Tx<'_>, job: &mut dyn Job) -> Result<(), rusqlite::Error> {
    if !job.isolated() {
        return job.run(tx).map(drop);
    }
    tx.conn.prepare_cached("SAVEPOINT job")?.execute([])?;
    if !job.run(tx)? {
        tx.conn.prepare_cached("ROLLBACK TO job")?.execute([])?;
        // What it learnt on the way may never have been written.
        tx.memory.apps.clear();
        tx.memory.endpoints.clear();
    }
    tx.conn.prepare_cached("RELEASE job")?.execute([])?;
    Ok(())
}

/// Takes what waits already and, under load, what comes within [`GATHER`].
#[expect(
    clippy::disallowed_methods,
    reason = "the time in which a thread waits for its channel is the thread's own"
)]
fn gather(queue: &Receiver<Command>, batch: &mut VecDeque<Command>, loaded: bool) {
    if loaded {
        let deadline = std::time::Instant::now() + GATHER;
        while batch.len() < BATCH_MAX {
            match queue.recv_deadline(deadline) {
                Ok(command) => batch.push_back(command),
                Err(_) => break,
            }
        }
    }
    while batch.len() < BATCH_MAX {
        match queue.try_recv() {
            Ok(command) => batch.push_back(command),
            Err(_) => break,
        }
    }
}
