//! The log: appended to, read, listed.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use pushpull_domain::{
    App, AppNo, DeliveryState, EndpointNo, Message, MessageId, MessageKey, Mode, NewMessage, Payload,
    Position, Timestamp, attempt::Trigger,
};
use tokio::task::JoinSet;

use super::fixture::{
    Maker, NINETY_DAYS, START, World, all, check_pages, event_type, first_page, message, owed_at, too_old,
};
use crate::{Append, Appended, CommitListener, MessageFilter, Order, PageQuery, Resent, Store, Target};

/// All that a message says comes back as it was given, byte for byte, by whichever name it is asked for.
pub async fn a_message_reads_back_what_was_written(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let new = NewMessage {
        content_type: Some("application/xml".to_owned()),
        channels: vec!["a:1".parse().unwrap(), "b".parse().unwrap()],
        tags: vec![r"x/y\z#1".parse().unwrap()],
        event_id: Some("evt-1".parse().unwrap()),
        deliver_at: Some(START.after(Duration::from_secs(9))),
        payload_expires_at: Some(START.after(Duration::from_secs(99))),
        ..message("{\"a\":  1.50, \"b\": \"\u{0}\u{1F600}\"}\n")
    };
    let written = world.publish(&app, new.clone()).await;
    assert_eq!((written.created_at, written.key.position), (START, Position(1)));
    let plain = world.publish(&app, message("")).await;

    let world = world.reopen(maker).await;
    let store = &world.store;
    let by_event_id = store.message_by_event_id(app.no, new.event_id.clone().unwrap()).await.unwrap();
    let by_id = store.message(app.no, written.id).await.unwrap();
    for read in [by_event_id, by_id] {
        assert_eq!(format!("{:?}", read.unwrap()), format!("{written:?}"));
    }
    assert_eq!(written.payload, Payload::Kept(new.payload));
    let read = store.message(app.no, plain.id).await.unwrap().unwrap();
    assert_eq!(format!("{read:?}"), format!("{plain:?}"));
}

/// A foreign or made-up id answers as an unknown one.
pub async fn a_message_is_found_by_its_own_id_in_its_own_app(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, other) = (world.app("one").await, world.app("two").await);
    let sent =
        world.publish(&app, NewMessage { event_id: Some("evt".parse().unwrap()), ..message("1") }).await;
    world.publish(&other, message("2")).await;
    let store = &world.store;
    assert!(store.message(other.no, sent.id).await.unwrap().is_none());
    assert!(store.message_by_event_id(other.no, "evt".parse().unwrap()).await.unwrap().is_none());
    let forged = MessageId::of(sent.created_at, sent.id.number(), sent.id.salt() ^ 1);
    assert!(store.message(app.no, forged).await.unwrap().is_none());
    let beyond = MessageId::of(sent.created_at, 1 << 45, 1);
    assert!(store.message(app.no, beyond).await.unwrap().is_none());
}

/// What was matched against an older version is refused, and nothing of it is stored.
pub async fn a_stale_match_is_refused_and_nothing_is_stored(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let old = world.snapshot(&app).await;
    let endpoint = world.endpoint(&app).await;
    let append = |version, payload| Append {
        app: app.no,
        version,
        message: NewMessage { event_id: Some("evt".parse().unwrap()), ..message(payload) },
        targets: vec![Target { endpoint: endpoint.no, pushed: true }],
        idempotency: None,
    };
    assert!(matches!(world.store.append(append(old.version, "late")).await.unwrap(), Appended::Stale));
    assert!(matches!(world.store.append(append(old.version + 9, "early")).await.unwrap(), Appended::Stale));
    assert_eq!(world.store.messages(app.no, all(), first_page(9)).await.unwrap().items.len(), 0);
    world.owes(0).await;
    let stored = world.store.append(append(world.snapshot(&app).await.version, "now")).await.unwrap();
    let Appended::Stored(stored) = stored else { panic!("{stored:?}") };
    assert_eq!(stored.key.position, Position(1));
    assert_eq!(stored.fanout, [(endpoint.no, pushpull_domain::Seq(1))]);
}

/// A message has one delivery for each endpoint that matched, in every mode; only a pushed one becomes due.
pub async fn a_message_has_a_delivery_for_each_target(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let push = world.endpoint(&app).await;
    let pull = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Pull).await;
    let picky = world.endpoint_with(&app, |e| e.filter.event_types = Some(vec![event_type("other")])).await;
    let now = world.publish(&app, message("now")).await;
    let deliver_at = START.after(Duration::from_mins(5));
    let later = world.publish(&app, NewMessage { deliver_at: Some(deliver_at), ..message("later") }).await;
    let other = NewMessage { event_type: event_type("other"), ..message("other") };
    let other = world.publish(&app, other).await;

    let expected = |due_at| DeliveryState::Owed { due_at, trigger: Trigger::Scheduled };
    for (sent, due_at) in [(&now, START), (&later, deliver_at)] {
        let deliveries = world.store.deliveries_of(sent.key).await.unwrap();
        let found: Vec<_> =
            deliveries.iter().map(|d| (d.key.endpoint, d.message, d.state, d.attempts)).collect();
        let wanted = [(push.no, sent.key, owed_at(due_at), 0), (pull.no, sent.key, expected(None), 0)];
        assert_eq!(found, wanted);
    }
    let to: Vec<_> = other.fanout.iter().map(|(endpoint, seq)| (*endpoint, seq.0)).collect();
    assert_eq!(to, [(push.no, 3), (pull.no, 3), (picky.no, 1)]);
    world.owes(7).await;
}

/// The user's own id of an event is unique while its message is kept, and nothing of a second one is stored.
pub async fn an_event_id_is_taken_while_its_message_is_kept(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, other) = (world.app("one").await, world.app("two").await);
    world.endpoint(&app).await;
    let named = |payload| NewMessage { event_id: Some("evt".parse().unwrap()), ..message(payload) };
    let first = world.publish(&app, named("1")).await;
    world.publish(&other, named("1")).await;
    for erased in [false, true] {
        if erased {
            world.store.expunge_message(first.key).await.unwrap();
        }
        let again = world.log.publish(&world.snapshot(&app).await, named("2"), None).await.unwrap();
        assert!(matches!(again, crate::Published::EventIdTaken), "{again:?}");
    }
    assert_eq!(world.store.messages(app.no, all(), first_page(9)).await.unwrap().items.len(), 1);
    world.clock.advance(too_old(maker));
    world.trim(NINETY_DAYS).await;
    assert!(world.store.message_by_event_id(app.no, "evt".parse().unwrap()).await.unwrap().is_none());
    assert_eq!(world.publish(&app, named("3")).await.key.position, Position(2));
}

/// Who follows the cursor while many write sees each message once, in order, and never one before another
/// that stands in front of it; each endpoint's seqs are as dense.
pub async fn a_reader_behind_many_writers_misses_nothing(maker: &impl Maker) {
    const WRITERS: usize = 16;
    const EACH: usize = 40;
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let snapshot = world.snapshot(&app).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, app, version) = (Arc::clone(&world.store), app.no, snapshot.version);
        let targets = vec![Target { endpoint: endpoint.no, pushed: true }];
        writers.spawn(async move {
            for n in 0..EACH {
                let message = message(&format!("{writer}/{n}"));
                let append = Append { app, version, message, targets: targets.clone(), idempotency: None };
                assert!(matches!(store.append(append).await.unwrap(), Appended::Stored(_)));
            }
        });
    }
    let (store, no) = (Arc::clone(&world.store), app.no);
    #[expect(clippy::disallowed_methods, reason = "its end is waited for below")]
    let reader = tokio::spawn(async move { follow(&*store, no, WRITERS * EACH).await });
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let seen = reader.await.unwrap();
    let places: Vec<(u64, u64)> = seen.iter().map(|m| (m.key.position.0, m.fanout[0].1.0)).collect();
    let dense: Vec<(u64, u64)> = (1..=(WRITERS * EACH) as u64).map(|n| (n, n)).collect();
    assert_eq!(places, dense, "one endpoint that gets all: seqs go with positions");
    let payloads: HashSet<_> = seen.iter().map(|m| format!("{:?}", m.payload)).collect();
    assert_eq!(payloads.len(), WRITERS * EACH);
    assert!(seen.is_sorted_by_key(|m| m.created_at));
    world.owes_pushed((WRITERS * EACH) as u64).await;
}

/// Reads the log from its beginning until so many messages were seen.
async fn follow(store: &dyn Store, app: AppNo, count: usize) -> Vec<Arc<Message>> {
    let mut seen: Vec<Arc<Message>> = Vec::new();
    while seen.len() < count {
        let page = PageQuery {
            beyond: seen.last().map(|m| m.key.position),
            backwards: false,
            order: Order::Ascending,
            limit: 7,
        };
        seen.extend(store.messages(app, all(), page).await.unwrap().items);
        tokio::task::yield_now().await;
    }
    seen
}

/// Changes that are refused while many append leave no gap, and the appends around them are stored.
pub async fn refused_changes_among_appends_leave_no_gap(maker: &impl Maker) {
    const COUNT: u64 = 60;
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let old = world.endpoint(&app).await;
    let endpoint = world.store.update_endpoint((*old).clone()).await.unwrap();
    let snapshot = world.snapshot(&app).await;
    let appends = (0..COUNT).map(async |_| {
        let append = Append {
            app: app.no,
            version: snapshot.version,
            message: message("x"),
            targets: vec![Target { endpoint: endpoint.no, pushed: true }],
            idempotency: None,
        };
        let refused = world.store.update_endpoint((*old).clone());
        let (appended, refused) = futures_util::future::join(world.store.append(append), refused).await;
        assert!(matches!(refused, Err(crate::WriteError::Stale)), "{refused:?}");
        let Appended::Stored(message) = appended.unwrap() else { panic!("not stored") };
        (message.key.position.0, message.fanout[0].1.0)
    });
    let mut places = futures_util::future::join_all(appends).await;
    places.sort_unstable();
    assert_eq!(places, (1..=COUNT).map(|n| (n, n)).collect::<Vec<_>>());
    assert_eq!(world.snapshot(&app).await.version, snapshot.version);
    world.owes_pushed(COUNT).await;
}

/// Positions go on where they were, over a reopening and after all messages are gone.
pub async fn positions_are_never_given_twice(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    world.publish_many(&app, 3).await;
    let world = world.reopen(maker).await;
    let place = |m: &Message| (m.key.position.0, m.fanout[0].1.0);
    assert_eq!(place(&*world.publish(&app, message("4")).await), (4, 4));
    world.clock.advance(too_old(maker));
    world.trim(NINETY_DAYS).await;
    assert_eq!(place(&*world.publish(&app, message("5")).await), (5, 5));
    world.clock.advance(too_old(maker));
    world.trim(NINETY_DAYS).await;
    let world = world.reopen(maker).await;
    assert_eq!(place(&*world.publish(&app, message("6")).await), (6, 6));
}

/// In the log time never goes back, whatever the clock does, over a reopening too: lists by time rely on it.
pub async fn time_never_goes_back_in_the_log(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    world.endpoint(&app).await;
    let first = world.publish(&app, message("1")).await;
    world.clock.set(START.before(Duration::from_hours(1)));
    let second = world.publish(&app, message("2")).await;
    assert_eq!(second.created_at, first.created_at);
    let world = world.reopen(maker).await;
    let third = world.publish(&app, message("3")).await;
    assert_eq!(third.created_at, first.created_at);
    assert!(second.id < third.id, "ids sort as the log does");
    for late in [&second, &third] {
        assert_eq!(world.delivery(late).await.state, owed_at(world.clock_now()), "due by the clock, at once");
    }
    world.clock.set(START.after(Duration::from_secs(1)));
    assert_eq!(world.publish(&app, message("4")).await.created_at, world.clock_now());
}

/// Each filter leaves out what it says, alone and together, on pages of every size.
pub async fn messages_are_listed_in_pages(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, other) = (world.app("one").await, world.app("two").await);
    let mut sent = Vec::new();
    for n in 0..12_usize {
        let new = NewMessage {
            event_type: event_type(["a", "b", "c"][n % 3]),
            channels: if n % 2 == 0 { vec!["x".parse().unwrap(), "y".parse().unwrap()] } else { Vec::new() },
            tags: if n % 4 == 0 { vec!["t".parse().unwrap()] } else { Vec::new() },
            ..message(&n.to_string())
        };
        sent.push(world.publish(&app, new.clone()).await);
        world.publish(&other, new).await;
        world.clock.advance(Duration::from_millis(5));
    }
    let check = async |filter: MessageFilter, wanted: &dyn Fn(usize) -> bool| {
        let expected: Vec<Position> =
            (0..sent.len()).filter(|n| wanted(*n)).map(|n| sent[n].key.position).collect();
        let read = async |page| world.store.messages(app.no, filter.clone(), page).await.unwrap();
        check_pages(&expected, |m: &Arc<Message>| m.key.position, read).await;
    };
    let at = |n: usize| Some(sent[n].created_at);
    let types = |names: &[&str]| names.iter().map(|name| event_type(name)).collect::<HashSet<_>>();
    check(all(), &|_| true).await;
    check(MessageFilter { event_types: types(&["a", "c"]), ..all() }, &|n| n % 3 != 1).await;
    check(MessageFilter { event_types: types(&["unknown"]), ..all() }, &|_| false).await;
    check(MessageFilter { channel: Some("y".parse().unwrap()), ..all() }, &|n| n % 2 == 0).await;
    check(MessageFilter { tag: Some("t".parse().unwrap()), ..all() }, &|n| n % 4 == 0).await;
    check(MessageFilter { before: at(4), ..all() }, &|n| n < 4).await;
    check(MessageFilter { after: at(4), ..all() }, &|n| n > 4).await;
    check(MessageFilter { before: at(9), after: at(2), ..all() }, &|n| n > 2 && n < 9).await;
    check(MessageFilter { before: at(0), ..all() }, &|_| false).await;
    check(MessageFilter { after: at(11), ..all() }, &|_| false).await;
    let both = MessageFilter {
        event_types: types(&["a"]),
        channel: Some("x".parse().unwrap()),
        after: Some(Timestamp::from_millis(0)),
        ..all()
    };
    check(both, &|n| n % 6 == 0).await;
}

/// A list comes to its end however few messages its filter lets through, and however large they are: a page may
/// come back short, and then says where to go on.
pub async fn a_long_list_goes_on_where_a_page_came_back_short(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let rare = || NewMessage { event_type: event_type("rare"), ..message("x") };
    let first = world.publish(&app, rare()).await;
    world.publish_many(&app, 11_000).await;
    let last = world.publish(&app, rare()).await;
    let filter = MessageFilter { event_types: HashSet::from([event_type("rare")]), ..all() };
    let ends = [first.key.position, last.key.position];
    assert_eq!(follow_to_the_end(&world, &app, &filter, Order::Ascending).await, ends);
    assert_eq!(follow_to_the_end(&world, &app, &filter, Order::Descending).await, [ends[1], ends[0]]);

    let large = world.app("large").await;
    let payload = "x".repeat(1_000_000);
    for _ in 0..20 {
        world.publish(&large, message(&payload)).await;
    }
    let all_of_them: Vec<Position> = (1..=20).map(Position).collect();
    assert_eq!(follow_to_the_end(&world, &large, &all(), Order::Ascending).await, all_of_them);
}

async fn follow_to_the_end(world: &World, app: &App, filter: &MessageFilter, order: Order) -> Vec<Position> {
    let (mut found, mut beyond) = (Vec::new(), None);
    loop {
        let page = PageQuery { beyond, backwards: false, order, limit: 250 };
        let page = world.store.messages(app.no, filter.clone(), page).await.unwrap();
        found.extend(page.items.iter().map(|message| message.key.position));
        if page.done {
            return found;
        }
        let next = page.items.last().map(|message| message.key.position).or(page.reached.map(Position));
        assert!(next.is_some() && next != beyond, "a page that leads nowhere");
        beyond = next;
    }
}

/// An erased payload is gone, the message stays, and what was owed of it is cancelled. Again: nothing changes.
pub async fn an_expunged_message_is_owed_to_nobody(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let (push, pull) = (world.endpoint(&app).await, world.endpoint_with(&app, |e| e.mode = Mode::Pull).await);
    let sent = world.publish_many(&app, 2).await;
    for _ in 0..2 {
        world.store.expunge_message(sent[0].key).await.unwrap();
        let read = world.store.message(app.no, sent[0].id).await.unwrap().unwrap();
        assert_eq!(read.payload, Payload::Expunged);
        let states: Vec<_> =
            world.store.deliveries_of(sent[0].key).await.unwrap().iter().map(|d| d.state).collect();
        assert_eq!(states, [DeliveryState::Cancelled(pushpull_domain::CancelReason::Expunged); 2]);
        world.owes(2).await;
    }
    for endpoint in [&push, &pull] {
        let resent = world.store.resend(sent[0].key, endpoint.no).await.unwrap();
        assert_eq!(resent, Resent::Gone, "there is nothing to send");
    }
    world.store.expunge_message(MessageKey { app: app.no, position: Position(9) }).await.unwrap();
    world.owes(2).await;
}

/// What a listener was told.
#[derive(Default)]
struct Told {
    appended: Mutex<Vec<MessageId>>,
    rescheduled: Mutex<Vec<EndpointNo>>,
    configured: Mutex<Vec<AppNo>>,
}

impl CommitListener for Told {
    fn appended(&self, messages: &[Arc<Message>]) {
        self.appended.lock().unwrap().extend(messages.iter().map(|message| message.id));
    }

    fn rescheduled(&self, _: AppNo, endpoint: EndpointNo) {
        self.rescheduled.lock().unwrap().push(endpoint);
    }

    fn configured(&self, app: AppNo) {
        self.configured.lock().unwrap().push(app);
    }
}

/// A listener knows of a commit before the one who asked for it does; of what was refused it hears nothing.
pub async fn listeners_are_told_before_the_answer(maker: &impl Maker) {
    let world = World::new(maker).await;
    let told = Arc::new(Told::default());
    world.store.listen(Arc::clone(&told) as Arc<dyn CommitListener>);
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    assert_eq!(*told.configured.lock().unwrap(), [app.no]);
    let sent = world.publish(&app, message("1")).await;
    assert_eq!(*told.appended.lock().unwrap(), [sent.id]);
    let stale =
        Append { app: app.no, version: 0, message: message("2"), targets: Vec::new(), idempotency: None };
    world.store.append(stale).await.unwrap();
    assert_eq!(*told.appended.lock().unwrap(), [sent.id]);
    world.store.resend(sent.key, endpoint.no).await.unwrap();
    assert_eq!(*told.rescheduled.lock().unwrap(), [endpoint.no]);
    world.store.delete_app(app.no).await.unwrap();
    assert_eq!(*told.configured.lock().unwrap(), [app.no; 2]);
}
