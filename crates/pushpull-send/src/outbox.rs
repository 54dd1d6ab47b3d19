//! Outcomes on their way to the store, in batches.
//!
//! An outcome need not be durable before the next attempt starts; until it is, its attempt counts as in
//! flight, and a crash repeats at most those. So they wait a moment and are written together.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pushpull_domain::DeliveryState;
use pushpull_store::Settlement;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{dispatcher::Inner, endpoint::Lane};

/// How long an outcome waits for others.
const WAIT: Duration = Duration::from_millis(50);
/// As many are written at once, without waiting.
const BATCH: usize = 1_024;
/// As many may wait in all; from there on nothing new is attempted until the store has caught up.
const WAITING_MAX: usize = 8_192;
/// How long to wait before the store is asked again when it did not take a batch.
const STORE_WAIT: Duration = Duration::from_millis(500);

/// What waits.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Vec<(Settlement, Arc<Lane>)>>,
    /// Something came, or a batch is full.
    news: Notify,
    /// Something was written.
    room: Notify,
    /// All is written, and nothing more will come.
    finished: CancellationToken,
}

impl Outbox {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<(Settlement, Arc<Lane>)>> {
        self.waiting.lock().expect("nobody panics while holding this lock")
    }

    /// Takes an outcome in.
    pub(crate) fn put(&self, settlement: Settlement, lane: &Arc<Lane>) {
        let count = {
            let mut waiting = self.waiting();
            waiting.push((settlement, Arc::clone(lane)));
            waiting.len()
        };
        if count == 1 || count == BATCH {
            self.news.notify_one();
        }
    }

    /// Waits until all is written, after the dispatcher stopped.
    pub(crate) async fn finished(&self) {
        self.finished.cancelled().await;
    }

    /// Waits until there is room for another outcome.
    pub(crate) async fn room(&self) {
        loop {
            // Registered before the look, so that room made meanwhile is not missed.
            let room = self.room.notified();
            if self.waiting().len() < WAITING_MAX {
                return;
            }
            room.await;
        }
    }
}

/// Writes batches until everything is written after the dispatcher stopped.
pub(crate) async fn run(inner: Arc<Inner>) {
    let outbox = &inner.outbox;
    loop {
        tokio::select! {
            () = outbox.news.notified() => {
                if outbox.waiting().len() < BATCH {
                    tokio::select! {
                        () = tokio::time::sleep(WAIT) => {}
                        () = outbox.news.notified() => {}
                        () = inner.flushing.cancelled() => {}
                    }
                }
                flush(&inner).await;
            }
            () = inner.flushing.cancelled() => {
                flush(&inner).await;
                outbox.finished.cancel();
                return;
            }
        }
    }
}

/// Writes what waits now. Tries until the store takes it, or gives up for good.
async fn flush(inner: &Arc<Inner>) {
    let batch = std::mem::take(&mut *inner.outbox.waiting());
    if batch.is_empty() {
        return;
    }
    let (settlements, lanes): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    while let Err(error) = inner.log.store().settle(settlements.clone()).await {
        tracing::error!(error = &error as &dyn std::error::Error, "outcomes could not be written");
        if matches!(error, pushpull_store::Error::Closing) {
            return;
        }
        tokio::time::sleep(STORE_WAIT).await;
    }
    inner.outbox.room.notify_waiters();
    for (settlement, lane) in settlements.iter().zip(lanes) {
        // In this order: a lane with a moment set is not forgotten.
        if let DeliveryState::Owed { due_at: Some(due_at), .. } = settlement.delivery.state {
            inner.timers.wake_at(&lane, due_at);
        }
        let mut queue = lane.queue();
        queue.settled(settlement.delivery.key.seq);
        if queue.may_be_drained() {
            // The lane that looks finds out.
            queue.look_again();
        }
        drop(queue);
        inner.kick(&lane);
    }
}
