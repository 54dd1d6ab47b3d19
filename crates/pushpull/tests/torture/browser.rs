//! A page in a real browser reads a queue by `EventSource`, from another origin, while the server is killed, stopped
//! and started again: the browser comes back by itself, with the id of the last event it had.

mod chromium;
mod page;

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Dice, Home, Lives, Server, Visitor, eventually, json as body, let_pass, say};

use chromium::Chromium;
use page::{Message, Page, Payload, Told};

/// Messages that are written while the server is killed and stopped.
const MESSAGES: u64 = 300;
const SINK: &str = "/api/v1/app/app/poller/sink";
const MESSAGE: &str = "/api/v1/app/app/msg";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_has_every_message_once_in_order_over_restarts() {
    let dice = Dice::new("browser");
    let page = Page::serve().await;
    let home = Home::new().with("PUSHPULL_CORS_ORIGINS", page.origin());
    let mut server = home.start().await;
    let address = server.address;
    // From now on always there: a browser comes back to where it was.
    let home = home.with("PUSHPULL_LISTEN", address.to_string());
    let token = set_up(&server).await;
    let lives = Lives::new();
    lives.serve_at(address);
    let mut writer = JoinSet::new();
    writer.spawn(write(lives.visitor(), dice));
    let mut browser = Chromium::open(&page.url(&format!("http://{address}{SINK}?access_token={token}")));

    seen(&mut browser, &page, MESSAGES / 5).await;
    lives.nobody_serves();
    server.kill().await;
    server = home.start().await;
    lives.serve_at(address);
    seen(&mut browser, &page, MESSAGES / 2).await;
    lives.nobody_serves();
    server.stop().await;
    server = home.start().await;
    lives.serve_at(address);
    writer.join_all().await;
    seen(&mut browser, &page, MESSAGES).await;
    // Nothing comes again when it comes back and has had everything.
    let before = opened(&page);
    server.kill().await;
    server = home.start().await;
    eventually("the page comes back", async || (opened(&page) > before).then_some(())).await;
    server.client().post(MESSAGE, &message(MESSAGES)).await.expect(202);
    seen(&mut browser, &page, MESSAGES + 1).await;

    browser.end().await;
    let messages = messages(&page);
    say(format!("{} messages, the stream was opened {} times", messages.len(), opened(&page)));
    let expected: Vec<_> = (0..=MESSAGES).map(|n| Message { seq: n + 1, payload: Payload { n } }).collect();
    assert_eq!(messages, expected);
    assert!(opened(&page) >= 4, "the browser was cut off three times: {:?}", page.told());
    server.stop().await;
}

/// An endpoint to read; its token.
async fn set_up(server: &Server) -> String {
    let mut client = server.client();
    client.app("app").await;
    let sink = json!({ "uid": "sink", "mode": "pull" });
    client.post("/api/v1/app/app/endpoint", &sink).await.expect(201);
    client.get("/api/v1/auth/app/app/poller/sink/token").await.expect(200).text("token")
}

/// Writes, with pauses, whoever serves.
async fn write(mut visitor: Visitor, dice: Dice) {
    for n in 0..MESSAGES {
        let key = format!("key-{n}");
        let headers = [("idempotency-key", &*key)];
        visitor.ask(Method::POST, MESSAGE, body(&message(n)), &headers).await.expect(202);
        let_pass(dice.millis(0, 40)).await;
    }
}

fn message(n: u64) -> Value {
    json!({ "eventType": "order.made", "payload": { "n": n } })
}

/// Waits until the page has had so many messages.
async fn seen(browser: &mut Chromium, page: &Page, count: u64) {
    eventually(&format!("the page has had {count} messages"), async || {
        browser.must_run();
        let told = page.told();
        assert!(!told.contains(&Told::GaveUp), "the browser gave up: {told:?}");
        (messages(page).len() as u64 >= count).then_some(())
    })
    .await;
}

fn messages(page: &Page) -> Vec<Message> {
    let message = |told| match told {
        Told::Message(message) => Some(message),
        Told::Opened | Told::CutOff | Told::GaveUp => None,
    };
    page.told().into_iter().filter_map(message).collect()
}

/// How often the stream began.
fn opened(page: &Page) -> usize {
    page.told().iter().filter(|told| **told == Told::Opened).count()
}
