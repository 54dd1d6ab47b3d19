use js_option::JsOption;
use pushpull_sdk_tests::{invalid, page, refused, set, svix, there_and_back, unique};
use serde_json::{Value, json};
use svix::{
    api::{EventTypeCreateOptions, EventTypeDeleteOptions, EventTypeListOptions},
    models::{EventTypeIn, EventTypePatch, EventTypeUpsertIn, Ordering},
};

fn schemas() -> Option<Value> {
    Some(json!({ "1": { "title": "Invoice", "type": "object", "examples": [{ "amount": 1 }] } }))
}

fn full() -> EventTypeIn {
    EventTypeIn {
        deprecated: Some(true),
        archived: Some(false),
        schemas: schemas(),
        group_name: Some("invoice".into()),
        feature_flags: set(&["beta"]),
        ..EventTypeIn::new(unique("invoice.paid"), "Bezahlt 🦀".into())
    }
}

#[tokio::test]
async fn create_gives_back_what_it_was_given() {
    let given = full();
    let made = svix().event_type().create(given.clone(), None).await.unwrap();
    assert_eq!((&made.name, &made.description), (&given.name, &given.description));
    assert_eq!((made.archived, made.deprecated), (Some(false), true));
    assert_eq!((&made.schemas, &made.group_name), (&given.schemas, &given.group_name));
    assert_eq!(made.feature_flags, given.feature_flags);
    assert_eq!(svix().event_type().get(given.name.clone()).await.unwrap(), made);
    refused(svix().event_type().create(given, None).await, 409, "conflict");
    let spaces = EventTypeIn::new("no spaces".into(), String::new());
    invalid(svix().event_type().create(spaces, None).await, &["body", "name"]);
}

#[tokio::test]
async fn create_with_the_same_idempotency_key_is_answered_the_same() {
    let (given, key) = (full(), unique("key"));
    let create = || async {
        let options = EventTypeCreateOptions { idempotency_key: Some(key.clone()) };
        svix().event_type().create(given.clone(), Some(options)).await.unwrap()
    };
    assert_eq!(create().await, create().await);
}

#[tokio::test]
async fn list_goes_there_and_back_with_and_without_schemas() {
    let prefix = &unique("list");
    let names: Vec<String> = ["a", "b", "c", "d", "e"].map(|end| format!("{prefix}.{end}")).into();
    for name in &names {
        let given = EventTypeIn { schemas: schemas(), ..EventTypeIn::new(name.clone(), name.clone()) };
        svix().event_type().create(given, None).await.unwrap();
    }
    svix().event_type().delete(names[4].clone(), None).await.unwrap();
    let listed = |order, archived, content| async move {
        let list = |limit, iterator| async move {
            let (include_archived, with_content) = (Some(archived), Some(content));
            let options = EventTypeListOptions { limit, iterator, order, include_archived, with_content };
            page!(svix().event_type().list(Some(options)))
        };
        let mut found = there_and_back(250, list, |one| one.name.clone()).await;
        found.retain(|one| one.name.starts_with(prefix));
        found
    };
    let found = listed(None, false, false).await;
    assert_eq!(found.iter().map(|one| &one.name).collect::<Vec<_>>(), names[..4].iter().collect::<Vec<_>>());
    assert!(found.iter().all(|one| one.schemas.is_none()));
    let found = listed(Some(Ordering::Descending), true, true).await;
    assert_eq!(found.iter().map(|one| &one.name).collect::<Vec<_>>(), names.iter().rev().collect::<Vec<_>>());
    assert!(found.iter().all(|one| one.schemas == schemas()));
}

#[tokio::test]
async fn upsert_replaces_an_event_type_or_makes_it() {
    let name = unique("type");
    let given = EventTypeUpsertIn { schemas: schemas(), ..EventTypeUpsertIn::new("made".into()) };
    let made = svix().event_type().upsert(name.clone(), given).await.unwrap();
    let replaced = svix().event_type().upsert(name, EventTypeUpsertIn::new("replaced".into())).await.unwrap();
    assert_eq!((replaced.name, &*replaced.description, replaced.schemas), (made.name, "replaced", None));
}

#[tokio::test]
async fn patch_takes_null_for_another_thing_than_absence() {
    let given = full();
    svix().event_type().create(given.clone(), None).await.unwrap();
    let change = EventTypePatch { description: Some("other".into()), ..EventTypePatch::new() };
    let changed = svix().event_type().patch(given.name.clone(), change).await.unwrap();
    assert_eq!((changed.schemas, changed.group_name), (given.schemas, given.group_name));
    let empty = EventTypePatch {
        schemas: JsOption::Null,
        group_name: JsOption::Null,
        feature_flags: JsOption::Null,
        ..EventTypePatch::new()
    };
    let emptied = svix().event_type().patch(given.name, empty).await.unwrap();
    assert_eq!((emptied.schemas, emptied.group_name, emptied.feature_flags), (None, None, None));
    assert_eq!(emptied.description, "other");
}

#[tokio::test]
async fn delete_archives_create_brings_back_expunge_takes_away() {
    let given = full();
    svix().event_type().create(given.clone(), None).await.unwrap();
    svix().event_type().delete(given.name.clone(), None).await.unwrap();
    assert_eq!(svix().event_type().get(given.name.clone()).await.unwrap().archived, Some(true));
    let back =
        svix().event_type().create(EventTypeIn::new(given.name.clone(), "back".into()), None).await.unwrap();
    assert_eq!((back.archived, &*back.description), (Some(false), "back"));
    let expunge = EventTypeDeleteOptions { expunge: Some(true) };
    svix().event_type().delete(given.name.clone(), Some(expunge)).await.unwrap();
    refused(svix().event_type().get(given.name).await, 404, "not_found");
}
