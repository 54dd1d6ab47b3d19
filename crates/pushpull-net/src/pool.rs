//! Connections that wait for their next request, and who may make new ones.
//!
//! Invariant: a connection is in the pool, or lent to exactly one request, never both. The lock is held for
//! a few map operations and never across an await or a close.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

#[cfg(test)]
mod tests;

/// Most idle connections to one origin: 512. Many endpoints may share a host, each with its requests in flight;
/// closing and opening connections between their turns was a tenth of a fan-out's CPU at 64.
const IDLE_PER_ORIGIN_MAX: usize = 512;

/// Most idle connections in all: 4,096, a descriptor and about 12 KiB each.
const IDLE_MAX: usize = 4_096;

/// Longest time that a connection stays idle: 30 s, below the 60 s after which most servers close.
const IDLE_AGE_MAX: Duration = Duration::from_secs(30);

/// Most connects to one origin at once: 16. Hundreds at once overflow a receiver's listen backlog, and a
/// handshake lost there is repeated only after a second.
const CONNECTS_PER_ORIGIN_MAX: usize = 16;

/// Origins remembered before those without connections are looked for: 8,192. Forgetting each at once would
/// allocate anew for every request to a host with one connection.
const ORIGINS_SWEPT_AT: usize = 8_192;

/// The idle connections of a client, by origin. `L` is the connection.
pub(crate) struct Pool<L> {
    state: Mutex<State<L>>,
}

/// What a request gets.
pub(crate) enum Turn<L> {
    /// A connection that was used before. Whether it is still open is for the taker to see.
    Reuse(L),
    /// Leave to make a connection.
    Connect(Permit<L>),
}

/// Which turn a request can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Whichever comes first.
    Any,
    /// A new connection: an old one has just failed.
    Fresh,
}

/// Leave to make one connection to an origin; given back when dropped.
pub(crate) struct Permit<L> {
    pool: Arc<Pool<L>>,
    origin: Arc<str>,
}

impl<L> Drop for Permit<L> {
    fn drop(&mut self) {
        self.pool.release(&self.origin);
    }
}

struct State<L> {
    origins: HashMap<Arc<str>, Origin<L>>,
    /// Idle connections of all origins together.
    idle: usize,
    /// The number of origins at which the unused ones are dropped next.
    sweep_at: usize,
}

struct Origin<L> {
    /// Oldest first.
    idle: VecDeque<Idle<L>>,
    /// Permits that are out. At the maximum whenever someone waits.
    connecting: usize,
    waiting: VecDeque<Waiter<L>>,
}

struct Idle<L> {
    link: L,
    since: Instant,
}

struct Waiter<L> {
    want: Want,
    turn: oneshot::Sender<Turn<L>>,
}

impl<L> Pool<L> {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { origins: HashMap::new(), idle: 0, sweep_at: ORIGINS_SWEPT_AT };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// The next turn for an origin: its youngest idle connection, leave to connect, or, when enough are
    /// connecting already, whichever of the two is given back first.
    pub(crate) async fn turn(self: &Arc<Self>, origin: &Arc<str>, want: Want) -> Turn<L> {
        loop {
            let turn = match self.turn_now(origin, want) {
                Ok(turn) => return turn,
                Err(later) => later,
            };
            if let Ok(turn) = turn.await {
                return turn;
            }
        }
    }

    /// A turn, or where it will come.
    fn turn_now(
        self: &Arc<Self>,
        origin: &Arc<str>,
        want: Want,
    ) -> Result<Turn<L>, oneshot::Receiver<Turn<L>>> {
        let mut state = self.lock();
        let (entry, idle) = state.origin(origin);
        if want == Want::Any
            && let Some(youngest) = entry.idle.pop_back()
        {
            *idle -= 1;
            if youngest.since.elapsed() < IDLE_AGE_MAX {
                return Ok(Turn::Reuse(youngest.link));
            }
            // The others are older still.
            *idle -= entry.idle.len();
            let old = mem::take(&mut entry.idle);
            let turn = entry.connect_or_wait(self, origin, want);
            drop(state);
            // Closing is a system call each: after the lock.
            drop((youngest, old));
            return turn;
        }
        entry.connect_or_wait(self, origin, want)
    }

    /// Takes a connection back: to the request that waits longest, or among the idle.
    pub(crate) fn park(&self, origin: &Arc<str>, mut link: L) {
        while let Some(waiter) = self.next_waiter(origin, Want::Any) {
            match waiter.send(Turn::Reuse(link)) {
                Ok(()) => return,
                // It gave up in this instant.
                Err(Turn::Reuse(back)) => link = back,
                Err(Turn::Connect(_)) => unreachable!("a connection was sent"),
            }
        }
        let idle = Idle { link, since: Instant::now() };
        let mut state = self.lock();
        let mut surplus = Vec::new();
        let (entry, count) = state.origin(origin);
        entry.idle.push_back(idle);
        *count += 1;
        if entry.idle.len() > IDLE_PER_ORIGIN_MAX {
            surplus.extend(entry.idle.pop_front());
            *count -= 1;
        }
        if state.idle > IDLE_MAX {
            let oldest = state.age_of_oldest_sixteenth();
            surplus.extend(state.take_idle_until(oldest));
        }
        drop(state);
        drop(surplus);
    }

    /// Closes what has been idle for too long and forgets origins without connections. To be called now and
    /// then: what is too old is never used anyway, but it holds a descriptor.
    pub(crate) fn sweep(&self) {
        let Some(limit) = Instant::now().checked_sub(IDLE_AGE_MAX) else { return };
        let mut state = self.lock();
        let old = state.take_idle_until(limit);
        state.forget_unused();
        drop(state);
        drop(old);
    }

    /// Idle connections in all.
    pub(crate) fn idle(&self) -> usize {
        self.lock().idle
    }

    /// A permit has ended: hands it to the request that waits longest.
    fn release(self: &Arc<Self>, origin: &Arc<str>) {
        if let Some(waiter) = self.next_waiter_or_done(origin) {
            let permit = Permit { pool: Arc::clone(self), origin: Arc::clone(origin) };
            // If it gave up in this instant, dropping the permit comes back here for the next one.
            drop(waiter.send(Turn::Connect(permit)));
        }
    }

    /// Who waits longest for a connection like this.
    fn next_waiter(&self, origin: &Arc<str>, want: Want) -> Option<oneshot::Sender<Turn<L>>> {
        let mut state = self.lock();
        let waiting = &mut state.origins.get_mut(origin)?.waiting;
        let place = waiting.iter().position(|waiter| waiter.want == want && !waiter.turn.is_closed())?;
        waiting.remove(place).map(|waiter| waiter.turn)
    }

    /// Who gets a permit that ended; with nobody waiting, one fewer is out.
    fn next_waiter_or_done(&self, origin: &Arc<str>) -> Option<oneshot::Sender<Turn<L>>> {
        let mut state = self.lock();
        let entry = state.origins.get_mut(origin)?;
        // Who gave up stands at the front, since all have about the same time to wait.
        while let Some(waiter) = entry.waiting.pop_front() {
            if !waiter.turn.is_closed() {
                return Some(waiter.turn);
            }
        }
        entry.connecting -= 1;
        None
    }

    fn lock(&self) -> MutexGuard<'_, State<L>> {
        // Nothing under the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> Origin<L> {
    fn new() -> Self {
        Self { idle: VecDeque::new(), connecting: 0, waiting: VecDeque::new() }
    }

    fn connect_or_wait(
        &mut self,
        pool: &Arc<Pool<L>>,
        origin: &Arc<str>,
        want: Want,
    ) -> Result<Turn<L>, oneshot::Receiver<Turn<L>>> {
        if self.connecting < CONNECTS_PER_ORIGIN_MAX {
            self.connecting += 1;
            return Ok(Turn::Connect(Permit { pool: Arc::clone(pool), origin: Arc::clone(origin) }));
        }
        let (turn, later) = oneshot::channel();
        self.waiting.push_back(Waiter { want, turn });
        Err(later)
    }

    fn is_unused(&self) -> bool {
        self.idle.is_empty() && self.connecting == 0 && self.waiting.is_empty()
    }
}

impl<L> State<L> {
    /// An origin, known or new, and the count of all idle connections.
    fn origin(&mut self, origin: &Arc<str>) -> (&mut Origin<L>, &mut usize) {
        if !self.origins.contains_key(origin) {
            if self.origins.len() >= self.sweep_at {
                self.forget_unused();
            }
            self.origins.insert(Arc::clone(origin), Origin::new());
        }
        let entry = self.origins.get_mut(origin).expect("known, or inserted just now");
        (entry, &mut self.idle)
    }

    /// Takes out every connection that is idle since `limit` or longer.
    fn take_idle_until(&mut self, limit: Instant) -> Vec<Idle<L>> {
        let mut taken = Vec::new();
        for origin in self.origins.values_mut() {
            let count = origin.idle.partition_point(|idle| idle.since <= limit);
            taken.extend(origin.idle.drain(..count));
        }
        self.idle -= taken.len();
        taken
    }

    /// The moment since when the oldest sixteenth is idle. Evicting so many at once makes one pass over all
    /// cheap for each connection that comes in.
    fn age_of_oldest_sixteenth(&self) -> Instant {
        let mut ages: Vec<_> = self.origins.values().flat_map(|o| o.idle.iter().map(|i| i.since)).collect();
        let place = ages.len() / 16;
        *ages.select_nth_unstable(place).1
    }

    /// Forgets origins without connections, and sets when that is worth its while again.
    fn forget_unused(&mut self) {
        self.origins.retain(|_, origin| !origin.is_unused());
        self.sweep_at = (self.origins.len() * 2).max(ORIGINS_SWEPT_AT);
    }
}
