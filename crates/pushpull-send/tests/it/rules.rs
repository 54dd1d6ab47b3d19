//! Rules that an endpoint, an event type or an application may have of its own.

use std::{collections::BTreeMap, time::Duration};

use pushpull_domain::{
    DeliveryState, EndpointState, EventType, EventTypeName, Health, Timestamp,
    endpoint::{CustomHeader, DisabledReason, FAILING_MAX},
};
use pushpull_store::Published;
use pushpull_testkit::{Receiver, Reply, TokioClock, new_message};

use crate::support::World;

const NEVER: &str = "1h";

async fn event_type_with(world: &World, schedule: &str) {
    let event_type = EventType {
        environment: world.store.environment.no,
        name: EventTypeName::new("test.event").unwrap(),
        description: String::new(),
        archived: false,
        deprecated: false,
        schemas: None,
        feature_flags: None,
        group_name: None,
        retry_schedule: Some(schedule.parse().unwrap()),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    world.store.log.store().create_event_type(event_type).await.unwrap();
}

#[tokio::test]
async fn an_event_types_schedule_comes_before_the_servers() {
    let world = World::start(NEVER).await;
    event_type_with(&world, "10ms,10ms").await;
    let receiver = Receiver::start(|_| Reply::status(500)).await;
    let (app, _) = world.app(&receiver.url("/"), |_| ()).await;
    let message = world.publish(&app, "{}").await;
    let deliveries = world.deliveries(&message, |all| all[0].state == DeliveryState::Exhausted).await;
    assert_eq!((deliveries[0].attempts, receiver.received().len()), (3, 3));
}

#[tokio::test]
async fn an_endpoints_schedule_comes_before_the_event_types() {
    let world = World::start(NEVER).await;
    event_type_with(&world, NEVER).await;
    let receiver = Receiver::start(|_| Reply::status(500)).await;
    let (app, _) =
        world.app(&receiver.url("/"), |endpoint| endpoint.retry_schedule = "10ms".parse().ok()).await;
    let message = world.publish(&app, "{}").await;
    let deliveries = world.deliveries(&message, |all| all[0].state == DeliveryState::Exhausted).await;
    assert_eq!((deliveries[0].attempts, receiver.received().len()), (2, 2));
}

#[tokio::test]
async fn an_applications_rate_limit_holds_for_its_endpoints_together() {
    let world = World::start("").await;
    let receiver = Receiver::ok().await;
    let (app, _) = world.app(&receiver.url("/one"), |_| ()).await;
    world.store.endpoint(&app, &receiver.url("/two"), |_| ()).await;
    let mut limited = world.store.snapshot(&app).await.app.clone();
    limited.rate_limit = Some(20);
    let app = world.store.log.store().update_app(limited).await.unwrap();
    let clock = TokioClock::start();
    for n in 0..10 {
        world.publish(&app, &n.to_string()).await;
    }
    receiver.wait_for(20).await;
    assert!(clock.elapsed() >= Duration::from_millis(800), "{:?}", clock.elapsed());
}

#[tokio::test]
async fn an_endpoint_that_only_failed_for_five_days_is_disabled_and_keeps_what_it_is_owed() {
    let world = World::start(NEVER).await;
    let receiver = Receiver::start(|_| Reply::status(500)).await;
    let (app, endpoint) = world.app(&receiver.url("/"), |_| ()).await;
    let failing_since = Some(world.store.clock.now().before(FAILING_MAX));
    let health = Health { failing_since, notified: true };
    world.store.log.store().set_health(endpoint.no, health).await.unwrap();
    let message = world.publish(&app, "{}").await;
    let state = world
        .eventually(async || {
            let state = world.store.snapshot(&app).await.endpoints[0].state;
            (state != EndpointState::Enabled).then_some(state)
        })
        .await;
    assert!(matches!(state, EndpointState::Disabled { reason: DisabledReason::Failing, .. }));
    let deliveries = world.deliveries(&message, |all| all[0].attempts == 1).await;
    assert!(matches!(deliveries[0].state, DeliveryState::Owed { due_at: Some(_), .. }));
    assert!(world.publish(&app, "{}").await.fanout.is_empty());
}

#[tokio::test]
async fn a_message_is_not_sent_before_its_time() {
    let world = World::start("").await;
    let receiver = Receiver::ok().await;
    let (app, _) = world.app(&receiver.url("/"), |_| ()).await;
    let snapshot = world.store.snapshot(&app).await;
    let clock = TokioClock::start();
    let wait = Duration::from_millis(300);
    let mut message = new_message("{}");
    message.deliver_at = Some(world.store.clock.now().after(wait));
    let published = world.store.log.publish(&snapshot, message, None).await.unwrap();
    assert!(matches!(published, Published::Stored(_)));
    receiver.wait_for(1).await;
    assert!(clock.elapsed() >= wait, "{:?}", clock.elapsed());
}

#[tokio::test]
async fn custom_headers_are_sent_and_a_content_type_goes_with_its_message() {
    let world = World::start("").await;
    let receiver = Receiver::ok().await;
    let header = |value: &str| CustomHeader { value: value.into(), sensitive: false };
    let headers = BTreeMap::from([("x-tenant".to_owned(), header("7"))]);
    let (app, endpoint) = world.app(&receiver.url("/"), |endpoint| endpoint.headers = headers).await;
    let snapshot = world.store.snapshot(&app).await;
    let mut message = new_message("<a/>");
    message.content_type = Some("application/xml".into());
    world.store.log.publish(&snapshot, message, None).await.unwrap();
    let received = &receiver.wait_for(1).await[0];
    assert_eq!((received.header("x-tenant"), received.header("content-type")), ("7", "application/xml"));
    assert!(received.is_signed_with(&endpoint.secrets.current.to_verifier_text()));
}
