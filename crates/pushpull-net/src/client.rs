//! One POST to a target, answered or failed within one deadline.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT},
};
use http_body_util::Full;
use pushpull_domain::attempt::{ErrorClass, RESPONSE_BODY_MAX, Timings};
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use crate::{
    dial::{self, Dialer, Progress, Step},
    fault::{Failure, Fault},
    link::{Link, Reply},
    policy::Policy,
    pool::{Pool, Turn, Want},
    resolve::{Dns, Resolve},
    target::Target,
    tls::{self, SetupError},
};

#[cfg(test)]
mod tests;

/// Headers that belong to the connection or frame the message. Whoever sets them in a request could make
/// two requests of one; a caller's are dropped.
const OURS: [HeaderName; 8] =
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, EXPECT, TE, TRAILER];

/// Bounds of every request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time until there is a connection: lookup, TCP and TLS together. 5 s.
    pub connect: Duration,
    /// Longest time for the whole, from waiting for a connection to the last byte of the body. 20 s.
    pub total: Duration,
    /// Most bytes of the body that are read; the rest is cut. 64 KiB.
    pub body_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(20), body_max: RESPONSE_BODY_MAX }
    }
}

/// What a client is made of.
pub struct Config {
    /// Where it may go.
    pub policy: Policy,
    /// How long it may take.
    pub limits: Limits,
    /// Who looks names up.
    pub resolver: Arc<dyn Resolve>,
    /// A PEM file of certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Sent with each request that has no `User-Agent` of its own.
    pub user_agent: HeaderValue,
}

impl Default for Config {
    /// The strictest policy, the limits of [`Limits::default`] and the name servers of the machine.
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            limits: Limits::default(),
            resolver: Arc::new(Dns::new()),
            ca_file: None,
            user_agent: HeaderValue::from_static("pushpull"),
        }
    }
}

/// A POST to be sent.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Where to.
    pub target: &'a Target,
    /// Makes the caller's headers: asked again if a kept connection turns out to be dead. `Host`, `Content-Length`
    /// and the headers of the connection are set here.
    pub headers: &'a (dyn Fn() -> HeaderMap + Sync),
    /// The body, sent as it is.
    pub body: &'a Bytes,
}

/// A complete answer, whatever its status. Redirects are answers too.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 101 to 999.
    pub status: u16,
    /// Headers as they came.
    pub headers: HeaderMap,
    /// The body as it came (not decompressed), at most [`Limits::body_max`] bytes.
    pub body: Bytes,
    /// The body was longer than that; the rest was never read.
    pub truncated: bool,
    /// Where the time went. `wait` is zero: only the caller knows it.
    pub timings: Timings,
}

/// Sends requests over connections that it keeps.
pub struct Client {
    dialer: Dialer,
    pool: Arc<Pool<Box<Link>>>,
    limits: Limits,
    user_agent: HeaderValue,
}

impl Client {
    /// A client without connections.
    ///
    /// # Errors
    /// The file of extra certificates is unusable.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let tls = tls::client_config(config.ca_file.as_deref())?;
        let dialer = Dialer {
            policy: config.policy,
            resolver: config.resolver,
            tls: TlsConnector::from(Arc::new(tls)),
            connect_max: config.limits.connect,
        };
        Ok(Self { dialer, pool: Pool::new(), limits: config.limits, user_agent: config.user_agent })
    }

    /// Sends a POST and reads its answer, all within [`Limits::total`].
    ///
    /// Dropping the future drops the connection; the receiver may or may not have got the request.
    pub async fn send(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let mut progress = Progress::start();
        let deadline = progress.started + self.limits.total;
        let result = match timeout_at(deadline, self.exchange(request, &mut progress)).await {
            Ok(result) => result,
            Err(_) => Err(self.overdue(progress.step)),
        };
        let timings = Timings { total: progress.started.elapsed(), ..progress.timings };
        match result {
            Ok(Reply { status, headers, body, truncated }) => {
                Ok(Answer { status, headers, body, truncated, timings })
            }
            Err(Fault { class, detail }) => Err(Failure { class, detail, timings }),
        }
    }

    /// Closes connections that have been idle for too long. To be called every few seconds.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    /// Open connections that no request is using.
    pub fn idle_connections(&self) -> usize {
        self.pool.idle()
    }

    /// One request over the first connection that comes, or, if that one had died unnoticed, over a new one.
    async fn exchange(&self, request: Request<'_>, progress: &mut Progress) -> Result<Reply, Fault> {
        let Request { target, headers, body } = request;
        let mut want = Want::Any;
        loop {
            progress.step = Step::Queued;
            let (mut link, reused) = self.link(target, want, progress).await?;
            let mut request = http::Request::new(Full::new(body.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = target.uri().clone();
            *request.headers_mut() = self.complete(headers(), target, body);
            progress.step = Step::Exchanging;
            match link.exchange(request, self.limits.body_max, progress).await {
                Ok(reply) => {
                    if link.is_usable() {
                        self.pool.park(target.origin(), link);
                    }
                    return Ok(reply);
                }
                // The receiver closed an idle connection at the moment we used it. It may have acted on the
                // request all the same, but so may any that is retried later; this one costs no delay.
                Err(broken)
                    if reused
                        && broken.before_first_byte
                        && broken.fault.class == ErrorClass::ConnectionClosed =>
                {
                    want = Want::Fresh;
                }
                Err(broken) => return Err(broken.fault),
            }
        }
    }

    /// A connection, and whether it was used before.
    async fn link(
        &self,
        target: &Target,
        want: Want,
        progress: &mut Progress,
    ) -> Result<(Box<Link>, bool), Fault> {
        loop {
            match self.pool.turn(target.origin(), want).await {
                Turn::Reuse(mut link) => {
                    if link.is_usable() {
                        return Ok((link, true));
                    }
                }
                Turn::Connect(_permit) => {
                    // Boxed: the states of a lookup and a handshake would swell every request's future.
                    let stream = Box::pin(self.dialer.dial(target, progress)).await?;
                    return Ok((Box::new(Link::open(stream).await?), false));
                }
            }
        }
    }

    /// Adds what every request has, and takes out what a caller may not set.
    fn complete(&self, mut headers: HeaderMap, target: &Target, body: &Bytes) -> HeaderMap {
        for name in OURS {
            headers.remove(name);
        }
        headers.insert(HOST, target.authority().clone());
        if !headers.contains_key(USER_AGENT) {
            headers.insert(USER_AGENT, self.user_agent.clone());
        }
        // hyper tells the length of any other body; without one some receivers wait for the body to end.
        if body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        headers
    }

    /// The total deadline has passed.
    fn overdue(&self, step: Step) -> Fault {
        match step {
            Step::Exchanging => {
                Fault::new(ErrorClass::Timeout, format!("no complete answer within {:?}", self.limits.total))
            }
            Step::Queued | Step::Resolving | Step::Connecting | Step::Handshaking => {
                dial::overdue(self.limits.total, step)
            }
        }
    }
}
