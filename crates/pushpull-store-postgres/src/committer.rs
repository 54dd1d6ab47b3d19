//! Gathers the messages that wait and appends them together.

use std::{collections::HashSet, sync::Arc};

use pushpull_domain::AppNo;
use pushpull_store::{Append, Appended, Error};
use tokio::sync::{mpsc, oneshot};

use crate::{ANSWER_MAX, Db, append, fault::Fault, pool::Lent};

/// Most messages that wait; beyond that the store is busy.
const QUEUE_MAX: usize = 8_192;
/// Most messages of a transaction, and bytes from which on it is full: bounds how long the first of them waits.
const BATCH_MAX: usize = 256;
const BYTES_MAX: usize = 8 * 1024 * 1024;

type Waiting = (Append, oneshot::Sender<Result<Appended, Error>>);

/// The way in.
pub(crate) struct Committer {
    queue: mpsc::Sender<Waiting>,
}

impl Committer {
    /// Starts the work, which ends when the store is closed.
    pub(crate) fn start(db: &Arc<Db>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        db.tasks.spawn(work(Arc::clone(db), waiting));
        Self { queue }
    }

    /// Appends a message.
    pub(crate) async fn append(&self, append: Append) -> Result<Appended, Error> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send((append, reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Busy,
            mpsc::error::TrySendError::Closed(_) => Error::Closing,
        })?;
        // The commit itself goes on: one that is given up happens anyway.
        match tokio::time::timeout(ANSWER_MAX, answer).await {
            Ok(answer) => answer.map_err(|_| Error::Closing)?,
            Err(slow) => Err(Error::Unavailable(Arc::new(slow))),
        }
    }
}

async fn work(db: Arc<Db>, mut queue: mpsc::Receiver<Waiting>) {
    let mut conn = None;
    let mut held_over: Vec<Waiting> = Vec::new();
    loop {
        let mut batch = Batch::default();
        for waiting in std::mem::take(&mut held_over) {
            batch.take(waiting, &mut held_over);
        }
        if batch.waiting.is_empty() {
            let first = tokio::select! {
                biased;
                first = queue.recv() => first,
                // What waits already is written still.
                () = db.closing.cancelled(), if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
            };
            let Some(first) = first else { return };
            batch.take(first, &mut held_over);
        }
        while batch.has_room()
            && held_over.len() < BATCH_MAX
            && let Ok(next) = queue.try_recv()
        {
            batch.take(next, &mut held_over);
        }
        batch.append(&db, &mut conn).await;
    }
}

/// Messages that are appended together.
#[derive(Default)]
struct Batch {
    waiting: Vec<Append>,
    replies: Vec<oneshot::Sender<Result<Appended, Error>>>,
    bytes: usize,
    names: HashSet<(AppNo, Arc<str>)>,
}

impl Batch {
    fn has_room(&self) -> bool {
        self.waiting.len() < BATCH_MAX && self.bytes < BYTES_MAX
    }

    /// Takes a message, but for one with an idempotency key or event id that is in the batch already: what became of
    /// the first must be known before it is decided about.
    fn take(&mut self, (append, reply): Waiting, held_over: &mut Vec<Waiting>) {
        if reply.is_closed() {
            // Who asked was told that it did not happen in time, and nothing of it has been sent yet.
            return;
        }
        let key = append.idempotency.as_ref().map(|i| format!("k{}", i.key));
        let event_id = append.message.event_id.as_ref().map(|id| format!("e{}", &**id));
        let names: Vec<_> =
            key.into_iter().chain(event_id).map(|name| (append.app, Arc::from(name))).collect();
        if !self.has_room() || names.iter().any(|name| self.names.contains(name)) {
            held_over.push((append, reply));
            return;
        }
        self.names.extend(names);
        self.bytes += append.message.payload.len();
        self.waiting.push(append);
        self.replies.push(reply);
    }

    async fn append(self, db: &Arc<Db>, conn: &mut Option<Lent>) {
        let appended = match append::append(db, conn, &self.waiting).await {
            Ok(appended) => appended,
            // One of them cannot be stored: the others are to be, each by itself.
            Err(fault) if fault.blames_a_value() && self.waiting.len() > 1 => {
                let mut appended = Vec::with_capacity(self.waiting.len());
                for one in &self.waiting {
                    let alone = append::append(db, conn, std::slice::from_ref(one)).await;
                    appended.push(alone.map_err(told).and_then(|mut alone| alone.remove(0)));
                }
                appended
            }
            Err(fault) => {
                let error = told(fault);
                self.waiting.iter().map(|_| Err(error.clone())).collect::<Vec<_>>()
            }
        };
        for (reply, appended) in self.replies.into_iter().zip(appended) {
            // Who asked may have gone away; what was written stays written.
            drop(reply.send(appended));
        }
    }
}

fn told(fault: Fault) -> Error {
    let error = Error::from(fault);
    tracing::error!(error = &error as &dyn std::error::Error, "messages were not stored, or it is not known");
    error
}
