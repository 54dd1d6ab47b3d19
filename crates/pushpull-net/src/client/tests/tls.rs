//! Who is trusted, and under which name.

use std::{io::Write as _, net::SocketAddr, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

use super::receiver::*;
use crate::client::*;

/// A certificate authority of our own, and a certificate of it.
struct Identity {
    ca_file: NamedTempFile,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn identity(names: &[&str]) -> Identity {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let mut ca_file = NamedTempFile::new().unwrap();
    ca_file.write_all(authority.as_ref().pem().as_bytes()).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Identity { ca_file, chain: vec![leaf.der().clone()], key }
}

impl Identity {
    /// A receiver that says [`OK`] to everyone who trusts it. Tells which names it was called by.
    async fn serve(&self) -> Receiver {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Receiver::start(move |_, peer| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(stream) = acceptor.accept(peer.stream).await else { return };
                let (_, session) = stream.get_ref();
                let body = format!(
                    "{} by {}",
                    session.server_name().unwrap_or("no name"),
                    String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default())
                );
                let mut peer = Peer { stream };
                while peer.read_request().await.is_some() {
                    peer.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
                        .await;
                }
            }
        })
        .await
    }
}

fn client_trusting(ca_file: Option<&Path>) -> Client {
    let resolver = Names::of("receiver.test", &[&["127.0.0.1"]]);
    let ca_file = ca_file.map(Path::to_owned);
    Client::new(Config { resolver, ca_file, ..config(&["127.0.0.0/8"]) }).unwrap()
}

fn url(host: &str, address: SocketAddr) -> Target {
    Target::parse(&format!("https://{host}:{}/", address.port())).unwrap()
}

#[tokio::test]
async fn a_certificate_of_the_extra_authority_is_accepted() {
    let identity = identity(&["receiver.test"]);
    let receiver = identity.serve().await;
    let client = client_trusting(Some(identity.ca_file.path()));
    for _ in 0..3 {
        let answer = post(&client, &url("receiver.test", receiver.address)).await.unwrap();
        assert_eq!(answer.body, "receiver.test by http/1.1");
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_certificate_for_an_address_is_accepted_for_that_address() {
    let identity = identity(&["127.0.0.1"]);
    let receiver = identity.serve().await;
    let client = client_trusting(Some(identity.ca_file.path()));
    let answer = post(&client, &url("127.0.0.1", receiver.address)).await.unwrap();
    assert_eq!(answer.body, "no name by http/1.1");
    assert!(answer.timings.tls.is_some());
}

async fn check_refused(identity: &Identity, client: &Client, expected: &str) {
    let receiver = identity.serve().await;
    let failure = post(client, &url("receiver.test", receiver.address)).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Tls, "{}", failure.detail);
    assert!(failure.detail.contains(expected), "{}", failure.detail);
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    check_refused(&identity(&["receiver.test"]), &client_trusting(None), "UnknownIssuer").await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let made = rcgen::generate_simple_self_signed(["receiver.test".to_owned()]).unwrap();
    let identity = Identity {
        ca_file: NamedTempFile::new().unwrap(),
        chain: vec![made.cert.der().clone()],
        key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
    };
    check_refused(&identity, &client_trusting(None), "UnknownIssuer").await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let identity = identity(&["other.test"]);
    let client = client_trusting(Some(identity.ca_file.path()));
    check_refused(&identity, &client, "not valid for name").await;
}

#[tokio::test]
async fn a_receiver_without_tls_is_a_tls_failure() {
    let receiver = Receiver::start(|_, mut peer| async move {
        peer.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let failure = post(&client_trusting(None), &url("receiver.test", receiver.address)).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::Tls);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_given_up_at_the_connect_deadline() {
    let receiver = Receiver::start(|_, peer| async move {
        let _open = peer;
        silence().await;
    })
    .await;
    let failure = post(&hasty_client(), &url("127.0.0.1", receiver.address)).await.unwrap_err();
    assert_eq!(failure.class, ErrorClass::ConnectTimeout);
    assert!(failure.detail.ends_with("still in the TLS handshake"), "{}", failure.detail);
}

#[tokio::test]
async fn a_file_without_certificates_is_no_setting() {
    let empty = NamedTempFile::new().unwrap();
    let setting = |path: &Path| Config { ca_file: Some(path.to_owned()), ..config(&[]) };
    assert!(matches!(Client::new(setting(empty.path())), Err(SetupError::CaFileEmpty { .. })));
    let missing = Path::new("no/such/file.pem");
    assert!(matches!(Client::new(setting(missing)), Err(SetupError::CaFile { .. })));
}
