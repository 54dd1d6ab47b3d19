//! A reader of an endpoint's queue, with a connection of its own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde::Deserialize;

use super::subject::Subject;
use crate::commands::call::Connection;

/// Longest wait of a call, in seconds: as long as a server lets a reader wait.
const WAIT: u64 = 60;
/// When it is given up: beyond the wait.
const CALL_MAX: Duration = Duration::from_secs(WAIT + 30);

/// Of a page, what is looked at.
#[derive(Deserialize)]
struct Page<'a> {
    iterator: &'a str,
}

/// Somebody who waits for what joins a queue.
pub(super) struct Poller {
    connection: Connection,
    path: String,
    key: String,
    iterator: String,
}

impl Poller {
    /// At the end of a queue.
    pub(super) async fn open(subject: &Subject, path: &str) -> Result<Self> {
        let mut poller = Self {
            connection: Connection::open(subject.address).await?,
            path: path.to_owned(),
            key: format!("Bearer {}", subject.key),
            iterator: String::new(),
        };
        poller.call("from=latest").await?;
        Ok(poller)
    }

    /// Waits for what comes next; the page, whole.
    pub(super) async fn next(&mut self) -> Result<Bytes> {
        let query = format!("wait={WAIT}&iterator={}", self.iterator);
        self.call(&query).await
    }

    async fn call(&mut self, query: &str) -> Result<Bytes> {
        let request = Request::get(format!("{}?{query}", self.path))
            .header(header::AUTHORIZATION, &self.key)
            .body(Full::default())?;
        let (status, body) = self.connection.call_within(CALL_MAX, request).await?;
        ensure!(status.is_success(), "a page is answered {status}");
        let page: Page<'_> = serde_json::from_slice(&body).context("read a page")?;
        page.iterator.clone_into(&mut self.iterator);
        Ok(body)
    }
}
