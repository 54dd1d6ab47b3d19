//! A lane: takes an endpoint's deliveries one after the other, attempts each, and says what came of it.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{
    Batch, Delivery, DeliveryState, Health, RetrySchedule, Timestamp,
    attempt::{Attempt, Outcome},
    endpoint::{DisabledReason, HealthVerdict},
};
use pushpull_store::{DueOrder, Settlement};
use tokio::time::Instant;

use crate::{
    attempt,
    dispatcher::{Inner, Turn},
    endpoint::{Lane, Ready, Refreshed},
    outcome::{self, Verdict},
    parcel::Parcel,
    queue::{Gathered, Job, Next, QUEUE_MAX},
    slots::{FAST, Slot},
};

/// How long to wait when the store could not be asked.
const STORE_WAIT: Duration = Duration::from_secs(1);

/// Works until there is nothing to do, somebody else's turn has come, or the dispatcher stops.
pub(crate) async fn run(inner: Arc<Inner>, lane: Arc<Lane>, mut slot: Slot) {
    loop {
        inner.outbox.room().await;
        if inner.stop.is_cancelled() {
            lane.queue().abandon_lane();
            break;
        }
        // Registered before the configuration is read, so that a change meanwhile is not missed.
        let changed = lane.changed();
        let Some(ready) = configuration(&inner, &lane).await else {
            lane.queue().abandon_lane();
            inner.slots.give_back(slot);
            return end_draining(&inner, &lane).await;
        };
        let next = lane.queue().next(ready.version);
        match next {
            Next::End => break,
            Next::Stale => {}
            Next::Look => look(&inner, &lane, &ready).await,
            Next::Attempt(mut job) => {
                let start = *job.start.get_or_insert_with(|| start_at(&lane, &ready));
                if start > Instant::now() {
                    // Waiting for its rate, it needs no place; nobody may wait any more if the mode changes.
                    inner.slots.give_back(slot);
                    tokio::select! {
                        () = tokio::time::sleep_until(start) => {}
                        () = changed => {}
                        () = inner.stop.cancelled() => {}
                    }
                    lane.queue().put_back(*job);
                    match again(&inner, &lane) {
                        Some(next) => slot = next,
                        None => return,
                    }
                    continue;
                }
                match gather(&inner, &lane, &ready, *job) {
                    Gathered::All(parcel) => work(&inner, &lane, &ready, parcel, &mut slot).await,
                    Gathered::TooFew => break,
                    Gathered::NotNow => continue,
                }
                if matches!(slot, Slot::Slow) || inner.slots.contended() {
                    inner.slots.give_back(slot);
                    match again(&inner, &lane) {
                        Some(next) => slot = next,
                        None => return,
                    }
                }
            }
        }
    }
    inner.slots.give_back(slot);
}

/// A place for the same lane again; `None`: it waits for its turn, and goes on as another task.
fn again(inner: &Arc<Inner>, lane: &Arc<Lane>) -> Option<Slot> {
    inner.slots.take(&Arc::new(Turn { inner: Arc::clone(inner), lane: Arc::clone(lane) }))
}

/// The configuration as it is now; `None`: nothing may be brought to this endpoint.
async fn configuration(inner: &Arc<Inner>, lane: &Arc<Lane>) -> Option<Arc<Ready>> {
    if !inner.owns(lane.app.no) {
        lane.suspend();
        if !inner.owns(lane.app.no) {
            return None;
        }
        // It has become this process's meanwhile, and what came was thrown away.
        lane.set_stale();
        lane.queue().look_again();
    }
    if let Some(ready) = lane.ready() {
        return Some(ready);
    }
    loop {
        lane.begin_refresh();
        match inner.log.known_app_by_no(lane.app.no).await {
            Ok(snapshot) => match lane.refresh(snapshot.as_deref()) {
                Refreshed::Pushed(ready) => return Some(ready),
                Refreshed::Off => return None,
                Refreshed::Old => {}
            },
            Err(error) => {
                lane.set_stale();
                tracing::warn!(error = &error as &dyn std::error::Error, "an endpoint could not be read");
                inner.timers.wake_at(lane, inner.clock.now().after(STORE_WAIT));
                return None;
            }
        }
    }
}

/// If the endpoint left push and nothing of it is in flight or unwritten any more, readers may begin. What fails here
/// is done by the next scan.
async fn end_draining(inner: &Arc<Inner>, lane: &Arc<Lane>) {
    let drained = lane.queue().drained();
    let Some(since) = drained else { return };
    if let Err(error) = inner.log.store().end_draining(lane.no, since).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "an endpoint was not handed to its readers");
    }
}

/// When the next attempt may start. The places in the endpoint's and the application's rate are taken.
fn start_at(lane: &Lane, ready: &Ready) -> Instant {
    let now = Instant::now();
    let by_endpoint = ready.endpoint.rate_limit.map_or(now, |limit| lane.rate.take(limit, now));
    let by_app = ready.app_rate_limit.map_or(now, |limit| lane.app.rate.take(limit, now));
    by_endpoint.max(by_app)
}

/// Asks the table for what is due and has no place in memory yet.
async fn look(inner: &Arc<Inner>, lane: &Arc<Lane>, ready: &Ready) {
    let now = inner.clock.now();
    let order = if ready.endpoint.fifo {
        DueOrder::BySeq { from: lane.first_owed() }
    } else {
        DueOrder::ByTime { until: now }
    };
    let known = lane.queue().known();
    match inner.log.store().due(lane.no, order, known, QUEUE_MAX).await {
        Ok(page) => {
            let more = page.items.len() == QUEUE_MAX;
            let jobs = page.items.into_iter().map(|due| Job::new(due.delivery, due.message));
            if ready.endpoint.fifo {
                looked_in_order(inner, lane, ready, jobs.collect(), more);
            } else {
                lane.queue().looked(ready.version, jobs, more);
                if let Some(at) = page.next_due_at {
                    inner.timers.wake_at(lane, at);
                }
            }
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "what is due could not be read");
            lane.queue().looked(ready.version, [], false);
            inner.timers.wake_at(lane, now.after(STORE_WAIT));
        }
    }
    // There may be work for more lanes now.
    inner.kick(lane);
}

/// In order, the first decides: if it is not due yet, everything waits for it. So does what follows the first that
/// is not, which is looked for again when it has become the first.
fn looked_in_order(inner: &Arc<Inner>, lane: &Arc<Lane>, ready: &Ready, mut jobs: Vec<Job>, more: bool) {
    let now = inner.clock.now();
    let waits = |job: &Job| match job.delivery.state {
        DeliveryState::Owed { due_at: Some(due_at), .. } => Some(due_at).filter(|due_at| *due_at > now),
        _ => None,
    };
    if let Some(first) = jobs.first() {
        lane.set_first_owed(first.delivery.key.seq);
        if let Some(due_at) = waits(first) {
            let mut queue = lane.queue();
            queue.looked(ready.version, [], false);
            queue.block();
            drop(queue);
            inner.timers.wake_at(lane, due_at);
            return;
        }
    }
    let due = jobs.iter().position(|job| waits(job).is_some()).unwrap_or(jobs.len());
    let more = more || due < jobs.len();
    jobs.truncate(due);
    lane.queue().looked(ready.version, jobs, more);
}

/// What goes out with a job that was taken.
fn gather(inner: &Arc<Inner>, lane: &Arc<Lane>, ready: &Ready, job: Job) -> Gathered {
    let Batch { size, wait_secs } = ready.batch();
    if size <= 1 {
        return Gathered::All(Parcel::single(job));
    }
    // What is tried again is full already: as it was.
    let full_by = match job.delivery.state {
        DeliveryState::Owed { due_at: Some(due_at), .. } if job.delivery.attempts == 0 => {
            due_at.after(Duration::from_secs(wait_secs.into()))
        }
        _ => Timestamp::default(),
    };
    let waits = inner.clock.now() < full_by;
    let gathered = lane.queue().gather(ready.version, job, size.into(), waits);
    if matches!(gathered, Gathered::TooFew) {
        inner.timers.wake_at(lane, full_by);
    }
    gathered
}

/// One attempt and all that follows from it.
async fn work(inner: &Arc<Inner>, lane: &Arc<Lane>, ready: &Arc<Ready>, parcel: Parcel, slot: &mut Slot) {
    let started_at = inner.clock.now();
    let attempt = {
        let mut attempt = std::pin::pin!(attempt::perform(&inner.client, ready, &parcel, started_at));
        if let Ok(attempt) = tokio::time::timeout(FAST, &mut attempt).await {
            attempt
        } else {
            inner.slots.slow_down(slot);
            attempt.await
        }
    };
    let now = inner.clock.now();
    let verdict = Verdict::of(&attempt.outcome);
    let Parcel { first: job, rest, .. } = parcel;
    let after = if verdict == Verdict::Succeeded {
        outcome::after(&job.delivery, &attempt.outcome, &inner.schedule, now, 0.0)
    } else {
        let schedule = schedule(inner, ready, &job).await;
        outcome::after(&job.delivery, &attempt.outcome, &schedule, now, inner.chance.fraction())
    };
    let end_to_end = (verdict == Verdict::Succeeded).then(|| now.since(job.message.created_at));
    inner.meter.attempted(&attempt, end_to_end);
    log(ready, &job, &attempt, &after);
    follow(inner, lane, ready, verdict, &after, now).await;
    lane.queue().attempted(verdict, after.state.is_settled());
    if rest.is_empty() {
        return settle(inner, lane, ready, after, attempt);
    }
    let mut settled = vec![(after, attempt)];
    for job in rest {
        // The whole of it succeeds or fails. The answer is kept once.
        let (after, attempt) = &settled[0];
        let outcome = attempt.outcome.without_body();
        let attempt = Attempt { outcome, ..*attempt };
        settled.push((Delivery { state: after.state, attempts: after.attempts, ..job.delivery }, attempt));
    }
    if !after.state.is_settled() {
        // What is written last tells how far the endpoint is: here, the first of what is tried again.
        settled.reverse();
    }
    for (delivery, attempt) in settled {
        settle(inner, lane, ready, delivery, attempt);
    }
}

/// A fault of ours was no attempt.
fn settle(inner: &Inner, lane: &Arc<Lane>, ready: &Ready, delivery: Delivery, attempt: Attempt) {
    let is_ours = Verdict::of(&attempt.outcome) == Verdict::OwnFault;
    let attempt = (!is_ours).then(|| (attempt, Arc::clone(&ready.url)));
    inner.outbox.put(Settlement { delivery, attempt }, lane);
}

/// The endpoint's own schedule, else the event type's, else the server's.
async fn schedule(inner: &Arc<Inner>, ready: &Ready, job: &Job) -> RetrySchedule {
    if let Some(schedule) = &ready.endpoint.retry_schedule {
        return schedule.clone();
    }
    match inner.log.schedule_of(ready.environment, &job.message.event_type).await {
        Ok(schedule) => schedule.map_or_else(|| inner.schedule.clone(), |schedule| (*schedule).clone()),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "an event type could not be read");
            inner.schedule.clone()
        }
    }
}

fn log(ready: &Ready, job: &Job, attempt: &Attempt, after: &Delivery) {
    match &attempt.outcome {
        Outcome::Delivered { status, .. } => tracing::debug!(
            message.id = %job.message.id, endpoint.id = %ready.endpoint.id, status,
            duration_ms = attempt.timings.total.as_millis() as u64, "delivered"
        ),
        Outcome::Refused { .. } | Outcome::Failed { .. } => tracing::debug!(
            message.id = %job.message.id, endpoint.id = %ready.endpoint.id, attempts = after.attempts,
            class = attempt.outcome.class().map_or("", pushpull_domain::attempt::ErrorClass::as_str),
            status = attempt.outcome.status(), next = ?after.state, "not delivered"
        ),
    }
}

/// What an attempt means for its endpoint: its health, and whether it is disabled.
async fn follow(
    inner: &Arc<Inner>,
    lane: &Arc<Lane>,
    ready: &Arc<Ready>,
    verdict: Verdict,
    after: &Delivery,
    now: Timestamp,
) {
    let health = lane.health().unwrap_or_default();
    match verdict {
        Verdict::OwnFault => {}
        Verdict::Succeeded if health.failing_since.is_none() => {}
        Verdict::Succeeded => set_health(inner, lane, Health::default()).await,
        Verdict::Gone => disable(inner, lane, ready, DisabledReason::Gone).await,
        Verdict::Failed | Verdict::Stalled => match health.failed(now) {
            HealthVerdict::Failing(same) if same == health => {}
            HealthVerdict::Failing(health) => set_health(inner, lane, health).await,
            HealthVerdict::Notify(health) => {
                tracing::warn!(
                    endpoint.id = %ready.endpoint.id, failing_since = ?health.failing_since,
                    "endpoint.disabling: nothing but failures; it will be disabled in a day"
                );
                set_health(inner, lane, health).await;
            }
            HealthVerdict::Disable if ready.endpoint.hold_when_failing => {
                hold(inner, lane, ready, "nothing but failures").await;
            }
            HealthVerdict::Disable => disable(inner, lane, ready, DisabledReason::Failing).await,
        },
    }
    // One that keeps order does not go on past what it could not be brought.
    if ready.endpoint.fifo && after.state == DeliveryState::Exhausted && verdict != Verdict::Gone {
        hold(inner, lane, ready, "its first delivery is exhausted").await;
    }
}

async fn set_health(inner: &Arc<Inner>, lane: &Arc<Lane>, health: Health) {
    *lane.health() = Some(health);
    if let Err(error) = inner.log.store().set_health(lane.no, health).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "an endpoint's health was not written");
    }
}

async fn disable(inner: &Arc<Inner>, lane: &Arc<Lane>, ready: &Ready, reason: DisabledReason) {
    match inner.log.store().disable_endpoint(lane.no, reason).await {
        Ok(true) => tracing::warn!(endpoint.id = %ready.endpoint.id, ?reason, "endpoint.disabled"),
        Ok(false) => {}
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, endpoint.id = %ready.endpoint.id, "not disabled");
        }
    }
}

/// Stops bringing it anything, without losing what it is owed. If it was changed meanwhile so that it is not to be
/// held any more, it is not.
async fn hold(inner: &Arc<Inner>, lane: &Arc<Lane>, ready: &Ready, why: &str) {
    match inner.log.store().hold_endpoint(lane.no).await {
        Ok(true) => tracing::warn!(endpoint.id = %ready.endpoint.id, "endpoint.held: {why}"),
        Ok(false) => {}
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, endpoint.id = %ready.endpoint.id, "not held");
        }
    }
}
