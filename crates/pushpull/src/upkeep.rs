//! What is done by and by while a server runs.

use std::{sync::Arc, time::Duration};

use pushpull_send::Dispatcher;
use pushpull_store::{Retention, Store};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often what is too old is looked for.
const TRIM_INTERVAL: Duration = Duration::from_mins(1);
/// How often consumers are looked for that are not seen any more.
const EXPIRE_INTERVAL: Duration = Duration::from_mins(1);
/// The pause between two steps of either, so that those who write come in between.
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
        upkeep.tasks.spawn(expire(Arc::clone(&store), upkeep.stop.clone()));
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

/// Removes consumers that were not seen for as long as they may not be.
async fn expire(store: Arc<dyn Store>, stop: CancellationToken) {
    let mut wait = EXPIRE_INTERVAL;
    while pause(wait, &stop).await {
        wait = match store.expire_consumers().await {
            Ok(expired) => {
                for gone in &expired.consumers {
                    tracing::info!(
                        app.id = %gone.app,
                        endpoint.id = %gone.endpoint,
                        consumer.name = %gone.name,
                        committed = gone.committed.0,
                        seen_at = %gone.seen_at,
                        "consumer.expired"
                    );
                }
                if expired.more { TRIM_PAUSE } else { EXPIRE_INTERVAL }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no consumer was looked at for expiry"
                );
                EXPIRE_INTERVAL
            }
        };
    }
}

async fn sweep(dispatcher: Arc<Dispatcher>, stop: CancellationToken) {
    while pause(SWEEP_INTERVAL, &stop).await {
        dispatcher.sweep_connections();
    }
}
