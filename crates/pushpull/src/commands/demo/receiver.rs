//! The receivers of the demonstration: each checks what comes, and tells.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
};

use anyhow::Result;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use pushpull_domain::signature;
use tokio::{net::TcpSocket, sync::mpsc, time::Instant};

use crate::commands::port;

/// Who receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// Answers 200.
    Good,
    /// Answers 503 twice for each message, then 200.
    Flaky,
    /// Refuses connections until it comes back, then answers 200.
    Down,
    /// Never listens: what it misses is read in the end.
    Gone,
}

impl Who {
    pub(super) const ALL: [Self; 4] = [Self::Good, Self::Flaky, Self::Down, Self::Gone];
    /// Those that nobody but the server sees attempts at.
    pub(super) const UNREACHED: [Self; 2] = [Self::Down, Self::Gone];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Flaky => "flaky",
            Self::Down => "down",
            Self::Gone => "gone",
        }
    }

    fn answer(self, attempt: usize) -> StatusCode {
        match self {
            Self::Flaky if attempt <= 2 => StatusCode::SERVICE_UNAVAILABLE,
            Self::Good | Self::Flaky | Self::Down | Self::Gone => StatusCode::OK,
        }
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) to: Who,
    /// Its message, as its header says.
    pub(super) message: String,
    /// How many of this message have come, this one counted.
    pub(super) attempt: usize,
    pub(super) status: StatusCode,
    /// Whether it is signed with the endpoint's secret.
    pub(super) is_signed: bool,
}

/// A receiver that has an address, but does not listen there yet: whoever connects is refused.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    socket: TcpSocket,
    desk: Arc<Desk>,
}

struct Desk {
    who: Who,
    /// What the signature is checked with; known once the endpoint is made.
    secret: OnceLock<String>,
    seen: Mutex<HashMap<String, usize>>,
    arrivals: mpsc::Sender<Arrival>,
}

impl Receiver {
    pub(super) fn new(who: Who, arrivals: mpsc::Sender<Arrival>) -> Result<Self> {
        let (socket, address) = port::free()?;
        let desk = Desk { who, secret: OnceLock::new(), seen: Mutex::default(), arrivals };
        Ok(Self { address, socket, desk: Arc::new(desk) })
    }

    /// What its endpoint's signatures are checked with.
    pub(super) fn trust(&self, secret: &str) {
        // Set once, before anything is sent.
        let _ = self.desk.secret.set(secret.to_owned());
    }

    /// Listens, until this future is dropped.
    pub(super) async fn open(self) -> std::io::Result<()> {
        let listener = self.socket.listen(1_024)?;
        axum::serve(listener, Router::new().fallback(receive).with_state(self.desk)).await
    }
}

async fn receive(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let at = Instant::now();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let message = header("webhook-id").to_owned();
    let is_signed = desk.secret.get().is_some_and(|secret| {
        signature::verify(secret, &message, header("webhook-timestamp"), &body, header("webhook-signature"))
    });
    let attempt = {
        let mut seen = desk.seen.lock().expect("nobody panics while holding this lock");
        let count = seen.entry(message.clone()).or_default();
        *count += 1;
        *count
    };
    let status = desk.who.answer(attempt);
    // Whoever listens may have gone: then nothing is to be told.
    let _ = desk.arrivals.send(Arrival { at, to: desk.who, message, attempt, status, is_signed }).await;
    status
}
