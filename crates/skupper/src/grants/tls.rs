//! TLS of the grant server: the site's certificate; a client may show one of the site's CA.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::Site;
use crate::certs::text;
use crate::error::{Error, Result};

pub(super) fn acceptor(site: &Site) -> Result<TlsAcceptor> {
    let missing = |what: &str| Error::Secret { secret: crate::plan::SERVER.into(), what: what.into() };
    let secret = site.server.as_ref().ok_or_else(|| missing("is not there"))?;
    let part = |key: &str| text(secret, key).ok_or_else(|| missing(&format!("has no {key}")));
    let (ca, chain, key) = (part("ca.crt")?, part("tls.crt")?, part("tls.key")?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots(&ca)?);
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| missing(&format!("has a CA that is none: {error}")))?;
    let chain: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = chain.map_err(|error| missing(&format!("has a certificate that is none: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| missing(&format!("has a key that is none: {error}")))?;
    let fail = |source| Error::Tls { what: "listen with the site's certificate".into(), source };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(fail)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(fail)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The CAs of a PEM text.
pub(crate) fn roots(pem: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let wrong = |what: String| Error::Secret { secret: "ca.crt".into(), what };
        let certificate = certificate.map_err(|error| wrong(format!("is no PEM: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(format!("is no CA: {error}")))?;
    }
    if roots.is_empty() {
        return Err(Error::Secret { secret: "ca.crt".into(), what: "has no certificate in it".into() });
    }
    Ok(roots)
}
