//! Requests that may be repeated: `Idempotency-Key`.
//!
//! A message's key is kept in the store, with the message. For every other POST the answer is remembered here
//! for the same 12 hours, within bounds and until a restart; what such a request makes can also be given a
//! uid, which is unique for good.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use moka::future::Cache;
use pushpull_domain::EnvironmentNo;

use crate::{auth::Caller, extract, problem::Problem, state::Api};

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
    Problem::invalid(&["header", HEADER], "was used for another request")
}

/// The hash of a body.
pub(crate) fn hash(body: &[u8]) -> RequestHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
    hash
}

/// Whose key it is, for which path.
type Name = (EnvironmentNo, String, Box<str>);

#[derive(Clone)]
struct Answer {
    request: RequestHash,
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        response.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(content_type) = self.content_type {
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        }
        response
    }
}

/// Answers that were given.
pub(crate) struct Answered(Cache<Name, Answer>);

impl Answered {
    pub(crate) fn new() -> Self {
        let weigh = |(_, path, key): &Name, answer: &Answer| {
            u32::try_from(path.len() + key.len() + answer.body.len() + 200).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder();
        Self(cache.weigher(weigh).max_capacity(REMEMBERED_BYTES_MAX).time_to_live(REMEMBERED).build())
    }
}

/// Answers a request that was answered with success before as it was then. Those that come at the same time
/// wait for the first.
pub(crate) async fn once(State(api): State<Api>, request: Request, next: Next) -> Result<Response, Problem> {
    let Some(key) = key(request.headers())? else { return Ok(next.run(request).await) };
    let Some(caller) = request.extensions().get::<Arc<Caller>>() else { return Ok(next.run(request).await) };
    let name = (caller.environment, request.uri().to_string(), key.into());
    let (parts, body) = request.into_parts();
    let body = extract::read_body(body, &parts, BODY_MAX).await?;
    let request_hash = hash(&body);
    let first =
        async { collect(request_hash, next.run(Request::from_parts(parts, Body::from(body))).await).await };
    match api.answered.0.try_get_with(name, first).await {
        Ok(answer) if answer.request == request_hash => Ok(answer.into_response()),
        Ok(_) => Err(key_reused()),
        // Not a success, so not remembered: the next one tries again.
        Err(answer) => Ok((*answer).clone().into_response()),
    }
}

async fn collect(request: RequestHash, response: Response) -> Result<Answer, Answer> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let content_type = parts.headers.get(header::CONTENT_TYPE).cloned();
    let answer = Answer { request, status: parts.status, content_type, body };
    if answer.status.is_success() { Ok(answer) } else { Err(answer) }
}
