//! Audits: each seq of a queue counts once, as what became of it.

use std::time::Duration;

use pushpull_domain::{DeliveryState, Endpoint, Mode, PushFrom, Seq};

use super::{
    Maker,
    fixture::{NINETY_DAYS, World, answer, message, too_old},
};
use crate::{Audit, ConsumerKey, ConsumerSettings, audit::AUDIT_ROWS};

const DAY: Duration = Duration::from_hours(24);

async fn all(world: &World, endpoint: &Endpoint) -> Audit {
    let page = world.store.audit(endpoint.no, None, None).await.unwrap();
    assert_eq!(page.reached, page.last);
    page.audit
}

/// What was delivered, read, owed, exhausted or given up is told apart, and only what was exhausted or given up keeps
/// an audit from being complete. What a reader has passed counts as read, and by whom it was read does not matter.
pub async fn an_audit_says_what_became_of_everything(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    assert_eq!(all(&world, &endpoint).await, Audit::default());
    let sent = world.publish_many(&app, 6).await;
    for (n, state) in
        [(0, DeliveryState::Delivered), (1, DeliveryState::Exhausted), (4, DeliveryState::Exhausted)]
    {
        let status = if state == DeliveryState::Delivered { 200 } else { 500 };
        world.settle(world.delivery(&sent[n]).await, answer(status), state).await;
    }
    world.store.expunge_message(sent[2].key).await.unwrap();
    let expected = Audit { delivered: 1, exhausted: 2, owed: 2, cancelled_expunged: 1, ..Audit::default() };
    let found = all(&world, &endpoint).await;
    assert_eq!(found, expected);
    assert!(!found.is_complete());

    let key = ConsumerKey { endpoint: endpoint.no, name: "reader".parse().unwrap() };
    let made = world.store.create_consumer(key, Some(Seq(4)), ConsumerSettings::default()).await;
    made.unwrap().unwrap();
    let expected = Audit { read: 2, exhausted: 1, owed: 1, ..expected };
    assert_eq!(all(&world, &endpoint).await, expected);
    let behind = world.store.audit(endpoint.no, Some(Seq(3)), Some(Seq(4))).await.unwrap();
    assert_eq!((behind.after, behind.reached, behind.last), (Seq(3), Seq(4), Seq(6)));
    assert_eq!(behind.audit, Audit { read: 1, ..Audit::default() });
    assert!(behind.audit.is_complete());
    let beyond = world.store.audit(endpoint.no, Some(Seq(u64::MAX)), None).await.unwrap();
    assert_eq!((beyond.after, beyond.reached, beyond.audit), (Seq(6), Seq(6), Audit::default()));

    // What readers were done with when it was pushed again is read, consumer or not.
    for mode in [Mode::Held, Mode::Push] {
        let read = (*world.snapshot(&app).await.endpoints[0]).clone();
        let changed = Endpoint { mode, ..read };
        world.store.update_endpoint_from(changed, PushFrom::Latest).await.unwrap();
    }
    assert_eq!(all(&world, &endpoint).await, Audit { read: 4, exhausted: 0, owed: 0, ..expected });

    world.store.delete_endpoint(endpoint.no).await.unwrap();
    world.trim(NINETY_DAYS).await;
    let gone = all(&world, &endpoint).await;
    assert!(gone.cancelled_deleted > 0 && !gone.is_complete(), "{gone:?}");
}

/// What retention removed is not kept from an audit that asks for it: nobody can say what became of it.
pub async fn an_audit_says_what_retention_removed(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    world.publish_many(&app, 3).await;
    world.clock.advance(too_old(maker));
    world.publish_many(&app, 2).await;
    world.trim(NINETY_DAYS).await;
    let kept = world.store.audit(endpoint.no, None, None).await.unwrap();
    assert_eq!((kept.after, kept.reached, kept.removed_to), (Seq(3), Seq(5), Seq(3)));
    assert_eq!(kept.audit, Audit { owed: 2, ..Audit::default() });
    assert!(kept.audit.is_complete());
    let asked = world.store.audit(endpoint.no, Some(Seq(1)), None).await.unwrap();
    assert_eq!(asked.audit, Audit { owed: 2, removed: 2, ..Audit::default() });
    assert!(!asked.audit.is_complete());
    world.clock.advance(too_old(maker));
    world.trim(NINETY_DAYS).await;
    let nothing = world.store.audit(endpoint.no, None, None).await.unwrap();
    assert_eq!((nothing.after, nothing.reached, nothing.audit), (Seq(5), Seq(5), Audit::default()));
}

/// An old message that is sent again stands late in the queue and is removed early: the hole it leaves is retention's.
pub async fn an_audit_knows_a_hole_that_retention_left(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let old = world.publish(&app, message("old")).await;
    world.clock.advance(DAY);
    let endpoint = world.endpoint(&app).await;
    world.publish_many(&app, 2).await;
    world.store.resend(old.key, endpoint.no).await.unwrap();
    world.publish_many(&app, 1).await;
    world.clock.advance(too_old(maker).saturating_sub(DAY));
    world.trim(NINETY_DAYS).await;
    let page = world.store.audit(endpoint.no, None, None).await.unwrap();
    assert_eq!((page.after, page.reached, page.removed_to), (Seq(0), Seq(4), Seq(3)));
    assert_eq!(page.audit, Audit { owed: 3, removed: 1, ..Audit::default() });
}

/// An audit of a long queue comes in pages that add up.
pub async fn an_audit_comes_in_pages(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let other = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Held).await;
    let count = AUDIT_ROWS + 10;
    world.publish_many(&app, usize::try_from(count).unwrap()).await;
    for endpoint in [&endpoint, &other] {
        let first = world.store.audit(endpoint.no, None, None).await.unwrap();
        assert_eq!((first.reached, first.last), (Seq(AUDIT_ROWS), Seq(count)));
        let rest = world.store.audit(endpoint.no, Some(first.reached), Some(first.last)).await.unwrap();
        assert_eq!(rest.reached, Seq(count));
        assert_eq!((first.audit.owed, rest.audit.owed), (AUDIT_ROWS, 10));
    }
}
