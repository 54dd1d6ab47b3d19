//! A receiver with a ledger: what arrived where, how it was answered, and in which life of the server.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::Instant};

/// The path of a request that is no delivery.
const BARRIER: &str = "/barrier";

/// One request, as it was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// The status.
    pub(crate) status: u16,
    pub(crate) life: usize,
    pub(crate) at: Instant,
    pub(crate) hash: [u8; 32],
}

/// Everything that arrived, by path and message id.
pub(crate) type Ledger = HashMap<(String, String), Vec<Arrival>>;

/// Decides what to answer: path, message id, how often this came before.
type Decide = dyn Fn(&str, &str, usize) -> u16 + Send + Sync;

struct State {
    ledger: Mutex<Ledger>,
    life: AtomicUsize,
    open: watch::Sender<usize>,
    arrived: watch::Sender<()>,
    decide: Box<Decide>,
}

/// The receiver. Ends when it is dropped.
pub(crate) struct Sink {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sink {
    /// Answers with the status that is decided.
    #[expect(clippy::disallowed_methods, reason = "aborted when this is dropped")]
    pub(crate) async fn start(decide: impl Fn(&str, &str, usize) -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            ledger: Mutex::default(),
            life: AtomicUsize::new(0),
            open: watch::Sender::new(0),
            arrived: watch::Sender::new(()),
            decide: Box::new(decide),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let state = Arc::clone(&shared);
                state.open.send_modify(|open| *open += 1);
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        let state = Arc::clone(&state);
                        async move { Ok::<_, Infallible>(state.take(request).await) }
                    });
                    // A server that is killed in the middle is what this is for.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    state.open.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { addr, state, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Waits until all that a dead server sent is in the ledger; what comes from now on is another life's.
    pub(crate) async fn next_life(&self) {
        // Connections are accepted in order: once this one is, no older one waits unseen.
        super::server::client_of(self.addr).get(BARRIER).await;
        let mut open = self.state.open.subscribe();
        let drained = open.wait_for(|open| *open == 0);
        tokio::time::timeout(super::PATIENCE, drained).await.expect("the dead send nothing").unwrap();
        self.state.life.fetch_add(1, Ordering::SeqCst);
    }

    /// Everything that has arrived. The ledger is empty afterwards.
    pub(crate) fn take_ledger(&self) -> Ledger {
        std::mem::take(&mut *self.state.ledger.lock().unwrap())
    }

    /// When a message first arrived at a path, as soon as it has.
    pub(crate) async fn first(&self, path: &str, id: &str) -> Instant {
        let place = (path.to_owned(), id.to_owned());
        let mut arrived = self.state.arrived.subscribe();
        let wait = async {
            loop {
                arrived.mark_unchanged();
                if let Some(arrivals) = self.state.ledger.lock().unwrap().get(&place) {
                    return arrivals[0].at;
                }
                arrived.changed().await.unwrap();
            }
        };
        tokio::time::timeout(super::PATIENCE, wait).await.expect("the message arrives")
    }
}

impl State {
    async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        if head.uri.path() == BARRIER {
            return Response::new(Full::default());
        }
        let Ok(body) = body.collect().await else { return Response::new(Full::default()) };
        let status = self.note(head.uri.path(), &head.headers, &body.to_bytes());
        let mut response = Response::new(Full::default());
        *response.status_mut() = status.try_into().unwrap();
        response
    }

    fn note(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> u16 {
        let id = headers.get("webhook-id").map_or("", |value| value.to_str().unwrap_or_default());
        let mut ledger = self.ledger.lock().unwrap();
        let arrivals = ledger.entry((path.to_owned(), id.to_owned())).or_default();
        let status = (self.decide)(path, id, arrivals.len());
        let life = self.life.load(Ordering::SeqCst);
        arrivals.push(Arrival { status, life, at: Instant::now(), hash: hash(body) });
        self.arrived.send_replace(());
        status
    }
}

/// What a body is known by.
pub(crate) fn hash(body: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, body).as_ref().try_into().unwrap()
}

/// Whether an id is one of those that something is done to: one in so many.
pub(crate) fn is_one_in(many: u8, id: &str) -> bool {
    hash(id.as_bytes())[0].is_multiple_of(many)
}
