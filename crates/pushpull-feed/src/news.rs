//! Who waits for an endpoint's queue to grow, and how they are told: one channel for each queue that is waited for,
//! and no query until something has joined it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use pushpull_domain::{AppNo, EndpointNo, Message, Seq};
use pushpull_store::CommitListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Most readers that wait at a time; beyond that they are answered at once.
pub(crate) const WAITING_MAX: usize = 20_000;

/// What is known of a queue that is waited for.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// The newest seq that joined it while somebody waited.
    last: Seq,
    /// How often its application was changed meanwhile.
    changes: u64,
}

struct Channel {
    app: AppNo,
    state: watch::Sender<State>,
}

/// The queues that are waited for.
pub(crate) struct News {
    /// Readers that wait. Read first, so that a commit that nobody waits for costs nothing.
    waiting: AtomicUsize,
    waiting_max: usize,
    channels: Mutex<HashMap<EndpointNo, Channel>>,
    closed: CancellationToken,
}

/// What a reader waits with. News counts from the moment it was made: a read that follows misses nothing.
pub(crate) struct Subscription {
    news: Arc<News>,
    endpoint: EndpointNo,
    state: watch::Receiver<State>,
    changes: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Something joined the queue.
    Joined,
    /// The application or the endpoint was changed, or is gone.
    Changed,
    /// Nobody is to wait any more.
    Closed,
}

impl News {
    pub(crate) fn new(waiting_max: usize) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            waiting_max,
            channels: Mutex::default(),
            closed: CancellationToken::new(),
        }
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<EndpointNo, Channel>> {
        self.channels.lock().expect("nobody panics while holding this lock")
    }

    /// Begins to listen to a queue; `None`: as many wait as may.
    pub(crate) fn subscribe(self: &Arc<Self>, app: AppNo, endpoint: EndpointNo) -> Option<Subscription> {
        let mut channels = self.channels();
        if self.waiting.load(Ordering::SeqCst) >= self.waiting_max {
            return None;
        }
        let channel = channels
            .entry(endpoint)
            .or_insert_with(|| Channel { app, state: watch::channel(State::default()).0 });
        let state = channel.state.subscribe();
        let changes = state.borrow().changes;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Some(Subscription { news: Arc::clone(self), endpoint, state, changes })
    }

    /// Whoever waits for a queue is to look again: what was kept from it may not be any more.
    pub(crate) fn look_again(&self, endpoint: EndpointNo) {
        if let Some(channel) = self.channels().get(&endpoint) {
            channel.state.send_modify(|state| state.changes += 1);
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    pub(crate) fn close(&self) {
        self.closed.cancel();
    }
}

impl Subscription {
    /// Waits until something after this seq has joined the queue, or something else happened.
    pub(crate) async fn after(&mut self, seq: Seq) -> Event {
        let closed = self.news.closed.clone();
        let seen = self.changes;
        let news = self.state.wait_for(|state| state.last > seq || state.changes != seen);
        let state = tokio::select! {
            state = news => state.map(|state| *state),
            () = closed.cancelled() => return Event::Closed,
        };
        // The channel lives as long as somebody listens to it.
        let Ok(state) = state else { return Event::Closed };
        if state.changes == self.changes {
            Event::Joined
        } else {
            self.changes = state.changes;
            Event::Changed
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut channels = self.news.channels();
        self.news.waiting.fetch_sub(1, Ordering::SeqCst);
        if channels.get(&self.endpoint).is_some_and(|channel| channel.state.receiver_count() <= 1) {
            channels.remove(&self.endpoint);
        }
    }
}

impl CommitListener for News {
    fn appended(&self, messages: &[Arc<Message>]) {
        if self.waiting() == 0 {
            return;
        }
        let channels = self.channels();
        for (endpoint, seq) in messages.iter().flat_map(|message| &message.fanout) {
            if let Some(channel) = channels.get(endpoint) {
                channel.state.send_if_modified(|state| {
                    let newer = *seq > state.last;
                    state.last = state.last.max(*seq);
                    newer
                });
            }
        }
    }

    /// By hand, a delivery may join a queue without a new message.
    fn rescheduled(&self, _: AppNo, endpoint: EndpointNo) {
        self.look_again(endpoint);
    }

    fn configured(&self, app: AppNo) {
        for channel in self.channels().values().filter(|channel| channel.app == app) {
            channel.state.send_modify(|state| state.changes += 1);
        }
    }

    fn moved(&self) {
        for channel in self.channels().values() {
            channel.state.send_modify(|state| state.changes += 1);
        }
    }
}
