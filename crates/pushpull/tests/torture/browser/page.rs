//! The page, and its server: an origin of its own, which is told what the page sees.

use pushpull_testkit::{Received, Receiver, Reply};
use serde::Deserialize;

const PAGE: &str = include_str!("page.html");

/// What the page tells.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Told {
    /// The stream began.
    Opened,
    /// It was cut off, and the browser tries again.
    CutOff,
    /// The browser does not try again.
    GaveUp,
    Message(Message),
}

/// A message as the page got it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) seq: u64,
    pub(super) payload: Payload,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) n: u64,
}

/// The server. Ends when it is dropped.
pub(super) struct Page(Receiver);

impl Page {
    pub(super) async fn serve() -> Self {
        let answer = |received: &Received| match received.path.split('?').next() {
            Some("/") => Reply::status(200).with("content-type", "text/html").saying(PAGE),
            Some("/told") => Reply::status(200),
            _ => Reply::status(404),
        };
        Self(Receiver::start(answer).await)
    }

    /// As a browser writes it.
    pub(super) fn origin(&self) -> String {
        self.0.url("")
    }

    /// Where the page is that reads this stream.
    pub(super) fn url(&self, source: &str) -> String {
        let mut url = url::Url::parse(&self.origin()).unwrap();
        url.query_pairs_mut().append_pair("source", source);
        url.into()
    }

    /// All that was told until now.
    pub(super) fn told(&self) -> Vec<Told> {
        let received = self.0.received().into_iter();
        let told = received.filter(|received| received.path == "/told");
        told.map(|received| serde_json::from_slice(&received.body).unwrap()).collect()
    }
}
