//! Where the deliveries arrive: as cheap as it can be, since it shares the cores with what is measured.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use pushpull_domain::signature;
use tokio::{net::TcpListener, task::JoinSet, time::Instant};

use super::{
    ledger::Ledger,
    payload::{self, Payloads},
};
use crate::commands::port;

/// One arrival in so many is looked at closely: its signature is verified, its bytes are compared.
pub(super) const SAMPLE: u64 = 16;
/// Connections that wait to be accepted: a dropped one would cost its sender a second.
const BACKLOG: u32 = 4_096;

/// A receiver at work; ended when it is dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    desk: Arc<Desk>,
    _accepting: JoinSet<()>,
}

struct Desk {
    ledger: Arc<Ledger>,
    payloads: Arc<Payloads>,
    /// What signatures are checked with, endpoint by endpoint; known once they are made.
    secrets: OnceLock<Vec<String>>,
    arrivals: AtomicU64,
}

impl Receiver {
    /// Listens on loopback, and writes into these books.
    pub(super) fn open(ledger: Arc<Ledger>, payloads: Arc<Payloads>) -> Result<Self> {
        let (socket, address) = port::free()?;
        let listener = socket.listen(BACKLOG).context("listen for deliveries")?;
        let desk = Desk { ledger, payloads, secrets: OnceLock::new(), arrivals: AtomicU64::new(0) };
        let desk = Arc::new(desk);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&desk)));
        Ok(Self { address, desk, _accepting: accepting })
    }

    /// What signatures are checked with. Set once, before anything is sent.
    pub(super) fn trust(&self, secrets: Vec<String>) {
        let _ = self.desk.secrets.set(secrets);
    }

    /// Where an endpoint's deliveries go.
    pub(super) fn url(&self, endpoint: usize) -> String {
        format!("http://{}/{endpoint}", self.address)
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let desk = Arc::clone(&desk);
                let service = service_fn(move |request| answer(Arc::clone(&desk), request));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(desk: Arc<Desk>, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = desk.receive(request).await;
    Ok(response)
}

impl Desk {
    async fn receive(&self, request: Request<Incoming>) -> StatusCode {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return StatusCode::BAD_REQUEST };
        let (body, at) = (body.to_bytes(), Instant::now());
        let endpoint = head.uri.path().get(1..).and_then(|path| path.parse::<usize>().ok());
        let (Some(endpoint), Some(message)) = (endpoint, payload::number(&body)) else {
            return StatusCode::NOT_FOUND;
        };
        if !self.ledger.arrive(message, endpoint, at) {
            return StatusCode::NOT_FOUND;
        }
        if self.arrivals.fetch_add(1, Relaxed).is_multiple_of(SAMPLE) {
            let is_unaltered = body == self.payloads.of(message);
            self.ledger.check(self.is_signed(endpoint, &head.headers, &body), is_unaltered);
        }
        StatusCode::OK
    }

    fn is_signed(&self, endpoint: usize, headers: &HeaderMap, body: &[u8]) -> bool {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let secret = self.secrets.get().and_then(|secrets| secrets.get(endpoint));
        secret.is_some_and(|secret| {
            let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
            signature::verify(secret, id, timestamp, body, header("webhook-signature"))
        })
    }
}
