//! Sending again what an endpoint did not get.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{App, Delivery, DeliveryState, Endpoint, Message, Mode, TaskId, attempt::Trigger};

use super::fixture::{Maker, START, URL, World, answer, attempt, message, owed_at};
use crate::{DueOrder, Recovery, RecoveryStep, Settlement};

/// More than any backend looks at in one step.
const MANY: usize = 4_500;

async fn start(world: &World, app: &App, endpoint: &Endpoint) -> TaskId {
    let task = TaskId::new(world.clock_now(), [7; 15]);
    let recovery = Recovery {
        task,
        app: app.no,
        endpoint: endpoint.no,
        since: START,
        until: world.clock_now(),
        updated_at: world.clock_now(),
    };
    world.store.start_recovery(recovery).await.unwrap();
    task
}

/// Steps until it is done; how many deliveries were reopened, in how many steps.
async fn finish(world: &World, task: TaskId) -> (u64, usize) {
    let mut reopened = 0;
    for steps in 1..1_000 {
        let step = world.store.step_recovery(task).await.unwrap();
        reopened += step.reopened;
        if step.done {
            return (reopened, steps);
        }
    }
    panic!("a recovery does not come to an end");
}

async fn settle_all(world: &World, messages: &[Arc<Message>], status: u16, state: DeliveryState) {
    let mut settlements = Vec::new();
    for message in messages {
        let delivery = Delivery { state, attempts: 1, ..world.delivery(message).await };
        let made = attempt(world.clock_now(), answer(status));
        settlements.push(Settlement { delivery, attempt: Some((made, Arc::from(URL))) });
    }
    world.store.settle(settlements).await.unwrap();
}

/// What failed within the span is owed again, by hand, at once; nothing else is.
pub async fn a_recovery_reopens_what_failed(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let retry_at = START.after(Duration::from_hours(9));
    let exhausted = world.publish_many(&app, 2).await;
    let delivered = world.publish_many(&app, 2).await;
    let retried = world.publish_many(&app, 2).await;
    let waiting = world.publish_many(&app, 1).await;
    let erased = world.publish_many(&app, 1).await;
    settle_all(&world, &exhausted, 500, DeliveryState::Exhausted).await;
    settle_all(&world, &delivered, 200, DeliveryState::Delivered).await;
    settle_all(&world, &retried, 500, owed_at(retry_at)).await;
    settle_all(&world, &erased, 500, DeliveryState::Exhausted).await;
    world.store.expunge_message(erased[0].key).await.unwrap();
    world.clock.advance(Duration::from_secs(10));
    let too_late = world.publish_many(&app, 1).await;
    settle_all(&world, &too_late, 500, DeliveryState::Exhausted).await;

    let task = start(&world, &app, &endpoint).await;
    let unfinished: Vec<TaskId> =
        world.store.recoveries().await.unwrap().iter().map(|recovery| recovery.task).collect();
    assert_eq!(unfinished, [task]);
    assert_eq!(finish(&world, task).await.0, 4);
    assert_eq!(world.store.recoveries().await.unwrap(), []);
    for message in exhausted.iter().chain(&retried) {
        let delivery = world.delivery(message).await;
        let again = DeliveryState::Owed { due_at: Some(world.clock_now()), trigger: Trigger::Manual };
        assert_eq!((delivery.state, delivery.attempts), (again, 0));
    }
    for (messages, state) in [
        (&delivered, DeliveryState::Delivered),
        (&waiting, owed_at(START)),
        (&erased, DeliveryState::Exhausted),
        (&too_late, DeliveryState::Exhausted),
    ] {
        for message in messages {
            assert_eq!(world.delivery(message).await.state, state);
        }
    }
    let again = world.store.step_recovery(task).await.unwrap();
    assert_eq!(again, RecoveryStep { reopened: 0, done: true }, "a task that is done stays done");
    world.owes_pushed(5).await;
}

/// A recovery goes on in bounded steps, where it was, over a reopening.
pub async fn a_recovery_goes_on_after_a_restart(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let sent = world.publish_many(&app, MANY).await;
    settle_all(&world, &sent, 500, DeliveryState::Exhausted).await;
    world.clock.advance(Duration::from_secs(1));
    let task = start(&world, &app, &endpoint).await;
    let first = world.store.step_recovery(task).await.unwrap();
    assert!(first.reopened > 0 && !first.done, "{first:?}");

    let world = world.reopen(maker).await;
    let unfinished = world.store.recoveries().await.unwrap();
    assert_eq!((unfinished.len(), unfinished[0].task), (1, task));
    assert_eq!((unfinished[0].since, unfinished[0].until), (START, world.clock_now()));
    let (rest, _) = finish(&world, task).await;
    assert_eq!(first.reopened + rest, MANY as u64);
    world.owes_pushed(MANY as u64).await;
}

/// A recovery of an endpoint that is deleted meanwhile owes nothing, and of one that is held nothing is due.
pub async fn a_recovery_respects_what_became_of_its_endpoint(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let sent = world.publish(&app, message("x")).await;
    world.settle(world.delivery(&sent).await, answer(500), DeliveryState::Exhausted).await;
    world.clock.advance(Duration::from_secs(1));
    let held = Endpoint { mode: Mode::Held, ..(*endpoint).clone() };
    world.store.update_endpoint(held).await.unwrap();
    let task = start(&world, &app, &endpoint).await;
    assert_eq!(finish(&world, task).await.0, 1);
    let until = DueOrder::ByTime { until: world.clock_now() };
    assert_eq!(world.store.due(endpoint.no, until, Vec::new(), 9).await.unwrap().items.len(), 0);
    world.owes(1).await;

    world.settle(world.delivery(&sent).await, answer(500), DeliveryState::Exhausted).await;
    world.clock.advance(Duration::from_secs(1));
    let task = start(&world, &app, &endpoint).await;
    world.store.delete_endpoint(endpoint.no).await.unwrap();
    assert_eq!(finish(&world, task).await.0, 0);
    world.owes_pushed(0).await;
}
