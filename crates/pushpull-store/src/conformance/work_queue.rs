//! Work queues: what is taken comes back until it is done.

use std::time::Duration;

use pushpull_domain::{Delivery, DeliveryState, Endpoint, Mode, Seq};

use super::{
    consumers::{key, reader},
    fixture::{Maker, NINETY_DAYS, World, answer, check_pages, too_old},
};
use crate::{
    Answered, Answers, ConsumerKey, ConsumerSettings, Gap, LeaseRequest, Nack, Parked, Refused, Settlement,
    Take, Taken,
    work_queue::{TAKEN_MAX, UNDONE_MAX},
};

pub(super) const LEASE: Duration = Duration::from_secs(30);

async fn take(world: &World, key: &ConsumerKey, max: usize) -> Taken {
    let take = Take { max, lease: LEASE, holder: None };
    world.store.take(key.clone(), take).await.unwrap().unwrap()
}

/// Takes; seqs, and how often each was handed out.
pub(super) async fn taken(world: &World, key: &ConsumerKey, max: usize) -> Vec<(u64, u32)> {
    let taken = take(world, key, max).await;
    taken.items.iter().map(|item| (item.seq.0, item.delivered)).collect()
}

pub(super) async fn answer_for(world: &World, key: &ConsumerKey, answers: Answers) -> Answered {
    world.store.answer(key.clone(), answers).await.unwrap().unwrap()
}

/// Acks; how far everything is done.
pub(super) async fn ack(world: &World, key: &ConsumerKey, seqs: &[u64]) -> u64 {
    let ack = seqs.iter().copied().map(Seq).collect();
    answer_for(world, key, Answers { ack, ..Answers::default() }).await.committed.0
}

pub(super) fn nack(seq: u64, nack: Nack) -> Answers {
    Answers { nack: vec![(Seq(seq), nack)], ..Answers::default() }
}

async fn set(world: &World, key: &ConsumerKey, max_deliver: u32) {
    let settings = ConsumerSettings { max_deliver, ..ConsumerSettings::default() };
    world.store.set_consumer(key.clone(), settings).await.unwrap().unwrap();
}

async fn parked(world: &World, key: &ConsumerKey) -> Vec<(u64, u32)> {
    let page = world.store.parked(key.clone(), super::fixture::first_page(250)).await.unwrap();
    page.items.iter().map(|item| (item.seq.0, item.delivered)).collect()
}

/// What a worker took and did not answer for comes back when its lease ends, before anything new; what is done does
/// not, over a reopening too.
pub async fn an_item_comes_back_until_it_is_done(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, consumer) = reader(&world, 5).await;
    let key = consumer.key;
    let first = take(&world, &key, 3).await;
    assert_eq!(
        first.items.iter().map(|i| (i.seq.0, i.delivered)).collect::<Vec<_>>(),
        [(1, 1), (2, 1), (3, 1)]
    );
    assert!(first.more);
    assert_eq!(first.next_due_at, Some(world.clock_now().after(LEASE)));
    assert_eq!(taken(&world, &key, 9).await, [(4, 1), (5, 1)]);
    assert_eq!(taken(&world, &key, 9).await, []);
    assert_eq!(ack(&world, &key, &[2, 4]).await, 0);
    world.clock.advance(LEASE.saturating_sub(Duration::from_millis(1)));
    assert_eq!(taken(&world, &key, 9).await, []);
    world.clock.advance(Duration::from_millis(1));
    let world = world.reopen(maker).await;
    assert_eq!(taken(&world, &key, 2).await, [(1, 2), (3, 2)]);
    assert_eq!(ack(&world, &key, &[1, 3, 3]).await, 4);
    assert_eq!(taken(&world, &key, 2).await, [(5, 2)]);
    assert_eq!(ack(&world, &key, &[5, 1]).await, 5, "done twice is done");
    world.clock.advance(LEASE);
    assert!(take(&world, &key, 9).await.items.is_empty());
}

/// The committed seq stays below the first that is not done.
pub async fn acks_out_of_order_commit_up_to_what_is_not_done(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, _, consumer) = reader(&world, 6).await;
    let key = consumer.key;
    assert_eq!(taken(&world, &key, 6).await.len(), 6);
    for (seq, committed) in [(3, 0), (1, 1), (6, 1), (2, 3), (4, 4), (5, 6)] {
        assert_eq!(ack(&world, &key, &[seq]).await, committed);
    }
    world.publish_many(&app, 1).await;
    assert_eq!(taken(&world, &key, 9).await, [(7, 1)]);
}

/// An item that is put back comes after its delay, one that is skipped never.
pub async fn an_item_comes_back_after_its_delay(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, consumer) = reader(&world, 3).await;
    let key = consumer.key;
    taken(&world, &key, 3).await;
    answer_for(&world, &key, nack(1, Nack::Retry(Duration::from_secs(5)))).await;
    answer_for(&world, &key, nack(2, Nack::Retry(Duration::ZERO))).await;
    answer_for(&world, &key, nack(3, Nack::Skip)).await;
    assert_eq!(taken(&world, &key, 9).await, [(2, 2)]);
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(taken(&world, &key, 9).await, [(1, 2)]);
    assert_eq!(ack(&world, &key, &[1, 2]).await, 3);
}

/// Who has an item may keep it; once it is in other hands, what the first says of it does nothing but end it.
pub async fn an_item_is_kept_longer_by_who_has_it(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, consumer) = reader(&world, 2).await;
    let key = consumer.key;
    let by = |name: &str| Some(name.parse().unwrap());
    let take_by = async |name: &str| {
        let take = Take { max: 9, lease: LEASE, holder: by(name) };
        let taken = world.store.take(key.clone(), take).await.unwrap().unwrap();
        taken.items.iter().map(|item| item.seq.0).collect::<Vec<_>>()
    };
    let keep = |seqs: &[u64], name: &str| Answers {
        extend: seqs.iter().map(|seq| (Seq(*seq), LEASE)).collect(),
        holder: by(name),
        ..Answers::default()
    };
    assert_eq!(take_by("a").await, [1, 2]);
    world.clock.advance(Duration::from_secs(20));
    assert_eq!(answer_for(&world, &key, keep(&[1], "a")).await.lost, []);
    assert_eq!(answer_for(&world, &key, keep(&[1, 2], "b")).await.lost, [Seq(1), Seq(2)]);
    world.clock.advance(Duration::from_secs(20));
    assert_eq!(take_by("b").await, [2]);
    let late = Answers { holder: by("a"), ..nack(2, Nack::Park) };
    assert_eq!(answer_for(&world, &key, late).await.lost, [Seq(2)]);
    let done = Answers { ack: vec![Seq(1), Seq(2)], holder: by("a"), ..Answers::default() };
    assert_eq!(answer_for(&world, &key, done).await, Answered { committed: Seq(2), lost: Vec::new() });
    assert_eq!(answer_for(&world, &key, keep(&[2], "b")).await.lost, [Seq(2)], "it is done");
}

/// After so many times an item is parked, and holds the committed seq, until somebody says what becomes of it.
pub async fn an_item_handed_out_too_often_is_parked(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, consumer) = reader(&world, 3).await;
    let key = consumer.key;
    set(&world, &key, 2).await;
    for n in 1..=2 {
        assert_eq!(taken(&world, &key, 2).await, [(1, n), (2, n)]);
        world.clock.advance(LEASE);
    }
    assert_eq!(taken(&world, &key, 9).await, [(3, 1)]);
    assert_eq!(parked(&world, &key).await, [(1, 2), (2, 2)]);
    answer_for(&world, &key, nack(3, Nack::Retry(Duration::ZERO))).await;
    assert_eq!(taken(&world, &key, 9).await, [(3, 2)]);
    answer_for(&world, &key, nack(3, Nack::Retry(Duration::ZERO))).await;
    assert_eq!(parked(&world, &key).await, [(1, 2), (2, 2), (3, 2)], "at once, when it is put back");
    let status = world.store.consumer_status(key.clone()).await.unwrap().unwrap();
    assert_eq!((status.parked, status.taken, status.behind, status.oldest_at), (3, 0, 0, None));
    assert_eq!(status.consumer.committed, Seq(0));
    assert_eq!(ack(&world, &key, &[1, 2, 3]).await, 3, "what was done after all is done");
}

/// What is parked is listed, and comes back when it is replayed as if it had never been handed out.
pub async fn parked_items_are_listed_and_replayed(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, consumer) = reader(&world, 5).await;
    let key = consumer.key;
    set(&world, &key, 1).await;
    taken(&world, &key, 5).await;
    for seq in [2, 3, 5] {
        answer_for(&world, &key, nack(seq, Nack::Park)).await;
    }
    assert_eq!(ack(&world, &key, &[1, 4]).await, 1);
    let read = async |page| world.store.parked(key.clone(), page).await.unwrap();
    check_pages(&[Seq(2), Seq(3), Seq(5)], |item: &Parked| item.seq, read).await;
    let replay = async |only: Option<Vec<u64>>| {
        let only = only.map(|seqs| seqs.into_iter().map(Seq).collect());
        world.store.replay(key.clone(), only).await.unwrap().unwrap()
    };
    assert_eq!(replay(Some(vec![3, 4, 99])).await, 1);
    assert_eq!(taken(&world, &key, 9).await, [(3, 1)]);
    assert_eq!(replay(None).await, 2);
    assert_eq!(taken(&world, &key, 9).await, [(2, 1), (5, 1)]);
    assert_eq!(ack(&world, &key, &[2, 3, 5]).await, 5);
    assert_eq!(replay(None).await, 0);
}

/// An answer for what was never handed out is refused, with all that came with it.
pub async fn an_answer_ahead_is_refused_whole(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, endpoint, consumer) = reader(&world, 5).await;
    let key = consumer.key;
    taken(&world, &key, 2).await;
    for answers in [
        Answers { ack: vec![Seq(1), Seq(3)], ..Answers::default() },
        Answers { ack: vec![Seq(1)], ..nack(3, Nack::Skip) },
        Answers { ack: vec![Seq(1)], extend: vec![(Seq(3), LEASE)], ..Answers::default() },
    ] {
        let refused = world.store.answer(key.clone(), answers).await.unwrap();
        assert_eq!(refused, Err(Refused::Ahead(Seq(2))));
    }
    world.clock.advance(LEASE);
    assert_eq!(taken(&world, &key, 2).await, [(1, 2), (2, 2)]);
    let other = super::consumers::key(&endpoint, "no-such");
    let refused = world.store.answer(other.clone(), Answers::default()).await.unwrap();
    assert_eq!(refused, Err(Refused::Gone));
    assert!(matches!(
        world.store.take(other, Take { max: 1, lease: LEASE, holder: None }).await,
        Ok(Err(Refused::Gone))
    ));
}

/// So many are out at a time, and so many are not done; then nothing new is taken until some are.
pub async fn no_more_is_taken_than_may_be(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, consumer) = reader(&world, UNDONE_MAX + TAKEN_MAX).await;
    let key = consumer.key;
    assert_eq!(taken(&world, &key, 5_000).await.len(), TAKEN_MAX);
    assert_eq!(taken(&world, &key, 9).await, []);
    ack(&world, &key, &[7]).await;
    let next = TAKEN_MAX as u64 + 1;
    assert_eq!(taken(&world, &key, 9).await, [(next, 1)]);
    loop {
        let all: Vec<(Seq, Nack)> = (1..=UNDONE_MAX as u64 + 1).map(|seq| (Seq(seq), Nack::Park)).collect();
        let status = world.store.consumer_status(key.clone()).await.unwrap().unwrap();
        let handed = status.consumer.handed;
        let nack = all.into_iter().filter(|(seq, _)| *seq <= handed).collect();
        answer_for(&world, &key, Answers { nack, ..Answers::default() }).await;
        if taken(&world, &key, TAKEN_MAX).await.is_empty() {
            break;
        }
    }
    let status = world.store.consumer_status(key.clone()).await.unwrap().unwrap();
    assert_eq!((status.parked, status.taken), (UNDONE_MAX as u64, 0));
    ack(&world, &key, &[1]).await;
    assert_eq!(taken(&world, &key, 9).await, [(UNDONE_MAX as u64 + 2, 1)]);
}

/// As many are out as may be and there is nothing else: an answer would free nothing to take, so who waits need not
/// ask again before something joins the queue or comes back.
pub async fn who_finds_nothing_need_not_ask_again(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, consumer) = reader(&world, TAKEN_MAX).await;
    assert_eq!(taken(&world, &consumer.key, TAKEN_MAX).await.len(), TAKEN_MAX);
    let nothing = take(&world, &consumer.key, 1).await;
    assert_eq!((nothing.items.len(), nothing.more, nothing.full), (0, false, false));
    assert_eq!(nothing.next_due_at, Some(world.clock_now().after(LEASE)));
}

/// While a stream's lease holds, nothing is taken; while something taken is not done, no stream is read; what a
/// stream was handed and did not commit is taken.
pub async fn a_stream_and_a_work_queue_keep_off_each_other(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, consumer) = reader(&world, 5).await;
    let key = consumer.key;
    let lease = async |read, upto| {
        let request = LeaseRequest { read, upto: Seq(upto), holder: None, lease: LEASE };
        world.store.lease(key.clone(), request).await.unwrap()
    };
    let leased = lease((Seq(0), Seq(0)), 3).await.unwrap();
    let asked = world.store.take(key.clone(), Take { max: 9, lease: LEASE, holder: None }).await.unwrap();
    assert_eq!(asked.unwrap_err(), Refused::Held(leased.lease.unwrap()));
    world.store.commit(key.clone(), Seq(1), None, false).await.unwrap().unwrap();
    world.clock.advance(LEASE);
    assert_eq!(taken(&world, &key, 3).await, [(2, 1), (3, 1), (4, 1)]);
    assert_eq!(lease((Seq(1), Seq(4)), 5).await, Err(Refused::WorkQueue));
    assert_eq!(world.store.commit(key.clone(), Seq(4), None, true).await.unwrap(), Err(Refused::WorkQueue));
    assert_eq!(ack(&world, &key, &[2, 3, 4]).await, 4);
    lease((Seq(4), Seq(4)), 5).await.unwrap();
}

/// What a stream was handed is not done because somebody answers for items, of which there are none.
pub async fn an_answer_does_not_end_what_a_stream_was_handed(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (_, _, consumer) = reader(&world, 3).await;
    let key = consumer.key;
    let request = LeaseRequest { read: (Seq(0), Seq(0)), upto: Seq(3), holder: None, lease: LEASE };
    let leased = world.store.lease(key.clone(), request).await.unwrap().unwrap();
    let late = || nack(1, Nack::Retry(Duration::ZERO));
    let refused = world.store.answer(key.clone(), late()).await.unwrap();
    assert_eq!(refused, Err(Refused::Held(leased.lease.unwrap())));
    world.clock.advance(LEASE);
    assert_eq!(answer_for(&world, &key, late()).await, Answered { committed: Seq(0), lost: vec![Seq(1)] });
    assert_eq!(ack(&world, &key, &[3]).await, 0);
    assert_eq!(taken(&world, &key, 9).await, [(1, 1), (2, 1), (3, 1)]);
}

/// An old message that was sent again stands late in the queue and is removed early. Who took it before is not kept
/// from what follows, and who comes to the hole at the end has come to the end.
pub async fn a_hole_that_retention_left_is_done(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let old = world.publish_many(&app, 1).await;
    world.clock.advance(too_old(maker));
    let endpoint = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
    world.publish_many(&app, 2).await;
    world.store.resend(old[0].key, endpoint.no).await.unwrap();
    let (took, comes) = (key(&endpoint, "took"), key(&endpoint, "comes"));
    for key in [&took, &comes] {
        world.store.create_consumer(key.clone(), None, ConsumerSettings::default()).await.unwrap().unwrap();
    }
    assert_eq!(taken(&world, &took, 9).await.len(), 3);
    world.trim(NINETY_DAYS).await;
    let all = take(&world, &comes, 9).await;
    assert_eq!((all.items.len(), all.more), (2, false));
    assert_eq!(ack(&world, &comes, &[1, 2]).await, 3);
    assert_eq!(ack(&world, &took, &[1, 2]).await, 2);
    world.clock.advance(LEASE);
    assert!(!take(&world, &took, 9).await.more);
    let status = world.store.consumer_status(took).await.unwrap().unwrap();
    assert_eq!((status.consumer.committed, status.taken, status.behind), (Seq(3), 0, 0));
}

/// What a push had answered 2xx is passed over unless the endpoint is pushed still: then a consumer has a copy of all.
pub async fn a_work_queue_passes_over_what_a_push_brought(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let sent = world.publish_many(&app, 5).await;
    let settings = ConsumerSettings::default();
    let (copy, rest) = (key(&endpoint, "copy"), key(&endpoint, "rest"));
    for key in [&copy, &rest] {
        world.store.create_consumer(key.clone(), None, settings).await.unwrap().unwrap();
    }
    for (n, state) in
        [(0, DeliveryState::Delivered), (2, DeliveryState::Exhausted), (4, DeliveryState::Delivered)]
    {
        world.settle(world.delivery(&sent[n]).await, answer(200), state).await;
    }
    assert_eq!(taken(&world, &copy, 9).await.len(), 5);
    let pulled = Endpoint { mode: Mode::Held, ..(*endpoint).clone() };
    world.store.update_endpoint(pulled).await.unwrap();
    world.clock.advance(Duration::from_mins(2));
    let taken_now: Vec<u64> = taken(&world, &rest, 9).await.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(taken_now, [2, 3, 4]);
    assert_eq!(ack(&world, &rest, &[2, 3, 4]).await, 5);
    let again: Vec<u64> = taken(&world, &copy, 9).await.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(again, [2, 3, 4], "also of what comes back");
}

/// However much a push brought, one call passes over a bounded part of it and says that there may be more.
pub async fn a_work_queue_passes_over_a_long_stretch_in_steps(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let queue = key(&endpoint, "queue");
    world.store.create_consumer(queue.clone(), None, ConsumerSettings::default()).await.unwrap().unwrap();
    let mut settlements = Vec::new();
    for message in &world.publish_many(&app, 4_500).await {
        let delivery = Delivery { state: DeliveryState::Delivered, ..world.delivery(message).await };
        settlements.push(Settlement { delivery, attempt: None });
    }
    world.store.settle(settlements).await.unwrap();
    world.publish_many(&app, 1).await;
    let pulled = Endpoint { mode: Mode::Pull, ..(*endpoint).clone() };
    world.store.update_endpoint(pulled).await.unwrap();
    world.clock.advance(Duration::from_mins(2));
    let first = take(&world, &queue, 9).await;
    assert_eq!((first.items.len(), first.more), (0, true));
    let second = take(&world, &queue, 9).await;
    assert_eq!((second.items.len(), second.more), (0, true));
    assert_eq!(taken(&world, &queue, 9).await, [(4_501, 1)]);
    assert_eq!(ack(&world, &queue, &[4_501]).await, 4_501);
}

/// What retention removed is told until something after it is done, and what of it was taken or parked is gone.
pub async fn what_retention_removed_is_told_to_a_work_queue(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, _, consumer) = reader(&world, 5).await;
    let key = consumer.key;
    assert_eq!(taken(&world, &key, 3).await.len(), 3);
    answer_for(&world, &key, nack(2, Nack::Park)).await;
    assert_eq!(ack(&world, &key, &[1]).await, 1);
    world.clock.advance(too_old(maker));
    world.publish_many(&app, 2).await;
    world.trim(NINETY_DAYS).await;
    assert_eq!(parked(&world, &key).await, []);
    let gap = Some(Gap { from: Seq(2), until: Seq(5) });
    let first = take(&world, &key, 1).await;
    assert_eq!((first.items[0].seq, first.gap), (Seq(6), gap));
    assert_eq!(take(&world, &key, 1).await.gap, gap, "told again: nobody may have heard");
    assert_eq!(ack(&world, &key, &[6]).await, 6);
    assert_eq!(take(&world, &key, 1).await.gap, None);
    assert_eq!(ack(&world, &key, &[7]).await, 7);
}

/// Retention removes the one item that is not done: those after it are done all the same.
pub async fn what_is_done_stays_so_when_retention_removes_what_is_not(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, _, consumer) = reader(&world, 5).await;
    let key = consumer.key;
    world.clock.advance(too_old(maker));
    world.publish_many(&app, 2).await;
    assert_eq!(taken(&world, &key, 9).await.len(), 7);
    assert_eq!(ack(&world, &key, &[2, 3, 4, 5, 6, 7]).await, 0);
    world.trim(NINETY_DAYS).await;
    for _ in 0..2 {
        let taken = take(&world, &key, 9).await;
        assert_eq!((taken.items.len(), taken.gap), (0, Some(Gap { from: Seq(1), until: Seq(5) })));
    }
    assert_eq!(ack(&world, &key, &[5]).await, 7);
    assert_eq!(take(&world, &key, 9).await.gap, None);
}
