//! One message, signed as a push of it would be, and posted.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use pushpull_domain::{Clock, signature::Signer};
use pushpull_net::{Client, Request, Target};

use super::reader::Item;
use crate::clock::SystemClock;

/// What forwards.
pub(super) struct Forwarder {
    pub(super) client: Client,
    pub(super) target: Target,
    pub(super) signer: Signer,
}

/// What came of it.
pub(super) struct Outcome {
    /// The status, or why there is none.
    pub(super) answer: Result<u16, String>,
    pub(super) took: Duration,
}

impl Outcome {
    pub(super) fn is_success(&self) -> bool {
        matches!(self.answer, Ok(200..=299))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Ok(status) => write!(f, "answered {status}"),
            Err(why) => f.write_str(why),
        }
    }
}

impl Forwarder {
    /// Posts a message. The signature is made now: receivers refuse old ones.
    pub(super) async fn send(&self, item: &Item, body: &Bytes) -> Result<Outcome> {
        let headers = self.headers(item, body).context("the server gave what no header can carry")?;
        let request = Request { target: &self.target, headers: &|| headers.clone(), body };
        Ok(match self.client.send(request).await {
            Ok(answer) => Outcome { answer: Ok(answer.status), took: answer.timings.total },
            Err(failure) => Outcome { answer: Err(failure.detail), took: failure.timings.total },
        })
    }

    fn headers(&self, item: &Item, body: &Bytes) -> Result<HeaderMap> {
        let now = SystemClock.now();
        let id = HeaderValue::try_from(&item.id)?;
        let timestamp = HeaderValue::from(now.as_secs());
        let signature = HeaderValue::try_from(self.signer.sign(&item.id, now, body))?;
        let mut headers = HeaderMap::new();
        for family in ["webhook", "svix"] {
            for (name, value) in [("id", &id), ("timestamp", &timestamp), ("signature", &signature)] {
                headers.insert(HeaderName::try_from(format!("{family}-{name}"))?, value.clone());
            }
        }
        let content_type = item.content_type.as_deref().unwrap_or("application/json");
        headers.insert(header::CONTENT_TYPE, HeaderValue::try_from(content_type)?);
        headers.insert("pushpull-seq", HeaderValue::from(item.seq));
        headers.insert("pushpull-position", HeaderValue::from(item.position));
        Ok(headers)
    }
}
