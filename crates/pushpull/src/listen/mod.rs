//! Taking calls in: bounded connections, bounded waits, a stop that lets what is under way finish.

mod answer;
mod body;
mod caller;
mod rest;
mod usage;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{Router, body::Body};
use http::{Request, Response, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use ipnet::IpNet;
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use self::{
    answer::Answer,
    body::Timely,
    caller::Caller,
    rest::Rest,
    usage::{UnderWay, Usage},
};

/// Connections that wait to be accepted: a burst of this many clients connects at once without a resend.
const BACKLOG: u32 = 1_024;
/// Most connections at a time, if there are descriptors for them. Each costs some 20 KiB at work and less at rest;
/// beyond that the backlog waits. Readers that wait for news keep one each.
const CONNECTIONS_MAX: usize = 12_288;
/// Descriptors that are left for the store and for deliveries, of those that the system allows: a quarter.
const LEFT_FOR_OTHERS: u64 = 4;
/// Longest time from the connect to the end of the first request's head, TLS included.
const FIRST_HEAD_MAX: Duration = Duration::from_secs(10);
/// Shortest time a connection is kept without a request; the longest is twice that. Longer than clients keep
/// one (most 30 to 60 s), so that it is they who close, and no request meets a connection that is closing.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// Longest time for the body of a request, from its head to its end: a megabyte comes in it over any line.
const BODY_MAX: Duration = Duration::from_secs(30);
/// Longest time in which who is answered takes nothing of it: over HTTP/1 of what is written, over HTTP/2 of one of its
/// answers. A reader that has stopped reading is cut off, and goes on later from the last that it got; what was made of
/// its answer is held in memory until then.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// Longest time to finish what is under way on a connection that is to close: who does not read is not waited for.
const FINISH_MAX: Duration = Duration::from_mins(1);
/// Most requests at once on one HTTP/2 connection: as many as RFC 9113 s. 6.5.2 recommends at least.
const STREAMS_MAX: u32 = 100;
/// How long to wait when the system gives no descriptor for a connection.
const ACCEPT_WAIT: Duration = Duration::from_millis(100);

/// Where to listen and how.
pub(crate) struct Front {
    socket: TcpListener,
    /// The address it is bound to, its port never 0.
    pub(crate) address: SocketAddr,
    tls: Option<TlsAcceptor>,
    proxies: Arc<[IpNet]>,
}

impl Front {
    /// Binds the address; nobody is answered yet.
    pub(crate) fn bind(address: SocketAddr, tls: Option<TlsAcceptor>, proxies: &[IpNet]) -> Result<Self> {
        let bind = || -> std::io::Result<TcpListener> {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        let socket = bind().with_context(|| format!("listen on {address}"))?;
        let address = socket.local_addr().context("ask for the address that was bound")?;
        Ok(Self { socket, address, tls, proxies: proxies.into() })
    }

    /// The URL that leads here.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Begins to answer.
    pub(crate) fn open(self, router: Router) -> Listening {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let accepting = Acceptor {
            tls: self.tls,
            proxies: self.proxies,
            router,
            places: Arc::new(Semaphore::new(connections_max())),
            http: Arc::new(builder()),
            http1: Arc::new(builder().http1_only()),
            http2: Arc::new(builder().http2_only()),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(accepting.run(self.socket));
        Listening { stop, tasks }
    }
}

/// A listener at work.
pub(crate) struct Listening {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listening {
    /// Takes no more calls and waits for those under way, at most this long.
    pub(crate) async fn stop(&self, within: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(within, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "requests were cut off by the stop");
        }
    }
}

/// What each connection is served with.
#[derive(Clone)]
struct Acceptor {
    tls: Option<TlsAcceptor>,
    proxies: Arc<[IpNet]>,
    router: Router,
    places: Arc<Semaphore>,
    http: Arc<auto::Builder<TokioExecutor>>,
    http1: Arc<auto::Builder<TokioExecutor>>,
    http2: Arc<auto::Builder<TokioExecutor>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Acceptor {
    async fn run(self, socket: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = self.accept(&socket) => accepted,
            };
            match accepted {
                Ok((stream, peer, place)) => {
                    self.tasks.spawn(self.clone().serve(stream, peer, place));
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "no connection can be accepted"
                    );
                    tokio::time::sleep(ACCEPT_WAIT).await;
                }
            }
        }
    }

    /// The next connection, as soon as there is a place for it.
    async fn accept(
        &self,
        socket: &TcpListener,
    ) -> std::io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
        let (stream, peer) = socket.accept().await?;
        Ok((stream, peer.ip(), place))
    }

    async fn serve(self, stream: TcpStream, peer: IpAddr, _place: OwnedSemaphorePermit) {
        // Answers are whole; waiting to join them with more would only delay them.
        let _ = stream.set_nodelay(true);
        let deadline = Instant::now() + FIRST_HEAD_MAX;
        // Boxed: what TLS needs would swell the task of each connection that has none.
        let spoken = match self.tls.clone() {
            None => Box::pin(self.speak_plainly(stream, peer, deadline)).await,
            Some(tls) => Box::pin(self.speak_tls(tls, stream, peer, deadline)).await,
        };
        if let Err(error) = spoken {
            tracing::debug!(%peer, %error, "no request");
        }
    }

    async fn speak_plainly(self, stream: TcpStream, peer: IpAddr, deadline: Instant) -> std::io::Result<()> {
        let version = tokio::select! {
            version = Version::of(&stream) => version?,
            () = tokio::time::sleep_until(deadline) => return Err(std::io::ErrorKind::TimedOut.into()),
            () = self.stop.cancelled() => return Ok(()),
        };
        self.speak(version, in_time(stream), peer, deadline).await;
        Ok(())
    }

    async fn speak_tls(
        self,
        tls: TlsAcceptor,
        stream: TcpStream,
        peer: IpAddr,
        deadline: Instant,
    ) -> std::io::Result<()> {
        let stream = tokio::select! {
            accepted = tls.accept(in_time(stream)) => accepted?,
            () = tokio::time::sleep_until(deadline) => return Err(std::io::ErrorKind::TimedOut.into()),
            () = self.stop.cancelled() => return Ok(()),
        };
        let version =
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Version::Two } else { Version::One };
        self.speak(version, stream, peer, deadline).await;
        Ok(())
    }

    async fn speak<S>(self, version: Version, stream: S, peer: IpAddr, deadline: Instant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let usage = Arc::new(Usage::default());
        let caller = Caller { peer, proxies: self.proxies };
        let seen = Arc::clone(&usage);
        let (router, tasks) = (self.router, self.tasks);
        let service = service_fn(move |request: Request<Incoming>| {
            let held_back = request.headers().contains_key(header::EXPECT);
            let request = request.map(|body| Rest::new(body, held_back, tasks.clone()));
            answer(router.clone(), request, caller.clone(), seen.begin(), version != Version::One)
        });
        let http = match version {
            Version::One => &self.http1,
            Version::Two => &self.http2,
            Version::Unknown => &self.http,
        };
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let idle = async {
            tokio::time::sleep_until(deadline).await;
            if usage.begun() > 0 {
                usage.until_idle(IDLE_MAX).await;
                return true;
            }
            false
        };
        let unread = async {
            if version == Version::One {
                // Writes that get nowhere end it; no timer has to look.
                std::future::pending::<()>().await;
            }
            usage.until_unread(UNREAD_MAX).await;
        };
        let let_finish = tokio::select! {
            _ = &mut connection => false,
            let_finish = idle => let_finish,
            () = unread => false,
            () = self.stop.cancelled() => true,
        };
        if let_finish {
            // The request under way, if there is one, is answered before the connection closes.
            connection.as_mut().graceful_shutdown();
            _ = tokio::time::timeout(FINISH_MAX, connection).await;
        }
    }
}

/// Which HTTP a connection speaks.
///
/// Found out before anything is read, by ALPN or by looking ahead: what is read to find out would be a first small
/// piece of the head, and double the buffer that is kept for each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
    /// Too little came at first to tell.
    Unknown,
}

impl Version {
    /// By the first bytes that come. HTTP/2 begins with a line that is no request (RFC 9113 s. 3.4).
    async fn of(stream: &TcpStream) -> std::io::Result<Self> {
        const PREFACE: &[u8] = b"PRI";
        let mut first = [0; PREFACE.len()];
        let length = stream.peek(&mut first).await?;
        Ok(match &first[..length] {
            PREFACE => Self::Two,
            begun if !begun.is_empty() && PREFACE.starts_with(begun) => Self::Unknown,
            _ => Self::One,
        })
    }
}

/// A connection that is cut off when nothing that is written to it is taken for too long.
fn in_time(stream: TcpStream) -> Pin<Box<TimeoutStream<TcpStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(UNREAD_MAX));
    Box::pin(stream)
}

/// As many as there are descriptors for, with some left.
fn connections_max() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let for_calls = descriptors - descriptors / LEFT_FOR_OTHERS;
    usize::try_from(for_calls).unwrap_or(usize::MAX).min(CONNECTIONS_MAX)
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Heads have their bounds above, for both kinds of HTTP; hyper's own would set a timer for each request.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

async fn answer(
    mut router: Router,
    request: Request<Rest<Incoming>>,
    caller: Caller,
    under_way: UnderWay,
    pieces: bool,
) -> Result<Response<Answer<Body>>, Infallible> {
    let noted = tracing::enabled!(tracing::Level::DEBUG).then(|| {
        let client = caller.address(request.headers());
        (client, request.method().clone(), request.uri().path().to_owned(), Instant::now())
    });
    let Ok(response) = router.call(request.map(|body| Body::new(Timely::new(body, BODY_MAX)))).await;
    if let Some((client, method, path, start)) = noted {
        let (status, duration_ms) = (response.status().as_u16(), start.elapsed().as_millis() as u64);
        tracing::debug!(%client, %method, path, status, duration_ms, "answered");
    }
    Ok(response.map(|body| Answer::new(body, under_way, pieces)))
}

/// Whether an accept failed because of the connection, not of us.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
