//! TCP, with certificates on both sides only: whoever may speak to this engine is root on this machine.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::error::{Error, Result};
use crate::files::certificates;

/// Takes connections of clients with a certificate that one of `authority` has signed, and of nobody else; all are
/// files in PEM.
///
/// # Errors
/// When a file is not what it should be.
pub fn acceptor(authority: &Path, certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        roots.add(certificate).map_err(Error::at("use", authority))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
    let verifier = verifier.map_err(Error::at("use", authority))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(Error::at("read the key", key))?;
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    let config = config.with_single_cert(certificates(certificate)?, key);
    Ok(TlsAcceptor::from(Arc::new(config.map_err(Error::at("use", certificate))?)))
}
