//! From a target to a connection.
//!
//! Invariant: the address that is connected to is the very value that the guard let pass, and no name is
//! looked up after that. Every address of an answer is judged before the first is dialled: one forbidden
//! address refuses the whole, since a name that leads both outside and inside is an attack or a mistake.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use pushpull_domain::attempt::{ErrorClass, Timings};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{
    fault::Fault,
    policy::{Plain, Policy},
    resolve::{Resolve, ResolveError},
    stream::Stream,
    target::{Host, LOCALHOST, Scheme, Target},
};

/// Most addresses of one host that are tried: 4. More share the connect deadline to no one's gain.
const ADDRESSES_TRIED_MAX: usize = 4;

/// Where a request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Waits for a connection that another request uses, or for its turn to connect.
    Queued,
    Resolving,
    Connecting,
    Handshaking,
    /// The request is being sent, or its answer read.
    Exchanging,
}

/// Completes "no connection in time: still …".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "waiting for a free connection",
            Self::Resolving => "looking up the name",
            Self::Connecting => "connecting",
            Self::Handshaking => "in the TLS handshake",
            Self::Exchanging => "waiting for the answer",
        })
    }
}

/// How far a request is. Kept outside the futures that a deadline drops, so that it can be told then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) started: Instant,
    pub(crate) step: Step,
    pub(crate) timings: Timings,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), step: Step::Queued, timings: Timings::default() }
    }
}

/// Makes connections.
pub(crate) struct Dialer {
    pub(crate) policy: Policy,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) tls: TlsConnector,
    /// Longest time for lookup, TCP and TLS together.
    pub(crate) connect_max: Duration,
}

impl Dialer {
    /// A new connection to the target.
    pub(crate) async fn dial(&self, target: &Target, progress: &mut Progress) -> Result<Stream, Fault> {
        let deadline = Instant::now() + self.connect_max;
        match timeout_at(deadline, self.connect(target, deadline, progress)).await {
            Ok(result) => result,
            Err(_) => Err(overdue(self.connect_max, progress.step)),
        }
    }

    async fn connect(
        &self,
        target: &Target,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<Stream, Fault> {
        let addresses = self.addresses(target, progress).await?;
        progress.step = Step::Connecting;
        let started = Instant::now();
        let tcp = connect_any(&addresses, target.port(), deadline).await?;
        progress.timings.connect = Some(started.elapsed());
        // A request is one write or two; waiting to fill a packet would only delay it.
        tcp.set_nodelay(true).map_err(|error| Fault::connect(&error))?;
        let Some(name) = target.server_name() else { return Ok(Stream::Plain(tcp)) };
        progress.step = Step::Handshaking;
        let started = Instant::now();
        let tls = self.tls.connect(name.clone(), tcp).await.map_err(|error| Fault::tls(&error))?;
        progress.timings.tls = Some(started.elapsed());
        Ok(Stream::Tls(Box::new(tls)))
    }

    /// The addresses of the target, each of them checked.
    async fn addresses(&self, target: &Target, progress: &mut Progress) -> Result<Vec<IpAddr>, Fault> {
        let addresses = match target.host() {
            Host::Ip(address) => vec![*address],
            // An operator who allows 127.0.0.0/8 means localhost too, though ::1 is not on the list.
            host if host.is_localhost() => {
                let allowed = LOCALHOST.into_iter().filter(|address| self.policy.allows(*address));
                let allowed: Vec<_> = allowed.collect();
                if allowed.is_empty() { LOCALHOST.to_vec() } else { allowed }
            }
            Host::Name(name) => {
                progress.step = Step::Resolving;
                let started = Instant::now();
                let found = self.resolver.resolve(name).await;
                progress.timings.dns = Some(started.elapsed());
                found.map_err(|error| Fault::new(ErrorClass::Dns, error.to_string()))?
            }
        };
        if addresses.is_empty() {
            let error = ResolveError::NotFound { host: target.host().to_string() };
            return Err(Fault::new(ErrorClass::Dns, error.to_string()));
        }
        for address in &addresses {
            self.check(target, *address)?;
        }
        Ok(addresses)
    }

    fn check(&self, target: &Target, address: IpAddr) -> Result<(), Fault> {
        let blocked = |detail| Fault::new(ErrorClass::BlockedAddress, detail);
        self.policy.check_ip(address).map_err(|forbidden| match target.host() {
            Host::Ip(_) => blocked(format!("this address may not be called: {forbidden}")),
            Host::Name(name) => {
                blocked(format!("{name} leads to an address that may not be called: {forbidden}"))
            }
        })?;
        match (target.scheme(), self.policy.plain_http) {
            (Scheme::Https, _) | (Scheme::Http, Plain::Allowed) => Ok(()),
            (Scheme::Http, Plain::AllowListOnly) if self.policy.allows(address) => Ok(()),
            (Scheme::Http, Plain::AllowListOnly) => Err(blocked(format!(
                "http:// may be used for allowed networks only, and {address} is in none"
            ))),
            (Scheme::Http, Plain::Never) => Err(blocked("http:// is not allowed".to_owned())),
        }
    }
}

/// No connection within `limit`.
pub(crate) fn overdue(limit: Duration, step: Step) -> Fault {
    Fault::new(ErrorClass::ConnectTimeout, format!("no connection within {limit:?}: still {step}"))
}

/// Tries one address after the other. Each gets an equal share of the time left, so that a dead one cannot
/// use up all of it. If none answers, the class is that of the first: the others may only be of a family
/// for which this machine has no route.
#[expect(clippy::disallowed_methods, reason = "this is the way out: the guard has judged these addresses")]
async fn connect_any(addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<TcpStream, Fault> {
    let tried = &addresses[..addresses.len().min(ADDRESSES_TRIED_MAX)];
    let mut faults = Vec::new();
    for (n, address) in tried.iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / (tried.len() - n) as u32;
        let socket = SocketAddr::new(*address, port);
        let fault = match timeout_at(now + share, TcpStream::connect(socket)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => Fault::connect(&error),
            Err(_) => Fault::new(ErrorClass::ConnectTimeout, format!("no answer within {share:?}")),
        };
        faults.push(Fault { detail: format!("connect to {socket}: {}", fault.detail), ..fault });
    }
    let class = faults.first().map_or(ErrorClass::Dns, |fault| fault.class);
    let details: Vec<_> = faults.into_iter().map(|fault| fault.detail).collect();
    Err(Fault::new(class, details.join("; ")))
}
