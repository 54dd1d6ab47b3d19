//! Endpoints.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pushpull_domain::{
    Endpoint, EndpointState, Filter, Health, Mode, SeededChance, Seq,
    endpoint::{CustomHeader, DisabledReason},
    signature::{Secret, SignatureType},
};

use super::fixture::{Maker, NINETY_DAYS, START, World, event_type, message};
use crate::{DueOrder, Resent, WriteError};

/// All that is said of an endpoint comes back as it was given, secrets and headers too.
pub async fn an_endpoint_reads_back_what_was_written(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let header = |value: &str, sensitive| CustomHeader { value: value.to_owned(), sensitive };
    let written = world
        .endpoint_with(&app, |endpoint| {
            endpoint.uid = Some("ep".parse().unwrap());
            endpoint.description.push_str("ünïcode");
            endpoint.filter = Filter {
                event_types: Some(vec![event_type("a"), event_type("b")]),
                channels: Some(vec!["x:1".parse().unwrap()]),
            };
            endpoint.mode = Mode::Pull;
            endpoint.state = EndpointState::Disabled { at: START, reason: DisabledReason::Gone };
            endpoint.rate_limit = Some(7);
            endpoint.retry_schedule = Some("5s,5m".parse().unwrap());
            endpoint.fifo = true;
            endpoint.batch = pushpull_domain::Batch { size: 100, wait_secs: 10 };
            endpoint.headers = BTreeMap::from([
                ("x-plain".to_owned(), header("1", false)),
                ("authorization".to_owned(), header("Bearer x", true)),
            ]);
            let new = Secret::generate(SignatureType::Ed25519, &SeededChance::new(4));
            endpoint.secrets.rotate(new, START.after(Duration::from_hours(24)), START);
            endpoint.metadata = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        })
        .await;
    let world = world.reopen(maker).await;
    assert_eq!(world.snapshot(&app).await.endpoints, [written]);
}

/// A uid belongs to one endpoint of an application, and is free again when that one is deleted.
pub async fn a_uid_of_an_endpoint_is_taken_once(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, other) = (world.app("one").await, world.app("two").await);
    let named = |endpoint: &mut Endpoint| endpoint.uid = Some("ep".parse().unwrap());
    let first = world.endpoint_with(&app, named).await;
    world.endpoint_with(&other, named).await;
    let second = world.endpoint(&app).await;
    let stolen = Endpoint { uid: first.uid.clone(), ..(*second).clone() };
    let refused = world.store.update_endpoint(stolen.clone()).await;
    assert!(matches!(refused, Err(WriteError::Taken("uid"))));
    assert!(matches!(world.store.create_endpoint(stolen.clone()).await, Err(WriteError::Taken("uid"))));
    assert_eq!(world.snapshot(&app).await.endpoints.len(), 2, "nothing of what was refused is there");
    world.store.delete_endpoint(first.no).await.unwrap();
    assert_eq!(world.store.update_endpoint(stolen).await.unwrap().uid, first.uid);
}

/// A change that was based on what is no longer there is refused, though the clock stands still.
pub async fn a_stale_change_of_an_endpoint_is_refused(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let read = world.endpoint(&app).await;
    let version = world.snapshot(&app).await.version;
    let change = |text: &str| Endpoint { description: text.to_owned(), ..(*read).clone() };
    let written = world.store.update_endpoint(change("new")).await.unwrap();
    assert!(written.updated_at > read.updated_at);
    assert!(matches!(world.store.update_endpoint(change("late")).await, Err(WriteError::Stale)));
    let snapshot = world.snapshot(&app).await;
    assert_eq!(snapshot.endpoints, [written]);
    assert_eq!(snapshot.version, version + 1, "what was refused changed nothing");
    world.store.delete_endpoint(read.no).await.unwrap();
    assert!(matches!(world.store.update_endpoint(change("late")).await, Err(WriteError::NotFound)));
}

/// Each change of an application or of its endpoints is a new version of what messages are matched against.
pub async fn every_change_is_a_new_version(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let mut versions = vec![world.snapshot(&app).await.version];
    let endpoint = world.endpoint(&app).await;
    versions.push(world.snapshot(&app).await.version);
    let endpoint = world.store.update_endpoint((*endpoint).clone()).await.unwrap();
    versions.push(world.snapshot(&app).await.version);
    assert!(world.store.disable_endpoint(endpoint.no, DisabledReason::Gone).await.unwrap());
    versions.push(world.snapshot(&app).await.version);
    world.store.delete_endpoint(endpoint.no).await.unwrap();
    versions.push(world.snapshot(&app).await.version);
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

/// An endpoint is disabled once; enabling it begins its health anew.
pub async fn an_endpoint_is_disabled_once_and_begins_anew(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let endpoint = world.endpoint(&app).await;
    let failing = Health { failing_since: Some(START), notified: true };
    world.store.set_health(endpoint.no, failing).await.unwrap();
    assert!(world.store.disable_endpoint(endpoint.no, DisabledReason::Failing).await.unwrap());
    assert!(!world.store.disable_endpoint(endpoint.no, DisabledReason::Gone).await.unwrap());
    let disabled = Arc::clone(&world.snapshot(&app).await.endpoints[0]);
    let expected = EndpointState::Disabled { at: START, reason: DisabledReason::Failing };
    assert_eq!((disabled.state, disabled.health), (expected, failing));
    assert!(disabled.updated_at > endpoint.updated_at);
    let stale = Endpoint { state: EndpointState::Enabled, ..(*endpoint).clone() };
    assert!(matches!(world.store.update_endpoint(stale).await, Err(WriteError::Stale)));

    let renamed = Endpoint { description: "x".to_owned(), health: Health::default(), ..(*disabled).clone() };
    let renamed = world.store.update_endpoint(renamed).await.unwrap();
    assert_eq!(renamed.health, failing, "health is not the caller's to write");
    let enabled = Endpoint { state: EndpointState::Enabled, ..(*renamed).clone() };
    let enabled = world.store.update_endpoint(enabled).await.unwrap();
    assert_eq!(enabled.health, Health::default());
    assert_eq!(world.snapshot(&app).await.endpoints, [enabled]);
}

/// What is deleted is gone at once, and what it is owed is cancelled; the others are owed as before. So it is
/// for the second and the third one that is deleted, too.
pub async fn deleted_endpoints_are_owed_nothing(maker: &impl Maker) {
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let mut endpoints = Vec::new();
    for mode in [Mode::Push, Mode::Push, Mode::Pull, Mode::Push] {
        endpoints.push(world.endpoint_with(&app, |endpoint| endpoint.mode = mode).await);
    }
    let sent = world.publish_many(&app, 3).await;
    world.owes(12).await;
    for endpoint in &endpoints[..3] {
        world.store.delete_endpoint(endpoint.no).await.unwrap();
        assert!(matches!(world.store.delete_endpoint(endpoint.no).await, Err(WriteError::NotFound)));
        let due = DueOrder::ByTime { until: world.clock_now() };
        let due = world.store.due(endpoint.no, due, Vec::new(), 10).await.unwrap();
        assert_eq!(due.items.len(), 0);
        assert_eq!(world.store.resend(sent[0].key, endpoint.no).await.unwrap(), Resent::Gone);
    }
    let owed: Vec<_> = world.store.owed_endpoints().await.unwrap().iter().map(|o| o.endpoint).collect();
    assert_eq!(owed, [endpoints[3].no]);
    world.trim(NINETY_DAYS).await;
    world.owes_pushed(3).await;
    // Its deliveries are kept as long as the messages are.
    let cancelled = world.store.ledger().await.unwrap().cancelled;
    assert_eq!(cancelled, 9);
    // What was in flight when it was deleted changes nothing, unless it succeeded.
    let late = world.publish(&app, message("late")).await;
    assert_eq!(world.delivery(&late).await.key.endpoint, endpoints[3].no);
}

/// An endpoint that is set to push is owed what gathered before: the first of it at once, the rest by a task that
/// goes on in steps, so that nobody waits for a million of them.
pub async fn what_gathered_is_due_when_an_endpoint_is_set_to_push(maker: &impl Maker) {
    const MANY: usize = 4_500;
    let world = World::new(maker).await;
    let app = world.app("one").await;
    let held = world.endpoint_with(&app, |endpoint| endpoint.mode = Mode::Held).await;
    world.publish_many(&app, MANY).await;
    assert_eq!(world.store.owed_endpoints().await.unwrap(), []);
    let in_order = async || {
        let order = DueOrder::BySeq { from: Seq(0) };
        let due = world.store.due(held.no, order, Vec::new(), MANY * 2).await.unwrap();
        due.items.iter().map(|item| item.delivery.key.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(in_order().await, [0; 0]);
    world.clock.advance(Duration::from_secs(1));
    let pushed = Endpoint { mode: Mode::Push, ..(*held).clone() };
    world.store.update_endpoint(pushed).await.unwrap();
    let due = async |limit| {
        let order = DueOrder::ByTime { until: world.clock_now() };
        let due = world.store.due(held.no, order, Vec::new(), limit).await.unwrap();
        due.items.iter().map(|item| item.delivery.key.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(due(3).await, [1, 2, 3]);
    let new = world.publish(&app, message("new")).await;
    let all: Vec<u64> = (1..=MANY as u64 + 1).collect();
    assert_eq!(new.fanout[0].1.0, MANY as u64 + 1);
    assert_eq!(in_order().await, all, "in the order of the queue, what is new does not overtake");
    for recovery in world.store.recoveries().await.unwrap() {
        while !world.store.step_recovery(recovery.task).await.unwrap().done {}
    }
    assert_eq!(due(MANY * 2).await, all);
    world.owes_pushed(MANY as u64 + 1).await;
}
