//! How a connection is made: from a URL to a session whose settings are known.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pushpull_store::Error;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::{LoadBalanceHosts, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::fault::Fault;

/// The tokio stream under a connection.
pub(crate) type Stream = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// How long is waited for one server to answer when connecting.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long for a session, of whichever server: one may take a connection and then say nothing.
const SESSION_MAX: Duration = Duration::from_secs(12);
/// A connection whose packets are not answered for so long is dead.
const SILENT_MAX: Duration = Duration::from_secs(10);

/// Statements are planned once: to plan one over the partitions of all days takes longer than to run it. So plans must
/// not depend on how big the tables were then.
const PLANS: &str = "SET jit = off; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_memoize = off";

/// A commit is on stable storage, on the synchronous standby too, whatever the server was set to; where it was set to
/// more than that, it stays.
const DURABLE: &str = "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
    WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)";

/// How long a write waits for others.
pub(crate) const PATIENCE: &str = "SET lock_timeout = '10s'";
/// One who stops within a transaction holds up nobody.
const NO_STOPPING: &str = "SET idle_in_transaction_session_timeout = '4s'";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Reads: a statement that takes too long is given up by the server.
    Reading,
    /// Writes: a commit waits for its standby as long as that takes, since one that is given up has happened anyway.
    /// A transaction in which nothing happens is ended by the server.
    Writing,
    /// The few connections of the hot path.
    Hot,
}

impl Purpose {
    fn settings(self) -> String {
        let writing = || format!("SET statement_timeout = 0; {PATIENCE}; {NO_STOPPING}");
        match self {
            Self::Reading => "SET statement_timeout = '12s'".to_owned(),
            Self::Hot => writing(),
            // Of the rows that a change names by keys and days none is found by reading all days for it.
            Self::Writing => writing() + "; SET enable_hashjoin = off; SET enable_mergejoin = off",
        }
    }
}

/// Makes connections of one kind.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    /// What is set for each session. Not with the connection's options, which poolers may drop without a word.
    settings: Arc<str>,
    tls: MakeRustlsConnect,
    /// A server took a connection and said nothing: it must not always be the first to be asked.
    any_order: Arc<AtomicBool>,
}

impl Connector {
    /// From a `postgres://` URL, which may name several hosts: the one that takes writes is used.
    pub(crate) fn new(url: &str, purpose: Purpose) -> Result<Self, Error> {
        let mut config: Config = url.parse().map_err(|error| Error::Unavailable(Arc::new(error)))?;
        config
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_MAX)
            .tcp_user_timeout(SILENT_MAX)
            .keepalives_idle(SILENT_MAX)
            .keepalives_interval(Duration::from_secs(2))
            .keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("pushpull");
        }
        let tls = MakeRustlsConnect::new(tls(config.get_ssl_mode()));
        let settings = format!("{}; {PLANS}; {DURABLE}", purpose.settings()).into();
        Ok(Self { config, settings, tls, any_order: Arc::default() })
    }

    /// Sets what each session needs, before anything else is asked of it.
    pub(crate) async fn set_up(&self, client: &Client) -> Result<(), Fault> {
        let set = tokio::time::timeout(SESSION_MAX, client.batch_execute(&self.settings)).await;
        Ok(set.map_err(|late| Error::Unavailable(Arc::new(late)))??)
    }

    pub(crate) async fn connect(&self) -> Result<(Client, Connection<Socket, Stream>), Fault> {
        let mut config = self.config.clone();
        if self.any_order.load(Ordering::Relaxed) {
            config.load_balance_hosts(LoadBalanceHosts::Random);
        }
        let connected = tokio::time::timeout(SESSION_MAX, config.connect(self.tls.clone())).await;
        match connected {
            Ok(connected) => Ok(connected?),
            Err(late) => {
                self.any_order.store(true, Ordering::Relaxed);
                Err(Error::Unavailable(Arc::new(late)).into())
            }
        }
    }
}

/// `sslmode=require`: the server proves its name. `prefer`, which is the default: encrypted if the server can, and
/// whoever it is, as libpq has it.
fn tls(mode: SslMode) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has the protocol's versions");
    if mode == SslMode::Require {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return builder.with_root_certificates(roots).with_no_client_auth();
    }
    builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth()
}

/// Takes any certificate.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
