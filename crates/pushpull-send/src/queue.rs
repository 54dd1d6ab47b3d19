//! The queue of one endpoint: what is in memory of what it is owed. No I/O, no clock.
//!
//! The table is the truth. A queue holds a bounded part of what is due now, knows which seqs are in memory in
//! any way (queued, in flight, settled but not yet written), so that none is there twice, and whether the
//! table may have more.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use pushpull_domain::{Delivery, Message, Payload, Seq, Timestamp};
use tokio::time::Instant;

use crate::{outcome::Verdict, parcel::Parcel};

/// Most deliveries of one endpoint that are queued in memory; the rest waits in the table.
pub(crate) const QUEUE_MAX: usize = 256;
/// Most attempts in flight to one endpoint. 64 lost a third of the rate in fan-out; 32 has the rate of 16, and what
/// is sent waits a fifth to a third less, as measured (three interleaved runs of each).
pub(crate) const WINDOW_MAX: usize = 32;
/// Attempts in flight to an endpoint that has not answered well yet, or keeps us waiting.
const WINDOW_MIN: usize = 2;

/// Most bytes of the payloads that go out in one request, unless a single one is larger.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// One delivery in memory.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) delivery: Delivery,
    pub(crate) message: Arc<Message>,
    /// When it may start, once its places in the rates are taken.
    pub(crate) start: Option<Instant>,
}

impl Job {
    pub(crate) fn new(delivery: Delivery, message: Arc<Message>) -> Self {
        Self { delivery, message, start: None }
    }

    /// How long its payload is.
    fn bytes(&self) -> usize {
        match &self.message.payload {
            Payload::Kept(bytes) => bytes.len(),
            Payload::Expunged => 0,
        }
    }
}

/// What a lane is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Attempt this.
    Attempt(Box<Job>),
    /// Look in the table; the lane that is told so is the only one.
    Look,
    /// Read the configuration again: it is not the one that the queue works by now.
    Stale,
    /// End: there is nothing, or enough are at work.
    End,
}

/// What the configuration makes of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// It is pushed.
    Pushed {
        /// One at a time, in order.
        fifo: bool,
        /// Readers were done up to here when it was pushed again.
        read: Seq,
    },
    /// Nothing may be brought to the endpoint. If it left push, since when, until nothing of it is in flight.
    Off {
        /// Since when it drains.
        draining: Option<Timestamp>,
    },
}

/// What goes out in one request.
#[derive(Debug)]
pub(crate) enum Gathered {
    /// This.
    All(Parcel),
    /// More is waited for: all is put back, and the lane has ended.
    TooFew,
    /// The configuration is another one by now, or the table is to be asked before more is waited for: all is put
    /// back.
    NotNow,
}

#[derive(Debug)]
pub(crate) struct Queue {
    ready: VecDeque<Job>,
    /// Seqs in memory in any way.
    known: HashSet<Seq>,
    /// The table may have more that is due.
    look: bool,
    /// It was said that it has, since it was last asked.
    news: bool,
    /// A lane is looking.
    looking: bool,
    /// Seqs whose outcomes were written since it began: what it reads may be from before.
    settled_meanwhile: HashSet<Seq>,
    /// Lanes at work or waiting for a place.
    lanes: usize,
    in_flight: usize,
    window: usize,
    /// One at a time, in order.
    fifo: bool,
    /// Where order is kept: all up to here has been taken in. `None`: nobody knows how far.
    tail: Option<Seq>,
    /// The highest that was found in the table. What is up to here may be over already when it is offered: the table
    /// had it before the commit was told of.
    found: Seq,
    /// The first in order waits for its next attempt, and all others with it.
    blocked: bool,
    /// The configuration that it works by. A lane that has another may not take from it: so nothing is begun
    /// once it is known that nothing may be.
    version: u64,
    /// Nothing is taken in: it would only be thrown away.
    off: bool,
    /// Since when its endpoint drains, as far as is known.
    draining: Option<Timestamp>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            known: HashSet::new(),
            look: false,
            news: false,
            looking: false,
            settled_meanwhile: HashSet::new(),
            lanes: 0,
            in_flight: 0,
            window: WINDOW_MIN,
            fifo: false,
            tail: None,
            found: Seq(0),
            blocked: false,
            version: 0,
            off: false,
            draining: None,
        }
    }
}

impl Queue {
    /// Works by a configuration from now on; `false`: it works by a newer one already.
    pub(crate) fn configure(&mut self, version: u64, setting: Setting) -> bool {
        if version < self.version {
            return false;
        }
        self.version = version;
        match setting {
            Setting::Pushed { fifo, read } => {
                if fifo && !self.fifo {
                    // What was taken in by then may stand behind what the table has.
                    self.clear();
                    self.look = true;
                }
                self.fifo = fifo;
                self.off = false;
                self.draining = None;
                self.forget_read(read);
            }
            Setting::Off { draining } => {
                self.clear();
                self.blocked = false;
                self.off = true;
                self.draining = draining;
            }
        }
        true
    }

    /// Nothing is brought, and nothing taken in.
    pub(crate) fn suspend(&mut self) {
        self.clear();
        (self.blocked, self.off, self.draining) = (false, true, None);
    }

    /// What came while the endpoint was not pushed may be with its readers by now: the table knows.
    fn forget_read(&mut self, read: Seq) {
        let known = &mut self.known;
        let before = self.ready.len();
        self.ready.retain(|job| {
            let kept = job.delivery.key.seq > read;
            if !kept {
                known.remove(&job.delivery.key.seq);
            }
            kept
        });
        self.look |= self.ready.len() < before;
    }

    /// The configuration may be another: what comes is taken in until that is known.
    pub(crate) fn reconsider(&mut self) {
        self.off = false;
    }

    /// Whether it drains, as far as is known, and nothing of it is in flight.
    pub(crate) fn may_be_drained(&self) -> bool {
        self.draining.is_some() && self.known.is_empty()
    }

    /// Since when it drained, if nothing of it is in flight any more and nothing can be begun.
    pub(crate) fn drained(&self) -> Option<Timestamp> {
        self.draining.filter(|_| self.off && self.known.is_empty())
    }

    /// Takes in what was just committed. What has no room stays in the table.
    pub(crate) fn offer(&mut self, job: Job) {
        if self.off {
            return;
        }
        let seq = job.delivery.key.seq;
        // Order is only kept if nothing is taken in ahead of what the table still has, from other processes too.
        let is_next = || self.tail.is_some_and(|tail| tail.0 + 1 == seq.0);
        let in_order = !self.fifo || !(self.look || self.looking || self.blocked) && is_next();
        if !in_order || seq <= self.found {
            (self.look, self.news) = (true, true);
        } else if self.ready.len() < QUEUE_MAX {
            self.tail = Some(seq);
            self.insert(job);
        } else {
            self.look = true;
        }
    }

    /// Something was committed that is not due yet. Where order is kept, or it is not known yet whether, the table is
    /// asked what may go ahead of it: nothing.
    pub(crate) fn offer_later(&mut self) {
        if self.fifo || self.version == 0 {
            self.look = true;
        }
    }

    fn insert(&mut self, job: Job) {
        if self.known.insert(job.delivery.key.seq) {
            self.ready.push_back(job);
        }
    }

    /// The table may have more that is due.
    pub(crate) fn look_again(&mut self) {
        self.look = true;
        self.news = true;
        self.blocked = false;
    }

    /// What is first in order is not due yet: everything waits for it.
    pub(crate) fn block(&mut self) {
        self.clear();
        self.blocked = true;
    }

    /// A job that was taken is not attempted now.
    pub(crate) fn put_back(&mut self, job: Job) {
        self.in_flight -= 1;
        if self.off {
            self.known.remove(&job.delivery.key.seq);
        } else {
            self.ready.push_front(job);
        }
    }

    /// What goes out together with a job that was taken: what follows it in the queue, at most so many in all (two or
    /// more). Those that were attempted together are attempted together again, so that a repeated batch is the same.
    /// `waits`: only a full one is wanted yet.
    pub(crate) fn gather(&mut self, version: u64, first: Job, size: usize, waits: bool) -> Gathered {
        if version != self.version {
            self.put_back(first);
            return Gathered::NotNow;
        }
        let (attempts, mut bytes) = (first.delivery.attempts, first.bytes());
        let mut rest = Vec::new();
        let mut is_full = false;
        while !is_full && let Some(next) = self.ready.front() {
            bytes += next.bytes();
            if next.delivery.attempts != attempts || bytes > BATCH_BYTES_MAX {
                is_full = true;
            } else {
                rest.extend(self.ready.pop_front());
                is_full = rest.len() + 1 == size;
            }
        }
        if is_full || !waits {
            return Gathered::All(Parcel::batch(first, rest));
        }
        // Under one lock: what is offered from now on finds that nobody is at work.
        for job in rest.into_iter().rev() {
            self.ready.push_front(job);
        }
        self.put_back(first);
        if self.news {
            // Until the table was asked nothing is taken in behind these, and it is asked when none of them is here.
            self.clear();
            self.look = true;
            return Gathered::NotNow;
        }
        self.lanes -= 1;
        Gathered::TooFew
    }

    /// Takes in what the table had, as a lane found that has the configuration of this version. `more`: it may have
    /// more.
    pub(crate) fn looked(&mut self, version: u64, jobs: impl IntoIterator<Item = Job>, more: bool) {
        self.looking = false;
        let settled = std::mem::take(&mut self.settled_meanwhile);
        if self.off {
            return;
        }
        if version != self.version {
            self.look = true;
            return;
        }
        self.look |= more;
        for job in jobs {
            let seq = job.delivery.key.seq;
            (self.tail, self.found) = (Some(seq), self.found.max(seq));
            // If one of these is owed again, a moment is set for it.
            if !settled.contains(&seq) {
                self.insert(job);
            }
        }
    }

    /// Seqs that are in memory in any way.
    pub(crate) fn known(&self) -> Vec<Seq> {
        self.known.iter().copied().collect()
    }

    fn window(&self) -> usize {
        if self.fifo { 1 } else { self.window }
    }

    /// Whether the table is to be asked now. For order, everything known must be over and written first: the
    /// table is asked for the first that is owed, but for what is known.
    fn may_look(&self) -> bool {
        self.look && !self.looking && (!self.fifo || self.known.is_empty())
    }

    /// How many more lanes there is work for. They count as begun.
    pub(crate) fn begin_lanes(&mut self) -> usize {
        let work = self.ready.len() + usize::from(self.may_look());
        let wanted = self.window().min(self.in_flight + work);
        let begun = wanted.saturating_sub(self.lanes);
        self.lanes += begun;
        begun
    }

    /// What a lane is to do that has the configuration of this version. On [`Next::End`] it has ended.
    pub(crate) fn next(&mut self, version: u64) -> Next {
        if version != self.version {
            return Next::Stale;
        }
        if self.in_flight < self.window() && self.lanes <= self.window() {
            if let Some(job) = self.ready.pop_front() {
                self.in_flight += 1;
                return Next::Attempt(Box::new(job));
            }
            if self.may_look() {
                (self.look, self.news) = (false, false);
                self.looking = true;
                return Next::Look;
            }
        }
        self.lanes -= 1;
        Next::End
    }

    /// An attempt is over, its outcome is not written yet. `ended`: so is the delivery.
    pub(crate) fn attempted(&mut self, verdict: Verdict, ended: bool) {
        self.in_flight -= 1;
        if self.fifo && !ended {
            self.block();
        }
        self.window = match verdict {
            Verdict::Succeeded => (self.window * 2).min(WINDOW_MAX),
            Verdict::Failed => (self.window / 2).max(WINDOW_MIN),
            Verdict::Stalled | Verdict::Gone => WINDOW_MIN,
            Verdict::OwnFault => self.window,
        };
    }

    /// A lane ends before it asked for its next job.
    pub(crate) fn abandon_lane(&mut self) {
        self.lanes -= 1;
    }

    /// The outcome of an attempt is written: the table tells the truth about this seq again.
    pub(crate) fn settled(&mut self, seq: Seq) {
        self.known.remove(&seq);
        if self.looking {
            self.settled_meanwhile.insert(seq);
        }
    }

    /// Forgets what is queued: it stays in the table.
    pub(crate) fn clear(&mut self) {
        for job in self.ready.drain(..) {
            self.known.remove(&job.delivery.key.seq);
        }
        (self.look, self.news, self.tail) = (false, false, None);
    }

    /// Whether nothing is in memory and nobody is at work.
    pub(crate) fn is_idle(&self) -> bool {
        self.known.is_empty() && self.lanes == 0 && !self.look && !self.blocked
    }

    /// Whether something is in memory in any way: attempts under way, and outcomes that are not written yet, too.
    pub(crate) fn is_busy(&self) -> bool {
        !self.known.is_empty()
    }

    /// Deliveries queued and in flight.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.in_flight
    }
}

#[cfg(test)]
mod gathering;

#[cfg(test)]
mod tests;
