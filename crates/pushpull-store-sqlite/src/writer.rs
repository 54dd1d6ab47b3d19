//! The one writer: takes what waits, one transaction, one fsync, then answers everyone.

use std::{collections::VecDeque, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use crossbeam_channel::Receiver;
use pushpull_store::{Append, Appended, Error, WriteError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    append,
    fault::{Fault, is_fatal, translate},
    job::{self, Job, Work},
    queue::Queue,
    tx::{Memory, News, Shared, Tally, Tx},
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

enum Command {
    Append(Box<Append>, oneshot::Sender<Result<Appended, Error>>),
    Job(Box<dyn Job>),
    Close,
}

/// The way to the writer.
pub(crate) struct Writer {
    commands: Queue<Command>,
    thread: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Writer {
    /// Starts the writer's thread. `after_commit` is called between transactions.
    pub(crate) fn start(
        conn: Connection,
        shared: Arc<Shared>,
        after_commit: Box<dyn FnMut(&Connection) + Send>,
    ) -> std::io::Result<Self> {
        let (commands, queue) = Queue::new(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("pushpull-writer".into())
            .spawn(move || guarded(Loop { conn, shared, memory: Memory::default(), after_commit }, &queue))?;
        Ok(Self { commands, thread: std::sync::Mutex::new(Some(thread)) })
    }

    /// Appends a message.
    pub(crate) async fn append(&self, append: Append) -> Result<Appended, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Append(Box::new(append), reply))?;
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
        self.commands.send(Command::Job(Box::new(Work::new(work, isolated, reply))))?;
        answer.await.map_err(|_| WriteError::Store(Error::Closing))?
    }

    /// Writes what waits, then ends the writer. Blocks until it has ended.
    pub(crate) fn close(&self) {
        // An error says that it has ended already.
        let _ = self.commands.send_anyway(Command::Close);
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

/// Runs the writer. One that panics must not leave a server behind that takes requests and writes nothing.
fn guarded(writer: Loop, queue: &Receiver<Command>) {
    let shared = Arc::clone(&writer.shared);
    if std::panic::catch_unwind(AssertUnwindSafe(|| writer.run(queue))).is_err() {
        shared.die(&Error::Unavailable(Arc::new(std::io::Error::other("the writer panicked"))));
    }
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
            self.batch(&mut batch);
            if self.shared.is_dead() {
                return;
            }
            (self.after_commit)(&self.conn);
            if closing {
                return;
            }
        }
    }

    /// One transaction and its answers.
    fn batch(&mut self, commands: &mut VecDeque<Command>) {
        let mut answers = Vec::with_capacity(commands.len());
        let (mut news, mut tally) = (News::default(), Tally::default());
        let written = self.write(commands, &mut answers, &mut news, &mut tally);
        let committed = match written {
            // Somebody else's fsync may have failed while this one succeeded, and taken pages of ours with it.
            Ok(()) if self.shared.is_dead() => Err(Error::Closing),
            Ok(()) => {
                self.shared.counts.add(tally);
                self.tell(&news);
                Ok(())
            }
            Err(error) => Err(self.give_up(error)),
        };
        if let Err(error) = &committed {
            answers.extend(commands.drain(..).filter_map(|command| match command {
                Command::Append(_, reply) => Some(Answer::Append(reply, Err(error.clone()))),
                Command::Job(job) => Some(Answer::Job(job)),
                Command::Close => None,
            }));
        }
        for answer in answers {
            answer.say(committed.clone());
        }
    }

    /// Undoes a transaction that failed. If what failed may have lost what was acknowledged before, nothing
    /// is acknowledged from then on.
    fn give_up(&mut self, failed: rusqlite::Error) -> Error {
        let fatal = is_fatal(&failed);
        let error = translate(failed);
        tracing::error!(error = &error as &dyn std::error::Error, fatal, "nothing of a batch was written");
        self.memory = Memory { last_at: self.memory.last_at, ..Memory::default() };
        if fatal {
            self.shared.die(&error);
        } else if !self.conn.is_autocommit()
            && let Err(stuck) = self.conn.execute_batch("ROLLBACK")
        {
            self.shared.die(&translate(stuck));
        }
        error
    }

    /// Takes the commands in order and commits. On an error some are left, and `answers` has the others.
    fn write(
        &mut self,
        commands: &mut VecDeque<Command>,
        answers: &mut Vec<Answer>,
        news: &mut News,
        tally: &mut Tally,
    ) -> Result<(), rusqlite::Error> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let wall = self.shared.clock.now();
        self.memory.last_at = self.memory.last_at.max(wall);
        let mut tx = Tx {
            conn: &self.conn,
            now: self.memory.last_at,
            wall,
            memory: &mut self.memory,
            news,
            tally,
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
                    let done = job::run(&mut tx, &mut *job);
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
        #[cfg(feature = "faults")]
        crate::faults::delay();
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        #[cfg(feature = "faults")]
        crate::faults::delay();
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
            for (app, endpoint) in &news.rescheduled {
                listener.rescheduled(*app, *endpoint);
            }
        }
    }
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
