//! What is owed, and how it ends.

use std::{collections::HashSet, time::Duration};

use pushpull_domain::{
    CancelReason, Delivery, DeliveryKey, DeliveryState, Endpoint, Mode, NewMessage, Seq, Timestamp,
    attempt::Trigger, endpoint::DisabledReason,
};

use super::fixture::{
    Maker, NINETY_DAYS, START, World, all, answer, check_pages, event_type, message, no_answer, owed_at,
    too_old,
};
use crate::{
    DeliveryCounts, DeliveryStatus, DueDelivery, DueOrder, MessageFilter, OwedEndpoint, Resent, Settlement,
};

async fn due(world: &World, endpoint: &Endpoint, order: DueOrder, skip: &[u64], limit: usize) -> Vec<u64> {
    let skip = skip.iter().map(|seq| Seq(*seq)).collect();
    let page = world.store.due(endpoint.no, order, skip, limit).await.unwrap();
    page.items.iter().map(|item| item.delivery.key.seq.0).collect()
}

fn in_secs(secs: u64) -> Timestamp {
    START.after(Duration::from_secs(secs))
}

/// By time: the earliest first, nothing that is not due yet, and then when the next is due.
pub async fn what_is_due_comes_in_the_order_of_time(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let other = world.endpoint(&app).await;
    for secs in [30, 10, 20, 10] {
        world.publish(&app, NewMessage { deliver_at: Some(in_secs(secs)), ..message("x") }).await;
    }
    let until = |secs| DueOrder::ByTime { until: in_secs(secs) };
    assert_eq!(due(&world, &endpoint, until(9), &[], 9).await, [0; 0]);
    assert_eq!(due(&world, &endpoint, until(10), &[], 9).await, [2, 4]);
    assert_eq!(due(&world, &endpoint, until(30), &[], 9).await, [2, 4, 3, 1]);
    assert_eq!(due(&world, &endpoint, until(30), &[4, 3], 9).await, [2, 1]);
    assert_eq!(due(&world, &endpoint, until(30), &[2], 2).await, [4, 3]);
    assert_eq!(due(&world, &other, until(30), &[], 9).await, [2, 4, 3, 1]);

    let next =
        async |secs, limit| world.store.due(endpoint.no, until(secs), Vec::new(), limit).await.unwrap();
    assert_eq!(next(9, 9).await.next_due_at, Some(in_secs(10)));
    assert_eq!(next(10, 9).await.next_due_at, Some(in_secs(20)));
    assert_eq!(next(30, 9).await.next_due_at, None);
    assert_eq!(next(10, 2).await.next_due_at, None, "something may have been left out");
    let first = &next(10, 1).await.items[0];
    assert_eq!(first.message.key, first.delivery.message);
    assert_eq!(first.delivery, world.store.deliveries_of(first.message.key).await.unwrap()[0]);
}

/// By seq: in the order of the queue from a place on, due or not.
pub async fn what_is_owed_comes_in_the_order_of_the_queue(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let mut sent = Vec::new();
    for secs in [30, 0, 20, 0] {
        sent.push(world.publish(&app, NewMessage { deliver_at: Some(in_secs(secs)), ..message("x") }).await);
    }
    let from = |seq| DueOrder::BySeq { from: Seq(seq) };
    assert_eq!(due(&world, &endpoint, from(0), &[], 9).await, [1, 2, 3, 4]);
    assert_eq!(due(&world, &endpoint, from(2), &[3], 9).await, [2, 4]);
    assert_eq!(due(&world, &endpoint, from(0), &[], 2).await, [1, 2]);
    assert_eq!(due(&world, &endpoint, from(5), &[], 9).await, [0; 0]);
    let second = world.delivery(&sent[1]).await;
    world.settle(second, answer(200), DeliveryState::Delivered).await;
    assert_eq!(due(&world, &endpoint, from(0), &[], 9).await, [1, 3, 4]);
}

/// An endpoint is owed when something is due to it, now or later; not if it is disabled or not pushed.
pub async fn owed_endpoints_have_their_earliest_due_time(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, other) = (world.app("one").await, world.app("two").await);
    let mut endpoints = Vec::new();
    for n in 0..4 {
        let mode = if n == 2 { Mode::Pull } else { Mode::Push };
        endpoints.push(world.endpoint_with(&app, |endpoint| endpoint.mode = mode).await);
    }
    world.endpoint(&other).await;
    for secs in [50, 40] {
        world.publish(&app, NewMessage { deliver_at: Some(in_secs(secs)), ..message("x") }).await;
    }
    world.store.disable_endpoint(endpoints[3].no, DisabledReason::Owner).await.unwrap();
    let owed = |endpoint: &Endpoint, secs| OwedEndpoint {
        endpoint: endpoint.no,
        app: endpoint.app,
        due_at: in_secs(secs),
    };
    let mut found = world.store.owed_endpoints().await.unwrap();
    found.sort_by_key(|owed| owed.endpoint);
    assert_eq!(found, [owed(&endpoints[0], 40), owed(&endpoints[1], 40)]);

    // What waited for a disabled one is due again once it is enabled.
    let disabled = world.snapshot(&app).await.endpoints[3].clone();
    let enabled = Endpoint { state: pushpull_domain::EndpointState::Enabled, ..(*disabled).clone() };
    world.store.update_endpoint(enabled).await.unwrap();
    assert!(world.store.owed_endpoints().await.unwrap().contains(&owed(&endpoints[3], 40)));
}

/// An attempt leaves its delivery where it says, and it stays there over a reopening.
pub async fn a_delivery_stands_as_it_was_settled(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let sent = world.publish_many(&app, 4).await;
    let states = [
        DeliveryState::Delivered,
        owed_at(in_secs(60)),
        DeliveryState::Exhausted,
        DeliveryState::Owed { due_at: None, trigger: Trigger::Manual },
    ];
    for (message, state) in sent.iter().zip(states) {
        let code = if state == DeliveryState::Delivered { 204 } else { 500 };
        world.settle(world.delivery(message).await, answer(code), state).await;
    }
    let world = world.reopen(maker).await;
    for (message, state) in sent.iter().zip(states) {
        let delivery = world.delivery(message).await;
        assert_eq!((delivery.state, delivery.attempts), (state, 1));
    }
    let ledger = world.store.ledger().await.unwrap();
    assert_eq!((ledger.delivered, ledger.owed, ledger.exhausted, ledger.cancelled), (1, 2, 1, 0));
    assert_eq!(due(&world, &endpoint, DueOrder::ByTime { until: in_secs(60) }, &[], 9).await, [2]);
}

/// A delivery may be put off, or end, without an attempt; one that is gone is no error.
pub async fn a_delivery_is_settled_without_an_attempt(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let sent = world.publish(&app, message("x")).await;
    let delivery = Delivery { state: owed_at(in_secs(5)), ..world.delivery(&sent).await };
    let gone = Delivery { key: DeliveryKey { seq: Seq(99), ..delivery.key }, ..delivery };
    let settlements =
        [gone, delivery].map(|delivery| Settlement { delivery, attempt: None }).into_iter().collect();
    world.store.settle(settlements).await.unwrap();
    assert_eq!(world.delivery(&sent).await, delivery);
    world.owes_pushed(1).await;
}

/// What was cancelled while an attempt was under way stays cancelled, unless the attempt succeeded.
pub async fn only_success_undoes_a_cancellation(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let sent = world.publish_many(&app, 3).await;
    let outcomes = [
        (no_answer(), owed_at(in_secs(5)), DeliveryState::Cancelled(CancelReason::Expunged)),
        (answer(500), DeliveryState::Exhausted, DeliveryState::Cancelled(CancelReason::Expunged)),
        (answer(200), DeliveryState::Delivered, DeliveryState::Delivered),
    ];
    for (message, (outcome, state, expected)) in sent.iter().zip(outcomes) {
        let in_flight = world.delivery(message).await;
        world.store.expunge_message(message.key).await.unwrap();
        world.settle(in_flight, outcome, state).await;
        assert_eq!(world.delivery(message).await.state, expected);
    }
    assert_eq!(world.store.owed_endpoints().await.unwrap(), []);
    world.owes_pushed(0).await;
}

/// By hand a message goes again to an endpoint that had it, its schedule begun anew, and to one that had not.
pub async fn a_message_is_sent_again_by_hand(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, other) = (world.app("one").await, world.app("two").await);
    let endpoint = world.endpoint(&app).await;
    let sent = world.publish_many(&app, 2).await;
    world.settle(world.delivery(&sent[0]).await, answer(500), DeliveryState::Exhausted).await;
    let late = world.endpoint(&app).await;
    let held = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Held).await;
    let foreign = world.endpoint(&other).await;
    world.clock.advance(Duration::from_secs(7));

    for to in [&endpoint, &late, &held] {
        assert_eq!(world.store.resend(sent[0].key, to.no).await.unwrap(), Resent::Owed);
    }
    let again = world.store.resend(sent[0].key, held.no).await.unwrap();
    assert_eq!(again, Resent::Queued, "whoever reads it goes back there");
    let crossed = world.store.resend(sent[0].key, foreign.no).await.unwrap();
    assert_eq!(crossed, Resent::Gone, "nothing crosses applications");
    let unknown = pushpull_domain::EndpointNo(foreign.no.0 + 1);
    assert_eq!(world.store.resend(sent[0].key, unknown).await.unwrap(), Resent::Gone);
    let gone = pushpull_domain::MessageKey { position: pushpull_domain::Position(9), ..sent[0].key };
    assert_eq!(world.store.resend(gone, late.no).await.unwrap(), Resent::Gone);

    let now = Some(world.clock_now());
    let manual = |due_at| DeliveryState::Owed { due_at, trigger: Trigger::Manual };
    let found: Vec<_> = world
        .store
        .deliveries_of(sent[0].key)
        .await
        .unwrap()
        .iter()
        .map(|d| (d.key.endpoint, d.key.seq.0, d.state, d.attempts))
        .collect();
    let expected =
        [(endpoint.no, 1, manual(now), 0), (late.no, 1, manual(now), 0), (held.no, 1, manual(None), 0)];
    assert_eq!(found, expected);
    world.owes(4).await;
    // The next message takes the next place in each queue.
    let next = world.publish(&app, message("next")).await;
    let seqs: Vec<u64> = next.fanout.iter().map(|(_, seq)| seq.0).collect();
    assert_eq!(seqs, [3, 2, 2]);
}

/// An endpoint's deliveries are listed in the order of its queue, by how they stand and by what they carry.
pub async fn deliveries_are_listed_in_pages(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let mut sent = Vec::new();
    for n in 0..10_usize {
        let new = NewMessage {
            event_type: event_type(["a", "b"][n % 2]),
            channels: if n < 5 { vec!["x".parse().unwrap()] } else { Vec::new() },
            tags: if n == 7 { vec!["t".parse().unwrap()] } else { Vec::new() },
            ..message(&n.to_string())
        };
        sent.push(world.publish(&app, new).await);
        world.clock.advance(Duration::from_millis(5));
    }
    // In turn: delivered, exhausted, owed after a failure, expunged, not attempted.
    for (n, message) in sent.iter().enumerate() {
        let delivery = world.delivery(message).await;
        match n % 5 {
            0 => drop(world.settle(delivery, answer(200), DeliveryState::Delivered).await),
            1 => drop(world.settle(delivery, answer(500), DeliveryState::Exhausted).await),
            2 => drop(world.settle(delivery, no_answer(), owed_at(in_secs(60))).await),
            3 => world.store.expunge_message(message.key).await.unwrap(),
            _ => {}
        }
    }
    let check = async |status, filter: MessageFilter, wanted: &dyn Fn(usize) -> bool| {
        let expected: Vec<Seq> = (0..10).filter(|n| wanted(*n)).map(|n| Seq(n as u64 + 1)).collect();
        let read = async |page| {
            world.store.endpoint_deliveries(endpoint.no, status, filter.clone(), page).await.unwrap()
        };
        check_pages(&expected, |item: &DueDelivery| item.delivery.key.seq, read).await;
    };
    check(None, all(), &|_| true).await;
    for (status, rest) in [
        (DeliveryStatus::Success, 0),
        (DeliveryStatus::Fail, 1),
        (DeliveryStatus::Sending, 2),
        (DeliveryStatus::Cancelled, 3),
        (DeliveryStatus::Pending, 4),
    ] {
        check(Some(status), all(), &|n| n % 5 == rest).await;
    }
    let types = HashSet::from([event_type("b")]);
    check(None, MessageFilter { event_types: types.clone(), ..all() }, &|n| n % 2 == 1).await;
    check(None, MessageFilter { channel: Some("x".parse().unwrap()), ..all() }, &|n| n < 5).await;
    check(None, MessageFilter { tag: Some("t".parse().unwrap()), ..all() }, &|n| n == 7).await;
    let (after, before) = (Some(sent[1].created_at), Some(sent[6].created_at));
    check(None, MessageFilter { before, after, ..all() }, &|n| n > 1 && n < 6).await;
    let both = MessageFilter { event_types: types, after, ..all() };
    check(Some(DeliveryStatus::Success), both, &|n| n == 5).await;

    let expected = DeliveryCounts { success: 2, pending: 2, sending: 2, fail: 2, cancelled: 2 };
    let counts = async |since, until| world.store.delivery_counts(endpoint.no, since, until).await.unwrap();
    assert_eq!(counts(START, world.clock_now()).await, expected);
    let some = DeliveryCounts { success: 1, sending: 1, cancelled: 1, pending: 1, fail: 0 };
    assert_eq!(counts(sent[2].created_at, sent[6].created_at).await, some);
    assert_eq!(counts(world.clock_now(), world.clock_now()).await, DeliveryCounts::default());
}

/// A message is in the book of one endpoint only as long as it is kept.
pub async fn an_unknown_endpoint_or_message_has_no_deliveries(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let sent = world.publish(&app, message("x")).await;
    world.clock.advance(too_old(maker));
    world.trim(NINETY_DAYS).await;
    assert_eq!(world.store.deliveries_of(sent.key).await.unwrap(), []);
    for no in [endpoint.no, pushpull_domain::EndpointNo(endpoint.no.0 + 1)] {
        let page = super::fixture::first_page(9);
        let page = world.store.endpoint_deliveries(no, None, all(), page).await.unwrap();
        assert!(page.items.is_empty() && page.done);
        let counts = world.store.delivery_counts(no, Timestamp::from_millis(0), world.clock_now()).await;
        assert_eq!(counts.unwrap(), DeliveryCounts::default());
        let due = DueOrder::ByTime { until: world.clock_now() };
        assert_eq!(world.store.due(no, due, Vec::new(), 9).await.unwrap().items.len(), 0);
    }
}
