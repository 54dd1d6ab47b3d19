use chrono::{DateTime, Duration, Utc};
use pushpull_sdk_tests::{
    hello, invalid, new_app, page, receiver::Inbox, refused, send, set, svix, there_and_back, unique,
};
use serde_json::json;
use svix::{
    api::{MessageCreateOptions, MessageGetOptions, MessageListOptions},
    models::{ApplicationIn, MessageIn},
};

/// A time to the millisecond, which is what the server keeps.
fn from_now(duration: Duration) -> DateTime<Utc> {
    DateTime::from_timestamp_millis((Utc::now() + duration).timestamp_millis()).unwrap()
}

#[tokio::test]
async fn create_gives_back_what_it_was_given() {
    let app = new_app().await;
    let given = MessageIn {
        event_id: Some(unique("event")),
        channels: set(&["project:1", "a+b"]),
        tags: set(&["my_tag", "other"]),
        payload_retention_period: Some(5),
        ..MessageIn::new(
            "invoice.paid".into(),
            json!({ "text": "Grüße 世界 🦀 \u{0} \" \\ \u{2028}", "n": 1.5 }),
        )
    };
    let message = send(&app, given.clone()).await;
    assert!(message.id.starts_with("msg_") && message.id.len() == 31);
    assert_eq!((&message.event_type, &message.event_id), (&given.event_type, &given.event_id));
    assert_eq!(
        (&message.payload, &message.channels, &message.tags),
        (&given.payload, &given.channels, &given.tags)
    );
    let get = |id, with_content| {
        let options = Some(MessageGetOptions { with_content });
        let app = app.id.clone();
        async { svix().message().get(app, id, options).await.unwrap() }
    };
    assert_eq!(get(message.id.clone(), Some(true)).await, message);
    assert_eq!(get(given.event_id.unwrap(), Some(true)).await, message);
    assert_eq!(get(message.id.clone(), Some(false)).await.payload, json!({}));
    assert_eq!(get(message.id.clone(), None).await.payload, json!({}), "2.x does not ask for it");
}

#[tokio::test]
async fn create_with_the_same_idempotency_key_sends_one() {
    let (app, inbox, key) = (new_app().await, Inbox::new().await, unique("key"));
    inbox.endpoint(&app, |_| {}).await;
    let create = |message| async {
        let options = MessageCreateOptions { with_content: Some(false), idempotency_key: Some(key.clone()) };
        svix().message().create(app.id.clone(), message, Some(options)).await
    };
    let first = create(hello()).await.unwrap();
    assert_eq!(create(hello()).await.unwrap(), first);
    invalid(create(MessageIn { payload: json!({}), ..hello() }).await, &["header", "idempotency-key"]);
    let last = send(&app, hello()).await;
    assert_eq!(inbox.ids(2).await, [first.id, last.id]);
}

#[tokio::test]
async fn create_refuses_what_cannot_be_and_tells_where() {
    let app = new_app().await;
    let create = |given| async { svix().message().create(app.id.clone(), given, None).await };
    let named = MessageIn { event_id: Some(unique("event")), ..hello() };
    create(named.clone()).await.unwrap();
    refused(create(named).await, 409, "event_id_taken");
    refused(svix().message().create(unique("app"), hello(), None).await, 404, "not_found");
    invalid(create(MessageIn { event_type: "no spaces".into(), ..hello() }).await, &["body", "eventType"]);
    invalid(create(MessageIn { channels: set(&[]), ..hello() }).await, &["body", "channels"]);
    invalid(
        create(MessageIn { tags: set(&["1", "2", "3", "4", "5", "6"]), ..hello() }).await,
        &["body", "tags"],
    );
    let late = MessageIn { deliver_at: Some(from_now(Duration::days(2))), ..hello() };
    invalid(create(late).await, &["body", "deliverAt"]);
    let long = MessageIn { payload_retention_hours: Some(10_000), ..hello() };
    invalid(create(long).await, &["body", "payloadRetentionHours"]);
    let big = MessageIn { payload: json!({ "text": "x".repeat(1_048_576) }), ..hello() };
    refused(create(big).await, 413, "payload_too_large");
}

#[tokio::test]
async fn create_makes_the_application_it_brings_along() {
    let uid = unique("uid");
    let application = ApplicationIn { uid: Some(uid.clone()), ..ApplicationIn::new("new".into()) };
    let given = MessageIn { application: Some(application), ..hello() };
    let message = svix().message().create(uid.clone(), given, None).await.unwrap();
    let app = svix().application().get(uid).await.unwrap();
    assert_eq!(svix().message().get(app.id, message.id.clone(), None).await.unwrap().id, message.id);
}

#[tokio::test]
async fn create_with_deliver_at_is_delivered_no_sooner() {
    let (app, inbox) = (new_app().await, Inbox::new().await);
    inbox.endpoint(&app, |_| {}).await;
    let at = from_now(Duration::milliseconds(400));
    let message = send(&app, MessageIn { deliver_at: Some(at), ..hello() }).await;
    assert_eq!(message.deliver_at, Some(at));
    inbox.wait(1).await;
    assert!(Utc::now() >= at);
}

#[tokio::test]
async fn list_by_every_filter_there_and_back() {
    let app = &new_app().await;
    let mut sent = Vec::new();
    for n in 0..9 {
        let kind = ["a.b", "c.d", "e.f"][n % 3];
        let message = MessageIn {
            channels: set(if n < 4 { &["blue", "both"] } else { &["red", "both"] }),
            tags: set(if n % 2 == 0 { &["even"] } else { &["odd"] }),
            ..MessageIn::new(kind.into(), json!({ "n": n }))
        };
        sent.push(send(app, message).await);
    }
    let numbers = |wanted: fn(&mut MessageListOptions, DateTime<Utc>)| {
        let first = sent[0].timestamp;
        async move {
            let list = |limit, iterator| async move {
                let mut options = MessageListOptions {
                    limit,
                    iterator,
                    with_content: Some(true),
                    ..MessageListOptions::default()
                };
                wanted(&mut options, first);
                page!(svix().message().list(app.id.clone(), Some(options)))
            };
            let found = there_and_back(2, list, |message| message.id.clone()).await;
            found.iter().map(|message| message.payload["n"].to_string()).collect::<String>()
        }
    };
    assert_eq!(numbers(|_, _| {}).await, "876543210");
    assert_eq!(numbers(|options, _| options.channel = Some("blue".into())).await, "3210");
    assert_eq!(numbers(|options, _| options.tag = Some("odd".into())).await, "7531");
    assert_eq!(numbers(|options, _| options.event_types = set(&["a.b", "e.f"])).await, "865320");
    assert_eq!(numbers(|options, first| options.before = Some(first)).await, "");
    let just_before =
        |options: &mut MessageListOptions, first| options.after = Some(first - Duration::milliseconds(1));
    assert_eq!(numbers(just_before).await, "876543210");
    assert_eq!(numbers(|options, first| options.after = Some(first + Duration::days(1))).await, "");
    let options = MessageListOptions { iterator: Some("x".into()), ..MessageListOptions::default() };
    invalid(svix().message().list(app.id.clone(), Some(options)).await, &["query", "iterator"]);
}

#[tokio::test]
async fn expunge_content_erases_the_payload() {
    let app = new_app().await;
    let id = send(&app, hello()).await.id;
    svix().message().expunge_content(app.id.clone(), id.clone()).await.unwrap();
    let options = MessageGetOptions { with_content: Some(true) };
    let found = svix().message().get(app.id, id, Some(options)).await.unwrap();
    assert_eq!(found.payload, json!({ "expired": true }));
}

#[tokio::test]
async fn a_raw_payload_is_sent_as_it_is() {
    let (app, inbox) = (new_app().await, Inbox::new().await);
    inbox.endpoint(&app, |_| {}).await;
    let xml = "<?xml version='1.0'?>\n<größe>\t1 &lt; 2</größe>\n";
    let message =
        MessageIn::new_raw_payload("a".into(), xml.into()).with_content_type("application/xml".into());
    send(&app, message).await;
    let hook = inbox.wait(1).await.remove(0);
    assert_eq!((&*hook.body, hook.header("content-type")), (xml.as_bytes(), "application/xml"));
}

#[tokio::test]
async fn a_payload_arrives_byte_for_byte() {
    let (app, inbox) = (new_app().await, Inbox::new().await);
    inbox.endpoint(&app, |_| {}).await;
    for (n, text) in ["é世界🦀\u{2028}".to_owned(), "Größe 世界 🦀 ".repeat(48_000)].into_iter().enumerate()
    {
        let payload = json!({ "z": text, "a": [1.0, null, -0.0] });
        send(&app, MessageIn { payload: payload.clone(), ..hello() }).await;
        assert_eq!(inbox.wait(n + 1).await[n].body, payload.to_string());
    }
}
