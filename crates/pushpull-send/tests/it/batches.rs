//! Several messages in one request, to endpoints that keep order.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{Batch, Delivery, DeliveryState};
use pushpull_store::Published;
use pushpull_testkit::{Received, Receiver, Reply, TokioClock, new_message};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::World;

fn batches(size: u16, wait_secs: u16) -> impl FnOnce(&mut pushpull_domain::Endpoint) {
    move |endpoint| {
        endpoint.fifo = true;
        endpoint.batch = Batch { size, wait_secs };
    }
}

/// The payloads in a request.
fn payloads(received: &Received) -> Vec<Value> {
    let items: Vec<Value> = serde_json::from_slice(&received.body).unwrap();
    items.into_iter().map(|item| item["payload"].clone()).collect()
}

fn are_delivered(all: &[Delivery]) -> bool {
    all[0].state == DeliveryState::Delivered
}

#[tokio::test]
async fn a_full_batch_goes_out_as_a_list_with_one_signature() {
    let world = World::start("").await;
    let receiver = Receiver::ok().await;
    let (app, endpoint) = world.app(&receiver.url("/"), batches(3, 300)).await;
    let first = world.publish(&app, r#"{ "n": 1 }"#).await;
    let mut raw = new_message("<a/>");
    raw.content_type = Some("text/xml".into());
    raw.event_id = "evt-2".parse().ok();
    raw.channels = vec!["eu".parse().unwrap()];
    raw.tags = vec![r"a\b".parse().unwrap()];
    let snapshot = world.store.snapshot(&app).await;
    let Published::Stored(second) = world.store.log.publish(&snapshot, raw, None).await.unwrap() else {
        panic!("not stored")
    };
    let third = world.publish(&app, "3").await;
    let received = receiver.wait_for(1).await;
    let request = &received[0];
    assert_eq!(request.header("webhook-id"), format!("{}_3", first.id));
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!((request.header("pushpull-seq"), request.header("pushpull-position")), ("1", "1"));
    assert!(request.is_signed_with(&endpoint.secrets.current.to_verifier_text()));
    let items: Value = serde_json::from_slice(&request.body).unwrap();
    let at = |message: &pushpull_domain::Message| message.created_at.to_string();
    assert_eq!(
        items,
        json!([
            { "id": first.id, "eventType": "test.event", "payload": { "n": 1 }, "timestamp": at(&first), "seq": 1,
              "position": 1 },
            { "id": second.id, "eventType": "test.event", "payload": "<a/>", "contentType": "text/xml",
              "eventId": "evt-2", "channels": ["eu"], "tags": [r"a\b"], "timestamp": at(&second), "seq": 2,
              "position": 2 },
            { "id": third.id, "eventType": "test.event", "payload": 3, "timestamp": at(&third), "seq": 3,
              "position": 3 },
        ])
    );
    assert!(String::from_utf8_lossy(&request.body).contains(r#"{ "n": 1 }"#), "as it came");
    for message in [&first, &second, &third] {
        world.deliveries(message, are_delivered).await;
        assert_eq!(world.attempts(message).await.len(), 1);
    }
}

#[tokio::test]
async fn a_batch_that_is_not_full_goes_out_when_its_first_has_waited() {
    let world = World::start("").await;
    let receiver = Receiver::ok().await;
    let (app, _) = world.app(&receiver.url("/"), batches(10, 1)).await;
    let clock = TokioClock::start();
    world.publish(&app, "1").await;
    world.publish(&app, "2").await;
    let received = receiver.wait_for(1).await;
    assert!(clock.elapsed() >= Duration::from_millis(900), "{:?}", clock.elapsed());
    assert_eq!(payloads(&received[0]), [json!(1), json!(2)]);
    let last = world.publish(&app, "3").await;
    world.deliveries(&last, are_delivered).await;
    assert_eq!(payloads(&receiver.received()[1]), [json!(3)]);
}

#[tokio::test]
async fn a_batch_is_filled_although_the_endpoint_was_looked_at_again_meanwhile() {
    let world = World::start("").await;
    let receiver = Receiver::ok().await;
    let (app, endpoint) = world.app(&receiver.url("/"), batches(3, 300)).await;
    let first = world.publish(&app, "1").await;
    world.publish(&app, "2").await;
    world.eventually(async || (world.dispatcher.load().deliveries == 2).then_some(())).await;
    world.store.log.store().resend(first.key, endpoint.no).await.unwrap();
    world.publish(&app, "3").await;
    let received = receiver.wait_for(1).await;
    assert_eq!(payloads(&received[0]), [json!(1), json!(2), json!(3)]);
}

#[tokio::test]
async fn a_batch_that_failed_is_sent_again_as_it_was() {
    let world = World::start("10ms").await;
    let gate = Arc::new(Semaphore::new(0));
    let behind = Arc::clone(&gate);
    let receiver =
        Receiver::start(
            move |request| {
                if request.n == 0 { Reply::status(503).behind(&behind) } else { Reply::status(200) }
            },
        )
        .await;
    let (app, _) = world.app(&receiver.url("/"), batches(2, 300)).await;
    world.publish(&app, "1").await;
    let second = world.publish(&app, "2").await;
    receiver.wait_for(1).await;
    world.publish(&app, "3").await;
    gate.add_permits(1);
    world.deliveries(&second, are_delivered).await;
    let fourth = world.publish(&app, "4").await;
    world.deliveries(&fourth, are_delivered).await;
    let received = receiver.received();
    assert_eq!(received.len(), 3);
    assert_eq!(received[0].body, received[1].body);
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    assert_eq!(payloads(&received[2]), [json!(3), json!(4)]);
    assert_eq!(world.attempts(&second).await.len(), 2);
}

#[tokio::test]
async fn a_batch_is_given_up_as_a_whole_and_holds_its_endpoint() {
    let world = World::start("").await;
    let receiver = Receiver::start(|_| Reply::status(500)).await;
    let (app, _) = world.app(&receiver.url("/"), batches(2, 300)).await;
    let messages = [world.publish(&app, "1").await, world.publish(&app, "2").await];
    for message in &messages {
        world.deliveries(message, |all| all[0].state == DeliveryState::Exhausted).await;
    }
    world
        .eventually(async || {
            let snapshot = world.store.snapshot(&app).await;
            (snapshot.endpoints[0].mode == pushpull_domain::Mode::Held).then_some(())
        })
        .await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn what_is_not_due_yet_goes_out_neither_with_a_batch_nor_after_it() {
    let world = World::start("10ms").await;
    for size in [1, 3] {
        let receiver = Receiver::start(|request| Reply::status(if request.n == 0 { 503 } else { 200 })).await;
        let app = world.store.app(&format!("of-{size}")).await;
        world.store.endpoint(&app, &receiver.url("/"), batches(size, 0)).await;
        let first = world.publish(&app, "1").await;
        let mut later = new_message("2");
        later.deliver_at = Some(world.store.clock.now().after(Duration::from_hours(1)));
        let snapshot = world.store.snapshot(&app).await;
        world.store.log.publish(&snapshot, later, None).await.unwrap();
        // Tried again, and so looked for in the table, where what is not due yet stands behind it.
        world.deliveries(&first, are_delivered).await;
        let behind = world.publish(&app, "3").await;
        world.eventually(async || (world.dispatcher.load().deliveries == 0).then_some(())).await;
        let owed = world.deliveries(&behind, |_| true).await;
        assert_eq!(owed[0].attempts, 0, "in order, it waits too");
        let id = if size == 1 { first.id.to_string() } else { format!("{}_1", first.id) };
        for received in receiver.received() {
            assert_eq!(received.header("webhook-id"), id);
        }
    }
}
