//! When to look at which endpoint again. One moment for each endpoint, in memory; the scan finds them anew.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pushpull_domain::{EndpointNo, Timestamp};
use tokio::sync::Notify;

use crate::{dispatcher::Inner, endpoint::Lane};

/// How often the table is asked who is owed something, in case a wake-up was lost.
const SCAN_INTERVAL: Duration = Duration::from_secs(15);
/// How long to wait when the store could not be asked.
const SCAN_AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Timers {
    heap: Mutex<BinaryHeap<Reverse<(Timestamp, EndpointNo)>>>,
    earlier: Notify,
    scan_now: AtomicBool,
}

impl Timers {
    /// Looks at an endpoint again at this moment, or earlier if that was asked for.
    pub(crate) fn wake_at(&self, lane: &Lane, at: Timestamp) {
        if !lane.set_wake(at) {
            return;
        }
        let mut heap = self.heap.lock().expect("nobody panics while holding this lock");
        let first = heap.peek().is_none_or(|Reverse((first, _))| at < *first);
        heap.push(Reverse((at, lane.no)));
        drop(heap);
        if first {
            self.earlier.notify_one();
        }
    }

    /// Asks the table now who is owed something.
    pub(crate) fn scan_now(&self) {
        self.scan_now.store(true, Ordering::Release);
        self.earlier.notify_one();
    }

    /// The endpoints whose moment has come, and how long until the next one's.
    fn due(&self, now: Timestamp) -> (Vec<(Timestamp, EndpointNo)>, Option<Duration>) {
        let mut heap = self.heap.lock().expect("nobody panics while holding this lock");
        let mut due = Vec::new();
        while let Some(Reverse((at, endpoint))) = heap.peek().copied() {
            if at > now {
                return (due, Some(at.since(now)));
            }
            heap.pop();
            due.push((at, endpoint));
        }
        (due, None)
    }
}

/// Wakes endpoints when their moment comes, until the dispatcher stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut next_scan = tokio::time::Instant::now();
    loop {
        if inner.timers.scan_now.swap(false, Ordering::AcqRel) || tokio::time::Instant::now() >= next_scan {
            next_scan = tokio::time::Instant::now() + scan(&inner).await;
            scan_draining(&inner).await;
            inner.sweep();
        }
        let (due, next) = inner.timers.due(inner.clock.now());
        for (at, endpoint) in due {
            inner.wake(endpoint, at);
        }
        let next = tokio::time::Instant::now() + next.unwrap_or(SCAN_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep_until(next.min(next_scan)) => {}
            () = inner.timers.earlier.notified() => {}
            () = inner.stop.cancelled() => return,
        }
    }
}

/// Asks the table who is owed something. How long until it is to be asked again.
async fn scan(inner: &Arc<Inner>) -> Duration {
    match inner.log.store().owed_endpoints().await {
        Ok(owed) => {
            for owed in owed {
                let lane = inner.lane(owed.endpoint, owed.app);
                inner.timers.wake_at(&lane, owed.due_at);
            }
            SCAN_INTERVAL
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the store could not say who is owed something"
            );
            SCAN_AGAIN
        }
    }
}

/// Looks at endpoints that left push: of those that nobody looks after, nothing is in flight.
async fn scan_draining(inner: &Arc<Inner>) {
    match inner.log.store().draining_endpoints().await {
        Ok(draining) => {
            for (endpoint, app) in draining.into_iter().filter(|(_, app)| inner.owns(*app)) {
                let lane = inner.lane(endpoint, app);
                lane.queue().look_again();
                inner.kick(&lane);
            }
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store could not say what drains");
        }
    }
}
