//! What is done by and by while a server runs.

use std::{sync::Arc, time::Duration};

use pushpull_send::Dispatcher;
use pushpull_store::{Retention, Store};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often what is too old is looked for.
const TRIM_INTERVAL: Duration = Duration::from_mins(1);
/// The pause between two steps of trimming, so that those who write come in between.
const TRIM_PAUSE: Duration = Duration::from_millis(20);
/// How often idle connections are closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The loops of upkeep.
pub(crate) struct Upkeep {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Upkeep {
    /// Starts them.
    pub(crate) fn start(store: Arc<dyn Store>, dispatcher: Arc<Dispatcher>, retention: Retention) -> Self {
        let upkeep = Self { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        upkeep.tasks.spawn(trim(store, retention, upkeep.stop.clone()));
        upkeep.tasks.spawn(sweep(dispatcher, upkeep.stop.clone()));
        upkeep
    }

    /// Ends them, each after the step it is at.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Waits; `false`: it is time to stop.
async fn pause(time: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = stop.cancelled() => false,
    }
}

async fn trim(store: Arc<dyn Store>, retention: Retention, stop: CancellationToken) {
    let mut wait = TRIM_INTERVAL;
    while pause(wait, &stop).await {
        wait = match store.trim(retention).await {
            Ok(trimmed) if trimmed.more => TRIM_PAUSE,
            Ok(_) => TRIM_INTERVAL,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "what is too old was not removed");
                TRIM_INTERVAL
            }
        };
    }
}

async fn sweep(dispatcher: Arc<Dispatcher>, stop: CancellationToken) {
    while pause(SWEEP_INTERVAL, &stop).await {
        dispatcher.sweep_connections();
    }
}
