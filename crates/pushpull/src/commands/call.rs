//! Calls to a server: connections that are kept, and the API of one of our own on this machine.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

/// Longest time for one call.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const ANSWER_MAX: usize = 4 << 20;

/// A connection that is kept: one call after the other.
pub(super) struct Connection {
    host: HeaderValue,
    sender: SendRequest<Full<Bytes>>,
    /// What speaks on it; ended with it.
    _speaking: JoinSet<hyper::Result<()>>,
}

impl Connection {
    /// Connects.
    #[expect(clippy::disallowed_methods, reason = "to ourselves, at the address we listen on")]
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::over(stream, HeaderValue::try_from(address.to_string())?).await
    }

    /// Speaks over what is connected already.
    pub(super) async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        host: HeaderValue,
    ) -> Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut speaking = JoinSet::new();
        speaking.spawn(connection);
        Ok(Self { host, sender, _speaking: speaking })
    }

    /// Whether another call may be made over it, as far as is known here.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Makes one call; what is answered, its body whole.
    pub(super) async fn call(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
        self.call_within(CALL_MAX, request).await
    }

    /// The same, for a call that may take longer: this long.
    pub(super) async fn call_within(
        &mut self,
        within: Duration,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes)> {
        let exchange = async {
            let (head, body) = self.exchange(request, ANSWER_MAX).await?.into_parts();
            Ok((head.status, body))
        };
        tokio::time::timeout(within, exchange).await.context("no answer in time")?
    }

    /// Makes one call whose answer is read piece by piece.
    pub(super) async fn begin(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        request.headers_mut().insert(header::HOST, self.host.clone());
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Makes one call, however long it takes; the answer with its whole body, of so many bytes at most.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        answer_max: usize,
    ) -> Result<Response<Bytes>> {
        let (head, body) = self.begin(request).await?.into_parts();
        let answer = Limited::new(body, answer_max).collect().await;
        Ok(Response::from_parts(head, answer.map_err(anyhow::Error::from_boxed)?.to_bytes()))
    }
}

/// The API of a server, over one connection a call.
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

    async fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let mut request =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        let mut connection = Connection::open(self.address).await?;
        let (status, bytes) = connection.call(request.body(Full::new(Bytes::from(body)))?).await?;
        let value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        Ok((status, value))
    }
}
