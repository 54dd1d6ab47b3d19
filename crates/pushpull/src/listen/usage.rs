//! How a connection is used: to know when it is idle, whichever HTTP it speaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How a connection is used.
#[derive(Default)]
pub(super) struct Usage {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Usage {
    /// A request began; it is under way until what this gives is dropped, answered or not.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// How many requests there were.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
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
pub(super) struct UnderWay(Arc<Usage>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

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
