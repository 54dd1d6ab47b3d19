use chrono::{DateTime, Duration, Utc};
use pushpull_sdk_tests::{
    eventually, hello, invalid, new_app, page, receiver::Inbox, refused, send, set, svix, there_and_back,
    unique,
};
use serde_json::{Value, json};
use svix::{
    api::{
        MessageAttemptGetOptions, MessageAttemptListAttemptedDestinationsOptions,
        MessageAttemptListAttemptedMessagesOptions, MessageAttemptListByEndpointOptions,
        MessageAttemptListByMsgOptions, MessageAttemptResendOptions,
    },
    models::{
        ApplicationOut, EndpointOut, MessageAttemptOut, MessageAttemptTriggerType, MessageIn, MessageOut,
        MessageStatus, MessageStatusText, StatusCodeClass,
    },
};

/// Waits until so many attempts at an endpoint are recorded, and gives them, newest first.
async fn recorded(app: &ApplicationOut, endpoint: &EndpointOut, count: usize) -> Vec<MessageAttemptOut> {
    let list = || async {
        svix()
            .message_attempt()
            .list_by_endpoint(app.id.clone(), endpoint.id.clone(), None)
            .await
            .unwrap()
            .data
    };
    eventually(list, |data| data.len() >= count).await
}

/// Waits until a message stands so with all its endpoints.
async fn stands(app: &ApplicationOut, message: &MessageOut, status: MessageStatus) {
    let list = || async {
        let (app, message) = (app.id.clone(), message.id.clone());
        svix().message_attempt().list_attempted_destinations(app, message, None).await.unwrap().data
    };
    eventually(list, |data| !data.is_empty() && data.iter().all(|one| one.status == status)).await;
}

/// Nine messages of one endpoint, numbered; each third one is answered 404 for good.
async fn scene() -> (ApplicationOut, EndpointOut, Vec<MessageOut>) {
    let app = new_app().await;
    let inbox = Inbox::answering(|_, hook| {
        let payload: Value = serde_json::from_slice(&hook.body).unwrap();
        let status = [200, 201, 404][payload["n"].as_u64().unwrap() as usize % 3];
        (status, &[], format!("said {status}"))
    });
    let endpoint = inbox.await.endpoint(&app, |given| given.uid = Some(unique("uid"))).await;
    let mut sent = Vec::new();
    for n in 0..9 {
        let message = MessageIn {
            channels: set(if n % 2 == 0 { &["even"] } else { &["odd"] }),
            tags: set(if n < 2 { &["early"] } else { &["late"] }),
            ..MessageIn::new(if n < 5 { "first.half" } else { "second.half" }.into(), json!({ "n": n }))
        };
        sent.push(send(&app, message).await);
    }
    for (n, message) in sent.iter().enumerate() {
        stands(&app, message, if n % 3 == 2 { MessageStatus::Fail } else { MessageStatus::Success }).await;
    }
    (app, endpoint, sent)
}

#[tokio::test]
async fn list_by_endpoint_by_every_filter_there_and_back() {
    type Options = MessageAttemptListByEndpointOptions;
    let (app, endpoint, sent) = &scene().await;
    let first = sent[0].timestamp;
    let count = |wanted: fn(&mut Options, DateTime<Utc>)| async move {
        let list = |limit, iterator| async move {
            let mut options = Options { limit, iterator, ..Options::default() };
            wanted(&mut options, first);
            let uid = endpoint.uid.clone().unwrap();
            page!(svix().message_attempt().list_by_endpoint(app.id.clone(), uid, Some(options)))
        };
        there_and_back(4, list, |attempt| attempt.id.clone()).await.len()
    };
    assert_eq!(count(|_, _| {}).await, 15);
    assert_eq!(count(|options, _| options.status = Some(MessageStatus::Success)).await, 6);
    assert_eq!(count(|options, _| options.status = Some(MessageStatus::Fail)).await, 9);
    assert_eq!(count(|options, _| options.status = Some(MessageStatus::Pending)).await, 0);
    assert_eq!(count(|options, _| options.status_code_class = Some(StatusCodeClass::Code2xx)).await, 6);
    assert_eq!(count(|options, _| options.status_code_class = Some(StatusCodeClass::Code4xx)).await, 9);
    assert_eq!(count(|options, _| options.status_code_class = Some(StatusCodeClass::CodeNone)).await, 0);
    assert_eq!(count(|options, _| options.channel = Some("odd".into())).await, 6);
    assert_eq!(count(|options, _| options.tag = Some("early".into())).await, 2);
    assert_eq!(count(|options, _| options.event_types = set(&["second.half"])).await, 8);
    assert_eq!(count(|options, _| options.event_types = set(&["first.half", "second.half"])).await, 15);
    assert_eq!(count(|options, first| options.before = Some(first)).await, 0);
    assert_eq!(count(|options, first| options.after = Some(first - Duration::milliseconds(1))).await, 15);
    assert_eq!(count(|options, _| options.expanded_statuses = Some(true)).await, 15);
}

#[tokio::test]
async fn list_by_endpoint_shows_answers_and_messages_if_it_is_asked_to() {
    let (app, endpoint, sent) = scene().await;
    let last = |with_content, with_msg| {
        let options = MessageAttemptListByEndpointOptions {
            status: Some(MessageStatus::Success),
            channel: Some("odd".into()),
            event_types: set(&["second.half"]),
            with_content,
            with_msg,
            ..MessageAttemptListByEndpointOptions::default()
        };
        let (app, endpoint) = (app.id.clone(), endpoint.id.clone());
        async {
            let list = svix().message_attempt().list_by_endpoint(app, endpoint, Some(options)).await;
            list.unwrap().data.remove(0)
        }
    };
    let full = last(Some(true), Some(true)).await;
    assert_eq!((&*full.response, full.response_status_code, &full.msg_id), ("said 201", 201, &sent[7].id));
    assert_eq!(
        (full.status_text, full.trigger_type),
        (MessageStatusText::Success, MessageAttemptTriggerType::Scheduled)
    );
    assert_eq!((&full.endpoint_id, &full.url), (&endpoint.id, &endpoint.url));
    let message = full.msg.unwrap();
    assert_eq!((&message.id, &message.payload), (&sent[7].id, &json!({})));
    let bare = last(Some(false), None).await;
    assert_eq!((&*bare.response, bare.msg), ("", None));
}

#[tokio::test]
async fn list_by_msg_by_every_filter_there_and_back() {
    type Options = MessageAttemptListByMsgOptions;
    let app = &new_app().await;
    let good = &Inbox::new().await.endpoint(app, |given| given.uid = Some(unique("uid"))).await;
    let bad = Inbox::answering(|_, _| (500, &[], "no".into())).await.endpoint(app, |_| {}).await;
    let message =
        MessageIn { event_id: Some(unique("event")), channels: set(&["c"]), tags: set(&["t"]), ..hello() };
    let message = &send(app, message).await;
    recorded(app, good, 1).await;
    recorded(app, &bad, 3).await;
    let count = |wanted: fn(&mut Options, &EndpointOut, DateTime<Utc>)| async move {
        let list = |limit, iterator| async move {
            let mut options = Options { limit, iterator, ..Options::default() };
            wanted(&mut options, good, message.timestamp);
            let id = message.event_id.clone().unwrap();
            page!(svix().message_attempt().list_by_msg(app.id.clone(), id, Some(options)))
        };
        there_and_back(2, list, |attempt| attempt.id.clone()).await.len()
    };
    assert_eq!(count(|_, _, _| {}).await, 4);
    assert_eq!(count(|options, _, _| options.status = Some(MessageStatus::Success)).await, 1);
    assert_eq!(count(|options, _, _| options.status = Some(MessageStatus::Fail)).await, 3);
    assert_eq!(count(|options, _, _| options.status_code_class = Some(StatusCodeClass::Code5xx)).await, 3);
    assert_eq!(count(|options, good, _| options.endpoint_id = Some(good.id.clone())).await, 1);
    assert_eq!(count(|options, good, _| options.endpoint_id = good.uid.clone()).await, 1);
    assert_eq!(count(|options, _, _| options.channel = Some("c".into())).await, 4);
    assert_eq!(count(|options, _, _| options.channel = Some("d".into())).await, 0);
    assert_eq!(count(|options, _, _| options.tag = Some("t".into())).await, 4);
    assert_eq!(count(|options, _, _| options.tag = Some("u".into())).await, 0);
    assert_eq!(count(|options, _, _| options.event_types = set(&["a"])).await, 4);
    assert_eq!(count(|options, _, _| options.event_types = set(&["b"])).await, 0);
    assert_eq!(count(|options, _, at| options.before = Some(at)).await, 0);
    assert_eq!(count(|options, _, at| options.after = Some(at - Duration::milliseconds(1))).await, 4);
    assert_eq!(count(|options, _, _| options.expanded_statuses = Some(true)).await, 4);
    assert_eq!(count(|options, _, _| options.with_content = Some(false)).await, 4);
    let options = Options { limit: Some(0), ..Options::default() };
    let list = svix().message_attempt().list_by_msg(app.id.clone(), message.id.clone(), Some(options)).await;
    invalid(list, &["query", "limit"]);
}

#[tokio::test]
async fn list_attempted_messages_by_every_filter_there_and_back() {
    type Options = MessageAttemptListAttemptedMessagesOptions;
    let (app, endpoint, sent) = &scene().await;
    let first = sent[0].timestamp;
    let numbers = |wanted: fn(&mut Options, DateTime<Utc>)| async move {
        let list = |limit, iterator| async move {
            let mut options = Options { limit, iterator, with_content: Some(true), ..Options::default() };
            wanted(&mut options, first);
            let (app, endpoint) = (app.id.clone(), endpoint.id.clone());
            page!(svix().message_attempt().list_attempted_messages(app, endpoint, Some(options)))
        };
        let found = there_and_back(2, list, |message| message.id.clone()).await;
        found.iter().map(|message| message.payload["n"].to_string()).collect::<String>()
    };
    assert_eq!(numbers(|_, _| {}).await, "876543210");
    assert_eq!(numbers(|options, _| options.status = Some(MessageStatus::Success)).await, "764310");
    assert_eq!(numbers(|options, _| options.status = Some(MessageStatus::Fail)).await, "852");
    assert_eq!(numbers(|options, _| options.status = Some(MessageStatus::Sending)).await, "");
    assert_eq!(numbers(|options, _| options.channel = Some("odd".into())).await, "7531");
    assert_eq!(numbers(|options, _| options.tag = Some("early".into())).await, "10");
    assert_eq!(numbers(|options, _| options.event_types = set(&["first.half"])).await, "43210");
    assert_eq!(numbers(|options, first| options.before = Some(first)).await, "");
    let just_before = |options: &mut Options, first| options.after = Some(first - Duration::milliseconds(1));
    assert_eq!(numbers(just_before).await, "876543210");
    assert_eq!(numbers(|options, _| options.with_content = Some(false)).await, "null".repeat(9));
}

#[tokio::test]
async fn list_attempted_destinations_tells_how_a_message_stands() {
    let app = &new_app().await;
    let good = Inbox::new().await.endpoint(app, |given| given.description = Some("good".into())).await;
    let later = Inbox::answering(|_, _| (503, &[("retry-after", "3600")], String::new())).await;
    let waiting = later.endpoint(app, |_| {}).await;
    Inbox::new().await.endpoint(app, |given| given.channels = set(&["another"])).await;
    let message = &send(app, hello()).await;
    recorded(app, &good, 1).await;
    recorded(app, &waiting, 1).await;
    let list = |limit, iterator| async move {
        let options = MessageAttemptListAttemptedDestinationsOptions { limit, iterator };
        let (app, message) = (app.id.clone(), message.id.clone());
        page!(svix().message_attempt().list_attempted_destinations(app, message, Some(options)))
    };
    let ask = || async { list(None, None).await.data };
    let found = eventually(ask, |data| data.iter().any(|one| one.status == MessageStatus::Sending)).await;
    assert_eq!(found.len(), 2);
    let one = |id: &str| found.iter().find(|one| one.id == id).unwrap();
    assert_eq!((one(&good.id).status, &*one(&good.id).description), (MessageStatus::Success, "good"));
    assert_eq!(one(&good.id).next_attempt, None);
    let due = one(&waiting.id).next_attempt.unwrap() - Utc::now();
    assert!((due.num_seconds() - 3_600).abs() < 30, "{due}");
    assert_eq!(there_and_back(1, list, |one| one.id.clone()).await.len(), 2);
}

#[tokio::test]
async fn get_shows_one_and_expunge_content_erases_its_answer() {
    let app = new_app().await;
    let inbox = Inbox::answering(|_, _| (200, &[], "größer 🦀".into())).await;
    let endpoint = inbox.endpoint(&app, |_| {}).await;
    let message = send(&app, hello()).await;
    let id = recorded(&app, &endpoint, 1).await.remove(0).id;
    let get = |message: &MessageOut, options| {
        let (app, message, id) = (app.id.clone(), message.id.clone(), id.clone());
        async { svix().message_attempt().get(app, message, id, options).await }
    };
    assert_eq!(get(&message, None).await.unwrap().response, "größer 🦀");
    let options = MessageAttemptGetOptions { expanded_statuses: Some(true) };
    assert_eq!(get(&message, Some(options)).await.unwrap().status, MessageStatus::Success);
    svix().message_attempt().expunge_content(app.id.clone(), message.id.clone(), id.clone()).await.unwrap();
    assert_eq!(get(&message, None).await.unwrap().response, "");
    let other = send(&app, hello()).await;
    refused(get(&other, None).await, 404, "not_found");
}

#[tokio::test]
async fn resend_sends_again_by_hand() {
    let (app, inbox, key) = (new_app().await, Inbox::new().await, unique("key"));
    let endpoint = inbox.endpoint(&app, |_| {}).await;
    let message = send(&app, hello()).await;
    recorded(&app, &endpoint, 1).await;
    let resend = |key| {
        let (app, message, endpoint) = (app.id.clone(), message.id.clone(), endpoint.id.clone());
        let options = MessageAttemptResendOptions { idempotency_key: key };
        async { svix().message_attempt().resend(app, message, endpoint, Some(options)).await }
    };
    resend(Some(key.clone())).await.unwrap();
    resend(Some(key)).await.unwrap();
    assert_eq!(recorded(&app, &endpoint, 2).await[0].trigger_type, MessageAttemptTriggerType::Manual);
    resend(None).await.unwrap();
    recorded(&app, &endpoint, 3).await;
    assert_eq!(inbox.ids(3).await, [&*message.id; 3]);
    svix().message().expunge_content(app.id.clone(), message.id.clone()).await.unwrap();
    refused(resend(None).await, 400, "payload_expired");
}

#[tokio::test]
async fn a_message_given_up_is_shown_as_canceled_to_those_who_know_that_word() {
    let app = new_app().await;
    let inbox = Inbox::answering(|_, _| (503, &[("retry-after", "3600")], String::new())).await;
    let endpoint = inbox.endpoint(&app, |_| {}).await;
    let message = send(&app, hello()).await;
    stands(&app, &message, MessageStatus::Sending).await;
    svix().message().expunge_content(app.id.clone(), message.id.clone()).await.unwrap();
    stands(&app, &message, MessageStatus::Canceled).await;
    let status = |expanded_statuses| {
        let options = MessageAttemptListAttemptedMessagesOptions {
            expanded_statuses,
            ..MessageAttemptListAttemptedMessagesOptions::default()
        };
        let (app, endpoint) = (app.id.clone(), endpoint.id.clone());
        async {
            let list = svix().message_attempt().list_attempted_messages(app, endpoint, Some(options)).await;
            list.unwrap().data[0].status
        }
    };
    assert_eq!(status(Some(true)).await, MessageStatus::Canceled);
    assert_eq!(status(Some(false)).await, MessageStatus::Success);
}
