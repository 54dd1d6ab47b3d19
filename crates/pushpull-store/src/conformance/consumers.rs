//! Consumers: leases, commits, places.

use std::{sync::Arc, time::Duration};

use pushpull_domain::{App, Endpoint, Holder, Mode, Seq};

use super::fixture::{Maker, NINETY_DAYS, START, World, check_pages, first_page, too_old};
use crate::{
    Consumer, ConsumerKey, ConsumerSettings, ConsumerStatus, Gap, Lease, LeaseRequest, Refused, Resent, Take,
    consumers::CONSUMERS_MAX,
};

const LEASE: Duration = Duration::from_secs(30);

/// An endpoint that is read, with so many deliveries, and a consumer of it.
pub(super) async fn reader(world: &World, count: usize) -> (App, Arc<Endpoint>, Consumer) {
    let app = world.app("one").await;
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
    world.publish_many(&app, count).await;
    let consumer = make(world, &endpoint, "c", None).await.unwrap();
    (app, endpoint, consumer)
}

pub(super) fn key(endpoint: &Endpoint, name: &str) -> ConsumerKey {
    ConsumerKey { endpoint: endpoint.no, name: name.parse().unwrap() }
}

pub(super) async fn make(
    world: &World,
    endpoint: &Endpoint,
    name: &str,
    start: Option<u64>,
) -> Result<Consumer, Refused> {
    let settings = ConsumerSettings::default();
    world.store.create_consumer(key(endpoint, name), start.map(Seq), settings).await.unwrap()
}

fn holder(name: &str) -> Option<Holder> {
    (!name.is_empty()).then(|| name.parse().unwrap())
}

fn wants(read: &Consumer, upto: u64, name: &str) -> LeaseRequest {
    LeaseRequest { read: (read.committed, read.handed), upto: Seq(upto), holder: holder(name), lease: LEASE }
}

pub(super) async fn lease(
    world: &World,
    read: &Consumer,
    upto: u64,
    name: &str,
) -> Result<Consumer, Refused> {
    world.store.lease(read.key.clone(), wants(read, upto, name)).await.unwrap()
}

pub(super) async fn commit(
    world: &World,
    consumer: &Consumer,
    upto: u64,
    name: &str,
) -> Result<Consumer, Refused> {
    world.store.commit(consumer.key.clone(), Seq(upto), holder(name), false).await.unwrap()
}

pub(super) async fn found(world: &World, consumer: &Consumer) -> Consumer {
    world.store.consumer(consumer.key.clone()).await.unwrap().unwrap()
}

pub(super) async fn status(world: &World, consumer: &Consumer) -> ConsumerStatus {
    world.store.consumer_status(consumer.key.clone()).await.unwrap().unwrap()
}

fn places(consumer: &Consumer) -> (u64, u64) {
    (consumer.committed.0, consumer.handed.0)
}

fn held(until_secs: u64, name: &str) -> Refused {
    Refused::Held(Lease { holder: holder(name), until: START.after(Duration::from_secs(until_secs)) })
}

/// Retention removes an old message that was sent by hand late in the queue, and nothing that stands before it is
/// taken for removed.
pub async fn what_is_kept_is_no_gap(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let old = world.publish_many(&app, 1).await;
    world.clock.advance(too_old(maker));
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
    world.publish_many(&app, 2).await;
    assert_eq!(world.store.resend(old[0].key, endpoint.no).await.unwrap(), Resent::Owed);
    let queue = make(&world, &endpoint, "queue", None).await.unwrap();
    let take = Take { max: 9, lease: LEASE, holder: None };
    assert_eq!(world.store.take(queue.key.clone(), take.clone()).await.unwrap().unwrap().items.len(), 3);
    world.trim(NINETY_DAYS).await;
    let consumer = make(&world, &endpoint, "c", None).await.unwrap();
    assert_eq!((places(&consumer), status(&world, &consumer).await.gap), ((0, 0), None));
    world.clock.advance(LEASE);
    let taken = world.store.take(queue.key, take).await.unwrap().unwrap();
    assert_eq!(taken.items.iter().map(|item| item.seq.0).collect::<Vec<_>>(), [1, 2]);
}

/// A new consumer begins where it is told, or at the beginning; what was removed before is not missed by it.
pub async fn a_consumer_begins_where_it_says(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, endpoint, first) = reader(&world, 3).await;
    assert_eq!(places(&first), (0, 0));
    assert_eq!(places(&make(&world, &endpoint, "later", Some(2)).await.unwrap()), (2, 2));
    let again = make(&world, &endpoint, "later", Some(1)).await.unwrap();
    assert_eq!(places(&again), (2, 2), "one that is there stays where it is");
    world.clock.advance(too_old(maker));
    world.trim(NINETY_DAYS).await;
    world.publish_many(&app, 1).await;
    let late = make(&world, &endpoint, "late", Some(1)).await.unwrap();
    assert_eq!((places(&late), status(&world, &late).await.gap), ((3, 3), None));
    let gap = Some(Gap { from: Seq(1), until: Seq(3) });
    assert_eq!(status(&world, &first).await.gap, gap);
}

/// It reads back as it was made, with other settings once they are set, and is gone when it is deleted.
pub async fn a_consumer_is_made_once_and_changed_and_deleted(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, endpoint, made) = reader(&world, 1).await;
    assert_eq!(found(&world, &made).await, made);
    assert_eq!((made.seen_at, made.created_at, &made.lease), (START, START, &None));
    let settings = ConsumerSettings { idle: Duration::from_secs(90), max_deliver: 7 };
    let set = world.store.set_consumer(made.key.clone(), settings).await.unwrap().unwrap();
    assert_eq!(set, Consumer { settings, ..made.clone() });
    assert_eq!(found(&world, &made).await, set);
    assert!(world.store.delete_consumer(made.key.clone()).await.unwrap());
    assert!(!world.store.delete_consumer(made.key.clone()).await.unwrap());
    assert_eq!(world.store.consumer(made.key.clone()).await.unwrap(), None);
    assert_eq!(world.store.consumer_status(made.key.clone()).await.unwrap(), None);
    assert_eq!(world.store.set_consumer(made.key.clone(), settings).await.unwrap(), Err(Refused::Gone));
    assert_eq!(lease(&world, &made, 1, "").await, Err(Refused::Gone));
    assert_eq!(commit(&world, &made, 1, "").await, Err(Refused::Gone));
    assert_eq!(world.store.seek(made.key.clone(), Seq(1)).await.unwrap(), Err(Refused::Gone));
    world.store.delete_endpoint(endpoint.no).await.unwrap();
    assert_eq!(make(&world, &endpoint, "c", None).await, Err(Refused::Gone), "of an endpoint that is gone");
}

/// By name, on pages of every size.
pub async fn consumers_are_listed_in_pages(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, endpoint, _) = reader(&world, 1).await;
    let other = world.endpoint(&app).await;
    for name in ["b", "a", "d"] {
        make(&world, &endpoint, name, None).await.unwrap();
        make(&world, &other, "other", None).await.unwrap();
    }
    let names: Vec<pushpull_domain::ConsumerName> =
        ["a", "b", "c", "d"].iter().map(|name| name.parse().unwrap()).collect();
    let read = async |page| world.store.consumers(endpoint.no, page).await.unwrap();
    check_pages(&names, |consumer: &Consumer| consumer.key.name.clone(), read).await;
}

/// One more than may be is refused; one that is there is given all the same.
pub async fn an_endpoint_has_so_many_consumers(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, endpoint, first) = reader(&world, 1).await;
    let names: Vec<String> = (1..CONSUMERS_MAX).map(|n| n.to_string()).collect();
    for made in
        futures_util::future::join_all(names.iter().map(|name| make(&world, &endpoint, name, None))).await
    {
        made.unwrap();
    }
    assert_eq!(make(&world, &endpoint, "more", None).await, Err(Refused::TooMany));
    assert_eq!(make(&world, &endpoint, "c", None).await, Ok(first.clone()));
    world.store.delete_consumer(first.key).await.unwrap();
    make(&world, &endpoint, "more", None).await.unwrap();
}

/// However many read the same place at once, one is handed it, and nobody while it holds; a place that has moved is
/// handed to nobody.
pub async fn of_two_who_read_the_same_place_one_gets_it(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, read) = reader(&world, 5).await;
    let asked = futures_util::future::join_all((0..8).map(|_| lease(&world, &read, 3, ""))).await;
    let got: Vec<_> = asked.iter().flatten().map(places).collect();
    assert_eq!(got, [(0, 3)], "{asked:?}");
    assert_eq!(asked.iter().filter(|asked| **asked == Err(held(30, ""))).count(), 7);
    world.clock.advance(LEASE);
    assert_eq!(lease(&world, &read, 3, "").await, Err(Refused::Stale), "read before it was handed out");
    let again = found(&world, &read).await;
    let names = ["a", "b", "c", "d"];
    let asked = futures_util::future::join_all(names.iter().map(|name| lease(&world, &again, 5, name))).await;
    assert_eq!(asked.iter().flatten().count(), 1, "{asked:?}");
}

/// A named holder may read again, and is handed at least what it had.
pub async fn a_named_holder_gets_again_what_it_has_not_committed(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, read) = reader(&world, 9).await;
    let first = lease(&world, &read, 5, "a").await.unwrap();
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(lease(&world, &first, 9, "b").await, Err(held(30, "a")));
    assert_eq!(lease(&world, &first, 9, "").await, Err(held(30, "a")));
    let less = lease(&world, &first, 2, "a").await.unwrap();
    assert_eq!(places(&less), (0, 5), "what it was handed before is still its");
    assert_eq!(less.lease.as_ref().unwrap().until, START.after(Duration::from_secs(40)));
    let more = lease(&world, &less, 7, "a").await.unwrap();
    assert_eq!(places(&more), (0, 7));
    assert_eq!(places(&commit(&world, &more, 7, "a").await.unwrap()), (7, 7));
}

/// When a lease ends, what of it was committed is done, and the rest is handed to the next.
pub async fn what_a_crashed_holder_was_handed_comes_back(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, read) = reader(&world, 9).await;
    let first = lease(&world, &read, 5, "").await.unwrap();
    let part = commit(&world, &first, 2, "").await.unwrap();
    assert_eq!(places(&part), (2, 5));
    world.clock.advance(LEASE.saturating_sub(Duration::from_millis(1)));
    assert_eq!(lease(&world, &part, 9, "").await, Err(held(30, "")));
    world.clock.advance(Duration::from_millis(1));
    let world = world.reopen(maker).await;
    let next = lease(&world, &found(&world, &part).await, 4, "b").await.unwrap();
    assert_eq!(places(&next), (2, 4), "no more than it asked for");
    assert_eq!(commit(&world, &next, 5, "b").await, Err(Refused::Ahead(Seq(4))));
    let done = commit(&world, &next, 4, "b").await.unwrap();
    assert_eq!((places(&done), &done.lease), ((4, 4), &None), "with all of it done, the lease ends");
    lease(&world, &done, 9, "").await.unwrap();
}

/// A clock that is put back by a day does not make a lease a day longer.
pub async fn a_lease_from_before_the_clock_was_put_back_has_ended(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, read) = reader(&world, 9).await;
    world.clock.advance(Duration::from_hours(24));
    let leased = lease(&world, &read, 4, "a").await.unwrap();
    world.clock.set(START.after(Duration::from_hours(24).saturating_sub(LEASE)));
    assert_eq!(
        lease(&world, &leased, 4, "b").await,
        Err(held(24 * 3600 + 30, "a")),
        "it may have been set right"
    );
    world.clock.set(START);
    let handed = lease(&world, &leased, 4, "b").await.unwrap();
    assert_eq!((places(&handed), handed.lease_at(START)), ((0, 4), handed.lease.as_ref()));
}

/// A commit of less than is committed is no change, a late one of what nobody else was handed counts.
pub async fn what_is_committed_stays_so(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, read) = reader(&world, 9).await;
    let leased = lease(&world, &read, 6, "").await.unwrap();
    commit(&world, &leased, 4, "").await.unwrap();
    for less in [0, 3, 4] {
        assert_eq!(places(&commit(&world, &leased, less, "").await.unwrap()), (4, 6));
    }
    world.clock.advance(LEASE);
    assert_eq!(places(&commit(&world, &leased, 6, "").await.unwrap()), (6, 6));
}

/// What was not handed out cannot be committed, nor what another holds.
pub async fn a_commit_ahead_or_of_another_is_refused(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, read) = reader(&world, 9).await;
    assert_eq!(commit(&world, &read, 1, "").await, Err(Refused::Ahead(Seq(0))));
    let leased = lease(&world, &read, 4, "a").await.unwrap();
    assert_eq!(commit(&world, &leased, 5, "a").await, Err(Refused::Ahead(Seq(4))));
    for name in ["b", ""] {
        assert_eq!(commit(&world, &leased, 2, name).await, Err(held(30, "a")));
    }
    assert_eq!(found(&world, &leased).await, leased, "nothing of it was written");
    assert_eq!(places(&commit(&world, &leased, 2, "a").await.unwrap()), (2, 4));
}

/// What proves that it was given to the reader is committed without a lease, but not against one.
pub async fn a_place_that_was_shown_is_committed(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, read) = reader(&world, 9).await;
    let show = async |upto| world.store.commit(read.key.clone(), Seq(upto), None, true).await.unwrap();
    assert_eq!(places(&show(5).await.unwrap()), (5, 5));
    assert_eq!(places(&show(3).await.unwrap()), (5, 5));
    lease(&world, &found(&world, &read).await, 7, "a").await.unwrap();
    assert_eq!(show(8).await, Err(held(30, "a")));
}

/// Nobody is put beyond the end of the queue: what joins it there would be missed.
pub async fn no_consumer_is_beyond_the_end(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, endpoint, read) = reader(&world, 9).await;
    for beyond in [10, 1 << 40, u64::MAX] {
        let shown = world.store.commit(read.key.clone(), Seq(beyond), None, true).await.unwrap();
        assert_eq!(shown, Err(Refused::Ahead(Seq(9))));
        let moved = world.store.seek(read.key.clone(), Seq(beyond)).await.unwrap();
        assert_eq!(moved, Err(Refused::Ahead(Seq(9))));
        assert_eq!(make(&world, &endpoint, "new", Some(beyond)).await, Err(Refused::Ahead(Seq(9))));
        assert_eq!(world.store.replay(read.key.clone(), Some(vec![Seq(beyond)])).await.unwrap(), Ok(0));
    }
    assert_eq!(found(&world, &read).await, read, "nothing of it was written");
    assert_eq!(places(&make(&world, &endpoint, "new", Some(9)).await.unwrap()), (9, 9));
    assert_eq!(places(&world.store.seek(read.key, Seq(9)).await.unwrap().unwrap()), (9, 9));
}

/// A seek goes anywhere, whoever holds a lease, and ends it.
pub async fn a_consumer_is_put_back_and_forth(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, read) = reader(&world, 9).await;
    let leased = lease(&world, &read, 4, "a").await.unwrap();
    for to in [7, 2] {
        let moved = world.store.seek(read.key.clone(), Seq(to)).await.unwrap().unwrap();
        assert_eq!((places(&moved), &moved.lease), ((to, to), &None));
    }
    assert_eq!(lease(&world, &leased, 9, "a").await, Err(Refused::Stale));
    lease(&world, &found(&world, &read).await, 9, "b").await.unwrap();
}

/// How many are not done, and how old the oldest of them is.
pub async fn what_a_consumer_has_not_done_is_told(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, endpoint, read) = reader(&world, 0).await;
    let at_start = status(&world, &read).await;
    assert_eq!((at_start.head, at_start.behind, at_start.oldest_at), (Seq(0), 0, None));
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(1));
        world.publish_many(&app, 1).await;
    }
    let leased = lease(&world, &read, 2, "").await.unwrap();
    let second = |n| Some(START.after(Duration::from_secs(n)));
    let handed = status(&world, &read).await;
    assert_eq!((handed.head, handed.behind, handed.oldest_at), (Seq(3), 3, second(1)));
    assert_eq!(handed.consumer, leased);
    commit(&world, &leased, 2, "").await.unwrap();
    let done = status(&world, &read).await;
    assert_eq!((done.behind, done.oldest_at), (1, second(3)));

    let queue = make(&world, &endpoint, "queue", None).await.unwrap();
    let take = Take { max: 2, lease: LEASE, holder: None };
    assert_eq!(world.store.take(queue.key.clone(), take).await.unwrap().unwrap().items.len(), 2);
    let taken = status(&world, &queue).await;
    assert_eq!((taken.behind, taken.taken, taken.oldest_at), (3, 2, second(1)));
}

/// A consumer that is not seen for as long as it may not be goes; one that only reads, or is noted, stays.
pub async fn a_consumer_that_is_not_seen_expires(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, endpoint, idle) = reader(&world, 5).await;
    let seen = make(&world, &endpoint, "seen", None).await.unwrap();
    let settings = ConsumerSettings { idle: Duration::from_mins(2), ..ConsumerSettings::default() };
    for consumer in [&idle, &seen] {
        world.store.set_consumer(consumer.key.clone(), settings).await.unwrap().unwrap();
    }
    let take = Take { max: 2, lease: LEASE, holder: None };
    world.store.take(idle.key.clone(), take.clone()).await.unwrap().unwrap();
    world.clock.advance(Duration::from_secs(59));
    world.store.touch_consumer(seen.key.clone()).await.unwrap();
    assert_eq!(found(&world, &seen).await.seen_at, START, "not more than once a minute");
    world.clock.advance(Duration::from_secs(1));
    world.store.touch_consumer(seen.key.clone()).await.unwrap();
    assert_eq!(found(&world, &seen).await.seen_at, world.clock_now());
    world.clock.advance(Duration::from_secs(119));
    assert_eq!(world.store.expire_consumers().await.unwrap().consumers, []);
    world.clock.advance(Duration::from_secs(1));
    let expired = world.store.expire_consumers().await.unwrap();
    assert!(!expired.more);
    let names: Vec<_> = expired.consumers.iter().map(|gone| (&*gone.name, gone.endpoint)).collect();
    assert_eq!(names, [("c", endpoint.id)]);
    assert_eq!(world.store.consumer(idle.key.clone()).await.unwrap(), None);
    let anew = make(&world, &endpoint, "c", None).await.unwrap();
    assert_eq!(places(&anew), (0, 0), "of the same name, it begins anew");
    assert_eq!(status(&world, &anew).await.taken, 0);
    found(&world, &seen).await;
}

/// A consumer that is being read stays, though it is noted as seen no oftener than it may be idle.
pub async fn a_consumer_that_is_being_read_does_not_expire(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, read) = reader(&world, 5).await;
    let settings = ConsumerSettings { idle: ConsumerSettings::IDLE.0, ..ConsumerSettings::default() };
    world.store.set_consumer(read.key.clone(), settings).await.unwrap().unwrap();
    for _ in 0..10 {
        world.clock.advance(Duration::from_secs(59));
        world.store.touch_consumer(read.key.clone()).await.unwrap();
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.store.expire_consumers().await.unwrap().consumers, []);
    }
}

/// When an endpoint is deleted its consumers go, and are gone for the next of its number.
pub async fn consumers_go_with_their_endpoint(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, endpoint, consumer) = reader(&world, 50).await;
    let other = world.endpoint(&app).await;
    let kept = make(&world, &other, "c", None).await.unwrap();
    let take = Take { max: 50, lease: LEASE, holder: None };
    world.store.take(consumer.key.clone(), take).await.unwrap().unwrap();
    world.store.delete_endpoint(endpoint.no).await.unwrap();
    world.trim(NINETY_DAYS).await;
    assert_eq!(world.store.consumers(endpoint.no, first_page(9)).await.unwrap().items, []);
    found(&world, &kept).await;
    world.store.delete_app(app.no).await.unwrap();
    world.trim(NINETY_DAYS).await;
    assert_eq!(world.store.consumers(other.no, first_page(9)).await.unwrap().items, []);
}

/// All of it is on the disk.
pub async fn a_consumer_is_the_same_after_a_restart(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, read) = reader(&world, 9).await;
    let leased = lease(&world, &read, 4, "a").await.unwrap();
    let world = world.reopen(maker).await;
    assert_eq!(found(&world, &read).await, leased);
    assert_eq!(lease(&world, &leased, 9, "b").await, Err(held(30, "a")));
    assert_eq!(places(&commit(&world, &leased, 4, "a").await.unwrap()), (4, 4));
}
