//! What is committed arrives, and what fails is tried again.

use std::time::Duration;

use pushpull_domain::{
    DeliveryState, EndpointState, Mode,
    attempt::ErrorClass,
    endpoint::{CustomHeader, CustomHeaders, DisabledReason},
};
use pushpull_testkit::{Receiver, Reply, TestStore, TokioClock};

use crate::support::{World, classes};

fn delivered(deliveries: &[pushpull_domain::Delivery]) -> bool {
    deliveries.iter().all(|delivery| delivery.state == DeliveryState::Delivered)
}

#[tokio::test]
async fn a_message_arrives_signed_with_its_exact_bytes() {
    let world = World::start("").await;
    let receiver = Receiver::ok().await;
    let (app, endpoint) = world.app(&receiver.url("/hook?x=1"), |_| ()).await;
    let payload = "{ \"b\":1,  \"a\" : \"é\" }";
    let message = world.publish(&app, payload).await;
    let received = receiver.wait_for(1).await;
    assert_eq!(received[0].body, payload);
    assert_eq!(received[0].path, "/hook?x=1");
    assert_eq!(received[0].header("content-type"), "application/json");
    assert_eq!(received[0].header("webhook-id"), message.id.to_string());
    assert!(received[0].is_signed_with(&endpoint.secrets.current.to_verifier_text()));
    world.deliveries(&message, delivered).await;
    let attempts = world.attempts(&message).await;
    assert_eq!(classes(&attempts), [None]);
    assert_eq!(&*attempts[0].url, receiver.url("/hook?x=1"));
}

#[tokio::test]
async fn a_webhook_says_where_it_stands_in_the_queue_and_in_the_log() {
    let world = World::start("10ms").await;
    let receiver = Receiver::start(|request| Reply::status(if request.n < 1 { 503 } else { 204 })).await;
    let app = world.store.app("app").await;
    let before = world.publish(&app, "{}").await;
    world
        .store
        .endpoint(&app, &receiver.url("/"), |endpoint| {
            // Stored before the name was taken.
            let forged = CustomHeader { value: "7".into(), sensitive: false };
            endpoint.headers = CustomHeaders::from([("pushpull-seq".into(), forged)]);
        })
        .await;
    let message = world.publish(&app, "{}").await;
    assert_eq!((before.key.position.0, message.key.position.0), (1, 2));
    for request in receiver.wait_for(2).await {
        assert_eq!((request.header("pushpull-seq"), request.header("pushpull-position")), ("1", "2"));
    }
}

#[tokio::test]
async fn a_failure_is_tried_again_with_the_same_id_and_bytes_until_it_succeeds() {
    let world = World::start("10ms,10ms,10ms").await;
    let receiver = Receiver::start(|request| Reply::status(if request.n < 2 { 503 } else { 204 })).await;
    let (app, endpoint) = world.app(&receiver.url("/"), |_| ()).await;
    let message = world.publish(&app, r#"{"n":1}"#).await;
    let received = receiver.wait_for(3).await;
    for request in &received {
        assert_eq!(request.header("webhook-id"), message.id.to_string());
        assert_eq!(request.body, r#"{"n":1}"#);
        assert!(request.is_signed_with(&endpoint.secrets.current.to_verifier_text()));
    }
    let deliveries = world.deliveries(&message, delivered).await;
    assert_eq!(deliveries[0].attempts, 3);
    assert_eq!(
        classes(&world.attempts(&message).await),
        [Some(ErrorClass::Status), Some(ErrorClass::Status), None]
    );
}

#[tokio::test]
async fn a_schedule_that_ends_exhausts_the_delivery() {
    let world = World::start("10ms").await;
    let receiver = Receiver::start(|_| Reply::status(500).saying("no")).await;
    let (app, _) = world.app(&receiver.url("/"), |_| ()).await;
    let message = world.publish(&app, "{}").await;
    world.deliveries(&message, |all| all[0].state == DeliveryState::Exhausted).await;
    assert_eq!(receiver.received().len(), 2);
    let now = world.store.log.store().app_by_no(app.no).await.unwrap().unwrap();
    assert!(now.endpoints[0].health.failing_since.is_some());
}

#[tokio::test]
async fn a_410_disables_the_endpoint_at_once() {
    let world = World::start("10ms,10ms").await;
    let receiver = Receiver::start(|_| Reply::status(410)).await;
    let (app, _) = world.app(&receiver.url("/"), |_| ()).await;
    let message = world.publish(&app, "{}").await;
    world.deliveries(&message, |all| all[0].state == DeliveryState::Exhausted).await;
    let state = world.store.snapshot(&app).await.endpoints[0].state;
    assert!(matches!(state, EndpointState::Disabled { reason: DisabledReason::Gone, .. }));
    let next = world.publish(&app, "{}").await;
    assert!(next.fanout.is_empty());
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn retry_after_puts_the_next_attempt_off() {
    let world = World::start("10ms").await;
    let receiver = Receiver::start(|_| Reply::status(429).with("retry-after", "3600")).await;
    let (app, _) = world.app(&receiver.url("/"), |_| ()).await;
    let message = world.publish(&app, "{}").await;
    let deliveries = world.deliveries(&message, |all| all[0].attempts == 1).await;
    let DeliveryState::Owed { due_at: Some(due_at), .. } = deliveries[0].state else { panic!("owed") };
    assert!(due_at.since(message.created_at) >= Duration::from_hours(1));
}

#[tokio::test]
async fn what_was_owed_before_a_start_is_delivered_after_it() {
    let store = TestStore::open(std::sync::Arc::new(TokioClock::start())).await;
    let receiver = Receiver::ok().await;
    let app = store.app("app").await;
    store.endpoint(&app, &receiver.url("/"), |_| ()).await;
    let snapshot = store.snapshot(&app).await;
    for n in 0..600 {
        let payload = pushpull_testkit::new_message(&format!("{{\"n\":{n}}}"));
        store.log.publish(&snapshot, payload, None).await.unwrap();
    }
    let world = World::over(store, "");
    let received = receiver.wait_for(600).await;
    let distinct: std::collections::HashSet<_> = received.iter().map(|r| r.body.clone()).collect();
    assert_eq!((received.len(), distinct.len()), (600, 600));
    world.dispatcher.stop(Duration::from_secs(5)).await;
    assert_eq!(world.store.log.store().ledger().await.unwrap().delivered, 600);
}

#[tokio::test]
async fn a_fifo_endpoint_gets_everything_in_order_and_waits_for_its_first() {
    let world = World::start("10ms,10ms,10ms").await;
    let receiver = Receiver::start(|request| Reply::status(if request.n % 3 == 2 { 200 } else { 500 })).await;
    let (app, _) = world.app(&receiver.url("/"), |endpoint| endpoint.fifo = true).await;
    let mut last = world.publish(&app, "0").await;
    for n in 1..20 {
        last = world.publish(&app, &n.to_string()).await;
    }
    world.deliveries(&last, delivered).await;
    let bodies: Vec<usize> = receiver
        .received()
        .iter()
        .map(|request| std::str::from_utf8(&request.body).unwrap().parse().unwrap())
        .collect();
    let expected: Vec<usize> = (0..20).flat_map(|n| [n, n, n]).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn a_fifo_endpoint_is_held_when_its_first_is_exhausted_and_goes_on_when_pushed_again() {
    let world = World::start("").await;
    let receiver = Receiver::start(|request| Reply::status(if request.n == 0 { 500 } else { 200 })).await;
    let (app, _) = world.app(&receiver.url("/"), |endpoint| endpoint.fifo = true).await;
    world.publish(&app, "0").await;
    let held = world
        .eventually(async || {
            let endpoint = world.store.snapshot(&app).await.endpoints[0].clone();
            (endpoint.mode == Mode::Held).then_some(endpoint)
        })
        .await;
    let next = world.publish(&app, "1").await;
    assert_eq!(receiver.received().len(), 1);
    let mut pushed = (*held).clone();
    pushed.mode = Mode::Push;
    world.store.log.store().update_endpoint(pushed).await.unwrap();
    world.deliveries(&next, delivered).await;
    assert_eq!(receiver.received()[1].body, "1");
}

#[tokio::test]
async fn a_rate_limit_is_enforced() {
    let world = World::start("").await;
    let receiver = Receiver::ok().await;
    let (app, _) = world.app(&receiver.url("/"), |endpoint| endpoint.rate_limit = Some(20)).await;
    let clock = TokioClock::start();
    for n in 0..20 {
        world.publish(&app, &n.to_string()).await;
    }
    receiver.wait_for(20).await;
    // Twenty starts at twenty a second, the first few in a burst of a tenth of a second's worth.
    assert!(clock.elapsed() >= Duration::from_millis(800), "{:?}", clock.elapsed());
}

#[tokio::test]
async fn recovery_sends_again_what_failed() {
    let world = World::start("").await;
    let receiver = Receiver::start(|request| Reply::status(if request.n < 5 { 500 } else { 200 })).await;
    let (app, endpoint) = world.app(&receiver.url("/"), |_| ()).await;
    let mut last = world.publish(&app, "0").await;
    for n in 1..5 {
        last = world.publish(&app, &n.to_string()).await;
    }
    receiver.wait_for(5).await;
    world.deliveries(&last, |all| all[0].state.is_settled()).await;
    let at = last.created_at;
    let recovery = pushpull_store::Recovery {
        task: pushpull_domain::TaskId::new(at, [1; 15]),
        app: app.no,
        endpoint: endpoint.no,
        since: app.created_at,
        until: at.after(Duration::from_secs(1)),
        updated_at: at,
    };
    // The last outcomes may still be on their way to the table.
    world
        .eventually(async || {
            let ledger = world.store.log.store().ledger().await.unwrap();
            (ledger.exhausted == 5).then_some(())
        })
        .await;
    world.store.log.store().start_recovery(recovery).await.unwrap();
    receiver.wait_for(10).await;
    world.deliveries(&last, delivered).await;
}
