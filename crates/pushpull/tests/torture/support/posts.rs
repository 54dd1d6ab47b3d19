//! A burst of messages, each written down with what was answered.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Method;
use pushpull_domain::Timestamp;
use tokio::task::JoinSet;

use super::{client_of, hash};

/// A message that was posted, and what came of it.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) key: String,
    pub(crate) body: Bytes,
    /// Of the payload.
    pub(crate) hash: [u8; 32],
    /// 0: no answer.
    pub(crate) status: u16,
    /// The id that was acknowledged; of a refusal its code.
    pub(crate) word: String,
    pub(crate) retry_after: Option<String>,
    /// When the answer was there.
    pub(crate) at: Timestamp,
}

impl Posted {
    pub(crate) fn is_accepted(&self) -> bool {
        self.status == 202
    }
}

/// What each of several clients posts.
#[derive(Clone, Copy)]
pub(crate) struct Burst {
    /// Tells this burst's keys from those of others.
    pub(crate) name: &'static str,
    pub(crate) clients: usize,
    /// Messages of each client; it stops before when it gets no answer.
    pub(crate) each: usize,
    /// Bytes of a payload, roughly.
    pub(crate) size: usize,
}

/// Posts to the application `app`.
pub(crate) async fn post(address: SocketAddr, burst: Burst) -> Vec<Posted> {
    let mut clients = JoinSet::new();
    for client in 0..burst.clients {
        clients.spawn(async move {
            let mut open = client_of(address);
            let mut posted = Vec::new();
            for n in 0..burst.each {
                let key = format!("{}-{client}-{n}", burst.name);
                let pad = "x".repeat(burst.size);
                let payload = format!(r#"{{ "key":"{key}", "pad":"{pad}" }}"#);
                let body: Bytes = format!(r#"{{"eventType":"a","payload":{payload}}}"#).into();
                let headers = [("idempotency-key", &*key)];
                let answer = open.try_call(Method::POST, "/api/v1/app/app/msg", body.clone(), &headers).await;
                let mut post = Posted {
                    hash: hash(payload.as_bytes()),
                    key,
                    body,
                    status: 0,
                    word: String::new(),
                    retry_after: None,
                    at: now(),
                };
                if let Ok(answer) = answer {
                    post.status = answer.status;
                    post.word = if answer.status == 202 { answer.text("id") } else { answer.code() };
                    let wait = answer.headers.get("retry-after");
                    post.retry_after = wait.map(|wait| wait.to_str().unwrap().to_owned());
                }
                let is_over = post.status == 0;
                posted.push(post);
                if is_over {
                    break;
                }
            }
            posted
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

/// The machine's time: what a tracer writes down can be compared with it.
#[expect(clippy::disallowed_methods, reason = "compared with the log of another process")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis() as i64)
}
