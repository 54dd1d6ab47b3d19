//! Who moves along an endpoint's deliveries, and what a change of that leaves behind.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{
    DeliveryState, Endpoint, EndpointState, Mode, PushFrom, Seq, Timestamp,
    attempt::Trigger,
    endpoint::{DisabledReason, FAILING_MAX},
};

use super::{
    Maker,
    fixture::{World, answer, message, owed_at},
};
use crate::{ConsumerKey, ConsumerSettings, DueOrder, WriteError};

/// More than one step of a change of mode.
const MANY: usize = 4_500;

const OWED: DeliveryState = DeliveryState::Owed { due_at: None, trigger: Trigger::Scheduled };

async fn switch(world: &World, endpoint: &Endpoint, mode: Mode, from: PushFrom) -> Arc<Endpoint> {
    let read = world.store.app_by_no(endpoint.app).await.unwrap().unwrap();
    let read = read.endpoints.iter().find(|e| e.no == endpoint.no).unwrap();
    let endpoint = Endpoint { mode, ..(**read).clone() };
    world.store.update_endpoint_from(endpoint, from).await.unwrap()
}

async fn to(world: &World, endpoint: &Endpoint, mode: Mode) -> Arc<Endpoint> {
    switch(world, endpoint, mode, PushFrom::Readers).await
}

async fn finish_moves(world: &World) {
    for recovery in world.store.recoveries().await.unwrap() {
        while !world.store.step_recovery(recovery.task).await.unwrap().done {}
    }
}

async fn due(world: &World, endpoint: &Endpoint, order: DueOrder) -> Vec<u64> {
    let due = world.store.due(endpoint.no, order, Vec::new(), MANY * 2).await.unwrap();
    due.items.iter().map(|item| item.delivery.key.seq.0).collect()
}

async fn due_now(world: &World, endpoint: &Endpoint) -> Vec<u64> {
    due(world, endpoint, DueOrder::ByTime { until: world.clock_now() }).await
}

/// Of an endpoint that leaves push nothing is due any more, at once: not what waits for its next attempt, and not what
/// has not had one. It all stays owed, in its place.
pub async fn what_leaves_push_is_not_due_any_more(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let (endpoint, other) = (world.endpoint(&app).await, world.endpoint(&app).await);
    let sent = world.publish_many(&app, MANY).await;
    let first = world.store.deliveries_of(sent[0].key).await.unwrap()[0];
    world.settle(first, answer(500), owed_at(world.clock_now().after(Duration::from_mins(5)))).await;
    to(&world, &endpoint, Mode::Pull).await;
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(due_now(&world, &endpoint).await, [0; 0]);
    assert_eq!(due(&world, &endpoint, DueOrder::BySeq { from: Seq(0) }).await, [0; 0]);
    let owed: Vec<_> = world.store.owed_endpoints().await.unwrap().iter().map(|o| o.endpoint).collect();
    assert_eq!(owed, [other.no]);
    finish_moves(&world).await;
    assert_eq!(world.store.backlog().await.unwrap().pending, MANY as u64, "those of the other");
    world.owes(MANY as u64 * 2).await;

    world.publish(&app, message("new")).await;
    to(&world, &endpoint, Mode::Push).await;
    finish_moves(&world).await;
    let all: Vec<u64> = (1..=MANY as u64 + 1).collect();
    assert_eq!(due_now(&world, &endpoint).await, all, "nothing was read: it is all pushed");
    world.owes_pushed(MANY as u64 * 2 + 2).await;
}

/// What was in flight when its endpoint left push is written as it ended: a success for good, a failure as owed to
/// whoever moves along now, whatever its schedule says.
pub async fn what_was_in_flight_at_a_change_of_mode_is_written_as_it_ended(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let sent = world.publish_many(&app, 3).await;
    let mut flying = Vec::new();
    for message in &sent {
        flying.push(world.delivery(message).await);
    }
    to(&world, &endpoint, Mode::Held).await;
    let later = owed_at(world.clock_now().after(Duration::from_mins(5)));
    world.settle(flying[0], answer(200), DeliveryState::Delivered).await;
    world.settle(flying[1], answer(500), later).await;
    world.settle(flying[2], answer(500), DeliveryState::Exhausted).await;
    for (message, expected) in sent.iter().zip([DeliveryState::Delivered, OWED, OWED]) {
        let delivery = world.delivery(message).await;
        assert_eq!((delivery.state, delivery.attempts), (expected, 1));
    }
    world.owes(2).await;
    assert_eq!(world.store.backlog().await.unwrap().pending, 0);
}

/// An endpoint that leaves push drains until the dispatcher says that nothing of it is in flight; another change of
/// mode is another moment, which what is said of the one before does not end.
pub async fn an_endpoint_drains_until_it_is_said_to_be_over(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let draining = async || world.store.draining_endpoints().await.unwrap();
    assert_eq!(draining().await, []);
    let since = async |mode| to(&world, &endpoint, mode).await.draining_since;
    let first = since(Mode::Pull).await.unwrap();
    assert_eq!(draining().await, [(endpoint.no, app.no)]);
    assert_eq!(since(Mode::Held).await, Some(first), "still the same");
    assert_eq!(since(Mode::Push).await, None, "pushed again it has nothing to drain");
    let second = since(Mode::Pull).await.unwrap();
    assert!(second > first);

    assert!(!world.store.end_draining(endpoint.no, first).await.unwrap());
    assert_eq!(draining().await, [(endpoint.no, app.no)]);
    let before = world.snapshot(&app).await.version;
    assert!(world.store.end_draining(endpoint.no, second).await.unwrap());
    assert!(!world.store.end_draining(endpoint.no, second).await.unwrap());
    assert_eq!(draining().await, []);
    let after = world.snapshot(&app).await;
    assert_eq!(after.endpoints[0].draining_since, None);
    assert!(after.version > before, "readers are told");

    to(&world, &endpoint, Mode::Push).await;
    to(&world, &endpoint, Mode::Pull).await;
    let world = world.reopen(maker).await;
    assert_eq!(world.store.draining_endpoints().await.unwrap(), [(endpoint.no, app.no)], "over a restart");
    world.store.delete_endpoint(endpoint.no).await.unwrap();
    assert_eq!(world.store.draining_endpoints().await.unwrap(), []);
}

/// An endpoint that is pushed again goes on where it is told to; what readers were done with stays where it is, also
/// for an endpoint that keeps order, and for a recovery. By hand it can be sent still.
pub async fn what_readers_were_done_with_is_not_pushed(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.fifo = true).await;
    let sent = world.publish_many(&app, 2).await;
    for message in &sent {
        let again = owed_at(world.clock_now().after(Duration::from_mins(5)));
        world.settle(world.delivery(message).await, answer(500), again).await;
    }
    to(&world, &endpoint, Mode::Pull).await;
    let pushed = switch(&world, &endpoint, Mode::Push, PushFrom::Latest).await;
    assert_eq!(pushed.read_seq, Seq(2));
    world.clock.advance(Duration::from_secs(1));
    world.publish_many(&app, 1).await;
    let in_order = DueOrder::BySeq { from: Seq(0) };
    assert_eq!(due_now(&world, &endpoint).await, [3]);
    assert_eq!(due(&world, &endpoint, in_order).await, [3]);
    world.owes(3).await;

    // Its own place is kept for the next time.
    to(&world, &endpoint, Mode::Held).await;
    let again = to(&world, &endpoint, Mode::Push).await;
    assert_eq!(again.read_seq, Seq(2));
    assert_eq!(due_now(&world, &endpoint).await, [3]);
    world.store.resend(sent[1].key, endpoint.no).await.unwrap();
    assert_eq!(due(&world, &endpoint, in_order).await, [2, 3]);

    to(&world, &endpoint, Mode::Held).await;
    let everything = switch(&world, &endpoint, Mode::Push, PushFrom::Earliest).await;
    assert_eq!(everything.read_seq, Seq(0));
    assert_eq!(due(&world, &endpoint, in_order).await, [1, 2, 3]);
    world.owes_pushed(3).await;
}

/// However much was due when an endpoint left push, what its readers were done with when it is pushed again is not due,
/// at once and for good. By hand it can be sent still, until it succeeds.
pub async fn what_readers_were_done_with_of_a_long_queue_is_not_pushed(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let (skipping, read) = (world.endpoint(&app).await, world.endpoint(&app).await);
    let sent = world.publish_many(&app, MANY).await;
    let (done, last) = (MANY as u64 - 10, MANY as u64);
    let behind: Vec<u64> = (done + 1..=last).collect();
    let reader = ConsumerKey { endpoint: read.no, name: "reader".parse().unwrap() };
    let made = world.store.create_consumer(reader, Some(Seq(done)), ConsumerSettings::default()).await;
    assert_eq!(made.unwrap().unwrap().committed, Seq(done));
    for endpoint in [&skipping, &read] {
        to(&world, endpoint, Mode::Pull).await;
    }
    switch(&world, &skipping, Mode::Push, PushFrom::Latest).await;
    to(&world, &read, Mode::Push).await;
    let in_order = DueOrder::BySeq { from: Seq(0) };
    for order in [DueOrder::ByTime { until: world.clock_now() }, in_order] {
        assert_eq!(due(&world, &skipping, order).await, [0; 0]);
        assert_eq!(due(&world, &read, order).await, behind);
    }
    world.store.resend(sent[MANY - 20].key, skipping.no).await.unwrap();
    let again = last - 19;
    assert_eq!(due_now(&world, &skipping).await, [again]);
    finish_moves(&world).await;
    assert_eq!(due_now(&world, &skipping).await, [again]);
    assert_eq!(due(&world, &skipping, in_order).await, [again]);
    assert_eq!(due_now(&world, &read).await, behind);
    assert_eq!(world.store.backlog().await.unwrap().pending, 11);
    world.owes(last * 2).await;

    let deliveries = world.store.deliveries_of(sent[MANY - 20].key).await.unwrap();
    let failed = deliveries.into_iter().find(|delivery| delivery.key.endpoint == skipping.no).unwrap();
    world.settle(failed, answer(500), owed_at(world.clock_now().after(Duration::from_mins(5)))).await;
    world.publish(&app, message("new")).await;
    assert_eq!(due_now(&world, &skipping).await, [last + 1]);
    world.clock.advance(Duration::from_mins(5));
    assert_eq!(due_now(&world, &skipping).await, [last + 1, again]);
}

/// What an earlier change of mode has left to do does not go on behind a later one's place.
pub async fn a_change_of_mode_ends_what_an_earlier_one_left_to_do(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let held = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Held).await;
    world.publish_many(&app, MANY).await;
    to(&world, &held, Mode::Push).await;
    to(&world, &held, Mode::Held).await;
    switch(&world, &held, Mode::Push, PushFrom::Latest).await;
    finish_moves(&world).await;
    assert_eq!(due_now(&world, &held).await, [0; 0]);
    to(&world, &held, Mode::Held).await;
    switch(&world, &held, Mode::Push, PushFrom::Earliest).await;
    finish_moves(&world).await;
    assert_eq!(due_now(&world, &held).await.len(), MANY);
    world.owes_pushed(MANY as u64).await;
}

/// What is to be delivered later is not due before, though the endpoint was not pushed when it came.
pub async fn what_is_pushed_again_waits_for_its_own_time(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let held = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Held).await;
    let at: Timestamp = world.clock_now().after(Duration::from_hours(1));
    world.publish(&app, pushpull_domain::NewMessage { deliver_at: Some(at), ..message("later") }).await;
    to(&world, &held, Mode::Push).await;
    assert_eq!(due_now(&world, &held).await, [0; 0]);
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(due_now(&world, &held).await, [1]);
}

/// Going on from a consumer that does not exist is refused, and nothing is changed.
pub async fn a_consumer_to_go_on_from_must_exist(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let held = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Held).await;
    let pushed = Endpoint { mode: Mode::Push, ..(*held).clone() };
    let from = PushFrom::Consumer("nobody".parse().unwrap());
    let refused = world.store.update_endpoint_from(pushed, from).await;
    assert!(matches!(&refused, Err(WriteError::WhichConsumer(all)) if all.is_empty()), "{refused:?}");
    assert_eq!(world.snapshot(&app).await.endpoints[0], held);
}

/// Pushed again, an endpoint goes on after what its only reader has committed; of several the one must be named, and
/// nothing is changed if it is not.
pub async fn an_endpoint_is_pushed_again_where_its_reader_is(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
    world.publish_many(&app, 6).await;
    let reader = async |name: &str, committed| {
        let key = ConsumerKey { endpoint: endpoint.no, name: name.parse().unwrap() };
        let made = world.store.create_consumer(key, Some(Seq(committed)), ConsumerSettings::default()).await;
        assert_eq!(made.unwrap().unwrap().committed, Seq(committed));
    };
    reader("b", 4).await;
    assert_eq!(to(&world, &endpoint, Mode::Push).await.read_seq, Seq(4));
    assert_eq!(due_now(&world, &endpoint).await, [5, 6]);

    to(&world, &endpoint, Mode::Pull).await;
    reader("a", 2).await;
    let read = Arc::clone(&world.snapshot(&app).await.endpoints[0]);
    let pushed = Endpoint { mode: Mode::Push, ..(*read).clone() };
    let refused = world.store.update_endpoint(pushed).await;
    assert!(matches!(&refused, Err(WriteError::WhichConsumer(all)) if *all == ["a", "b"]), "{refused:?}");
    assert_eq!(world.snapshot(&app).await.endpoints[0], read);
    let from = PushFrom::Consumer("a".parse().unwrap());
    assert_eq!(switch(&world, &endpoint, Mode::Push, from).await.read_seq, Seq(2));
    assert_eq!(due_now(&world, &endpoint).await, [3, 4, 5, 6]);
}

/// An endpoint is held if it is to be and is pushed; it goes on taking messages, nothing of it is due, and pushed again
/// its record of failures begins anew. One that is not pushed is not disabled either.
pub async fn an_endpoint_that_fails_is_held(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let plain = world.endpoint(&app).await;
    assert!(!world.store.hold_endpoint(plain.no).await.unwrap(), "it is to be disabled instead");
    world.store.delete_endpoint(plain.no).await.unwrap();
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.hold_when_failing = true).await;
    assert!(world.snapshot(&app).await.endpoints[0].hold_when_failing);
    world.publish(&app, message("before")).await;
    let failing = pushpull_domain::Health { failing_since: Some(world.clock_now()), notified: true };
    world.store.set_health(endpoint.no, failing).await.unwrap();
    world.clock.advance(FAILING_MAX);

    assert!(world.store.hold_endpoint(endpoint.no).await.unwrap());
    assert!(!world.store.hold_endpoint(endpoint.no).await.unwrap(), "it is already");
    assert!(!world.store.disable_endpoint(endpoint.no, DisabledReason::Gone).await.unwrap());
    let held = Arc::clone(&world.snapshot(&app).await.endpoints[0]);
    assert_eq!((held.mode, held.state), (Mode::Held, EndpointState::Enabled));
    assert_eq!(held.draining_since, Some(held.updated_at));
    assert!(held.updated_at > endpoint.updated_at);
    world.publish(&app, message("after")).await;
    assert_eq!(due_now(&world, &endpoint).await, [0; 0]);
    assert_eq!(world.store.backlog().await.unwrap().pending, 0);

    let pushed = to(&world, &endpoint, Mode::Push).await;
    assert_eq!(pushed.health, pushpull_domain::Health::default());
    assert_eq!(world.snapshot(&app).await.endpoints[0], pushed);
    assert_eq!(due_now(&world, &endpoint).await, [1, 2]);
    world.owes_pushed(2).await;
}
