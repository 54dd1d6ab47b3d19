//! Requests that may be repeated: `Idempotency-Key`.
//!
//! A message's key is kept in the store, with the message. For every other POST the answer is remembered here
//! for the same 12 hours, within bounds and until a restart; what such a request makes can also be given a
//! uid, which is unique for good. Not so what readers post (seek, commit, pull, ack, replay): they are many, and
//! would push out what others are to be answered by, and to repeat one does no harm.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use moka::future::Cache;
use pushpull_domain::{EnvironmentNo, Timestamp};

use crate::{
    auth::Caller,
    extract,
    problem::{Kind, Problem},
    state::Api,
};

/// How long an answer is given again: 12 h, as the Svix API has it.
const REMEMBERED: Duration = Duration::from_hours(12);
/// Most bytes of answers that are remembered.
const REMEMBERED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest key.
const KEY_MAX: usize = 256;
/// Largest body of such a request.
const BODY_MAX: usize = 1024 * 1024;

const HEADER: &str = "idempotency-key";

/// The hash of a request, to know another one by.
pub(crate) type RequestHash = [u8; 32];

/// The key of a request, if it has one.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if (1..=KEY_MAX).contains(&text.len()) => Ok(Some(text)),
        _ => {
            let message = format!("must be 1 to {KEY_MAX} visible ASCII characters");
            Err(Problem::invalid(&["header", HEADER], message))
        }
    }
}

/// Said when a key comes again with another request. A 422 has a place, here too: the SDKs read it so.
pub(crate) fn key_reused() -> Problem {
    let place = vec!["header".into(), HEADER.into()];
    Problem::Invalid { place, message: "was used for another request".into(), kind: Kind::KeyReused }
}

/// The hash of a body.
pub(crate) fn hash(body: &[u8]) -> RequestHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
    hash
}

/// Which request a key stands for. Two callers who may do different things never share one: what was answered
/// to one must not be told to the other.
#[derive(PartialEq, Eq, Hash)]
struct Name {
    environment: EnvironmentNo,
    scope: String,
    uri: String,
    key: Box<str>,
}

#[derive(Clone)]
struct Answer {
    at: Timestamp,
    request: RequestHash,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        *response.headers_mut() = self.headers;
        response
    }
}

/// Answers that were given.
pub(crate) struct Answered(Cache<Name, Answer>);

impl Answered {
    pub(crate) fn new() -> Self {
        let weigh = |name: &Name, answer: &Answer| {
            let length = name.scope.len() + name.uri.len() + name.key.len() + answer.body.len();
            u32::try_from(length + 200).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().weigher(weigh).max_capacity(REMEMBERED_BYTES_MAX).build())
    }

    async fn forget_if_old(&self, name: &Name, now: Timestamp) {
        if self.0.get(name).await.is_some_and(|answer| now.since(answer.at) >= REMEMBERED) {
            self.0.invalidate(name).await;
        }
    }
}

/// Answers a request that was answered with success before as it was then. Those that come at the same time
/// wait for the first.
pub(crate) async fn once<F: Future<Output = Response>>(
    api: &Api,
    request: Request,
    handle: impl FnOnce(Request) -> F,
) -> Result<Response, Problem> {
    let Some(key) = key(request.headers())? else { return Ok(handle(request).await) };
    let Some(caller) = request.extensions().get::<Arc<Caller>>() else { return Ok(handle(request).await) };
    let name = Name {
        environment: caller.environment,
        scope: caller.scope.to_text(),
        uri: request.uri().to_string(),
        key: key.into(),
    };
    let now = api.now();
    api.answered.forget_if_old(&name, now).await;
    let (parts, body) = request.into_parts();
    let body = extract::read_body(body, &parts, BODY_MAX).await?;
    let request_hash = hash(&body);
    let first = async {
        collect(now, request_hash, handle(Request::from_parts(parts, Body::from(body))).await).await
    };
    match api.answered.0.try_get_with(name, first).await {
        Ok(answer) if answer.request == request_hash => Ok(answer.into_response()),
        // Not a success, so not remembered: the next one tries again.
        Err(answer) if answer.request == request_hash => Ok((*answer).clone().into_response()),
        Ok(_) | Err(_) => Err(key_reused()),
    }
}

async fn collect(at: Timestamp, request: RequestHash, response: Response) -> Result<Answer, Answer> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let answer = Answer { at, request, status: parts.status, headers: parts.headers, body };
    if answer.status.is_success() { Ok(answer) } else { Err(answer) }
}
