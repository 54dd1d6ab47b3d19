//! One message, signed as a push of it would be, and posted.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::HeaderMap;
use pushpull_domain::{Clock, signature::Signer};
use pushpull_net::{Client, Request, Target};
use pushpull_send::{Push, Signed};

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

    /// Whether it may be the signature that was refused.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.answer, Ok(400 | 401 | 403))
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
    /// Posts a message.
    pub(super) async fn send(&self, item: &Item, body: &Bytes) -> Result<Outcome> {
        let push = Push {
            id: &item.id,
            content_type: item.content_type.as_deref(),
            seq: item.seq,
            position: item.position,
            body,
        };
        let signed = Signed::new(push, &self.signer, SystemClock.now())
            .context("the server gave what no header can carry")?;
        let headers = || {
            let mut headers = HeaderMap::new();
            signed.put_into(&mut headers);
            headers
        };
        let request = Request { target: &self.target, headers: &headers, body };
        Ok(match self.client.send(request).await {
            Ok(answer) => Outcome { answer: Ok(answer.status), took: answer.timings.total },
            Err(failure) => Outcome { answer: Err(failure.detail), took: failure.timings.total },
        })
    }
}
