//! Settings: gathered as text with their origin, parsed once into what is valid, and trusted after.

mod flags;
mod parse;
mod raw;
mod settings;

#[cfg(test)]
mod tests;

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use pushpull_api::Origins;
use pushpull_domain::{RetrySchedule, signature::SignatureType};
use pushpull_net::{Plain, Policy};
use pushpull_store::Retention;
use url::Url;

pub(crate) use flags::Flags;
pub(crate) use raw::{Raw, Value};
pub(crate) use settings::{ALL, Default, Setting, shown};

use parse::Reader;

/// How long an idempotency key is remembered: as the Svix API has it.
const IDEMPOTENCY_KEPT: Duration = Duration::from_hours(12);

/// What is wrong with the settings: each says which value, where it came from and what it must look like.
#[derive(Debug, std::default::Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, problem: String) {
        self.0.push(problem);
    }

    fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n       "))
    }
}

impl std::error::Error for Problems {}

/// Where everything is kept.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// What keeps the messages.
    pub(crate) store: Backend,
    /// The file with the master key.
    pub(crate) master_key_file: PathBuf,
}

/// What keeps the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A file in the data directory.
    File,
    /// A PostgreSQL database, by its URL.
    Postgres(String),
}

/// The files that TLS is spoken with.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    /// The certificate and its chain, PEM.
    pub(crate) cert: PathBuf,
    /// Its private key, PEM.
    pub(crate) key: PathBuf,
}

/// How is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

/// Every setting, valid.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) place: Place,
    pub(crate) admin_key_file: PathBuf,
    pub(crate) listen: SocketAddr,
    /// `None`: where it listens.
    pub(crate) public_url: Option<Url>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) jwt_secret: Option<Secret>,
    pub(crate) policy: Policy,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) signature_type: SignatureType,
    pub(crate) retry_schedule: RetrySchedule,
    pub(crate) origins: Origins,
    /// In bytes.
    pub(crate) payload_max: usize,
    pub(crate) retention: Retention,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) metrics_open: bool,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
}

/// A secret of the settings; never printed.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) Box<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Place {
    /// Where the data is, by flags, environment and file. Other settings are not looked at.
    pub(crate) fn load(flags: &Flags<false>) -> Result<Self, Problems> {
        let raw = Raw::gather(flags, environment())?;
        let mut reader = Reader::new(&raw);
        let place = Self::read(&mut reader);
        reader.finish(place)
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            data: reader.path(&settings::DATA),
            store: reader.store(),
            master_key_file: reader.path(&settings::MASTER_KEY_FILE),
        }
    }
}

/// Where a server of these settings answers, and what it is called with.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<Url>,
    /// Whether it speaks TLS itself.
    pub(crate) tls: bool,
    pub(crate) admin_key_file: PathBuf,
    pub(crate) ca_file: Option<PathBuf>,
}

impl Reach {
    /// By flags, environment and file. Other settings are not looked at: they are the server's.
    pub(crate) fn load(flags: &Flags<false>) -> Result<Self, Problems> {
        let raw = Raw::gather(flags, environment())?;
        let mut reader = Reader::new(&raw);
        let reach = Self {
            listen: reader.listen(),
            public_url: reader.public_url(),
            tls: reader.tls().is_some(),
            admin_key_file: reader.path(&settings::ADMIN_KEY_FILE),
            ca_file: reader.path_if_given(&settings::CA_FILE),
        };
        reader.finish(reach)
    }
}

impl Config {
    /// Every setting, by flags, environment and file.
    pub(crate) fn load(flags: &Flags<true>) -> Result<Self, Problems> {
        Self::parse(&Raw::gather(flags, environment())?)
    }

    /// Parses what was gathered.
    pub(crate) fn parse(raw: &Raw) -> Result<Self, Problems> {
        let mut reader = Reader::new(raw);
        let config = Self {
            place: Place::read(&mut reader),
            admin_key_file: reader.path(&settings::ADMIN_KEY_FILE),
            listen: reader.listen(),
            public_url: reader.public_url(),
            tls: reader.tls(),
            trusted_proxies: reader.networks(&settings::TRUSTED_PROXIES),
            jwt_secret: reader.jwt_secret(),
            policy: Policy {
                allow: reader.networks(&settings::EGRESS_ALLOW),
                plain_http: plain(&mut reader),
            },
            ca_file: reader.path_if_given(&settings::CA_FILE),
            signature_type: reader.signature_type(),
            retry_schedule: reader.retry_schedule(),
            origins: reader.origins(),
            payload_max: reader.payload_max(),
            retention: Retention {
                messages: reader.wait(&settings::RETENTION_MESSAGES),
                payloads: reader.wait(&settings::RETENTION_PAYLOADS),
                idempotency: IDEMPOTENCY_KEPT,
            },
            shutdown_timeout: reader.wait(&settings::SHUTDOWN_TIMEOUT),
            metrics_open: reader.switch(&settings::METRICS_OPEN).unwrap_or(false),
            log: reader.log_filter(),
            log_format: reader.log_format(),
        };
        reader.finish(config)
    }
}

/// Unless it is set, an own network may be plain: that is what allowing it says.
fn plain(reader: &mut Reader<'_>) -> Plain {
    match reader.switch(&settings::HTTPS_ONLY) {
        None => Plain::AllowListOnly,
        Some(true) => Plain::Never,
        Some(false) => Plain::Allowed,
    }
}

/// The environment of this process.
#[expect(clippy::disallowed_methods, reason = "this is the one place where it is read")]
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}
