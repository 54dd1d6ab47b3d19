use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{Duration, Utc};
use pushpull_sdk_tests::{hello, invalid, key, new_app, new_endpoint, refused, send, svix, url};
use serde_json::json;
use svix::{
    AutoConfigConsumer,
    api::MessagePollerConsumerPollOptions,
    error::Result,
    models::{ApplicationOut, EndpointOut, PollingEndpointConsumerSeekIn, PollingEndpointOut, SinkInCommon},
};

/// An endpoint with so many messages, and their ids. One that is pushed to is read as a copy.
async fn new_queue(count: usize) -> (ApplicationOut, EndpointOut, Vec<String>) {
    let app = new_app().await;
    let queue = new_endpoint(&app).await;
    let mut sent = Vec::new();
    for _ in 0..count {
        sent.push(send(&app, hello()).await.id);
    }
    (app, queue, sent)
}

async fn read(
    app: &ApplicationOut,
    queue: &EndpointOut,
    limit: Option<u64>,
    iterator: Option<String>,
) -> Result<PollingEndpointOut> {
    let options = MessagePollerConsumerPollOptions { limit, iterator };
    let (app, queue) = (app.id.clone(), queue.id.clone());
    svix().message().poller().consumer_poll(app, queue, "billing".into(), Some(options)).await
}

fn ids(page: &PollingEndpointOut) -> Vec<String> {
    page.data.iter().map(|message| message.id.clone()).collect()
}

#[tokio::test]
async fn consumer_poll_goes_on_where_the_consumer_is() {
    let (app, queue, sent) = new_queue(3).await;
    let first = read(&app, &queue, Some(2), None).await.unwrap();
    assert_eq!((ids(&first), first.done), (sent[..2].to_vec(), false));
    let again = read(&app, &queue, Some(1), None).await.unwrap();
    assert_eq!(ids(&again), sent[..1], "nobody said that it was handled");
    let rest = read(&app, &queue, None, Some(first.iterator)).await.unwrap();
    assert_eq!((ids(&rest), rest.done), (sent[2..].to_vec(), true));
    let anew = read(&app, &queue, None, None).await.unwrap();
    assert_eq!(ids(&anew), sent[2..], "a process that was started anew");
    refused(read(&app, &queue, None, Some("made-up".into())).await, 400, "invalid_iterator");
}

#[tokio::test]
async fn consumer_seek_puts_a_consumer_back() {
    let (app, queue, sent) = new_queue(2).await;
    let handled = read(&app, &queue, None, None).await.unwrap().iterator;
    assert!(ids(&read(&app, &queue, None, Some(handled)).await.unwrap()).is_empty());
    let to = PollingEndpointConsumerSeekIn::new(Utc::now() - Duration::minutes(1));
    let (id, sink) = (app.id.clone(), queue.id.clone());
    let sought = svix().message().poller().consumer_seek(id, sink, "billing".into(), to, None).await.unwrap();
    assert_eq!(ids(&read(&app, &queue, None, Some(sought.iterator)).await.unwrap()), sent);
}

#[tokio::test]
async fn auto_config_consumer_receives_under_a_lease_and_commits() {
    let (app, queue, sent) = new_queue(3).await;
    let secret = svix().endpoint().get_secret(app.id.clone(), queue.id.clone()).await.unwrap().key;
    let content =
        json!({ "aid": app.id, "eid": queue.id, "surl": url(), "esec": secret, "tok": key() }).to_string();
    let token = format!("auto_v1_{}", STANDARD.encode(content));
    let consumer = AutoConfigConsumer::new(token, SinkInCommon::default()).unwrap();
    let receive = async || consumer.receive("billing".into(), None).await.unwrap();
    let first = receive().await;
    let offsets: Vec<(String, u64)> =
        first.data.iter().map(|message| (message.id.clone(), message.offset)).collect();
    assert_eq!(offsets, sent.into_iter().zip(1..).collect::<Vec<_>>());
    assert!(receive().await.data.is_empty(), "one at a time");
    invalid(consumer.commit("billing".into(), 4, None).await, &["body", "offset"]);
    consumer.commit("billing".into(), 3, None).await.unwrap();
    assert!(receive().await.data.is_empty(), "all of it was handled");
}
