//! Goes on with tasks that send again what endpoints did not get: step by step, over restarts.

use std::{sync::Arc, time::Duration};

use crate::dispatcher::Inner;

/// How often unfinished tasks are looked for, in case a wake-up was lost.
const INTERVAL: Duration = Duration::from_mins(1);

/// Steps through the tasks there are, until the dispatcher stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    loop {
        // Registered before the look, so that a task started meanwhile is not missed.
        let news = inner.recoveries.notified();
        if let Err(error) = finish_all(&inner).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a recovery could not go on");
        }
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep(INTERVAL) => {}
            () = inner.stop.cancelled() => return,
        }
    }
}

async fn finish_all(inner: &Inner) -> Result<(), pushpull_store::Error> {
    let store = inner.log.store();
    for recovery in store.recoveries().await?.into_iter().filter(|recovery| inner.owns(recovery.app)) {
        let mut reopened = 0;
        while !inner.stop.is_cancelled() && inner.owns(recovery.app) {
            let step = store.step_recovery(recovery.task).await?;
            reopened += step.reopened;
            if step.done {
                // What a change of mode takes from the dispatcher is nobody's news.
                if reopened > 0 {
                    tracing::info!(task.id = %recovery.task, reopened, "endpoint recovered");
                }
                break;
            }
        }
    }
    Ok(())
}
