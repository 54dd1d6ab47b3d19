//! Calls to a server of our own on this machine: plain HTTP, one connection a call.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

/// Longest time for one call.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const ANSWER_MAX: usize = 4 << 20;

/// The API of a server.
#[derive(Clone, Debug)]
pub(super) struct Api {
    address: SocketAddr,
    key: Option<String>,
}

impl Api {
    /// The API at an address, called with this key.
    pub(super) fn new(address: SocketAddr, key: Option<String>) -> Self {
        Self { address, key }
    }

    /// Calls it; the answer is null if it has no body.
    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value)> {
        let call = tokio::time::timeout(CALL_MAX, self.exchange(method, path, body));
        call.await.context("no answer in time").flatten().with_context(|| format!("{method} {path}"))
    }

    #[expect(clippy::disallowed_methods, reason = "to ourselves, at the address we listen on")]
    async fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, speaking) = http1::handshake(TokioIo::new(stream)).await?;
        // Ended with this call.
        let mut connection = JoinSet::new();
        connection.spawn(speaking);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let bytes = answer.map_err(anyhow::Error::from_boxed)?.to_bytes();
        let value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        Ok((status, value))
    }
}
