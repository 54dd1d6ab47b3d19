use std::collections::BTreeMap;

use js_option::JsOption;
use pushpull_sdk_tests::{
    NOWHERE, invalid, new_app, new_endpoint, page, receiver::new_secret, refused, set, svix, there_and_back,
    unique,
};
use svix::{
    api::{EndpointCreateOptions, EndpointListOptions, EndpointRotateSecretOptions},
    models::{
        EndpointHeadersIn, EndpointHeadersPatchIn, EndpointIn, EndpointPatch, EndpointSecretRotateIn,
        EndpointUpsertIn, Ordering,
    },
};

fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn full() -> EndpointIn {
    EndpointIn {
        description: Some("für 世界 🦀".into()),
        throttle_rate: Some(12),
        uid: Some(unique("uid")),
        disabled: Some(true),
        event_types: set(&["invoice.paid", "invoice.sent"]),
        channels: set(&["project:1", "project:2"]),
        secret: Some(new_secret()),
        metadata: Some(headers(&[("owner", "é")])),
        headers: Some(headers(&[("X-Tenant", "7")])),
        ..EndpointIn::new(format!("{NOWHERE}?a=%20b"))
    }
}

#[tokio::test]
async fn create_gives_back_what_it_was_given() {
    let (app, given) = (new_app().await, full());
    let endpoint = svix().endpoint().create(app.id.clone(), given.clone(), None).await.unwrap();
    assert!(endpoint.id.starts_with("ep_") && endpoint.id.len() == 30);
    assert_eq!((&endpoint.url, Some(&endpoint.description)), (&given.url, given.description.as_ref()));
    assert_eq!((endpoint.throttle_rate, endpoint.disabled), (given.throttle_rate, given.disabled));
    assert_eq!((&endpoint.event_types, &endpoint.channels), (&given.event_types, &given.channels));
    assert_eq!((&endpoint.uid, Some(&endpoint.metadata)), (&given.uid, given.metadata.as_ref()));
    assert_eq!(svix().endpoint().get(app.id.clone(), endpoint.id.clone()).await.unwrap(), endpoint);
    assert_eq!(svix().endpoint().get(app.id.clone(), given.uid.unwrap()).await.unwrap(), endpoint);
    assert_eq!(svix().endpoint().get_secret(app.id, endpoint.id).await.unwrap().key, given.secret.unwrap());
}

#[tokio::test]
async fn create_with_the_same_idempotency_key_makes_one() {
    let (app, key) = (new_app().await, unique("key"));
    let create = || async {
        let options = EndpointCreateOptions { idempotency_key: Some(key.clone()) };
        svix()
            .endpoint()
            .create(app.id.clone(), EndpointIn::new(NOWHERE.into()), Some(options))
            .await
            .unwrap()
    };
    assert_eq!(create().await, create().await);
    assert_eq!(svix().endpoint().list(app.id.clone(), None).await.unwrap().data.len(), 1);
}

#[tokio::test]
async fn create_refuses_what_cannot_be_and_tells_where() {
    let (app, other, taken) = (new_app().await, new_app().await, full());
    let create = |given| async { svix().endpoint().create(app.id.clone(), given, None).await };
    let mine = create(taken.clone()).await.unwrap();
    refused(create(taken).await, 409, "conflict");
    for url in
        ["ftp://example.com/", "https://user:pw@example.com/", "https://[::ffff:10.0.0.1]/", "nonsense"]
    {
        invalid(create(EndpointIn::new(url.into())).await, &["body", "url"]);
    }
    invalid(create(EndpointIn { event_types: set(&[]), ..full() }).await, &["body", "eventTypes"]);
    invalid(create(EndpointIn { channels: set(&["no spaces"]), ..full() }).await, &["body", "channels", "0"]);
    invalid(create(EndpointIn { secret: Some("whsec_short".into()), ..full() }).await, &["body", "secret"]);
    let ours = EndpointIn { headers: Some(headers(&[("svix-id", "x")])), ..full() };
    invalid(create(ours).await, &["body", "headers", "svix-id"]);
    refused(svix().endpoint().get(other.id, mine.id).await, 404, "not_found");
    refused(svix().endpoint().list("nobody".into(), None).await, 404, "not_found");
}

#[tokio::test]
async fn list_goes_there_and_back_in_either_order() {
    let app = &new_app().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(new_endpoint(app).await.id);
    }
    made.sort();
    for order in [Ordering::Ascending, Ordering::Descending] {
        let list = |limit, iterator| async move {
            let options = EndpointListOptions { limit, iterator, order: Some(order) };
            page!(svix().endpoint().list(app.id.clone(), Some(options)))
        };
        let found = there_and_back(2, list, |endpoint| endpoint.id.clone()).await;
        let mut ids: Vec<String> = found.into_iter().map(|endpoint| endpoint.id).collect();
        if order == Ordering::Descending {
            ids.reverse();
        }
        assert_eq!(ids, made);
    }
}

#[tokio::test]
async fn upsert_replaces_an_endpoint_or_makes_it_under_its_uid() {
    let (app, uid) = (new_app().await.id, unique("uid"));
    let given = EndpointUpsertIn { channels: set(&["a"]), ..EndpointUpsertIn::new(NOWHERE.into()) };
    let made = svix().endpoint().upsert(app.clone(), uid.clone(), given).await.unwrap();
    let secret = svix().endpoint().get_secret(app.clone(), uid.clone()).await.unwrap();
    let given = EndpointUpsertIn { event_types: set(&["a.b"]), ..EndpointUpsertIn::new(NOWHERE.into()) };
    let replaced = svix().endpoint().upsert(app.clone(), uid.clone(), given).await.unwrap();
    assert_eq!((replaced.id, replaced.uid.as_ref()), (made.id, Some(&uid)));
    assert_eq!((replaced.event_types, replaced.channels), (set(&["a.b"]), None));
    assert_eq!(svix().endpoint().get_secret(app, uid).await.unwrap(), secret);
}

#[tokio::test]
async fn patch_takes_null_for_another_thing_than_absence() {
    let app = new_app().await.id;
    let endpoint = svix().endpoint().create(app.clone(), full(), None).await.unwrap();
    let enable = EndpointPatch { disabled: Some(false), ..EndpointPatch::new() };
    let enabled = svix().endpoint().patch(app.clone(), endpoint.id.clone(), enable).await.unwrap();
    assert_eq!(
        (enabled.disabled, &enabled.uid, &enabled.channels),
        (Some(false), &endpoint.uid, &endpoint.channels)
    );
    let empty = EndpointPatch {
        throttle_rate: JsOption::Null,
        uid: JsOption::Null,
        event_types: JsOption::Null,
        channels: JsOption::Null,
        url: Some(NOWHERE.into()),
        ..EndpointPatch::new()
    };
    let emptied = svix().endpoint().patch(app.clone(), endpoint.id, empty).await.unwrap();
    assert_eq!((emptied.throttle_rate, emptied.uid), (None, None));
    assert_eq!((emptied.event_types, emptied.channels, &*emptied.url), (None, None, NOWHERE));
    assert_eq!(emptied.description, endpoint.description);
    refused(svix().endpoint().get(app, endpoint.uid.unwrap()).await, 404, "not_found");
}

#[tokio::test]
async fn delete_takes_it_away() {
    let app = new_app().await;
    let endpoint = new_endpoint(&app).await;
    svix().endpoint().delete(app.id.clone(), endpoint.id.clone()).await.unwrap();
    refused(svix().endpoint().get(app.id, endpoint.id).await, 404, "not_found");
}

#[tokio::test]
async fn headers_are_set_changed_and_shown() {
    let app = new_app().await;
    let id = new_endpoint(&app).await.id;
    let shown = || async { svix().endpoint().get_headers(app.id.clone(), id.clone()).await.unwrap() };
    let all = EndpointHeadersIn::new(headers(&[("X-One", "1"), ("Authorization", "Bearer s")]));
    svix().endpoint().set_headers(app.id.clone(), id.clone(), all).await.unwrap();
    assert_eq!(shown().await.headers, headers(&[("x-one", "1")]));
    assert_eq!(Some(shown().await.sensitive), set(&["authorization"]));
    let more = EndpointHeadersPatchIn {
        delete_headers: Some(vec!["Authorization".into()]),
        ..EndpointHeadersPatchIn::new(headers(&[("X-Two", "zwei")]))
    };
    svix().endpoint().patch_headers(app.id.clone(), id.clone(), more).await.unwrap();
    assert_eq!(shown().await.headers, headers(&[("x-one", "1"), ("x-two", "zwei")]));
    assert!(shown().await.sensitive.is_empty());
    let host = EndpointHeadersIn::new(headers(&[("Host", "x")]));
    let set = svix().endpoint().set_headers(app.id.clone(), id.clone(), host).await;
    invalid(set, &["body", "headers", "Host"]);
}

#[tokio::test]
async fn rotate_secret_puts_the_given_one_in_place_or_a_new_one() {
    let app = new_app().await;
    let id = new_endpoint(&app).await.id;
    let secret = || async { svix().endpoint().get_secret(app.id.clone(), id.clone()).await.unwrap() };
    let first = secret().await;
    let key = unique("key");
    let rotate = |given| async {
        let options = EndpointRotateSecretOptions { idempotency_key: Some(key.clone()) };
        svix().endpoint().rotate_secret(app.id.clone(), id.clone(), given, Some(options)).await
    };
    let second = rotate(EndpointSecretRotateIn::new()).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(rotate(EndpointSecretRotateIn::new()).await.unwrap(), second);
    assert_eq!(secret().await, second);
    let third = EndpointSecretRotateIn { key: Some(new_secret()), grace_period_seconds: Some(60) };
    let shown =
        svix().endpoint().rotate_secret(app.id.clone(), id.clone(), third.clone(), None).await.unwrap();
    assert_eq!(Some(shown.key), third.key);
    let wrong =
        EndpointSecretRotateIn { grace_period_seconds: Some(9_999_999), ..EndpointSecretRotateIn::new() };
    let refused = svix().endpoint().rotate_secret(app.id.clone(), id.clone(), wrong, None).await;
    invalid(refused, &["body", "gracePeriodSeconds"]);
}
