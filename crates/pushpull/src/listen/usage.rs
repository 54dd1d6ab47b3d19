//! How a connection is used: to know when it is idle, whichever HTTP it speaks.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How a connection is used.
#[derive(Default)]
pub(super) struct Usage {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Usage {
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

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
