//! What was tried.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use pushpull_domain::{
    AttemptId, Delivery, DeliveryState, Message, MessageKey, NewMessage, Position, Timestamp,
    attempt::{Attempt, ErrorClass, Outcome, Timings, Trigger},
};

use super::fixture::{
    Maker, START, URL, World, all, all_attempts, answer, check_pages, event_type, first_page, message,
    no_answer, owed_at,
};
use crate::{
    AttemptFilter, MessageFilter, Resent, Settlement, StoredAttempt, deliveries::AttemptWithMessage,
};

async fn of_message(world: &World, message: &Message) -> Vec<StoredAttempt> {
    world.store.attempts_for(message.key, all_attempts(), first_page(250)).await.unwrap().items
}

/// All that is known of an attempt comes back as it was written, whatever the answer was.
pub async fn an_attempt_reads_back_what_was_written(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let sent = world.publish(&app, message("x")).await;
    let mut delivery = world.delivery(&sent).await;
    let timings = Timings {
        wait: Duration::from_micros(1),
        dns: Some(Duration::from_micros(200)),
        connect: Some(Duration::ZERO),
        tls: None,
        first_byte: Some(Duration::from_millis(3)),
        total: Duration::from_secs(20),
    };
    let outcomes = [
        Outcome::Failed { class: ErrorClass::Tls, detail: "expired: ünïcode".to_owned() },
        Outcome::Refused { status: 503, body: Bytes::from_static(b"\xff\x00 busy"), retry_after: None },
        Outcome::Delivered { status: 299, body: Bytes::new() },
    ];
    let mut written = Vec::new();
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let trigger = if n == 1 { Trigger::Manual } else { Trigger::Scheduled };
        let started_at = START.after(Duration::from_secs(n as u64));
        let made = Attempt { started_at, trigger, outcome, timings };
        delivery = Delivery { state: owed_at(started_at), attempts: n as u32 + 1, ..delivery };
        let url = Arc::from(format!("{URL}/{n}"));
        let attempt = Some((made.clone(), Arc::clone(&url)));
        world.store.settle(vec![Settlement { delivery, attempt }]).await.unwrap();
        written.push((url, made));
    }
    let world = world.reopen(maker).await;
    let read = of_message(&world, &sent).await;
    assert_eq!(read.len(), 3);
    for (read, (url, made)) in read.iter().zip(&written) {
        assert_eq!((&read.url, &read.attempt), (url, made));
        assert_eq!((read.delivery, read.message), (delivery.key, sent.key));
        let by_id = world.store.attempt(sent.key, read.id).await.unwrap().unwrap();
        assert_eq!((by_id.id, &by_id.attempt), (read.id, made));
    }
}

/// An attempt is found through its own message only; a made-up id answers as an unknown one.
pub async fn an_attempt_is_found_through_its_message(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let sent = world.publish_many(&app, 2).await;
    world.settle(world.delivery(&sent[0]).await, answer(200), DeliveryState::Delivered).await;
    let id = of_message(&world, &sent[0]).await[0].id;
    let store = &world.store;
    assert!(store.attempt(sent[0].key, id).await.unwrap().is_some());
    assert!(store.attempt(sent[1].key, id).await.unwrap().is_none());
    let forged = AttemptId::of(id.at(), id.number(), id.salt() ^ 1);
    assert!(store.attempt(sent[0].key, forged).await.unwrap().is_none());
    let gone = MessageKey { position: Position(9), ..sent[0].key };
    assert!(store.attempt(gone, id).await.unwrap().is_none());
    assert!(store.attempts_for(gone, all_attempts(), first_page(9)).await.unwrap().items.is_empty());
}

/// A message that is sent again keeps its attempts: the chain goes on.
pub async fn attempts_stay_when_a_message_is_sent_again(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let sent = world.publish(&app, message("x")).await;
    for n in 0..6 {
        world.clock.advance(Duration::from_secs(1));
        let state = if n % 3 == 2 { DeliveryState::Exhausted } else { owed_at(world.clock_now()) };
        let delivery = world.delivery(&sent).await;
        assert_eq!(delivery.attempts, n % 3, "counted from when it was last asked for by hand");
        world.settle(delivery, answer(500), state).await;
        if n == 2 {
            assert_eq!(world.store.resend(sent.key, endpoint.no).await.unwrap(), Resent::Owed);
        }
    }
    let made: Vec<Timestamp> =
        of_message(&world, &sent).await.iter().map(|attempt| attempt.attempt.started_at).collect();
    let expected: Vec<_> = (1..=6).map(|secs| START.after(Duration::from_secs(secs))).collect();
    assert_eq!(made, expected);
}

/// Three endpoints, one of which answers 200, one 404 and one not at all, for messages of two types.
async fn many_attempts(world: &World) -> (Vec<Arc<Message>>, Vec<StoredAttempt>) {
    let app = world.app("one").await;
    let mut endpoints = Vec::new();
    for _ in 0..3 {
        endpoints.push(world.endpoint(&app).await);
    }
    let (mut sent, mut made) = (Vec::new(), Vec::new());
    for n in 0..4_usize {
        let new = NewMessage {
            event_type: event_type(["a", "b"][n % 2]),
            channels: if n < 2 { vec!["x".parse().unwrap()] } else { Vec::new() },
            tags: if n == 3 { vec!["t".parse().unwrap()] } else { Vec::new() },
            ..message(&n.to_string())
        };
        let message = world.publish(&app, new).await;
        for delivery in world.store.deliveries_of(message.key).await.unwrap() {
            world.clock.advance(Duration::from_millis(5));
            let (outcome, state) = if delivery.key.endpoint == endpoints[0].no {
                (answer(200), DeliveryState::Delivered)
            } else if delivery.key.endpoint == endpoints[1].no {
                (answer(404), owed_at(world.clock_now()))
            } else {
                (no_answer(), DeliveryState::Exhausted)
            };
            world.settle(delivery, outcome, state).await;
        }
        made.extend(of_message(world, &message).await);
        sent.push(message);
    }
    (sent, made)
}

/// The attempts of an endpoint are listed in the order in which they ended, with their messages.
pub async fn attempts_of_an_endpoint_are_listed_in_pages(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (sent, made) = many_attempts(&world).await;
    let endpoint = made[1].delivery.endpoint;
    let check = async |filter: AttemptFilter, wanted: &dyn Fn(usize) -> bool| {
        let expected: Vec<AttemptId> = (0..4).filter(|n| wanted(*n)).map(|n| made[3 * n + 1].id).collect();
        let read = async |page| world.store.attempts_at(endpoint, filter.clone(), page).await.unwrap();
        check_pages(&expected, |item: &AttemptWithMessage| item.0.id, read).await;
    };
    let of = |message: MessageFilter| AttemptFilter { message, ..all_attempts() };
    check(all_attempts(), &|_| true).await;
    check(AttemptFilter { delivered: Some(true), ..all_attempts() }, &|_| false).await;
    check(AttemptFilter { delivered: Some(false), ..all_attempts() }, &|_| true).await;
    check(AttemptFilter { status_class: Some(4), ..all_attempts() }, &|_| true).await;
    check(AttemptFilter { status_class: Some(0), ..all_attempts() }, &|_| false).await;
    let types = HashSet::from([event_type("b")]);
    check(of(MessageFilter { event_types: types, ..all() }), &|n| n % 2 == 1).await;
    check(of(MessageFilter { channel: Some("x".parse().unwrap()), ..all() }), &|n| n < 2).await;
    check(of(MessageFilter { tag: Some("t".parse().unwrap()), ..all() }), &|n| n == 3).await;
    // Times are the attempts'.
    let at = |n: usize| Some(made[3 * n + 1].attempt.started_at);
    check(of(MessageFilter { after: at(1), ..all() }), &|n| n > 1).await;
    check(of(MessageFilter { after: at(0), before: at(3), ..all() }), &|n| n == 1 || n == 2).await;
    let with = world.store.attempts_at(endpoint, all_attempts(), first_page(250)).await.unwrap();
    for ((attempt, with), message) in with.items.iter().zip(&sent) {
        assert_eq!((attempt.message, with.id), (message.key, message.id));
    }
}

/// The attempts made for a message are listed by id, over all its endpoints.
pub async fn attempts_for_a_message_are_listed_in_pages(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (sent, made) = many_attempts(&world).await;
    let message = sent[0].key;
    let check = async |filter: AttemptFilter, expected: &[usize]| {
        let expected: Vec<AttemptId> = expected.iter().map(|n| made[*n].id).collect();
        let read = async |page| world.store.attempts_for(message, filter.clone(), page).await.unwrap();
        check_pages(&expected, |item: &StoredAttempt| item.id, read).await;
    };
    let of = |message: MessageFilter| AttemptFilter { message, ..all_attempts() };
    check(all_attempts(), &[0, 1, 2]).await;
    check(AttemptFilter { delivered: Some(true), ..all_attempts() }, &[0]).await;
    check(AttemptFilter { delivered: Some(false), ..all_attempts() }, &[1, 2]).await;
    for (class, expected) in [(0, &[2][..]), (2, &[0]), (4, &[1]), (5, &[])] {
        check(AttemptFilter { status_class: Some(class), ..all_attempts() }, expected).await;
    }
    let endpoint = Some(made[2].delivery.endpoint);
    check(AttemptFilter { endpoint, ..all_attempts() }, &[2]).await;
    let at = |n: usize| Some(made[n].attempt.started_at);
    check(of(MessageFilter { after: at(0), ..all() }), &[1, 2]).await;
    check(of(MessageFilter { before: at(2), ..all() }), &[0, 1]).await;
    check(of(MessageFilter { channel: Some("x".parse().unwrap()), ..all() }), &[0, 1, 2]).await;
    check(of(MessageFilter { tag: Some("t".parse().unwrap()), ..all() }), &[]).await;
}

/// The answer kept of an attempt can be erased; the attempt stays.
pub async fn the_answer_of_an_attempt_is_erased(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (sent, made) = many_attempts(&world).await;
    let store = &world.store;
    for _ in 0..2 {
        assert!(store.expunge_attempt(sent[0].key, made[1].id).await.unwrap());
        let read = store.attempt(sent[0].key, made[1].id).await.unwrap().unwrap();
        let expected = Outcome::Refused { status: 404, body: Bytes::new(), retry_after: None };
        assert_eq!(read.attempt.outcome, expected);
    }
    assert!(!store.expunge_attempt(sent[1].key, made[1].id).await.unwrap(), "of another message");
    let kept = store.attempt(sent[0].key, made[0].id).await.unwrap().unwrap();
    assert_eq!(kept.attempt, made[0].attempt);
}

/// Batches of outcomes are written in the order given, many for one delivery too.
pub async fn outcomes_are_written_in_the_order_given(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let sent = world.publish_many(&app, 20).await;
    let mut batch = Vec::new();
    for round in 1..=3 {
        for message in &sent {
            let state = if round == 3 { DeliveryState::Delivered } else { owed_at(START) };
            let delivery = Delivery { state, attempts: round, ..world.delivery(message).await };
            let outcome = if round == 3 { answer(200) } else { answer(500) };
            let made = super::fixture::attempt(START.after(Duration::from_secs(round.into())), outcome);
            batch.push(Settlement { delivery, attempt: Some((made, Arc::from(URL))) });
        }
    }
    world.store.settle(batch).await.unwrap();
    for message in &sent {
        let delivery = world.delivery(message).await;
        assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Delivered, 3));
        let statuses: Vec<_> =
            of_message(&world, message).await.iter().map(|a| a.attempt.outcome.status()).collect();
        assert_eq!(statuses, [Some(500), Some(500), Some(200)]);
    }
    world.owes_pushed(0).await;
}
