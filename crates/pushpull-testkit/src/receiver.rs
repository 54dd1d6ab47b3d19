//! A receiver that answers as it is told and remembers what it was sent.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
};

/// How long a test waits for what it expects: long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its path and query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How many requests came before it.
    pub n: usize,
}

impl Received {
    /// A header as text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Whether its signature is right, under both families of names.
    pub fn is_signed_with(&self, verifier: &str) -> bool {
        ["webhook", "svix"].into_iter().all(|family| {
            let header = |name| self.header(&format!("{family}-{name}"));
            pushpull_domain::signature::verify(
                verifier,
                header("id"),
                header("timestamp"),
                &self.body,
                header("signature"),
            )
        })
    }
}

/// What a receiver answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// It is not given before this has a permit for it.
    pub gate: Option<Arc<Semaphore>>,
}

impl Reply {
    /// An empty answer with this status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), gate: None }
    }

    /// The same with a header more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same, once this has a permit for it.
    #[must_use]
    pub fn behind(mut self, gate: &Arc<Semaphore>) -> Self {
        self.gate = Some(Arc::clone(gate));
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn saying(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

struct State {
    received: Mutex<Vec<Received>>,
    news: Notify,
}

/// An HTTP/1.1 server on loopback. Ends when it is dropped.
pub struct Receiver {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// A receiver that answers everything with 200.
    pub async fn ok() -> Self {
        Self::start(|_| Reply::status(200)).await
    }

    /// A receiver that answers with what `answer` gives.
    pub async fn start(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), answer).await
    }

    /// The same at an address of the test's choice.
    #[expect(clippy::disallowed_methods, reason = "aborted when this is dropped")]
    pub async fn start_at(
        addr: SocketAddr,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let state = Arc::new(State { received: Mutex::default(), news: Notify::new() });
        let answer = Arc::new(answer);
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (state, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let (state, answer) = (Arc::clone(&state), Arc::clone(&answer));
                        async move { Ok::<_, Infallible>(respond(&state, &*answer, request).await) }
                    });
                    // A client that goes away is no fault of the test.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { addr, state, task }
    }

    /// A URL that leads here.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// What has arrived.
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().expect("not poisoned").clone()
    }

    /// Waits until so many requests have arrived, and gives all that have.
    ///
    /// # Panics
    /// They do not come.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        self.wait_until(|received| received.len() >= count).await
    }

    /// Waits until what has arrived is as wanted.
    ///
    /// # Panics
    /// It never is.
    pub async fn wait_until(&self, wanted: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let wait = async {
            loop {
                // Registered before the look, so that nothing is missed between the two.
                let news = self.state.news.notified();
                let received = self.received();
                if wanted(&received) {
                    return received;
                }
                news.await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(received) => received,
            Err(elapsed) => panic!("{elapsed}; {} requests arrived", self.received().len()),
        }
    }
}

async fn respond(
    state: &State,
    answer: &(dyn Fn(&Received) -> Reply + Send + Sync),
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Response::new(Full::default());
    };
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let reply = {
        let mut received = state.received.lock().expect("not poisoned");
        let request = Received { path, headers: parts.headers, body: body.to_bytes(), n: received.len() };
        let reply = answer(&request);
        received.push(request);
        reply
    };
    state.news.notify_waiters();
    if let Some(gate) = &reply.gate {
        gate.acquire().await.expect("never closed").forget();
    }
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("a status");
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().expect("a header value"));
    }
    response
}
