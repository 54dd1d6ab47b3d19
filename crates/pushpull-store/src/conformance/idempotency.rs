//! Requests that may be repeated.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{App, Message, NewMessage};
use tokio::task::JoinSet;

use super::fixture::{Maker, NINETY_DAYS, World, all, first_page, message, too_old};
use crate::{Append, Appended, Idempotency, Published};

async fn publish(world: &World, app: &App, key: &str, payload: &str) -> Published {
    let idempotency = Idempotency { key: key.into(), request_hash: hash(payload) };
    world.log.publish(&world.snapshot(app).await, message(payload), Some(idempotency)).await.unwrap()
}

fn hash(payload: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash[..payload.len()].copy_from_slice(payload.as_bytes());
    hash
}

#[track_caller]
fn stored(published: Published) -> Arc<Message> {
    match published {
        Published::Stored(message) => message,
        other => panic!("not stored: {other:?}"),
    }
}

#[track_caller]
fn repeated(published: Published) -> Arc<Message> {
    match published {
        Published::Repeated(message) => message,
        other => panic!("not repeated: {other:?}"),
    }
}

/// The same request again is answered with what the first one stored; another one under its key is refused.
pub async fn a_repeated_request_stores_one_message(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, other) = (world.app("one").await, world.app("two").await);
    world.endpoint(&app).await;
    let first = stored(publish(&world, &app, "key", "a").await);
    assert_eq!(repeated(publish(&world, &app, "key", "a").await).id, first.id);
    assert!(matches!(publish(&world, &app, "key", "b").await, Published::KeyReused));
    stored(publish(&world, &other, "key", "b").await);
    stored(publish(&world, &app, "another key", "a").await);

    let world = world.reopen(maker).await;
    let again = repeated(publish(&world, &app, "key", "a").await);
    assert_eq!((again.id, &again.payload), (first.id, &first.payload));
    assert!(matches!(publish(&world, &app, "key", "b").await, Published::KeyReused));
    assert_eq!(world.store.messages(app.no, all(), first_page(9)).await.unwrap().items.len(), 2);
    world.owes_pushed(2).await;
}

/// A key counts for 12 hours; then it begins anew, whether it was trimmed or not.
pub async fn a_key_counts_for_twelve_hours(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let first = stored(publish(&world, &app, "key", "a").await);
    world.clock.advance(Duration::from_millis(12 * 3_600_000 - 1));
    world.trim(NINETY_DAYS).await;
    assert_eq!(repeated(publish(&world, &app, "key", "a").await).id, first.id);
    world.clock.advance(Duration::from_millis(1));
    let second = stored(publish(&world, &app, "key", "b").await);
    assert_eq!(repeated(publish(&world, &app, "key", "b").await).id, second.id);
    world.clock.advance(Duration::from_hours(12));
    world.trim(NINETY_DAYS).await;
    stored(publish(&world, &app, "key", "c").await);
}

/// A message that is gone cannot be answered with: the request counts as new.
pub async fn a_key_of_a_message_that_is_gone_begins_anew(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    // Before midnight, so that the day is over too.
    world.clock.advance(Duration::from_hours(14));
    let first = stored(publish(&world, &app, "key", "a").await);
    let short = crate::Retention { messages: Duration::from_hours(1), ..NINETY_DAYS };
    world.clock.advance(Duration::from_hours(2));
    world.trim(short).await;
    let second = stored(publish(&world, &app, "key", "a").await);
    assert_ne!(second.id, first.id);
}

/// Of many that ask at once with one key, one stores and the others are answered with what it stored.
pub async fn concurrent_requests_with_one_key_store_one_message(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let snapshot = world.snapshot(&app).await;
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let append = Append {
            app: app.no,
            version: snapshot.version,
            message: message("a"),
            targets: vec![crate::Target { endpoint: snapshot.endpoints[0].no, pushed: true }],
            idempotency: Some(Idempotency { key: "key".into(), request_hash: hash("a") }),
        };
        let store = Arc::clone(&world.store);
        callers.spawn(async move { store.append(append).await.unwrap() });
    }
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for appended in callers.join_all().await {
        match appended {
            Appended::Stored(message) => first.push(message.id),
            Appended::Repeated(message) => again.push(message.id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((first.len(), again.len()), (1, 31));
    assert!(again.iter().all(|id| *id == first[0]));
    world.owes_pushed(1).await;
}

/// The key is asked before the event id, so that a repeated request is no clash with itself.
pub async fn a_repeated_request_does_not_clash_with_its_own_event_id(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let publish = async |key: &str| {
        let new = NewMessage { event_id: Some("evt".parse().unwrap()), ..message("a") };
        let idempotency = Idempotency { key: key.into(), request_hash: hash("a") };
        world.log.publish(&world.snapshot(&app).await, new, Some(idempotency)).await.unwrap()
    };
    let first = stored(publish("key").await);
    assert_eq!(repeated(publish("key").await).id, first.id);
    assert!(matches!(publish("other").await, Published::EventIdTaken));
    // What was refused did not take its key.
    world.clock.advance(too_old(maker));
    world.trim(NINETY_DAYS).await;
    stored(publish("other").await);
}
