use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use chrono::{Duration, Utc};
use http::HeaderValue;
use pushpull_sdk_tests::{
    eventually, hello, invalid, new_app,
    receiver::{Inbox, ed25519_signatures, is_refused, new_key_pair, new_secret},
    send, set, svix, unique,
};
use serde_json::json;
use svix::{
    api::{EndpointGetStatsOptions, EndpointRecoverOptions, EndpointSendExampleOptions},
    models::{
        BackgroundTaskStatus, BackgroundTaskType, EndpointIn, EndpointSecretRotateIn, EventExampleIn,
        EventTypeIn, MessageIn, RecoverIn,
    },
};

#[tokio::test]
async fn a_webhook_is_signed_by_both_families_of_headers() {
    let (app, inbox) = (new_app().await, Inbox::new().await);
    inbox.endpoint(&app, |_| {}).await;
    let message = send(&app, MessageIn { payload: json!({ "text": "Grüße 🦀" }), ..hello() }).await;
    let hook = inbox.wait(1).await.remove(0);
    assert_eq!(hook.id(), message.id);
    for name in ["id", "timestamp", "signature"] {
        assert_eq!(hook.header(&format!("svix-{name}")), hook.header(&format!("webhook-{name}")));
    }
    // Where it stands: in the queue of its endpoint, and in the log of its application.
    assert_eq!((hook.header("pushpull-seq"), hook.header("pushpull-position")), ("1", "1"));
    assert!(is_refused(&new_secret(), &hook), "another secret");
    let later = (hook.header("svix-timestamp").parse::<i64>().unwrap() + 1).to_string();
    for (names, value) in
        [(["svix-id", "webhook-id"], "msg_another"), (["svix-timestamp", "webhook-timestamp"], &*later)]
    {
        let mut changed = hook.clone();
        for name in names {
            changed.headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        assert!(is_refused(&inbox.secrets()[0], &changed), "{names:?}");
    }
}

#[tokio::test]
async fn a_secret_that_the_server_made_verifies_too() {
    let (app, inbox) = (new_app().await.id, Inbox::new().await);
    let given = EndpointIn::new(inbox.url.clone());
    let endpoint = svix().endpoint().create(app.clone(), given, None).await.unwrap();
    inbox.verify_by([svix().endpoint().get_secret(app.clone(), endpoint.id).await.unwrap().key]);
    svix().message().create(app, hello(), None).await.unwrap();
    inbox.wait(1).await;
}

#[tokio::test]
async fn after_a_rotation_the_old_and_the_new_secret_both_verify() {
    let (app, inbox) = (new_app().await, Inbox::new().await);
    let endpoint = inbox.endpoint(&app, |_| {}).await;
    let (first, second, third) = (inbox.secrets().remove(0), new_secret(), new_secret());
    let rotate = |key: &String, grace| {
        let given = EndpointSecretRotateIn { key: Some(key.clone()), grace_period_seconds: Some(grace) };
        let (app, endpoint) = (app.id.clone(), endpoint.id.clone());
        async { svix().endpoint().rotate_secret(app, endpoint, given, None).await.unwrap() }
    };
    rotate(&second, 3_600).await;
    inbox.verify_by([first, second.clone()]);
    send(&app, hello()).await;
    inbox.wait(1).await;

    rotate(&third, 0).await;
    inbox.verify_by([third]);
    send(&app, hello()).await;
    assert!(is_refused(&second, &inbox.wait(2).await[1]));
}

#[tokio::test]
async fn an_ed25519_signature_verifies_by_the_public_key() {
    let (app, inbox) = (new_app().await, Inbox::new().await);
    let (secret, public) = new_key_pair();
    let endpoint = inbox.endpoint(&app, |given| given.secret = Some(secret)).await;
    assert_eq!(svix().endpoint().get_secret(app.id.clone(), endpoint.id).await.unwrap().key, public);
    send(&app, hello()).await;
    let mut hook = inbox.wait(1).await.remove(0);
    assert_eq!(ed25519_signatures(&public, &hook), 1);
    hook.body = "{}".into();
    assert_eq!(ed25519_signatures(&public, &hook), 0);
}

#[tokio::test]
async fn a_rotation_from_hmac_to_ed25519_signs_in_both_ways() {
    let (app, inbox) = (new_app().await, Inbox::new().await);
    let endpoint = inbox.endpoint(&app, |_| {}).await;
    let (secret, public) = new_key_pair();
    let given = EndpointSecretRotateIn { key: Some(secret), ..EndpointSecretRotateIn::new() };
    let shown = svix().endpoint().rotate_secret(app.id.clone(), endpoint.id, given, None).await.unwrap();
    assert_eq!(shown.key, public);
    send(&app, hello()).await;
    assert_eq!(ed25519_signatures(&public, &inbox.wait(1).await[0]), 1);
}

#[tokio::test]
async fn custom_headers_come_along_and_a_410_disables_the_endpoint() {
    let (app, inbox) = (new_app().await, Inbox::answering(|_, _| (410, &[], String::new())).await);
    let headers = [("X-Tenant".to_owned(), "7".to_owned())].into();
    let endpoint = inbox.endpoint(&app, |given| given.headers = Some(headers)).await;
    send(&app, hello()).await;
    assert_eq!(inbox.wait(1).await[0].header("x-tenant"), "7");
    let ask = || async { svix().endpoint().get(app.id.clone(), endpoint.id.clone()).await.unwrap().disabled };
    eventually(ask, |disabled| *disabled == Some(true)).await;
}

#[tokio::test]
async fn an_endpoint_gets_the_messages_of_its_event_types_and_channels() {
    let app = new_app().await;
    let (all, by_type, by_channel) = (Inbox::new().await, Inbox::new().await, Inbox::new().await);
    all.endpoint(&app, |_| {}).await;
    by_type.endpoint(&app, |given| given.event_types = set(&["a.b"])).await;
    by_channel.endpoint(&app, |given| given.channels = set(&["red", "blue"])).await;
    let mut sent = Vec::new();
    for (event_type, channels) in
        [("a.b", None), ("c.d", None), ("a.b", set(&["red"])), ("c.d", set(&["green", "blue"]))]
    {
        let message = MessageIn { event_type: event_type.into(), channels, ..hello() };
        sent.push(send(&app, message).await.id);
    }
    sent.sort();
    assert_eq!(all.ids(4).await, sent);
    assert_eq!(by_type.ids(2).await, [&*sent[0], &*sent[2]]);
    assert_eq!(by_channel.ids(2).await, [&*sent[2], &*sent[3]]);
}

#[tokio::test]
async fn send_example_sends_the_event_types_example_to_one_endpoint() {
    let (app, inbox, event_type, key) = (new_app().await, Inbox::new().await, unique("type"), unique("key"));
    let endpoint = inbox.endpoint(&app, |_| {}).await;
    let schemas = json!({ "1": { "type": "object", "examples": [{ "n": 0 }, { "n": 1, "text": "世界" }] } });
    let given = EventTypeIn { schemas: Some(schemas), ..EventTypeIn::new(event_type.clone(), "d".into()) };
    svix().event_type().create(given, None).await.unwrap();
    let example = |index, key: Option<String>| {
        let given = EventExampleIn { example_index: Some(index), ..EventExampleIn::new(event_type.clone()) };
        let options = EndpointSendExampleOptions { idempotency_key: key };
        let (app, endpoint) = (app.id.clone(), endpoint.id.clone());
        async { svix().endpoint().send_example(app, endpoint, given, Some(options)).await }
    };
    let message = example(1, Some(key.clone())).await.unwrap();
    assert_eq!(message.payload, json!({ "n": 1, "text": "世界" }));
    assert_eq!(example(1, Some(key)).await.unwrap(), message);
    assert_eq!(inbox.ids(1).await, [message.id]);
    invalid(example(7, None).await, &["body", "exampleIndex"]);
    let own = EventExampleIn { payload: Some(json!({ "mine": 1 })), ..EventExampleIn::new(unique("none")) };
    let sent = svix().endpoint().send_example(app.id, endpoint.id, own, None).await.unwrap();
    assert_eq!(sent.payload, json!({ "mine": 1 }));
}

#[tokio::test]
async fn recover_sends_again_what_failed_and_get_stats_counts() {
    let app = new_app().await;
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let inbox =
        Inbox::answering(move |_, _| (if is_broken.load(SeqCst) { 500 } else { 200 }, &[], String::new()));
    let inbox = inbox.await;
    let endpoint = inbox.endpoint(&app, |_| {}).await;
    let begin = Utc::now();
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(send(&app, hello()).await.id);
    }
    let stats = |options| {
        let (app, endpoint) = (app.id.clone(), endpoint.id.clone());
        async { svix().endpoint().get_stats(app, endpoint, options).await.unwrap() }
    };
    eventually(|| stats(None), |counted| counted.fail == 3).await;
    broken.store(false, SeqCst);
    let key = unique("key");
    let recover = |since, until| {
        let options = EndpointRecoverOptions { idempotency_key: Some(key.clone()) };
        let (app, endpoint) = (app.id.clone(), endpoint.id.clone());
        async move { svix().endpoint().recover(app, endpoint, RecoverIn { since, until }, Some(options)).await }
    };
    let task = recover(begin, None).await.unwrap();
    assert!(task.id.starts_with("qtask_"));
    assert_eq!(
        (task.status, task.task),
        (BackgroundTaskStatus::Running, BackgroundTaskType::EndpointRecover)
    );
    assert_eq!(recover(begin, None).await.unwrap(), task);
    let mut again: Vec<String> = inbox.wait(12).await[9..].iter().map(|hook| hook.id()).collect();
    again.sort();
    assert_eq!(again, sent);
    eventually(|| stats(None), |counted| (counted.success, counted.fail) == (3, 0)).await;
    let tomorrow = begin + Duration::days(1);
    let span = |since, until| Some(EndpointGetStatsOptions { since: Some(since), until: Some(until) });
    assert_eq!(stats(span(begin - Duration::milliseconds(1), tomorrow)).await.success, 3);
    assert_eq!(stats(span(tomorrow, tomorrow + Duration::days(1))).await.success, 0);
    let future = RecoverIn::new(tomorrow);
    let refused = svix().endpoint().recover(app.id.clone(), endpoint.id.clone(), future, None).await;
    invalid(refused, &["body", "since"]);
}
