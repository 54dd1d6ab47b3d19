use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rcgen::generate_simple_self_signed;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs};

use crate::support::Home;

#[test]
fn tls_is_spoken_with_the_certificate_that_was_given() {
    let home = Home::new();
    let (served, _, cert) = home.serve_tls();
    assert!(served.url.starts_with("https://127.0.0.1:"), "{}", served.url);

    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(served.address()).unwrap());
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_key_of_another_certificate_is_refused_at_start() {
    let home = Home::new();
    let pair = || generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert_file, key_file) = (home.path("cert.pem"), home.path("key.pem"));
    std::fs::write(&cert_file, pair().cert.pem()).unwrap();
    std::fs::write(&key_file, pair().signing_key.serialize_pem()).unwrap();
    let args = ["serve", "--tls-cert", cert_file.to_str().unwrap(), "--tls-key", key_file.to_str().unwrap()];
    let complaint = home.fails(&args, 1);
    assert!(complaint.contains("use the certificate"), "{complaint}");
}
