//! An endpoint changes hands between the dispatcher and its readers.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{
    App, Delivery, DeliveryState, Endpoint, EndpointState, Health, Mode, endpoint::FAILING_MAX,
};
use pushpull_testkit::{Receiver, Reply, TestStore, TokioClock};
use tokio::sync::Semaphore;

use crate::support::World;

/// Longer than any attempt waits here: whatever comes of it comes by the schedule alone.
const SCHEDULE: &str = "1h";

async fn endpoint(world: &World, app: &App) -> Arc<Endpoint> {
    Arc::clone(&world.store.snapshot(app).await.endpoints[0])
}

async fn switch(world: &World, app: &App, mode: Mode) -> Arc<Endpoint> {
    let endpoint = Endpoint { mode, ..(*endpoint(world, app).await).clone() };
    world.store.log.store().update_endpoint(endpoint).await.unwrap()
}

/// Waits until readers may begin.
async fn drained(world: &World, app: &App) {
    world
        .eventually(async || {
            let endpoint = endpoint(world, app).await;
            (endpoint.mode != Mode::Push && endpoint.draining_since.is_none()).then_some(())
        })
        .await;
}

/// How the deliveries of the only endpoint stand, in order: delivered, or owed after so many attempts.
async fn stand(world: &World, messages: &[Arc<pushpull_domain::Message>]) -> Vec<Result<(), u32>> {
    let mut found = Vec::new();
    for message in messages {
        let delivery: Delivery = world.store.log.store().deliveries_of(message.key).await.unwrap()[0];
        found.push(match delivery.state {
            DeliveryState::Delivered => Ok(()),
            DeliveryState::Owed { due_at: None, .. } => Err(delivery.attempts),
            other => panic!("{other:?}"),
        });
    }
    found
}

async fn publish(world: &World, app: &App, count: u32) -> Vec<Arc<pushpull_domain::Message>> {
    let mut sent = Vec::new();
    for n in 0..count {
        sent.push(world.publish(app, &n.to_string()).await);
    }
    sent
}

#[tokio::test]
async fn what_is_in_flight_at_a_switch_ends_and_the_rest_is_left_to_readers() {
    let world = World::start(SCHEDULE).await;
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let receiver = Receiver::start(move |request| {
        Reply::status(if request.body == "0" { 204 } else { 500 }).behind(&closed)
    })
    .await;
    let (app, _) = world.app(&receiver.url("/"), |_| ()).await;
    let mut sent = publish(&world, &app, 6).await;
    // An endpoint that has not answered yet is sent two at once.
    receiver.wait_for(2).await;
    let switched = switch(&world, &app, Mode::Pull).await;
    sent.push(world.publish(&app, "6").await);
    assert_eq!(endpoint(&world, &app).await.draining_since, switched.draining_since);
    assert!(switched.draining_since.is_some());
    gate.add_permits(2);
    drained(&world, &app).await;
    assert_eq!(stand(&world, &sent).await, [Ok(()), Err(1), Err(0), Err(0), Err(0), Err(0), Err(0)]);

    // Back again, the rest is pushed, and what was answered 2xx is not.
    gate.add_permits(1_000);
    switch(&world, &app, Mode::Push).await;
    let received = receiver.wait_for(8).await;
    world.dispatcher.stop(Duration::from_secs(5)).await;
    let mut bodies: Vec<_> = received.iter().skip(2).map(|request| request.body.clone()).collect();
    bodies.sort();
    assert_eq!(bodies, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(receiver.received().len(), 8);
}

#[tokio::test]
async fn an_attempt_that_hangs_holds_readers_back_until_its_deadline() {
    let world = World::start("").await;
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let receiver = Receiver::start(move |_| Reply::status(200).behind(&closed)).await;
    let (app, _) = world.app(&receiver.url("/"), |_| ()).await;
    let sent = publish(&world, &app, 3).await;
    receiver.wait_for(2).await;
    switch(&world, &app, Mode::Held).await;
    drained(&world, &app).await;
    // With an empty schedule the first failure would be the last: not when readers come for it.
    assert_eq!(stand(&world, &sent).await, [Err(1), Err(1), Err(0)]);
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn an_endpoint_that_waits_for_its_rate_is_handed_over_at_once() {
    let world = World::start(SCHEDULE).await;
    let receiver = Receiver::ok().await;
    let limited = App { rate_limit: Some(1), ..world.store.app("app").await };
    let app = world.store.log.store().update_app(limited).await.unwrap();
    for _ in 0..30 {
        world.store.endpoint(&app, &receiver.url("/"), |_| ()).await;
    }
    // The last of them would have to wait for half a minute.
    world.publish(&app, "0").await;
    receiver.wait_for(1).await;
    let clock = TokioClock::start();
    for endpoint in &world.store.snapshot(&app).await.endpoints {
        let pulled = Endpoint { mode: Mode::Pull, ..(**endpoint).clone() };
        world.store.log.store().update_endpoint(pulled).await.unwrap();
    }
    world
        .eventually(async || {
            let draining = world.store.log.store().draining_endpoints().await.unwrap();
            draining.is_empty().then_some(())
        })
        .await;
    assert!(clock.elapsed() < Duration::from_secs(10), "{:?}", clock.elapsed());
}

#[tokio::test]
async fn an_idle_endpoint_is_handed_over_at_once_and_after_a_restart() {
    let store = TestStore::open(Arc::new(TokioClock::start())).await;
    let app = store.app("app").await;
    let made = store.endpoint(&app, "http://127.0.0.1:9/", |_| ()).await;
    let pulled = Endpoint { mode: Mode::Pull, ..(*made).clone() };
    assert!(store.log.store().update_endpoint(pulled).await.unwrap().draining_since.is_some());
    let world = World::over(store, SCHEDULE);
    drained(&world, &app).await;

    switch(&world, &app, Mode::Push).await;
    let clock = TokioClock::start();
    switch(&world, &app, Mode::Held).await;
    drained(&world, &app).await;
    assert!(clock.elapsed() < Duration::from_secs(10), "not only by the next scan");
}

#[tokio::test]
async fn a_fifo_endpoint_that_waits_for_its_first_is_handed_over_and_goes_on_in_order() {
    let world = World::start(SCHEDULE).await;
    let receiver = Receiver::start(|request| Reply::status(if request.n == 0 { 500 } else { 200 })).await;
    let (app, _) = world.app(&receiver.url("/"), |endpoint| endpoint.fifo = true).await;
    let mut sent = publish(&world, &app, 4).await;
    world.deliveries(&sent[0], |all| all[0].attempts == 1).await;
    switch(&world, &app, Mode::Held).await;
    drained(&world, &app).await;
    sent.push(world.publish(&app, "4").await);
    assert_eq!(stand(&world, &sent).await, [Err(1), Err(0), Err(0), Err(0), Err(0)]);
    switch(&world, &app, Mode::Push).await;
    let received = receiver.wait_for(6).await;
    let bodies: Vec<_> = received.iter().map(|request| request.body.clone()).collect();
    assert_eq!(bodies, ["0", "0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn an_endpoint_that_would_be_disabled_for_failing_is_held_if_it_is_set_to() {
    let world = World::start(SCHEDULE).await;
    let receiver = Receiver::start(|request| Reply::status(if request.n == 0 { 500 } else { 200 })).await;
    let (app, made) = world.app(&receiver.url("/"), |endpoint| endpoint.hold_when_failing = true).await;
    let failing_since = Some(world.store.clock.now().before(FAILING_MAX));
    let health = Health { failing_since, notified: true };
    world.store.log.store().set_health(made.no, health).await.unwrap();
    let first = world.publish(&app, "0").await;
    drained(&world, &app).await;
    let held = endpoint(&world, &app).await;
    assert_eq!((held.mode, held.state), (Mode::Held, EndpointState::Enabled));
    let second = world.publish(&app, "1").await;
    assert_eq!(stand(&world, &[Arc::clone(&first), second]).await, [Err(1), Err(0)]);
    switch(&world, &app, Mode::Push).await;
    receiver.wait_for(3).await;
    world.deliveries(&first, |all| all[0].state == DeliveryState::Delivered).await;
    assert_eq!(endpoint(&world, &app).await.health, Health::default(), "its record begins anew");
}

#[tokio::test]
async fn what_comes_for_an_endpoint_that_is_read_stays_out_of_memory() {
    let world = World::start(SCHEDULE).await;
    let receiver = Receiver::ok().await;
    let (app, _) = world.app(&receiver.url("/"), |endpoint| endpoint.mode = Mode::Pull).await;
    let sent = publish(&world, &app, 20).await;
    world.eventually(async || (world.dispatcher.load().deliveries == 0).then_some(())).await;
    switch(&world, &app, Mode::Push).await;
    receiver.wait_for(20).await;
    for message in &sent {
        world.deliveries(message, |all| all[0].state == DeliveryState::Delivered).await;
    }
    assert_eq!(receiver.received().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_switches_under_load_bring_every_message_to_one_side_once() {
    let world = World::start("1ms,1ms,1ms,1ms,1ms,1ms,1ms,1ms").await;
    let receiver = Receiver::start(|request| Reply::status(if request.n % 5 == 4 { 503 } else { 200 })).await;
    let (app, _) = world.app(&receiver.url("/"), |_| ()).await;
    let mut sent = Vec::new();
    for round in 0..30 {
        sent.extend(publish(&world, &app, 20).await);
        let mode = [Mode::Pull, Mode::Push, Mode::Held, Mode::Push][round % 4];
        switch(&world, &app, mode).await;
        if round % 8 == 2 {
            drained(&world, &app).await;
            stand(&world, &sent).await;
        }
    }
    switch(&world, &app, Mode::Push).await;
    for message in &sent {
        world.deliveries(message, |all| all[0].state == DeliveryState::Delivered).await;
    }
    world.dispatcher.stop(Duration::from_secs(5)).await;
    let mut answered = std::collections::HashMap::<String, u32>::new();
    for request in receiver.received().iter().filter(|request| request.n % 5 != 4) {
        *answered.entry(request.header("webhook-id").to_owned()).or_default() += 1;
    }
    assert_eq!(answered.len(), sent.len());
    assert!(answered.values().all(|times| *times == 1), "pushed again after a 2xx");
}
