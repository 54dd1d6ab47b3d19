//! Sending: as fast as answers come (closed loop), or by a timetable whatever the answers do (open loop).

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use tokio::{runtime::Handle, sync::Semaphore, task::JoinSet, time::Instant};

use super::{ledger::Ledger, stats::Latencies, target::Target};
use crate::commands::call::Connection;

/// From the decision to send by a timetable to its first entry: the callers have connected by then.
const LEAD: Duration = Duration::from_millis(50);

/// How fast is sent, and by how many callers, each with a connection of its own.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Pace {
    pub(super) callers: usize,
    /// Messages a second by a timetable; `None`: each caller sends as soon as it was answered.
    pub(super) rate: Option<f64>,
}

/// What became of the calls.
#[derive(Debug)]
pub(super) struct Sent {
    /// When the first was sent or planned.
    pub(super) start: Instant,
    /// Until the last answer.
    pub(super) took: Duration,
    /// From the send, or its planned time, to the answer, of calls that were accepted.
    pub(super) calls: Latencies,
    /// How long after its planned time each was sent; with a timetable only.
    pub(super) late: Latencies,
    /// Calls that failed, by status or reason.
    pub(super) errors: BTreeMap<String, u64>,
}

/// Sends messages and writes into the books what is sent and accepted.
pub(super) async fn send(
    runtime: &Handle,
    target: &Arc<Target>,
    ledger: &Arc<Ledger>,
    messages: Range<usize>,
    pace: Pace,
) -> Result<Sent> {
    let course = Course::new(messages, pace);
    let start = course.start;
    let mut callers = JoinSet::new();
    for _ in 0..pace.callers {
        let (target, ledger, course) = (Arc::clone(target), Arc::clone(ledger), Arc::clone(&course));
        callers.spawn_on(async move { Caller::new(target, ledger).run(&course).await }, runtime);
    }
    let mut all = Seen::default();
    while let Some(seen) = callers.join_next().await {
        all.add(seen.context("a caller ended early")?);
    }
    Ok(Sent {
        start,
        took: start.elapsed(),
        calls: Latencies::new(all.calls),
        late: Latencies::new(all.late),
        errors: all.errors,
    })
}

/// Which message is next, and when.
struct Course {
    start: Instant,
    next: AtomicUsize,
    messages: Range<usize>,
    timetable: Option<Timetable>,
}

struct Timetable {
    rate: f64,
    /// As many as are due and not taken yet.
    due: Semaphore,
}

impl Course {
    fn new(messages: Range<usize>, pace: Pace) -> Arc<Self> {
        let timetable = pace.rate.map(|rate| Timetable { rate, due: Semaphore::new(0) });
        let lead = if timetable.is_some() { LEAD } else { Duration::ZERO };
        let next = AtomicUsize::new(messages.start);
        let course = Arc::new(Self { start: Instant::now() + lead, next, messages, timetable });
        if course.timetable.is_some() {
            course.keep_time(pace.callers);
        }
        course
    }

    /// The planned time of a message.
    fn planned(&self, message: usize, rate: f64) -> Instant {
        self.start + Duration::from_secs_f64((message - self.messages.start) as f64 / rate)
    }

    /// Lets messages go when they are due. On a thread: the timers of a runtime tick in whole milliseconds.
    fn keep_time(self: &Arc<Self>, callers: usize) {
        let (course, messages) = (Arc::downgrade(self), self.messages.clone());
        std::thread::spawn(move || {
            for message in messages {
                // Who sent has gone: nobody waits any more.
                let Some(course) = course.upgrade() else { return };
                let Some(timetable) = &course.timetable else { return };
                let planned = course.planned(message, timetable.rate);
                loop {
                    let left = planned.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    std::thread::park_timeout(left);
                }
                timetable.due.add_permits(1);
            }
            // Nothing more comes: every caller that waits finds that out.
            if let Some(timetable) = course.upgrade().as_ref().and_then(|course| course.timetable.as_ref()) {
                timetable.due.add_permits(callers);
            }
        });
    }

    /// The next message, and when its time began; `None`: all were taken.
    async fn take(&self) -> Option<(usize, Instant)> {
        if let Some(timetable) = &self.timetable {
            timetable.due.acquire().await.ok()?.forget();
        }
        let message = self.next.fetch_add(1, Relaxed);
        if message >= self.messages.end {
            return None;
        }
        let from = self.timetable.as_ref().map(|timetable| self.planned(message, timetable.rate));
        Some((message, from.unwrap_or_else(Instant::now)))
    }
}

#[derive(Default)]
struct Seen {
    calls: Vec<Duration>,
    late: Vec<Duration>,
    errors: BTreeMap<String, u64>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.calls.extend(other.calls);
        self.late.extend(other.late);
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }
}

struct Caller {
    target: Arc<Target>,
    ledger: Arc<Ledger>,
    /// Opened with the first call, and anew after one that failed.
    connection: Option<Connection>,
    seen: Seen,
}

impl Caller {
    fn new(target: Arc<Target>, ledger: Arc<Ledger>) -> Self {
        Self { target, ledger, connection: None, seen: Seen::default() }
    }

    async fn run(mut self, course: &Course) -> Seen {
        self.connection = Connection::open(self.target.address()).await.ok();
        while let Some((message, from)) = course.take().await {
            if course.timetable.is_some() {
                self.seen.late.push(from.elapsed());
            }
            self.ledger.send(message, from);
            match self.call(message).await {
                Ok(status) if status.is_success() => {
                    self.ledger.accept(message);
                    self.seen.calls.push(from.elapsed());
                }
                Ok(status) => self.fail(status.as_u16().to_string()),
                Err(error) => {
                    self.connection = None;
                    self.fail(error.root_cause().to_string());
                }
            }
        }
        self.seen
    }

    async fn call(&mut self, message: usize) -> Result<StatusCode> {
        let request: Request<Full<Bytes>> = self.target.request(message)?;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            closed => closed.insert(Connection::open(self.target.address()).await?),
        };
        Ok(connection.call(request).await?.0)
    }

    fn fail(&mut self, error: String) {
        *self.seen.errors.entry(error).or_default() += 1;
    }
}
