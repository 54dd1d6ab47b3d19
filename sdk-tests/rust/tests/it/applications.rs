use std::collections::BTreeMap;

use chrono::Utc;
use js_option::JsOption;
use pushpull_sdk_tests::{
    NOWHERE, invalid, new_app, new_endpoint, page, refused, svix, there_and_back, unique,
};
use svix::{
    api::{ApplicationCreateOptions, ApplicationListOptions},
    models::{ApplicationIn, ApplicationPatch, EndpointIn, Ordering},
};

fn with_uid() -> ApplicationIn {
    ApplicationIn { uid: Some(unique("uid")), ..ApplicationIn::new("app".into()) }
}

#[tokio::test]
async fn create_gives_back_what_it_was_given() {
    let metadata = BTreeMap::from([("plan".to_owned(), "größer 🦀".to_owned())]);
    let given = ApplicationIn {
        name: "Grüße, 世界 🦀".into(),
        throttle_rate: Some(250),
        metadata: Some(metadata.clone()),
        ..with_uid()
    };
    let app = svix().application().create(given.clone(), None).await.unwrap();
    assert!(app.id.starts_with("app_") && app.id.len() == 31);
    assert_eq!((&app.name, &app.uid, app.throttle_rate), (&given.name, &given.uid, given.throttle_rate));
    assert_eq!(app.metadata, metadata);
    assert!((Utc::now() - app.created_at).num_seconds().abs() < 60);
    assert_eq!(svix().application().get(app.id.clone()).await.unwrap(), app);
    assert_eq!(svix().application().get(app.uid.clone().unwrap()).await.unwrap(), app);
}

#[tokio::test]
async fn create_with_the_same_idempotency_key_makes_one() {
    let key = unique("key");
    let options = || Some(ApplicationCreateOptions { idempotency_key: Some(key.clone()) });
    let first = svix().application().create(ApplicationIn::new("twice".into()), options()).await.unwrap();
    let second = svix().application().create(ApplicationIn::new("twice".into()), options()).await.unwrap();
    assert_eq!(first, second);
    let other = svix().application().create(ApplicationIn::new("another".into()), options()).await;
    invalid(other, &["header", "idempotency-key"]);
}

#[tokio::test]
async fn create_refuses_what_cannot_be() {
    let taken = with_uid();
    svix().application().create(taken.clone(), None).await.unwrap();
    refused(svix().application().create(taken, None).await, 409, "conflict");
    invalid(svix().application().create(ApplicationIn::new(String::new()), None).await, &["body", "name"]);
    let spaces = ApplicationIn { uid: Some("no spaces".into()), ..with_uid() };
    invalid(svix().application().create(spaces, None).await, &["body", "uid"]);
    let never = ApplicationIn { throttle_rate: Some(0), ..with_uid() };
    invalid(svix().application().create(never, None).await, &["body", "throttleRate"]);
}

#[tokio::test]
async fn get_or_create_makes_it_once_and_then_finds_it() {
    let given = with_uid();
    let made = svix().application().get_or_create(given.clone(), None).await.unwrap();
    let again = ApplicationIn { name: "another".into(), ..given };
    assert_eq!(svix().application().get_or_create(again, None).await.unwrap(), made);
}

#[tokio::test]
async fn list_goes_there_and_back_in_either_order() {
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(new_app().await.id);
    }
    made.sort();
    for order in [Ordering::Ascending, Ordering::Descending] {
        let list = |limit, iterator| async move {
            let options = ApplicationListOptions {
                limit,
                iterator,
                order: Some(order),
                ..ApplicationListOptions::default()
            };
            page!(svix().application().list(Some(options)))
        };
        // Other tests make applications meanwhile, so that only one big page stands still.
        let mut found: Vec<_> = there_and_back(250, list, |app| app.id.clone()).await;
        found.retain(|app| made.contains(&app.id));
        if order == Ordering::Descending {
            found.reverse();
        }
        assert_eq!(found.iter().map(|app| &app.id).collect::<Vec<_>>(), made.iter().collect::<Vec<_>>());
    }
    let options = ApplicationListOptions { limit: Some(251), ..ApplicationListOptions::default() };
    invalid(svix().application().list(Some(options)).await, &["query", "limit"]);
}

#[tokio::test]
async fn list_leaves_out_applications_by_their_endpoints() {
    let (bare, disabled, enabled) = (new_app().await, new_app().await, new_app().await);
    let given = EndpointIn { disabled: Some(true), ..EndpointIn::new(NOWHERE.into()) };
    svix().endpoint().create(disabled.id.clone(), given, None).await.unwrap();
    new_endpoint(&enabled).await;
    for (no_endpoints, disabled_endpoints, expected) in [
        (false, false, [true, true, true]),
        (true, false, [false, true, true]),
        (false, true, [true, false, true]),
    ] {
        let list = |limit, iterator| async move {
            let options = ApplicationListOptions {
                limit,
                iterator,
                exclude_apps_with_no_endpoints: Some(no_endpoints),
                exclude_apps_with_disabled_endpoints: Some(disabled_endpoints),
                exclude_apps_with_svix_play_endpoints: Some(false),
                order: None,
            };
            page!(svix().application().list(Some(options)))
        };
        let found = there_and_back(250, list, |app| app.id.clone()).await;
        assert_eq!(
            [&bare, &disabled, &enabled].map(|app| found.iter().any(|one| one.id == app.id)),
            expected
        );
    }
}

#[tokio::test]
async fn upsert_replaces_an_application_or_makes_it_under_its_uid() {
    let uid = unique("uid");
    let given = ApplicationIn { throttle_rate: Some(5), ..ApplicationIn::new("made".into()) };
    let made = svix().application().upsert(uid.clone(), given).await.unwrap();
    let replaced =
        svix().application().upsert(uid.clone(), ApplicationIn::new("replaced".into())).await.unwrap();
    assert_eq!((replaced.id, replaced.uid, &*replaced.name), (made.id, Some(uid), "replaced"));
    assert_eq!(replaced.throttle_rate, None);
}

#[tokio::test]
async fn patch_takes_null_for_another_thing_than_absence() {
    let given = ApplicationIn { throttle_rate: Some(9), ..with_uid() };
    let app = svix().application().create(given, None).await.unwrap();
    let rename = ApplicationPatch { name: Some("renamed".into()), ..ApplicationPatch::new() };
    let renamed = svix().application().patch(app.id.clone(), rename).await.unwrap();
    assert_eq!((&*renamed.name, renamed.throttle_rate, &renamed.uid), ("renamed", Some(9), &app.uid));
    let empty =
        ApplicationPatch { uid: JsOption::Null, throttle_rate: JsOption::Null, ..ApplicationPatch::new() };
    let emptied = svix().application().patch(app.id, empty).await.unwrap();
    assert_eq!((&*emptied.name, emptied.throttle_rate, emptied.uid), ("renamed", None, None));
    refused(svix().application().get(app.uid.unwrap()).await, 404, "not_found");
}

#[tokio::test]
async fn delete_takes_it_away() {
    let app = new_app().await;
    svix().application().delete(app.id.clone()).await.unwrap();
    refused(svix().application().get(app.id.clone()).await, 404, "not_found");
    refused(svix().application().delete(app.id).await, 404, "not_found");
}
