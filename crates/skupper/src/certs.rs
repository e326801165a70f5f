//! Each site's own CA, and what it signs: the site's server certificate, and the client certificates of those
//! who may link to it.
//!
//! Routers compare only names of the form dNSName with the host that they connect to, programs of ours
//! addresses, too: an address is in a certificate in both forms.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use api::types::ByteString;
use api::types::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, string::Ia5String,
};
use time::OffsetDateTime;

use crate::error::{Error, Result};

/// How long certificates hold that nobody says otherwise of.
pub const LIFETIME: Duration = Duration::from_secs(5 * 365 * 86_400);
/// Clocks may differ.
const BEFORE: Duration = Duration::from_secs(60);

/// Of a secret: when its certificate ends, in seconds since 1970. What is two thirds through is made anew.
pub const NOT_AFTER: &str = "knetsim.dev/not-after";
/// Of a secret: when its certificate began, in seconds since 1970.
pub const NOT_BEFORE: &str = "knetsim.dev/not-before";
/// Of a secret: the CA's own PEM when it was signed, shortened; another CA means another certificate.
pub const SIGNED_BY: &str = "knetsim.dev/signed-by";

/// A certificate with its key, and who has signed it; all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The CA.
    pub ca: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// From when to when it holds, in seconds since 1970.
    pub validity: (i64, i64),
}

/// A CA that signs.
#[derive(Debug)]
pub struct Ca {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Taking in links, and redeeming tokens.
    Server,
    /// Linking to the site that signs.
    Client,
}

fn failed(what: &str) -> impl FnOnce(rcgen::Error) -> Error + '_ {
    move |source| Error::Certificate { what: what.into(), source }
}

/// A new CA.
///
/// # Errors
/// When there is no chance to be had.
pub fn new_ca(name: &str) -> Result<Credentials> {
    let fail = |source| Error::Certificate { what: format!("make the CA {name}"), source };
    let key = KeyPair::generate().map_err(fail)?;
    let (mut params, validity) = params(name, LIFETIME);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(fail)?.pem();
    Ok(Credentials { ca: certificate.clone(), certificate, key: key.serialize_pem(), validity })
}

/// Beyond a while no date can be written; who asks for more has a certificate for a life.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

fn params(name: &str, lifetime: Duration) -> (CertificateParams, (i64, i64)) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BEFORE;
    params.not_after = now + lifetime.min(LONGEST);
    let validity = (now.unix_timestamp(), params.not_after.unix_timestamp());
    (params, validity)
}

impl Ca {
    /// The CA of a secret.
    ///
    /// # Errors
    /// The secret has none.
    pub fn of(secret: &Secret) -> Result<Self> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let text = |key: &str| {
            text(secret, key)
                .ok_or_else(|| Error::Secret { secret: name.clone(), what: format!("has no {key}") })
        };
        let (certificate, key) = (text("tls.crt")?, text("tls.key")?);
        let what = format!("read the CA of secret \"{name}\"");
        let key = KeyPair::from_pem(&key).map_err(failed(&what))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(failed(&what))?;
        Ok(Self { certificate, issuer })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.certificate
    }

    /// Signs a certificate for a name and hosts, with a new key.
    ///
    /// # Errors
    /// A host that can be in no certificate.
    pub fn sign(
        &self,
        usage: Usage,
        name: &str,
        hosts: &[String],
        lifetime: Duration,
    ) -> Result<Credentials> {
        let what = format!("sign the certificate of {name}");
        let key = KeyPair::generate().map_err(failed(&what))?;
        let (mut params, validity) = params(name, lifetime);
        for host in hosts {
            let name = Ia5String::try_from(host.clone()).map_err(failed(&what))?;
            params.subject_alt_names.push(SanType::DnsName(name));
            if let Ok(address) = host.parse::<IpAddr>() {
                params.subject_alt_names.push(SanType::IpAddress(address));
            }
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let certificate: Certificate = params.signed_by(&key, &self.issuer).map_err(failed(&what))?;
        Ok(Credentials {
            ca: self.certificate.clone(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            validity,
        })
    }
}

/// A value of a secret as text.
#[must_use]
pub fn text(secret: &Secret, key: &str) -> Option<String> {
    let ByteString(data) = secret.data.as_ref()?.get(key)?;
    String::from_utf8(data.clone()).ok().filter(|text| !text.is_empty())
}

/// As a secret of a namespace.
#[must_use]
pub fn to_secret(namespace: &str, name: &str, credentials: &Credentials) -> Secret {
    let mut secret = Secret { type_: Some("kubernetes.io/tls".into()), ..Secret::default() };
    secret.metadata.namespace = Some(namespace.into());
    secret.metadata.name = Some(name.into());
    put(&mut secret, credentials);
    secret
}

/// Replaces what is in a secret.
pub fn put(secret: &mut Secret, credentials: &Credentials) {
    let Credentials { ca, certificate, key, validity } = credentials;
    let data = [("ca.crt", ca), ("tls.crt", certificate), ("tls.key", key)];
    let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.clone().into_bytes())));
    secret.data.get_or_insert_default().extend(data);
    let annotations: &mut BTreeMap<_, _> = secret.metadata.annotations.get_or_insert_default();
    annotations.insert(NOT_BEFORE.into(), validity.0.to_string());
    annotations.insert(NOT_AFTER.into(), validity.1.to_string());
    annotations.insert(SIGNED_BY.into(), fingerprint(ca));
}

/// What tells one CA from another.
#[must_use]
pub fn fingerprint(pem: &str) -> String {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    body.chars().rev().take(32).collect()
}

/// When a secret's certificate is to be made anew: two thirds through its time. None if it is not ours.
#[must_use]
pub fn renew_at(secret: &Secret) -> Option<i64> {
    let annotations = secret.metadata.annotations.as_ref()?;
    let time = |key: &str| annotations.get(key)?.parse::<i64>().ok();
    let (begin, end) = (time(NOT_BEFORE)?, time(NOT_AFTER)?);
    Some(begin.saturating_add(end.saturating_sub(begin) / 3 * 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_no_calendar_has_are_no_trouble() {
        let (_, (begin, end)) = params("east", Duration::MAX);
        assert!(begin < end);
        let mut secret = Secret::default();
        let times = [(NOT_BEFORE, i64::MIN), (NOT_AFTER, i64::MAX)];
        secret.metadata.annotations =
            Some(times.map(|(key, time)| (key.to_owned(), time.to_string())).into());
        assert!(renew_at(&secret).is_some());
    }

    #[test]
    fn what_a_ca_signs_is_told_from_what_another_signs() {
        let ca = new_ca("east").unwrap();
        let secret = to_secret("default", "skupper-site-ca", &ca);
        let signer = Ca::of(&secret).unwrap();
        let hosts = ["10.0.0.3".to_owned(), "C0w1".to_owned()];
        let server = signer.sign(Usage::Server, "east", &hosts, LIFETIME).unwrap();
        assert_eq!(server.ca, ca.certificate);
        let verify = |ca: &str| {
            use rustls::pki_types::pem::PemObject;
            use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
            let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
            let verifier =
                rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
                    .build()
                    .unwrap();
            let end = CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap();
            let name = ServerName::try_from("10.0.0.3").unwrap();
            use rustls::client::danger::ServerCertVerifier;
            verifier.verify_server_cert(&end, &[], &name, &[], UnixTime::now()).map(drop)
        };
        verify(&ca.certificate).unwrap();
        verify(&new_ca("east").unwrap().certificate).unwrap_err();
        assert_ne!(fingerprint(&ca.certificate), fingerprint(&new_ca("east").unwrap().certificate));
    }

    #[test]
    fn certificates_are_made_anew_two_thirds_through() {
        let ca = Ca::of(&to_secret("d", "ca", &new_ca("x").unwrap())).unwrap();
        let short = ca.sign(Usage::Client, "x", &[], Duration::from_secs(900)).unwrap();
        let secret = to_secret("d", "x", &short);
        assert_eq!(renew_at(&secret), Some(short.validity.0 + 600));
        assert_eq!(renew_at(&Secret::default()), None);
    }

    #[test]
    fn a_secret_without_a_ca_says_so() {
        let mut secret = to_secret("d", "ca", &new_ca("x").unwrap());
        secret.data.as_mut().unwrap().remove("tls.key");
        assert_eq!(Ca::of(&secret).unwrap_err().to_string(), "secret \"ca\": has no tls.key");
        secret.data.as_mut().unwrap().insert("tls.key".into(), ByteString(b"rubbish".to_vec()));
        assert_eq!(Ca::of(&secret).unwrap_err().to_string(), "read the CA of secret \"ca\"");
    }
}
