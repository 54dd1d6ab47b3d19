//! What a transaction works with.

use std::{
    collections::HashMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use pushpull_domain::{AppNo, Chance, Clock, DeliveryState, EndpointNo, Message, Timestamp, seal::Sealer};
use pushpull_store::{CommitListener, Error};
use rusqlite::Connection;

/// What the threads of a store share.
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Arc<dyn Chance>,
    pub(crate) sealer: Sealer,
    pub(crate) listeners: RwLock<Vec<Arc<dyn CommitListener>>>,
    pub(crate) counts: Counts,
    /// See [`Options::on_fatal`](crate::Options::on_fatal).
    pub(crate) on_fatal: Box<dyn Fn(&Error) + Send + Sync>,
    /// Nothing may be acknowledged any more.
    pub(crate) dead: AtomicBool,
}

impl Shared {
    /// From here on nothing is acknowledged, whoever finds out first: the writer, or the checkpointer, whose
    /// fsync may be the one that fails.
    pub(crate) fn die(&self, error: &Error) {
        if !self.dead.swap(true, Ordering::SeqCst) {
            tracing::error!(error = error as &dyn std::error::Error, "the store can no longer be trusted");
            (self.on_fatal)(error);
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

/// How many deliveries stand how, of those that a scrape of the metrics asks for: counted when the store is
/// opened, then carried on with each commit, since counting a million rows each time is too dear.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) pending: AtomicU64,
    pub(crate) exhausted: AtomicU64,
}

impl Counts {
    pub(crate) fn add(&self, tally: Tally) {
        self.pending.fetch_add(tally.pending.cast_unsigned(), Ordering::Relaxed);
        self.exhausted.fetch_add(tally.exhausted.cast_unsigned(), Ordering::Relaxed);
    }
}

/// What a transaction changes of the [`Counts`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Owed and pushed: those in the index of what is due.
    pub(crate) pending: i64,
    pub(crate) exhausted: i64,
}

impl Tally {
    /// A delivery stands like this now.
    pub(crate) fn enters(&mut self, state: DeliveryState) {
        self.pending += i64::from(matches!(state, DeliveryState::Owed { due_at: Some(_), .. }));
        self.exhausted += i64::from(state == DeliveryState::Exhausted);
    }

    /// A delivery stood like this before.
    pub(crate) fn leaves(&mut self, state: DeliveryState) {
        self.pending -= i64::from(matches!(state, DeliveryState::Owed { due_at: Some(_), .. }));
        self.exhausted -= i64::from(state == DeliveryState::Exhausted);
    }
}

/// What the writer knows without asking: counters of the applications and endpoints in use. Read from the
/// tables when first needed, forgotten when a transaction fails.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) apps: HashMap<AppNo, AppMemory>,
    pub(crate) endpoints: HashMap<EndpointNo, EndpointMemory>,
    /// The moment of the newest transaction.
    pub(crate) last_at: Timestamp,
}

pub(crate) struct AppMemory {
    /// `None`: the application is gone.
    pub(crate) version: Option<u64>,
    pub(crate) last_position: u64,
    /// When its newest message was made: none is older than the one before it, whatever the clock did
    /// between two runs.
    pub(crate) last_at: Timestamp,
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
    pub(crate) rescheduled: Vec<(AppNo, EndpointNo)>,
    pub(crate) configured: Vec<AppNo>,
}

/// A transaction in progress.
pub(crate) struct Tx<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) memory: &'a mut Memory,
    pub(crate) news: &'a mut News,
    pub(crate) tally: &'a mut Tally,
    pub(crate) shared: &'a Shared,
    /// The moment of this transaction: not before that of the one before.
    pub(crate) now: Timestamp,
    /// What the clock says: what becomes due now is due by this, or a clock that was put back would hold it up.
    pub(crate) wall: Timestamp,
}
