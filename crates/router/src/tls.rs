//! TLS between routers: an `sslProfile` as rustls wants it.
//!
//! Names are checked as skrouterd's OpenSSL does it (`src/tls/tls.c`): against dNSName entries, for an IP address
//! too. So the certificate of a router that is reached by address has `DNS:10.9.0.1`; rustls would look for an
//! iPAddress entry, which skrouterd in its turn ignores. Both kinds are accepted here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::router_config::SslProfile;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Why an `sslProfile` cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file is not readable.
    #[error("sslProfile {profile}: cannot read {}", path.display())]
    Read {
        /// The profile's name.
        profile: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The profile says too little for its use.
    #[error("sslProfile {profile}: {what} is not given")]
    Missing {
        /// The profile's name.
        profile: String,
        /// The attribute.
        what: &'static str,
    },
    /// Key and certificate do not belong together, or neither is one.
    #[error("sslProfile {profile}: certificate or key cannot be used")]
    Certificate {
        /// The profile's name.
        profile: String,
        /// Why.
        source: rustls::Error,
    },
    /// The CA file has no usable certificate.
    #[error("sslProfile {profile}: no certificate of a CA: {reason}")]
    Roots {
        /// The profile's name.
        profile: String,
        /// Why.
        reason: String,
    },
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// For listeners; `authenticate` asks clients for a certificate, others may come without.
///
/// # Errors
/// Files that are missing or wrong.
pub(crate) fn server(profile: &SslProfile, authenticate: bool) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| certificate(profile, source))?;
    let builder = if profile.ca_cert_file.is_some() {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(profile)?), provider());
        let verifier = if authenticate { verifier } else { verifier.allow_unauthenticated() };
        builder.with_client_cert_verifier(
            verifier
                .build()
                .map_err(|e| Error::Roots { profile: profile.name.clone(), reason: e.to_string() })?,
        )
    } else if authenticate {
        return Err(Error::Missing { profile: profile.name.clone(), what: "caCertFile" });
    } else {
        builder.with_no_client_auth()
    };
    let (chain, key) = identity(profile)?
        .ok_or_else(|| Error::Missing { profile: profile.name.clone(), what: "certFile" })?;
    let config = builder.with_single_cert(chain, key).map_err(|source| certificate(profile, source))?;
    Ok(Arc::new(config))
}

/// For connectors; also whether there is a certificate to show.
///
/// # Errors
/// Files that are missing or wrong.
pub(crate) fn client(
    profile: &SslProfile,
    verify_hostname: bool,
) -> Result<(Arc<ClientConfig>, bool), Error> {
    let roots = Arc::new(roots(profile)?);
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|e| Error::Roots { profile: profile.name.clone(), reason: e.to_string() })?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| certificate(profile, source))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Names { inner, verify_hostname }));
    let (config, shows) = match identity(profile)? {
        Some((chain, key)) => {
            let config =
                builder.with_client_auth_cert(chain, key).map_err(|source| certificate(profile, source))?;
            (config, true)
        }
        None => (builder.with_no_client_auth(), false),
    };
    Ok((Arc::new(config), shows))
}

fn certificate(profile: &SslProfile, source: rustls::Error) -> Error {
    Error::Certificate { profile: profile.name.clone(), source }
}

fn roots(profile: &SslProfile) -> Result<RootCertStore, Error> {
    let Some(path) = &profile.ca_cert_file else {
        return Err(Error::Missing { profile: profile.name.clone(), what: "caCertFile" });
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(profile, path)? {
        roots
            .add(certificate)
            .map_err(|e| Error::Roots { profile: profile.name.clone(), reason: e.to_string() })?;
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(profile: &SslProfile) -> Result<Option<Identity>, Error> {
    match (&profile.cert_file, &profile.private_key_file) {
        (Some(cert), Some(key)) => {
            let chain = certificates(profile, cert)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|source| read(profile, key, source))?;
            Ok(Some((chain, key)))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::Missing { profile: profile.name.clone(), what: "privateKeyFile" }),
        (None, Some(_)) => Err(Error::Missing { profile: profile.name.clone(), what: "certFile" }),
    }
}

fn certificates(profile: &SslProfile, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| read(profile, path, source);
    let text = fs::read(path).map_err(|e| failed(rustls::pki_types::pem::Error::Io(e)))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(failed)?;
    if all.is_empty() {
        return Err(failed(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(all)
}

fn read(profile: &SslProfile, path: &Path, source: rustls::pki_types::pem::Error) -> Error {
    Error::Read { profile: profile.name.clone(), path: path.to_owned(), source }
}

/// Checks the chain as always, and the name as skrouterd does.
#[derive(Debug)]
struct Names {
    inner: Arc<WebPkiServerVerifier>,
    verify_hostname: bool,
}

impl ServerCertVerifier for Names {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let result =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let wrong_name = matches!(
            result,
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ))
        );
        if !wrong_name {
            return result;
        }
        if !self.verify_hostname {
            // The verifier looks at the name last: the chain is good.
            return Ok(ServerCertVerified::assertion());
        }
        let ServerName::IpAddress(_) = server_name else { return result };
        let name = server_name.to_str().into_owned();
        if has_dns_name(end_entity, &name) { Ok(ServerCertVerified::assertion()) } else { result }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Whether a dNSName entry of the certificate's subjectAltName (RFC 5280, section 4.2.1.6) says exactly `name`: an IP
/// address is no DNS name to rustls. The certificate's signature was checked before.
fn has_dns_name(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    // One that says it twice is malformed (section 4.2), and says nothing.
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    let mut names = names.value.general_names.iter();
    names.any(|one| matches!(one, GeneralName::DNSName(dns) if dns.eq_ignore_ascii_case(name)))
}

/// The name to check a router's certificate against.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
    if let Ok(address) = host.parse::<std::net::IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    DnsName::try_from(host.to_owned()).map(ServerName::DnsName)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};

    fn certificate(params: CertificateParams) -> CertificateDer<'static> {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn only_the_dns_names_of_the_extension_count() {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::DnsName("10.9.0.1".try_into().unwrap()),
            SanType::DnsName("C0w1".try_into().unwrap()),
            SanType::Rfc822Name("10.9.0.3".try_into().unwrap()),
            SanType::IpAddress("10.9.0.2".parse().unwrap()),
        ];
        let named = certificate(params);
        assert!(has_dns_name(&named, "10.9.0.1") && has_dns_name(&named, "c0W1"));
        for other in ["10.9.0.2", "10.9.0.3", "10.9.0", "10.9.0.10", ""] {
            assert!(!has_dns_name(&named, other), "{other}");
        }
    }

    #[test]
    fn what_only_looks_like_the_extension_is_none() {
        // The bytes of a subjectAltName in the value of an extension of somebody's own.
        let inside = b"\x06\x03\x55\x1d\x11\x04\x0c\x30\x0a\x82\x0810.9.0.1";
        let mut params = CertificateParams::default();
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], inside.to_vec())];
        let looks = certificate(params);
        assert!(looks.windows(inside.len()).any(|window| window == inside));
        assert!(!has_dns_name(&looks, "10.9.0.1"));
        assert!(!has_dns_name(&CertificateDer::from(inside.to_vec()), "10.9.0.1"));
    }
}
