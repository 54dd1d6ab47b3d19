//! What is done by and by while a server runs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use pushpull_send::Dispatcher;
use pushpull_store::{BehindConsumer, ConsumerKey, Error, Retention, Store};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::metrics::Metrics;

/// How often what is too old is looked for.
const TRIM_INTERVAL: Duration = Duration::from_mins(1);
/// More often where little is kept: ten times in the age that is kept, but no more often than this.
const TRIM_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// How often consumers are looked for that are not seen any more.
const EXPIRE_INTERVAL: Duration = Duration::from_mins(1);
/// The pause between two steps of either, so that those who write come in between.
const TRIM_PAUSE: Duration = Duration::from_millis(20);
/// How often idle connections are closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How often readers are looked for that retention will overtake.
const BEHIND_INTERVAL: Duration = Duration::from_mins(10);
/// The pause between two steps of that.
const BEHIND_PAUSE: Duration = Duration::from_millis(20);
/// How often the same reader is told of.
const BEHIND_AGAIN: Duration = Duration::from_hours(24);

/// The loops of upkeep.
pub(crate) struct Upkeep {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Upkeep {
    /// Starts them.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        dispatcher: Arc<Dispatcher>,
        metrics: Arc<Metrics>,
        retention: Retention,
    ) -> Self {
        let upkeep = Self { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        upkeep.tasks.spawn(tell_of_behind(Arc::clone(&store), metrics, retention, upkeep.stop.clone()));
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
    let kept = retention.messages.min(retention.payloads);
    let interval = (kept / 10).clamp(TRIM_INTERVAL_MIN, TRIM_INTERVAL);
    let mut wait = interval;
    while pause(wait, &stop).await {
        wait = match store.trim(retention).await {
            Ok(trimmed) if trimmed.more => TRIM_PAUSE,
            Ok(_) => interval,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "what is too old was not removed");
                interval
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

/// Tells of readers before retention overtakes them: what they have not read yet when it is nine tenths as old as it
/// may get.
async fn tell_of_behind(
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    retention: Retention,
    stop: CancellationToken,
) {
    let kept = retention.messages.min(retention.payloads);
    let mut told = Told::default();
    let mut wait = TRIM_INTERVAL;
    while pause(wait, &stop).await {
        wait = BEHIND_INTERVAL;
        match behind(&*store, kept / 10 * 9, &stop).await {
            Ok(Some(behind)) => {
                metrics.consumers_behind(behind.len());
                for consumer in told.news(behind, Instant::now()) {
                    let lost_at = consumer.next_at.after(kept);
                    tracing::warn!(
                        app.id = %consumer.app, endpoint.id = %consumer.endpoint, consumer = %*consumer.key.name,
                        committed = consumer.committed.0, %lost_at,
                        "consumer.behind: retention will remove what it has not read"
                    );
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "readers could not be looked at");
            }
        }
    }
}

/// All that are behind; `None`: it is time to stop.
async fn behind(
    store: &dyn Store,
    age: Duration,
    stop: &CancellationToken,
) -> Result<Option<Vec<BehindConsumer>>, Error> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let step = store.consumers_behind(age, after).await?;
        all.extend(step.consumers);
        after = step.next;
        if after.is_none() {
            return Ok(Some(all));
        }
        if !pause(BEHIND_PAUSE, stop).await {
            return Ok(None);
        }
    }
}

/// Which readers were told of, and when.
#[derive(Default)]
struct Told(HashMap<ConsumerKey, Instant>);

impl Told {
    /// Those to be told of now. One that has caught up meanwhile is news when it is behind again.
    fn news(&mut self, behind: Vec<BehindConsumer>, now: Instant) -> Vec<BehindConsumer> {
        let mut before = std::mem::take(&mut self.0);
        behind
            .into_iter()
            .filter(|consumer| {
                let known = before.remove(&consumer.key);
                let at = known.filter(|at| now.duration_since(*at) < BEHIND_AGAIN);
                self.0.insert(consumer.key.clone(), at.unwrap_or(now));
                at.is_none()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use pushpull_domain::{AppId, EndpointId, EndpointNo, Seq, Timestamp};

    use super::*;

    #[test]
    fn a_reader_that_stays_behind_is_told_of_once_a_day() {
        let at = Timestamp::from_millis(1_795_513_560_000);
        let behind = |name: &str| BehindConsumer {
            key: ConsumerKey { endpoint: EndpointNo(1), name: name.parse().unwrap() },
            app: AppId::new(at, [1; 15]),
            endpoint: EndpointId::new(at, [2; 15]),
            committed: Seq(3),
            next_at: at,
        };
        let (one, two) = (behind("one"), behind("two"));
        let start = Instant::now();
        let mut told = Told::default();
        let mut check = |behind: &[&BehindConsumer], after, expected: &[&BehindConsumer]| {
            let news = told.news(behind.iter().copied().cloned().collect(), start + after);
            assert_eq!(news.iter().collect::<Vec<_>>(), expected);
        };
        check(&[&one], Duration::ZERO, &[&one]);
        check(&[&one, &two], Duration::from_hours(23), &[&two]);
        check(&[&one, &two], BEHIND_AGAIN, &[&one]);
        check(&[&two], BEHIND_AGAIN, &[]);
        // It had caught up.
        check(&[&one, &two], BEHIND_AGAIN, &[&one]);
    }
}
