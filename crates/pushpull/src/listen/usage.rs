//! How a connection is used: to know when it is idle, whichever HTTP it speaks.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How a connection is used.
#[derive(Default)]
pub(super) struct Usage {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Answers of which a piece was handed out, by number, and since when the next is not asked for.
    unread: Mutex<HashMap<u64, Instant>>,
}

impl Usage {
    /// A request began; it is under way until what this gives is dropped, answered or not.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay { usage: Arc::clone(self), number }
    }

    /// How many requests there were.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    fn unread(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.unread.lock().expect("nobody panics while holding this lock")
    }

    /// Waits until a piece of an answer was left for so long, at most half as long again.
    pub(super) async fn until_unread(&self, time: Duration) {
        loop {
            tokio::time::sleep(time / 2).await;
            if self.unread().values().any(|since| since.elapsed() >= time) {
                return;
            }
        }
    }

    /// Waits until nothing was asked for so long.
    pub(super) async fn until_idle(&self, time: Duration) {
        loop {
            let before = self.begun();
            tokio::time::sleep(time).await;
            if self.begun() == before && self.ended.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// A request that is under way.
pub(super) struct UnderWay {
    usage: Arc<Usage>,
    number: u64,
}

impl UnderWay {
    /// A piece of its answer was handed out.
    pub(super) fn handed(&self) {
        self.usage.unread().insert(self.number, Instant::now());
    }

    /// The next piece is asked for: what was handed out is taken.
    pub(super) fn asked(&self) {
        self.usage.unread().remove(&self.number);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.asked();
        self.usage.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(75);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_idle_after_a_while() {
        let start = Instant::now();
        Arc::new(Usage::default()).until_idle(TIME).await;
        assert_eq!(start.elapsed(), TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_keeps_a_connection_from_being_idle() {
        let usage = Arc::new(Usage::default());
        let request = usage.begin();
        assert!(tokio::time::timeout(TIME * 10, usage.until_idle(TIME)).await.is_err());
        drop(request);
        let start = Instant::now();
        usage.until_idle(TIME).await;
        assert_eq!(start.elapsed(), TIME);
    }
}
