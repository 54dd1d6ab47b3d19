//! Host name to addresses.
//!
//! Names are asked as they are, absolutely: no search list, so `pay.example.com` can never become
//! `pay.example.com.cluster.local`. A lookup that fails or takes too long is an error, never a pass.
//! What comes back is not judged here; the dial judges every address of it.

use std::{
    net::{IpAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::Name,
    system_conf::read_system_conf,
};
use tokio::sync::Semaphore;

#[cfg(test)]
mod tests;

/// Longest wait for one lookup: 5 s, as long as a connect may take altogether.
pub const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// Lookups by the system that run at once: 16. Each holds a thread that cannot be cancelled, for half a
/// minute or more when the name server is silent; without a bound they would take all blocking threads.
const SYSTEM_LOOKUPS_MAX: usize = 16;

/// Answers kept in memory: 8,192 names.
const CACHE_NAMES_MAX: u64 = 8_192;

/// Longest time that an answer is kept, whatever its TTL says: 5 min, so that a receiver that moves is found.
const POSITIVE_TTL_MAX: Duration = Duration::from_mins(5);

/// Longest time that "no such name" is kept: 30 s, so that a repaired name works soon.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(30);

/// Queries that wait on one TCP connection to a name server: 1,024. Beyond that a lookup fails, which the
/// default of 32 would do to endpoints that are merely due together.
const TCP_QUERIES_MAX: usize = 1_024;

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist or has no address.
    #[error("no address found for {host}")]
    NotFound {
        /// The name that was asked for.
        host: String,
    },
    /// No name server answered in time.
    #[error("the lookup of {host} took longer than {} s", LOOKUP_MAX.as_secs())]
    TimedOut {
        /// The name that was asked for.
        host: String,
    },
    /// The name servers failed, or the name cannot be asked.
    #[error("the lookup of {host} failed: {reason}")]
    Failed {
        /// The name that was asked for.
        host: String,
        /// What the resolver said.
        reason: String,
    },
}

/// Who turns a name into addresses. Tests hand in their own.
pub trait Resolve: Send + Sync {
    /// Every address of a host. The name has no dot at its end.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>>;
}

/// The resolver of a running server.
#[derive(Debug)]
pub struct Dns {
    /// Asks the name servers itself. `None`: there is no configuration for it, or the operator wants the
    /// system to be asked.
    direct: Option<TokioResolver>,
    system_places: Arc<Semaphore>,
}

impl Dns {
    /// Asks the name servers of `/etc/resolv.conf` and keeps answers for their TTL. Where that file is
    /// missing or cannot be read, as [`Self::system`].
    pub fn new() -> Self {
        let direct = match system_resolver() {
            Ok(resolver) => Some(resolver),
            Err(error) => {
                tracing::warn!(%error, "no usable resolver configuration; names are looked up by the system");
                None
            }
        };
        Self { direct, ..Self::system() }
    }

    /// Lets the operating system look names up: nsswitch, mDNS, search lists and all. Slower, uncached.
    pub fn system() -> Self {
        Self { direct: None, system_places: Arc::new(Semaphore::new(SYSTEM_LOOKUPS_MAX)) }
    }

    async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        match &self.direct {
            // A single label means nothing in the public DNS; only the system knows it.
            Some(resolver) if host.contains('.') => lookup_directly(resolver, host).await,
            _ => self.lookup_by_system(host).await,
        }
    }

    async fn lookup_by_system(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let failed = |reason: String| ResolveError::Failed { host: host.to_owned(), reason };
        let place = Arc::clone(&self.system_places)
            .acquire_owned()
            .await
            .map_err(|closed| failed(closed.to_string()))?;
        let name = host.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            // Held until the thread is free again, which may be long after the caller gave up.
            let _place = place;
            (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|a| a.ip()).collect::<Vec<_>>())
        });
        match found.await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolve for Dns {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move {
            match tokio::time::timeout(LOOKUP_MAX, self.lookup(host)).await {
                Ok(Ok(addresses)) if addresses.is_empty() => {
                    Err(ResolveError::NotFound { host: host.to_owned() })
                }
                Ok(result) => result,
                Err(_) => Err(ResolveError::TimedOut { host: host.to_owned() }),
            }
        })
    }
}

fn system_resolver() -> Result<TokioResolver, NetError> {
    let (config, options) = read_system_conf()?;
    direct_resolver(config, options)
}

fn direct_resolver(config: ResolverConfig, mut options: ResolverOpts) -> Result<TokioResolver, NetError> {
    // Both families: all addresses are judged, and a host without IPv4 is still reached.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.cache_size = CACHE_NAMES_MAX;
    options.positive_max_ttl = Some(POSITIVE_TTL_MAX);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
    options.max_active_requests = TCP_QUERIES_MAX;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

async fn lookup_directly(resolver: &TokioResolver, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let failed = |reason: String| ResolveError::Failed { host: host.to_owned(), reason };
    let mut name = Name::from_ascii(host).map_err(|error| failed(error.to_string()))?;
    name.set_fqdn(true);
    match resolver.lookup_ip(name).await {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if error.is_no_records_found() => Err(ResolveError::NotFound { host: host.to_owned() }),
        Err(error) => Err(failed(error.to_string())),
    }
}
