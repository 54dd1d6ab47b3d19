//! What is due, although a look opens only the days on which something was.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{App, DeliveryState, Endpoint, MessageKey, TaskId};
use pushpull_store::{
    DueOrder, Recovery, Resent,
    conformance::fixture::{START, World, answer, message, owed_at},
};

use crate::{
    nodes::{node, node_on},
    support::connect,
};

/// The messages that one look finds due for an endpoint.
async fn look(world: &World, endpoint: &Endpoint) -> Vec<MessageKey> {
    let order = DueOrder::ByTime { until: world.clock_now() };
    let page = world.store.due(endpoint.no, order, vec![], 9).await.unwrap();
    page.items.iter().map(|due| due.message.key).collect()
}

/// The same of two looks: the second begins where the first has found something.
async fn due(world: &World, endpoint: &Endpoint) -> Vec<MessageKey> {
    let found = look(world, endpoint).await;
    assert_eq!(look(world, endpoint).await, found);
    found
}

/// Brings whatever is due.
async fn deliver(world: &World, endpoint: &Endpoint) {
    for message in due(world, endpoint).await {
        end(world, endpoint, message, DeliveryState::Delivered).await;
    }
    assert_eq!(due(world, endpoint).await, []);
}

async fn end(world: &World, endpoint: &Endpoint, message: MessageKey, state: DeliveryState) {
    let deliveries = world.store.deliveries_of(message).await.unwrap();
    let delivery = deliveries.into_iter().find(|delivery| delivery.key.endpoint == endpoint.no).unwrap();
    let status = if state == DeliveryState::Delivered { 200 } else { 500 };
    world.settle(delivery, answer(status), state).await;
}

/// An endpoint with a message of days ago that was exhausted, and some of each day since that arrived.
async fn days_later(world: &World) -> (App, Arc<Endpoint>, MessageKey) {
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let old = world.publish(&app, message("old")).await.key;
    end(world, &endpoint, old, DeliveryState::Exhausted).await;
    for _ in 0..6 {
        world.clock.advance(Duration::from_hours(24));
        world.publish_many(&app, 3).await;
        deliver(world, &endpoint).await;
    }
    (app, endpoint, old)
}

#[tokio::test]
async fn what_is_sent_again_by_hand_is_due_whatever_its_day() {
    let (world, _) = node().await;
    let (app, endpoint, old) = days_later(&world).await;
    assert_eq!(world.store.resend(old, endpoint.no).await.unwrap(), Resent::Owed);
    assert_eq!(due(&world, &endpoint).await, [old]);
    end(&world, &endpoint, old, owed_at(world.clock_now())).await;
    assert_eq!(due(&world, &endpoint).await, [old]);
    deliver(&world, &endpoint).await;
    // It joins another queue on a day long after its own.
    let late = world.endpoint(&app).await;
    assert_eq!(due(&world, &late).await, []);
    assert_eq!(world.store.resend(old, late.no).await.unwrap(), Resent::Owed);
    assert_eq!(due(&world, &late).await, [old]);
    world.store.expunge_message(old).await.unwrap();
    assert_eq!(due(&world, &late).await, []);
}

/// What was in flight when its endpoint left push, and was withdrawn, fails after the endpoint is pushed again.
#[tokio::test]
async fn what_fails_after_days_is_due_again_whatever_its_day() {
    let (world, url) = node().await;
    let (_, endpoint, old) = days_later(&world).await;
    connect(&url).await.batch_execute("UPDATE delivery SET state = 0 WHERE state = 2").await.unwrap();
    assert_eq!(due(&world, &endpoint).await, []);
    end(&world, &endpoint, old, owed_at(world.clock_now())).await;
    assert_eq!(due(&world, &endpoint).await, [old]);
}

#[tokio::test]
async fn what_a_recovery_owes_again_is_due_whatever_its_day() {
    let (world, _) = node().await;
    let (app, endpoint, old) = days_later(&world).await;
    let task = TaskId::new(world.clock_now(), [7; 15]);
    let (until, updated_at) = (world.clock_now(), world.clock_now());
    let recovery = Recovery { task, app: app.no, endpoint: endpoint.no, since: START, until, updated_at };
    world.store.start_recovery(recovery).await.unwrap();
    while !world.store.step_recovery(task).await.unwrap().done {}
    assert_eq!(due(&world, &endpoint).await, [old]);
}

/// Another node makes something due: the one that brings it is told.
#[tokio::test]
async fn what_another_node_sends_again_is_due_whatever_its_day() {
    let (world, url) = node().await;
    let (_, endpoint, old) = days_later(&world).await;
    let other = node_on(&url, 2).await;
    other.clock.advance(Duration::from_hours(6 * 24));
    assert_eq!(other.store.resend(old, endpoint.no).await.unwrap(), Resent::Owed);
    let found = async {
        while look(&world, &endpoint).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    // Told within half a second; the look at all days that comes after 10 minutes does not come here.
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap();
    assert_eq!(due(&world, &endpoint).await, [old]);
}
