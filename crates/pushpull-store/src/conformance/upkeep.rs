//! Retention, backup, the books.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{
    CancelReason, DeliveryState, Endpoint, FixedClock, Mode, NewMessage, Payload, Position, Seq,
};

use super::fixture::{
    Maker, NINETY_DAYS, START, World, all, all_attempts, answer, first_page, message, owed_at, too_old,
};
use crate::{ConsumerKey, ConsumerSettings, Error, Ledger, Order, PageQuery, Resent, Retention, Trimmed};

/// Consumers whose next message is old are told of, in steps; one that has nothing before it, or whose endpoint is
/// gone, is not.
pub async fn consumers_that_are_behind_are_told_of(maker: &impl Maker) {
    const AGE: Duration = Duration::from_hours(10);
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let (endpoint, gone) = (world.endpoint(&app).await, world.endpoint(&app).await);
    world.publish_many(&app, 2).await;
    let reader = async |endpoint: &Endpoint, name: &str, committed| {
        let key = ConsumerKey { endpoint: endpoint.no, name: name.parse().unwrap() };
        let made = world.store.create_consumer(key, Some(Seq(committed)), ConsumerSettings::default()).await;
        made.unwrap().unwrap();
    };
    for (name, committed) in [("begins", 0), ("done", 2), ("halfway", 1)] {
        reader(&endpoint, name, committed).await;
    }
    reader(&gone, "gone", 0).await;
    world.store.delete_endpoint(gone.no).await.unwrap();
    for n in 0..600 {
        reader(&endpoint, &format!("many-{n:03}"), 2).await;
    }
    reader(&endpoint, "zealous", 1).await;
    let behind = async || {
        let (mut found, mut after, mut steps) = (Vec::new(), None, 0);
        loop {
            let step = world.store.consumers_behind(AGE, after).await.unwrap();
            steps += 1;
            for consumer in step.consumers {
                assert_eq!((consumer.app, consumer.endpoint), (app.id, endpoint.id));
                assert_eq!(consumer.next_at, START);
                found.push((consumer.key.name.to_string(), consumer.committed.0));
            }
            after = step.next;
            if after.is_none() {
                assert!(steps > 1, "each step is bounded");
                return found;
            }
        }
    };
    world.clock.advance(AGE);
    assert_eq!(behind().await, []);
    world.clock.advance(Duration::from_millis(1));
    world.publish_many(&app, 1).await;
    let expected = [("begins", 0), ("halfway", 1), ("zealous", 1)];
    assert_eq!(behind().await, expected.map(|(name, committed)| (name.to_owned(), committed)));
}

/// More messages than any backend removes in one step.
const MANY: usize = 2_500;

/// What is older than it is kept goes, with its deliveries and attempts, whatever is still owed of it; the rest
/// stays as it was.
pub async fn what_is_older_than_it_is_kept_goes(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, other) = (world.app("one").await, world.app("two").await);
    for app in [&app, &other] {
        world.endpoint(app).await;
        world.endpoint_with(app, |endpoint| endpoint.mode = Mode::Pull).await;
    }
    let old = world.publish_many(&app, 3).await;
    world.publish_many(&other, 2).await;
    let first = world.store.deliveries_of(old[0].key).await.unwrap()[0];
    world.settle(first, answer(500), owed_at(START)).await;
    let first = world.store.deliveries_of(old[0].key).await.unwrap()[0];
    world.settle(first, answer(200), DeliveryState::Delivered).await;
    world.clock.advance(maker.removes_within());
    let new = world.publish(&app, message("new")).await;
    world.owes(11).await;

    // As old as it may be, it is still kept.
    world.clock.set(START.after(NINETY_DAYS.messages));
    assert_eq!(world.trim(NINETY_DAYS).await.messages, 0);
    world.clock.advance(maker.removes_within());
    let trimmed = world.trim(NINETY_DAYS).await;
    assert_eq!((trimmed.messages, trimmed.cancelled), (5, 9));
    assert_eq!(world.trim(NINETY_DAYS).await, Trimmed::default());
    world.owes(2).await;
    let store = &world.store;
    for message in &old {
        assert!(store.message(app.no, message.id).await.unwrap().is_none());
        assert_eq!(store.deliveries_of(message.key).await.unwrap(), []);
    }
    let attempts = store.attempts_at(first.key.endpoint, all_attempts(), first_page(9)).await.unwrap();
    assert_eq!(attempts.items.len(), 0);
    let kept = store.messages(app.no, all(), first_page(9)).await.unwrap();
    assert_eq!(kept.items.iter().map(|m| m.id).collect::<Vec<_>>(), [new.id]);
    // An attempt that was under way when its message went changes nothing.
    world.settle(first, answer(200), DeliveryState::Delivered).await;
    world.owes(2).await;
}

/// Much is removed in bounded steps, and the books balance after each.
pub async fn retention_works_in_steps(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    world.publish_many(&app, MANY).await;
    world.clock.advance(too_old(maker));
    let (mut removed, mut steps) = (0, 0);
    loop {
        let step = world.store.trim(NINETY_DAYS).await.unwrap();
        removed += step.messages;
        steps += 1;
        world.owes_pushed(MANY as u64 - removed).await;
        if !step.more {
            break;
        }
        assert!(steps < 1_000, "trimming does not come to an end");
    }
    assert_eq!(removed, MANY as u64);
    assert!(steps > 1);
}

/// Cut off after any step and opened again, retention goes on, and what was numbered before is numbered no second time.
pub async fn retention_goes_on_after_a_restart(maker: &impl Maker) {
    let mut world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let old = world.publish_many(&app, MANY).await;
    world.settle(world.delivery(&old[0]).await, answer(500), owed_at(START)).await;
    world.clock.advance(too_old(maker));
    let mut kept = 0;
    for steps in 1.. {
        let step = world.store.trim(NINETY_DAYS).await.unwrap();
        world = world.reopen(maker).await;
        let new = world.publish(&app, message("new")).await;
        kept += 1;
        let place = MANY as u64 + kept;
        assert_eq!((new.key.position.0, new.fanout[0].1.0), (place, place));
        if !step.more {
            assert!(steps > 1);
            break;
        }
        assert!(steps < 100, "trimming does not come to an end");
    }
    world.owes_pushed(kept).await;
    let page = world.store.messages(app.no, all(), first_page(250)).await.unwrap();
    assert_eq!(page.items.len() as u64, kept);
    let last = page.items.last().unwrap();
    world.settle(world.delivery(last).await, answer(500), owed_at(START)).await;
    let attempts = world.store.attempts_at(endpoint.no, all_attempts(), first_page(9)).await.unwrap().items;
    assert_eq!(attempts.iter().map(|(attempt, _)| attempt.id.number()).collect::<Vec<_>>(), [2]);
}

/// An old message that was sent again late stands at the end of a queue whose beginning is kept. It goes with its
/// message, and its place is not given again.
pub async fn what_was_sent_again_goes_with_its_message(maker: &impl Maker) {
    const DAY: Duration = Duration::from_hours(24);
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let old = world.publish(&app, message("old")).await;
    world.clock.advance(DAY);
    let endpoint = world.endpoint(&app).await;
    let mut kept = world.publish_many(&app, 2).await;
    assert_eq!(world.store.resend(old.key, endpoint.no).await.unwrap(), Resent::Owed);
    world.settle(world.delivery(&old).await, answer(500), owed_at(START)).await;
    world.clock.advance(too_old(maker).saturating_sub(DAY));
    let trimmed = world.trim(NINETY_DAYS).await;
    assert_eq!((trimmed.messages, trimmed.cancelled), (1, 1));
    assert_eq!(world.store.resend(old.key, endpoint.no).await.unwrap(), Resent::Gone);
    let world = world.reopen(maker).await;
    kept.push(world.publish(&app, message("new")).await);
    assert_eq!(kept[2].fanout, [(endpoint.no, Seq(4))]);
    world.owes_pushed(3).await;
    let queue = world.store.endpoint_deliveries(endpoint.no, None, all(), first_page(9)).await.unwrap();
    let seqs: Vec<u64> = queue.items.iter().map(|item| item.delivery.key.seq.0).collect();
    assert_eq!(seqs, [1, 2, 4]);
    let attempts = world.store.attempts_at(endpoint.no, all_attempts(), first_page(9)).await.unwrap();
    assert_eq!(attempts.items.len(), 0);
    world.settle(world.delivery(&kept[0]).await, answer(200), DeliveryState::Delivered).await;
    let attempts = world.store.attempts_at(endpoint.no, all_attempts(), first_page(9)).await.unwrap();
    assert_eq!(attempts.items[0].0.id.number(), 2);
}

/// A payload with a time of its own is erased then, and what is owed of it ends as cancelled by retention.
pub async fn a_payload_is_erased_when_its_time_is_over(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let kept_for = |secs| Some(START.after(Duration::from_secs(secs)));
    let publish =
        async |expires| world.publish(&app, NewMessage { payload_expires_at: expires, ..message("x") }).await;
    let sent = [publish(kept_for(60)).await, publish(kept_for(61)).await, publish(None).await];
    world.settle(world.delivery(&sent[1]).await, answer(200), DeliveryState::Delivered).await;
    world.clock.set(START.after(Duration::from_secs(59)));
    assert_eq!(world.trim(NINETY_DAYS).await.payloads, 0);
    world.clock.set(START.after(Duration::from_secs(61)));
    let trimmed = world.trim(NINETY_DAYS).await;
    assert_eq!((trimmed.payloads, trimmed.cancelled, trimmed.messages), (2, 1, 0));
    assert_eq!(world.trim(NINETY_DAYS).await, Trimmed::default());
    let states =
        [DeliveryState::Cancelled(CancelReason::Retention), DeliveryState::Delivered, owed_at(START)];
    for (n, (message, state)) in sent.iter().zip(states).enumerate() {
        assert_eq!(world.delivery(message).await.state, state);
        let read = world.store.message(app.no, message.id).await.unwrap().unwrap();
        assert_eq!(read.payload == Payload::Expunged, n < 2);
    }
    world.owes_pushed(1).await;
}

/// A payload without a time of its own is erased when it is older than payloads are kept.
pub async fn payloads_are_erased_by_age(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let longer = Some(START.after(Duration::from_hours(50)));
    let own = world.publish(&app, NewMessage { payload_expires_at: longer, ..message("own") }).await;
    let old = world.publish(&app, message("old")).await;
    world.clock.advance(Duration::from_hours(25));
    let new = world.publish(&app, message("new")).await;
    let short = Retention { payloads: Duration::from_hours(24), ..NINETY_DAYS };
    let trimmed = world.trim(short).await;
    assert_eq!((trimmed.payloads, trimmed.cancelled, trimmed.messages), (1, 1, 0));
    for (message, erased) in [(&own, false), (&old, true), (&new, false)] {
        let read = world.store.message(app.no, message.id).await.unwrap().unwrap();
        assert_eq!(read.payload == Payload::Expunged, erased);
    }
    assert_eq!(world.trim(short).await, Trimmed::default());
    world.owes_pushed(2).await;
}

/// The books: what was accepted is delivered, owed, exhausted or cancelled.
pub async fn the_books_balance(maker: &impl Maker) {
    let world = World::new(maker).await;
    assert_eq!(world.store.ledger().await.unwrap(), Ledger::default());
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let sent = world.publish_many(&app, 5).await;
    world.settle(world.delivery(&sent[0]).await, answer(200), DeliveryState::Delivered).await;
    world.settle(world.delivery(&sent[1]).await, answer(500), DeliveryState::Exhausted).await;
    world.store.expunge_message(sent[2].key).await.unwrap();
    let expected = Ledger { accepted: 5, delivered: 1, owed: 2, exhausted: 1, cancelled: 1 };
    assert_eq!(world.store.ledger().await.unwrap(), expected);
    let world = world.reopen(maker).await;
    assert_eq!(world.store.ledger().await.unwrap(), expected);
}

/// A copy made while much is written opens, balances, and has each application's messages without a gap. A store that
/// is backed up by other means says so.
pub async fn a_backup_made_while_writing_is_consistent(maker: &impl Maker) {
    let world = Arc::new(World::new(maker).await);
    let app = world.app("one").await;
    world.endpoint(&app).await;
    world.publish_many(&app, 200).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    if !maker.backs_up() {
        assert!(world.store.backup(file.clone()).await.is_err());
        assert!(!file.exists());
        return;
    }
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    #[expect(clippy::disallowed_methods, reason = "its end is waited for below")]
    let writer = {
        let (world, app) = (Arc::clone(&world), app.clone());
        tokio::spawn(async move {
            let mut count: u64 = 200;
            while stopped.try_recv().is_err() {
                world.publish(&app, message(&count.to_string())).await;
                count += 1;
            }
            count
        })
    };
    world.store.backup(file.clone()).await.unwrap();
    stop.send(()).unwrap();
    let written = writer.await.unwrap();
    assert!(world.store.backup(file.clone()).await.is_err(), "a file that is there is not written over");

    let clock = Arc::new(FixedClock::at(world.clock_now()));
    let copy = World::of(maker.restore(file, Arc::clone(&clock)).await, clock).await;
    assert_ne!(copy.store.history(), world.store.history(), "positions of the one mean nothing to the other");
    let mut count = 0;
    loop {
        let beyond = Some(Position(count));
        let page = PageQuery { beyond, backwards: false, order: Order::Ascending, limit: 250 };
        let page = copy.store.messages(app.no, all(), page).await.unwrap();
        for message in &page.items {
            count += 1;
            assert_eq!(message.key.position, Position(count));
        }
        if page.done {
            break;
        }
    }
    assert!((200..=written).contains(&count), "{count} of {written}");
    copy.owes_pushed(count).await;
    copy.publish(&app, message("goes on")).await;
}

/// The history stays over a reopening.
pub async fn the_history_is_kept(maker: &impl Maker) {
    let world = World::new(maker).await;
    let history = world.store.history();
    let world = world.reopen(maker).await;
    assert_eq!(world.store.history(), history);
}

/// A store that answers says so, and how big it is.
pub async fn a_store_in_order_says_so(maker: &impl Maker) {
    let world = World::new(maker).await;
    world.store.check().await.unwrap();
    let size = world.store.size().await.unwrap();
    assert!(size.bytes > 0);
}

/// What is asked of a closed store is refused; what was acknowledged before is there when it opens again.
pub async fn a_closed_store_refuses(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let sent = world.publish(&app, message("x")).await;
    world.store.close().await;
    world.store.close().await;
    let refused = world.store.create_app(world.new_app("two")).await;
    assert!(matches!(refused, Err(crate::WriteError::Store(Error::Closing))), "{refused:?}");
    let refused = world.store.message(app.no, sent.id).await;
    assert!(matches!(refused, Err(Error::Closing)), "{refused:?}");
    let world = world.reopen(maker).await;
    assert!(world.store.message(app.no, sent.id).await.unwrap().is_some());
}
