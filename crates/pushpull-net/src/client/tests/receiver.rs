//! A receiver on a real socket that follows a script, and clients to call it with.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use pushpull_domain::attempt::ErrorClass;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{Answer, Client, Config, Failure, Limits, Plain, Policy, Request, Resolve, ResolveError, Target};

/// An answer that keeps the connection open.
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A listener that counts its connections and lets a script speak on each.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// Listens on 127.0.0.1. The script gets the number of the connection, from 0, and the connection.
    #[expect(clippy::disallowed_methods, reason = "they end with the test's runtime")]
    pub(super) async fn start<F>(script: impl Fn(usize, Peer<TcpStream>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(number, Peer { stream }));
            }
        });
        Self { address, connections }
    }

    /// Says the same to every request, on as many connections as come.
    pub(super) async fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |_, mut peer| {
            let answer = Arc::clone(&answer);
            async move {
                while peer.read_request().await.is_some() {
                    peer.say(&answer[..]).await;
                }
            }
        })
        .await
    }

    /// Says this to the first request of each connection, then closes it.
    pub(super) async fn saying_and_closing(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |_, mut peer| {
            let answer = Arc::clone(&answer);
            async move {
                peer.read_request().await;
                peer.say(&answer[..]).await;
            }
        })
        .await
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn target(&self) -> Target {
        Target::parse(&format!("http://{}/hook?a=1", self.address)).unwrap()
    }
}

/// The receiver's end of a connection.
pub(super) struct Peer<S> {
    pub(super) stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Head and body of the next request; `None` when the client has closed.
    pub(super) async fn read_request(&mut self) -> Option<String> {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            text.push(char::from(self.stream.read_u8().await.ok()?));
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(text + &String::from_utf8_lossy(&body))
    }

    /// Writes. That the client has gone is no fault: some tests are about that.
    pub(super) async fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok() && self.stream.flush().await.is_ok()
    }
}

impl Peer<TcpStream> {
    /// Closes with a reset.
    pub(super) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// Keeps a connection open without another word.
pub(super) async fn silence() {
    std::future::pending::<()>().await;
}

/// A resolver that answers from a list, one entry a call and the last one for ever.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl Names {
    pub(super) fn of(host: &str, answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut answers: Vec<Vec<IpAddr>> = answers.iter().map(parse).collect();
        answers.reverse();
        Arc::new(Self(Mutex::new(HashMap::from([(host.to_owned(), answers)]))))
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        let mut names = self.0.lock().unwrap();
        let found = match names.get_mut(host) {
            Some(answers) if answers.len() > 1 => answers.pop(),
            Some(answers) => answers.last().cloned(),
            None => None,
        };
        let found = found.ok_or_else(|| ResolveError::NotFound { host: host.to_owned() });
        Box::pin(std::future::ready(found))
    }
}

/// Long enough for any exchange that is meant to succeed, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

/// For exchanges that are meant to run into their deadline.
pub(super) const SHORT: Duration = Duration::from_millis(300);

pub(super) fn config(allow: &[&str]) -> Config {
    Config {
        policy: Policy {
            allow: allow.iter().map(|net| net.parse().unwrap()).collect(),
            plain_http: Plain::AllowListOnly,
        },
        limits: Limits { connect: PATIENCE, total: PATIENCE, ..Limits::default() },
        resolver: Arc::new(Names::default()),
        ..Config::default()
    }
}

/// A client that may call 127.0.0.0/8.
pub(super) fn client() -> Client {
    Client::new(config(&["127.0.0.0/8"])).unwrap()
}

/// The same, with little time.
pub(super) fn hasty_client() -> Client {
    let limits = Limits { connect: SHORT, total: SHORT, ..Limits::default() };
    Client::new(Config { limits, ..config(&["127.0.0.0/8"]) }).unwrap()
}

pub(super) async fn post(client: &Client, target: &Target) -> Result<Answer, Failure> {
    let body = Bytes::from_static(b"{\"a\":1}");
    client.send(Request { target, headers: &HeaderMap::new, body: &body }).await
}

/// The class of a request that must fail.
#[track_caller]
pub(super) fn class(result: Result<Answer, Failure>) -> ErrorClass {
    result.expect_err("a failure").class
}
