//! Whom to trust, and how TLS is spoken.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem, pem::PemObject};

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file of extra certificates cannot be read as PEM.
    #[error("read certificates from {path}")]
    CaFile {
        /// The file of the setting.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The file of extra certificates has none.
    #[error("no certificate in {path}")]
    CaFileEmpty {
        /// The file of the setting.
        path: PathBuf,
    },
    /// The TLS library refuses a certificate or its own configuration.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
}

/// The configuration of every TLS connection: certificates checked against the system's roots (the bundled
/// ones of Mozilla where the system has none) and those in `ca_file`; HTTP/1.1 offered and nothing else.
///
/// The binary's own calls to a pushpull server speak it too: who is trusted is decided in one place.
///
/// The cryptography is handed in, not taken from the process-wide default, which another crate may set.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore::empty();
    // Broken certificates are common in system stores and no reason to trust none.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = ca_file {
        for certificate in read_certificates(path)? {
            roots.add(certificate)?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| SetupError::CaFile { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(SetupError::CaFileEmpty { path: path.to_owned() });
    }
    Ok(certificates)
}
