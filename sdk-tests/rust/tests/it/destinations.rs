use std::collections::BTreeMap;

use js_option::JsOption;
use pushpull_sdk_tests::{
    NOWHERE, hello, invalid, new_app, new_endpoint, page, receiver::new_secret, refused, send, svix,
    there_and_back, unique,
};
use svix::{
    api::{
        DestinationCreateOptions, DestinationListOptions, DestinationRotateSecretOptions,
        MessagePollerPollOptions,
    },
    models::{
        DestinationIn, DestinationInConfig, DestinationOutConfig, DestinationPatch, DestinationPatchConfig,
        DestinationStatus, DestinationStatusIn, EndpointSecretRotateIn, FifoEndpointConfigIn, Ordering,
        SinkHttpConfigPatch, SqsConfigIn,
    },
};

fn given(config: DestinationInConfig) -> DestinationIn {
    DestinationIn {
        uid: None,
        status: None,
        batch_size: None,
        max_wait_secs: None,
        event_types: None,
        channels: None,
        metadata: None,
        config,
    }
}

fn polling() -> DestinationIn {
    given(DestinationInConfig::PollingEndpoint)
}

fn fifo(url: &str) -> DestinationIn {
    given(DestinationInConfig::FifoEndpoint(FifoEndpointConfigIn::new(url.into())))
}

#[track_caller]
fn url_of(config: &DestinationOutConfig) -> &str {
    match config {
        DestinationOutConfig::FifoEndpoint(config) => &config.url,
        other => panic!("not a FIFO endpoint: {other:?}"),
    }
}

#[tokio::test]
async fn create_makes_an_endpoint_that_is_read() {
    let app = new_app().await;
    let metadata = Some(BTreeMap::from([("owner".to_owned(), "é".to_owned())]));
    let given = DestinationIn {
        uid: Some(unique("uid")),
        event_types: Some(vec!["a".into()]),
        channels: Some(Vec::new()),
        metadata: metadata.clone(),
        batch_size: Some(1),
        max_wait_secs: Some(0),
        ..polling()
    };
    let made = svix().destination().create(app.id.clone(), given.clone(), None).await.unwrap();
    assert_eq!((&made.uid, &made.event_types, &made.channels), (&given.uid, &given.event_types, &None));
    assert_eq!((made.batch_size, made.max_wait_secs), (1, 0));
    assert_eq!(
        (made.status, &made.config),
        (DestinationStatus::Enabled, &DestinationOutConfig::PollingEndpoint)
    );
    assert_eq!(Some(&made.metadata), metadata.as_ref());
    let uid = given.uid.unwrap();
    assert_eq!(svix().destination().get(app.id.clone(), uid.clone()).await.unwrap(), made);
    assert_eq!(svix().endpoint().get(app.id.clone(), uid).await.unwrap().id, made.id);
    let sent = send(&app, hello()).await;
    let options = MessagePollerPollOptions { iterator: Some(made.current_iterator), ..Default::default() };
    let page = svix().message().poller().poll(app.id, made.id, Some(options)).await.unwrap();
    assert_eq!((page.data.len(), &page.data[0].id), (1, &sent.id));
}

#[tokio::test]
async fn create_makes_an_endpoint_that_is_pushed_in_order() {
    let (app, secret) = (new_app().await, new_secret());
    let headers = BTreeMap::from([("X-Tenant".to_owned(), "7".to_owned())]);
    let config = FifoEndpointConfigIn {
        headers: Some(headers),
        key: Some(secret.clone()),
        ..FifoEndpointConfigIn::new(NOWHERE.into())
    };
    let given = given(DestinationInConfig::FifoEndpoint(config));
    let made = svix().destination().create(app.id.clone(), given, None).await.unwrap();
    assert_eq!(url_of(&made.config), NOWHERE);
    assert_eq!(svix().endpoint().get_secret(app.id, made.id).await.unwrap().key, secret);
}

#[tokio::test]
async fn create_with_the_same_idempotency_key_makes_one() {
    let (app, key) = (new_app().await, unique("key"));
    let create = || async {
        let options = Some(DestinationCreateOptions { idempotency_key: Some(key.clone()) });
        svix().destination().create(app.id.clone(), polling(), options).await.unwrap()
    };
    assert_eq!(create().await, create().await);
    assert_eq!(svix().destination().list(app.id.clone(), None).await.unwrap().data.len(), 1);
}

#[tokio::test]
async fn create_refuses_what_it_does_not_do_by_name() {
    let app = new_app().await;
    let create = |given| async { svix().destination().create(app.id.clone(), given, None).await };
    let sqs = DestinationInConfig::Sqs(SqsConfigIn::new("https://sqs.example/q".into()));
    invalid(create(given(sqs)).await, &["body", "type"]);
    invalid(create(DestinationIn { batch_size: Some(2), ..polling() }).await, &["body", "batchSize"]);
    let waiting = DestinationIn { max_wait_secs: Some(999), ..fifo(NOWHERE) };
    invalid(create(waiting).await, &["body", "maxWaitSecs"]);
    invalid(create(fifo("ftp://a")).await, &["body", "config", "url"]);
}

#[tokio::test]
async fn list_goes_there_and_back_in_both_orders() {
    let app = new_app().await;
    new_endpoint(&app).await;
    for _ in 0..5 {
        svix().destination().create(app.id.clone(), polling(), None).await.unwrap();
    }
    let mut found = Vec::new();
    for order in [Ordering::Ascending, Ordering::Descending] {
        let list = |limit, iterator| {
            let options = DestinationListOptions { limit, iterator, order: Some(order) };
            let app = app.id.clone();
            async move { page!(svix().destination().list(app, Some(options))) }
        };
        let all = there_and_back(2, list, |destination| destination.id.clone()).await;
        found.push(all.into_iter().map(|destination| destination.id).collect::<Vec<_>>());
    }
    assert_eq!(found[0].len(), 5);
    found[1].reverse();
    assert_eq!(found[0], found[1]);
}

#[tokio::test]
async fn upsert_makes_and_replaces() {
    let (app, uid) = (new_app().await.id, unique("uid"));
    let upsert = |given| async { svix().destination().upsert(app.clone(), uid.clone(), given).await };
    let channels = Some(vec!["a".to_owned()]);
    let made = upsert(DestinationIn { channels, ..fifo(NOWHERE) }).await.unwrap();
    let other = format!("{NOWHERE}/other");
    let replaced = upsert(fifo(&other)).await.unwrap();
    assert_eq!((&replaced.id, url_of(&replaced.config), replaced.channels), (&made.id, &*other, None));
    invalid(upsert(polling()).await, &["body", "type"]);
}

#[tokio::test]
async fn patch_changes_what_it_is_given() {
    let app = new_app().await.id;
    let channels = Some(vec!["a".to_owned()]);
    let uid = Some(unique("uid"));
    let given = DestinationIn { channels: channels.clone(), uid, ..fifo(NOWHERE) };
    let made = svix().destination().create(app.clone(), given, None).await.unwrap();
    let other = format!("{NOWHERE}/other");
    let config = SinkHttpConfigPatch { url: Some(other.clone()) };
    let change = DestinationPatch {
        uid: JsOption::Null,
        status: JsOption::Some(DestinationStatusIn::Disabled),
        batch_size: JsOption::Undefined,
        max_wait_secs: JsOption::Null,
        event_types: None,
        channels: None,
        metadata: None,
        config: DestinationPatchConfig::FifoEndpoint(config),
    };
    let changed = svix().destination().patch(app, made.id, change).await.unwrap();
    assert_eq!((changed.uid, changed.status), (None, DestinationStatus::Disabled));
    assert_eq!((url_of(&changed.config), changed.channels), (&*other, channels));
}

#[tokio::test]
async fn rotate_secret_puts_a_new_one_in_place() {
    let (app, secret) = (new_app().await.id, new_secret());
    let made = svix().destination().create(app.clone(), fifo(NOWHERE), None).await.unwrap();
    let given = EndpointSecretRotateIn { key: Some(secret.clone()), ..EndpointSecretRotateIn::new() };
    let options = DestinationRotateSecretOptions { idempotency_key: Some(unique("key")) };
    let destinations = svix().destination();
    let rotated = destinations.rotate_secret(app.clone(), made.id.clone(), given, Some(options));
    assert_eq!(rotated.await.unwrap().key, secret);
    assert_eq!(svix().endpoint().get_secret(app, made.id).await.unwrap().key, secret);
}

#[tokio::test]
async fn delete_deletes_the_endpoint() {
    let app = new_app().await.id;
    let made = svix().destination().create(app.clone(), polling(), None).await.unwrap();
    svix().destination().delete(app.clone(), made.id.clone()).await.unwrap();
    refused(svix().destination().get(app.clone(), made.id.clone()).await, 404, "not_found");
    refused(svix().endpoint().get(app, made.id).await, 404, "not_found");
}
