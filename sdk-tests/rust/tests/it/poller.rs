use pushpull_sdk_tests::{hello, invalid, new_app, new_endpoint, refused, send, set, svix};
use svix::{
    api::MessagePollerPollOptions,
    models::{ApplicationOut, EndpointOut, MessageIn, PollingEndpointOut},
};

async fn poll(
    app: &ApplicationOut,
    queue: &EndpointOut,
    options: MessagePollerPollOptions,
) -> svix::error::Result<PollingEndpointOut> {
    svix().message().poller().poll(app.id.clone(), queue.id.clone(), Some(options)).await
}

fn of_type(event_type: &str) -> MessageIn {
    MessageIn { event_type: event_type.into(), ..hello() }
}

#[tokio::test]
async fn poll_reads_a_queue_in_pages() {
    let app = new_app().await;
    let queue = new_endpoint(&app).await;
    let empty = poll(&app, &queue, MessagePollerPollOptions::default()).await.unwrap();
    assert!(empty.data.is_empty() && empty.done);
    let first = send(&app, MessageIn { channels: set(&["eu"]), tags: set(&["march"]), ..of_type("a") }).await;
    let second = send(&app, of_type("b")).await;
    let third = send(&app, of_type("c")).await;
    let options = MessagePollerPollOptions { limit: Some(2), ..Default::default() };
    let page = poll(&app, &queue, options).await.unwrap();
    assert_eq!([&page.data[0].id, &page.data[1].id], [&first.id, &second.id]);
    assert!(page.data.len() == 2 && !page.done);
    let message = &page.data[0];
    assert_eq!((&*message.event_type, &message.payload), ("a", &first.payload));
    assert_eq!((&message.channels, &message.tags), (&set(&["eu"]), &set(&["march"])));
    assert_eq!(message.timestamp, first.timestamp);
    let options = MessagePollerPollOptions { iterator: Some(page.iterator), ..Default::default() };
    let page = poll(&app, &queue, options).await.unwrap();
    assert_eq!((page.data.len(), &page.data[0].id, page.done), (1, &third.id, true));
    let options = MessagePollerPollOptions { iterator: Some(empty.iterator), ..Default::default() };
    assert_eq!(poll(&app, &queue, options).await.unwrap().data.len(), 3);
}

#[tokio::test]
async fn poll_filters() {
    let app = new_app().await;
    let queue = new_endpoint(&app).await;
    let first = send(&app, MessageIn { channels: set(&["eu"]), ..of_type("a") }).await;
    send(&app, of_type("b")).await;
    let read = |options| async {
        let page = poll(&app, &queue, options).await.unwrap();
        page.data.into_iter().map(|message| message.event_type).collect::<Vec<_>>()
    };
    let by_type = MessagePollerPollOptions { event_type: Some("b".into()), ..Default::default() };
    assert_eq!(read(by_type).await, ["b"]);
    let by_channel = MessagePollerPollOptions { channel: Some("eu".into()), ..Default::default() };
    assert_eq!(read(by_channel).await, ["a"]);
    let after = first.timestamp - chrono::Duration::seconds(60);
    let by_time = MessagePollerPollOptions { after: Some(after), ..Default::default() };
    assert_eq!(read(by_time).await, ["a", "b"]);
}

#[tokio::test]
async fn poll_refuses_what_is_no_place_as_the_bridge_wants_it() {
    let app = new_app().await;
    let (queue, other) = (new_endpoint(&app).await, new_endpoint(&app).await);
    let foreign = poll(&app, &other, MessagePollerPollOptions::default()).await.unwrap().iterator;
    for wrong in ["made-up".to_owned(), foreign] {
        let options = MessagePollerPollOptions { iterator: Some(wrong), ..Default::default() };
        refused(poll(&app, &queue, options).await, 400, "invalid_iterator");
    }
    let options = MessagePollerPollOptions { limit: Some(0), ..Default::default() };
    invalid(poll(&app, &queue, options).await, &["query", "limit"]);
    let nobody = svix().message().poller().poll(app.id, "ep_of_nobody".into(), None).await;
    refused(nobody, 404, "not_found");
}
