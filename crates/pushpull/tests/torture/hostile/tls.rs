//! Receivers that speak TLS, and are not who they say they are.

use std::{io::Write as _, net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use super::Expected;

/// A certificate authority that the server is told to trust.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A file with its certificate.
    pub(super) fn write(&self) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(self.0.as_ref().pem().as_bytes()).unwrap();
        file
    }
}

/// What is wrong with a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Nothing,
    Expired,
    NotYetValid,
    WrongName,
    SelfSigned,
    /// The handshake is read, and never answered.
    Stalls,
    /// The answer to the handshake is plain HTTP.
    Plain,
    /// The connection is closed in the handshake.
    Closes,
}

const ALL: [(Flaw, &str, Expected); 8] = [
    (Flaw::Nothing, "trusted", (200, "")),
    (Flaw::Expired, "expired", (0, "tls")),
    (Flaw::NotYetValid, "not yet valid", (0, "tls")),
    (Flaw::WrongName, "wrong name", (0, "tls")),
    (Flaw::SelfSigned, "self-signed", (0, "tls")),
    (Flaw::Stalls, "stalled handshake", (0, "connect_timeout")),
    (Flaw::Plain, "plain HTTP", (0, "tls")),
    (Flaw::Closes, "closed handshake", (0, "tls")),
];

/// A receiver behind TLS. Ends when it is dropped.
pub(super) struct Secured {
    pub(super) name: &'static str,
    pub(super) expected: Expected,
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Secured {
    pub(super) async fn start_all(authority: &Authority) -> Vec<Self> {
        let mut all = Vec::new();
        for (flaw, name, expected) in ALL {
            all.push(Self::start(authority, flaw, name, expected).await);
        }
        all
    }

    #[expect(clippy::disallowed_methods, reason = "aborted when this is dropped")]
    async fn start(authority: &Authority, flaw: Flaw, name: &'static str, expected: Expected) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = acceptor(authority, flaw);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    match flaw {
                        Flaw::Stalls => {
                            let _ = stream.read(&mut [0; 10]).await;
                            std::future::pending::<()>().await;
                        }
                        Flaw::Plain => {
                            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                        }
                        Flaw::Closes => drop(stream),
                        _ => serve(acceptor, stream).await,
                    }
                });
            }
        });
        Self { name, expected, addr, task }
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}/hook", self.addr)
    }
}

async fn serve(acceptor: TlsAcceptor, stream: tokio::net::TcpStream) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut request = vec![0; 16_384];
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    }
}

fn acceptor(authority: &Authority, flaw: Flaw) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let host = if flaw == Flaw::WrongName { "other.example" } else { "127.0.0.1" };
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    match flaw {
        Flaw::Expired => params.not_after = date_time_ymd(2020, 1, 1),
        Flaw::NotYetValid => params.not_before = date_time_ymd(4000, 1, 1),
        _ => {}
    }
    let certificate = match flaw {
        Flaw::SelfSigned => params.self_signed(&key).unwrap(),
        _ => params.signed_by(&key, &authority.0).unwrap(),
    };
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
