//! Applications and event types.

use std::time::Duration;

use pushpull_domain::{App, EnvironmentId, EventType, EventTypeName, Metadata};

use super::fixture::{
    Maker, NINETY_DAYS, START, World, all, check_pages, event_type, first_page, message, new_endpoint,
};
use crate::{AppListFilter, Append, Appended, NewApp, Ref, WriteError};

/// An application is found by its id and its uid, in its own environment only, over a reopening too.
pub async fn an_app_is_found_by_id_and_uid(maker: &impl Maker) {
    let world = World::new(maker).await;
    let new = NewApp {
        rate_limit: Some(50),
        metadata: Metadata::from([("tier".to_owned(), "gold".to_owned())]),
        ..world.new_app("acme")
    };
    let app = world.store.create_app(new).await.unwrap();
    let nameless = world.store.create_app(NewApp { uid: None, ..world.new_app("x") }).await.unwrap();
    let other = world.store.ensure_environment(EnvironmentId::new(START, [2; 15]), "other").await.unwrap();
    let world = world.reopen(maker).await;
    let (store, here) = (&world.store, world.environment.no);
    for (wanted, name) in [
        (&app, Ref::Id(app.id)),
        (&app, Ref::Uid("acme".parse().unwrap())),
        (&nameless, Ref::Id(nameless.id)),
    ] {
        let found = store.app(here, name.clone()).await.unwrap().unwrap();
        assert_eq!(found.app, *wanted);
        assert!(store.app(other.no, name).await.unwrap().is_none(), "nothing crosses environments");
    }
    assert!(store.app(here, Ref::Uid("unknown".parse().unwrap())).await.unwrap().is_none());
}

/// A uid belongs to one application of an environment, and is free again when that one is deleted.
pub async fn a_uid_of_an_app_is_taken_once(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (one, two) = (world.app("one").await, world.app("two").await);
    assert!(matches!(world.store.create_app(world.new_app("one")).await, Err(WriteError::Taken("uid"))));
    let stolen = App { uid: one.uid.clone(), ..two.clone() };
    assert!(matches!(world.store.update_app(stolen.clone()).await, Err(WriteError::Taken("uid"))));
    let other = world.store.ensure_environment(EnvironmentId::new(START, [2; 15]), "other").await.unwrap();
    world.store.create_app(NewApp { environment: other.no, ..world.new_app("one") }).await.unwrap();
    world.store.delete_app(one.no).await.unwrap();
    assert_eq!(world.store.update_app(stolen).await.unwrap().uid, one.uid);
}

/// A change that was based on what is no longer there is refused, though the clock stands still.
pub async fn a_stale_change_of_an_app_is_refused(maker: &impl Maker) {
    let world = World::new(maker).await;
    let read = world.app("one").await;
    let version = world.snapshot(&read).await.version;
    let written = world.store.update_app(App { name: "new".to_owned(), ..read.clone() }).await.unwrap();
    assert!(written.updated_at > read.updated_at);
    assert_eq!(world.snapshot(&read).await.app, written);
    assert!(world.snapshot(&read).await.version > version);
    let late = world.store.update_app(App { name: "late".to_owned(), ..read.clone() }).await;
    assert!(matches!(late, Err(WriteError::Stale)));
    assert_eq!(world.snapshot(&read).await.app, written);
    world.store.delete_app(read.no).await.unwrap();
    assert!(matches!(world.store.update_app(written).await, Err(WriteError::Stale | WriteError::NotFound)));
}

/// What is deleted is gone from every answer at once, takes no message, and in the end owes nothing.
pub async fn a_deleted_app_is_unreachable_and_owes_nothing(maker: &impl Maker) {
    let world = World::new(maker).await;
    let (app, other) = (world.app("one").await, world.app("two").await);
    let endpoint = world.endpoint(&app).await;
    world.endpoint(&other).await;
    let snapshot = world.snapshot(&app).await;
    world.publish_many(&app, 5).await;
    let kept = world.publish(&other, message("kept")).await;
    world.owes_pushed(6).await;

    world.store.delete_app(app.no).await.unwrap();
    let store = &world.store;
    assert!(store.app(world.environment.no, Ref::Id(app.id)).await.unwrap().is_none());
    assert!(store.app(world.environment.no, Ref::Uid("one".parse().unwrap())).await.unwrap().is_none());
    assert!(store.app_by_no(app.no).await.unwrap().is_none());
    let listed = store.apps(world.environment.no, AppListFilter::default(), first_page(9)).await.unwrap();
    assert_eq!(listed.items, std::slice::from_ref(&other));
    let owed: Vec<_> = store.owed_endpoints().await.unwrap().into_iter().map(|o| o.app).collect();
    assert_eq!(owed, [other.no]);
    let append = Append {
        app: app.no,
        version: snapshot.version,
        message: message("late"),
        targets: Vec::new(),
        idempotency: None,
    };
    assert!(matches!(store.append(append).await.unwrap(), Appended::AppGone));
    assert!(matches!(store.create_endpoint(new_endpoint(app.no)).await, Err(WriteError::NotFound)));
    assert!(matches!(store.delete_app(app.no).await, Err(WriteError::NotFound)));
    assert!(matches!(store.delete_endpoint(endpoint.no).await, Err(WriteError::NotFound)));

    world.trim(NINETY_DAYS).await;
    world.owes_pushed(1).await;
    assert_eq!(store.messages(app.no, all(), first_page(9)).await.unwrap().items.len(), 0);
    assert_eq!(store.messages(other.no, all(), first_page(9)).await.unwrap().items[0].id, kept.id);
}

/// Applications are listed by id, both ways, and filters leave out what they say.
pub async fn apps_are_listed_in_pages(maker: &impl Maker) {
    let world = World::new(maker).await;
    let mut apps = Vec::new();
    for n in 0..7 {
        apps.push(world.app(&format!("app-{n}")).await);
        // Ids sort by their time, in steps of 4 ms.
        world.clock.advance(Duration::from_millis(10));
    }
    let other = world.store.ensure_environment(EnvironmentId::new(START, [2; 15]), "other").await.unwrap();
    world.store.create_app(NewApp { environment: other.no, ..world.new_app("foreign") }).await.unwrap();
    world.endpoint(&apps[1]).await;
    // The third has only a disabled one, the fifth one that is enabled too.
    world.endpoint(&apps[4]).await;
    for app in [&apps[2], &apps[4]] {
        let disabled = world.endpoint(app).await;
        let reason = pushpull_domain::endpoint::DisabledReason::Owner;
        world.store.disable_endpoint(disabled.no, reason).await.unwrap();
    }
    let deleted = world.endpoint(&apps[3]).await;
    world.store.delete_endpoint(deleted.no).await.unwrap();

    let check = async |filter: AppListFilter, expected: &[usize]| {
        let ids: Vec<_> = expected.iter().map(|n| apps[*n].id).collect();
        let read = async |page| world.store.apps(world.environment.no, filter, page).await.unwrap();
        check_pages(&ids, |app: &App| app.id, read).await;
    };
    let none = AppListFilter::default();
    check(none, &[0, 1, 2, 3, 4, 5, 6]).await;
    check(AppListFilter { without_endpoints: true, ..none }, &[1, 2, 4]).await;
    check(AppListFilter { with_disabled_endpoints_only: true, ..none }, &[0, 1, 3, 4, 5, 6]).await;
    check(AppListFilter { without_endpoints: true, with_disabled_endpoints_only: true }, &[1, 4]).await;
}

fn new_event_type(world: &World, name: &str) -> EventType {
    EventType {
        environment: world.environment.no,
        name: event_type(name),
        description: format!("about {name}"),
        archived: false,
        deprecated: false,
        schemas: None,
        feature_flags: None,
        group_name: None,
        retry_schedule: None,
        created_at: START,
        updated_at: START,
    }
}

/// All that is said of an event type comes back as it was given.
pub async fn an_event_type_reads_back_what_was_written(maker: &impl Maker) {
    let world = World::new(maker).await;
    let schemas = r#"{"1": {"type":  "object"}}"#;
    let written = world
        .store
        .create_event_type(EventType {
            archived: true,
            deprecated: true,
            schemas: Some(serde_json::from_str(schemas).unwrap()),
            feature_flags: Some(vec!["beta".parse().unwrap()]),
            group_name: Some("invoices".to_owned()),
            retry_schedule: Some("5s,5m".parse().unwrap()),
            ..new_event_type(&world, "invoice.paid")
        })
        .await
        .unwrap();
    let world = world.reopen(maker).await;
    let read = world.store.event_type(world.environment.no, written.name.clone()).await.unwrap().unwrap();
    assert_eq!(format!("{read:?}"), format!("{written:?}"));
    assert_eq!(read.schemas.unwrap().get(), schemas);
    let unknown = world.store.event_type(world.environment.no, event_type("unknown")).await.unwrap();
    assert!(unknown.is_none());
}

/// A name is taken once; a stale change is refused; what is deleted can be made again.
pub async fn an_event_type_is_made_changed_and_deleted(maker: &impl Maker) {
    let world = World::new(maker).await;
    let store = &world.store;
    let read = store.create_event_type(new_event_type(&world, "a")).await.unwrap();
    assert_eq!(read.created_at, world.clock_now());
    let again = store.create_event_type(new_event_type(&world, "a")).await;
    assert!(matches!(again, Err(WriteError::Taken("name"))));
    let changed =
        store.update_event_type(EventType { description: "new".to_owned(), ..read.clone() }).await.unwrap();
    assert!(changed.updated_at > read.updated_at);
    assert!(matches!(store.update_event_type(read).await, Err(WriteError::Stale)));
    let (here, name) = (world.environment.no, event_type("a"));
    assert_eq!(store.event_type(here, name.clone()).await.unwrap().unwrap().description, "new");
    store.delete_event_type(here, name.clone()).await.unwrap();
    assert!(store.event_type(here, name.clone()).await.unwrap().is_none());
    assert!(matches!(store.delete_event_type(here, name).await, Err(WriteError::NotFound)));
    store.create_event_type(new_event_type(&world, "a")).await.unwrap();
}

/// Event types are listed by name, both ways, the archived ones if wanted.
pub async fn event_types_are_listed_in_pages(maker: &impl Maker) {
    let world = World::new(maker).await;
    for name in ["d", "a", "c", "b", "B"] {
        let archived = name == "c";
        let event_type = EventType { archived, ..new_event_type(&world, name) };
        world.store.create_event_type(event_type).await.unwrap();
    }
    for (include_archived, expected) in
        [(false, &["B", "a", "b", "d"][..]), (true, &["B", "a", "b", "c", "d"])]
    {
        let names: Vec<EventTypeName> = expected.iter().map(|name| event_type(name)).collect();
        let read =
            async |page| world.store.event_types(world.environment.no, include_archived, page).await.unwrap();
        check_pages(&names, |event_type: &EventType| event_type.name.clone(), read).await;
    }
}
