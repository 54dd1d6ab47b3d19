//! What the tests of the Rust SDK share: a client of the server, and a receiver that verifies what arrives.

use std::{collections::BTreeSet, env, fmt::Debug, future::Future, time::Duration};

use svix::{
    Error,
    api::{MessageCreateOptions, Svix, SvixOptions},
    models::{ApplicationIn, ApplicationOut, EndpointIn, EndpointOut, MessageIn, MessageOut},
};
use tokio::time::Instant;

pub mod receiver;

/// Where endpoints are that nothing is sent to.
pub const NOWHERE: &str = "https://127.0.0.1/hook";

/// Where the server is.
pub fn url() -> String {
    env::var("SDK_URL").expect("SDK_URL: sdk-tests/run sets it")
}

/// An admin key.
pub fn key() -> String {
    env::var("SDK_KEY").expect("SDK_KEY: sdk-tests/run sets it")
}

thread_local! {
    // One for each test: a client's connections live and end with the test's runtime.
    static SVIX: &'static Svix = Box::leak(Box::new(client(key())));
}

/// A client with the admin key.
pub fn svix() -> &'static Svix {
    SVIX.with(|svix| *svix)
}

/// A client with another key.
pub fn client(token: String) -> Svix {
    Svix::new(token, Some(SvixOptions { server_url: Some(url()), ..SvixOptions::default() }))
}

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:x}", receiver::random::<6>().iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte)))
}

/// A list of texts, as the SDK's models want it.
pub fn set(items: &[&str]) -> Option<BTreeSet<String>> {
    Some(items.iter().map(ToString::to_string).collect())
}

/// A fresh application.
pub async fn new_app() -> ApplicationOut {
    svix().application().create(ApplicationIn::new(unique("app")), None).await.unwrap()
}

/// An endpoint that nothing is sent to.
pub async fn new_endpoint(app: &ApplicationOut) -> EndpointOut {
    svix().endpoint().create(app.id.clone(), EndpointIn::new(NOWHERE.into()), None).await.unwrap()
}

/// A small message.
pub fn hello() -> MessageIn {
    MessageIn::new("a".into(), serde_json::json!({ "a": 1 }))
}

/// Sends a message, and asks to be shown its payload.
pub async fn send(app: &ApplicationOut, message: MessageIn) -> MessageOut {
    let options = MessageCreateOptions { with_content: Some(true), ..MessageCreateOptions::default() };
    svix().message().create(app.id.clone(), message, Some(options)).await.unwrap()
}

/// Asks again until the answer is as wanted, for at most ten seconds.
pub async fn eventually<T: Debug, F: Future<Output = T>>(
    ask: impl Fn() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "never so: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sees that a call was refused with this status and code.
#[track_caller]
pub fn refused<T: Debug>(result: Result<T, Error>, status: u16, code: &str) {
    match result {
        Err(Error::Http(error)) => {
            let said = error.payload.expect("a code and a detail");
            assert_eq!((error.status.as_u16(), &*said.code), (status, code), "{}", said.detail);
            assert!(said.detail.len() > 5);
        }
        other => panic!("not refused so: {other:?}"),
    }
}

/// Sees that a call was refused with 422, and where the fault is said to be.
#[track_caller]
pub fn invalid<T: Debug>(result: Result<T, Error>, place: &[&str]) {
    match result {
        Err(Error::Validation(error)) => {
            let faults = error.payload.expect("the faults").detail;
            assert_eq!(faults.len(), 1);
            assert_eq!(faults[0].loc, place, "{}", faults[0].msg);
            assert!(!faults[0].msg.is_empty() && !faults[0].r#type.is_empty());
        }
        other => panic!("not refused so: {other:?}"),
    }
}

/// A page of a list, of whatever kind.
pub struct Page<T> {
    pub data: Vec<T>,
    pub iterator: Option<String>,
    pub prev_iterator: Option<String>,
    pub done: bool,
}

/// Makes a [`Page`] of what a list call of the SDK gives.
#[macro_export]
macro_rules! page {
    ($call:expr) => {{
        let page = $call.await.unwrap();
        $crate::Page {
            data: page.data,
            iterator: page.iterator,
            prev_iterator: page.prev_iterator,
            done: page.done,
        }
    }};
}

/// Reads a whole list in pages, goes back by `prev_iterator`, and gives the items.
///
/// `list` takes the limit and the iterator of a page, `id` names an item.
pub async fn there_and_back<T, F: Future<Output = Page<T>>>(
    limit: u64,
    list: impl Fn(Option<u64>, Option<String>) -> F,
    id: impl Fn(&T) -> String,
) -> Vec<T> {
    let mut page = list(Some(limit), None).await;
    let (mut items, mut pages) = (Vec::new(), 1);
    let mut last: Vec<String> = page.data.iter().map(&id).collect();
    while !page.done {
        assert_eq!(page.data.len() as u64, limit, "only the last page may be short");
        let next = page.iterator.clone();
        items.append(&mut page.data);
        page = list(Some(limit), next).await;
        last = page.data.iter().map(&id).collect();
        pages += 1;
    }
    items.append(&mut page.data);

    let mut back = vec![last];
    let mut previous = page.prev_iterator;
    for _ in 1..pages {
        let page = list(Some(limit), previous).await;
        back.insert(0, page.data.iter().map(&id).collect());
        previous = page.prev_iterator;
    }
    let ids: Vec<String> = items.iter().map(&id).collect();
    assert_eq!(back.concat(), ids);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an item twice");
    items
}
