//! Redeeming tokens, and renewing what they gave: the other side of [`crate::grants`].
//!
//! Source: skupper 2 `internal/kube/grants/redeem.go`.

use std::sync::Arc;
use std::time::Duration;

use api::skupper::{AccessToken, Link};
use api::types::api::core::v1::Secret;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::certs::text;
use crate::grants::tls::roots;

/// Of a link's secret: where a new certificate is to be had for it.
pub const RENEW_URL: &str = "knetsim.dev/renew-url";

const LIMIT: Duration = Duration::from_secs(10);
/// Certificates are a few kilobytes.
const MOST: usize = 1 << 20;

/// Why a token has not become a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The other site says no: asking again is of no use.
    #[error("{0}")]
    Refused(String),
    /// It could not be asked.
    #[error("{0}")]
    Unreachable(String),
}

/// Redeems a token for the site with this UID: what the other site has given.
///
/// # Errors
/// It says no, or cannot be asked.
pub async fn redeem(token: &AccessToken, site: &str) -> Result<(Secret, Vec<Link>), Failure> {
    let name = token.metadata.name.clone().unwrap_or_default();
    let config = client(&token.spec.ca, None).map_err(Failure::Refused)?;
    let text = post(&token.spec.url, config, &name, site, token.spec.code.clone()).await?;
    let (mut secret, mut links) = documents(&text)?;
    // What it is called here, the other site does not choose: it might be one of our own secrets.
    secret.metadata.name = Some(name.clone());
    links.truncate(1);
    for link in &mut links {
        link.metadata.name = Some(name.clone());
        link.spec.tls_credentials.clone_from(&name);
        if token.spec.link_cost > 0 {
            link.spec.cost = token.spec.link_cost;
        }
    }
    Ok((secret, links))
}

/// A new certificate for the one of a link's secret.
///
/// # Errors
/// The other site says no, or cannot be asked.
pub async fn renew(secret: &Secret, site: &str) -> Result<Secret, Failure> {
    let refused = |what: &str| Failure::Refused(what.into());
    let annotations = secret.metadata.annotations.as_ref();
    let url = annotations.and_then(|all| all.get(RENEW_URL)).ok_or_else(|| refused("nobody renews it"))?;
    let part = |key: &str| text(secret, key).ok_or_else(|| Failure::Refused(format!("no {key}")));
    let (ca, certificate, key) = (part("ca.crt")?, part("tls.crt")?, part("tls.key")?);
    let config = client(&ca, Some((&certificate, &key))).map_err(Failure::Refused)?;
    let name = secret.metadata.name.clone().unwrap_or_default();
    let text = post(url, config, &name, site, String::new()).await?;
    documents(&text).map(|(secret, _)| secret)
}

/// Whom to believe, and what to show.
fn client(ca: &str, own: Option<(&str, &str)>) -> Result<ClientConfig, String> {
    let roots = roots(ca).map_err(|error| format!("the token's CA: {error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some((certificate, key)) = own else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| error.to_string())?;
    builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())
}

async fn post(
    url: &str,
    config: ClientConfig,
    name: &str,
    subject: &str,
    body: String,
) -> Result<String, Failure> {
    let asked = timeout(LIMIT, exchange(url, config, name, subject, body)).await;
    asked.unwrap_or_else(|_| Err(Failure::Unreachable(format!("{url} does not answer"))))
}

async fn exchange(
    url: &str,
    config: ClientConfig,
    name: &str,
    subject: &str,
    body: String,
) -> Result<String, Failure> {
    let wrong = |what: &str| Failure::Refused(format!("url {url}: {what}"));
    let away = |what: String| Failure::Unreachable(format!("{url}: {what}"));
    let uri: Uri = url.parse().map_err(|_| wrong("is none"))?;
    let host = uri.host().ok_or_else(|| wrong("has no host"))?.to_owned();
    if uri.scheme_str() != Some("https") {
        return Err(wrong("token url scheme must be https"));
    }
    let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await;
    let stream = stream.map_err(|error| away(error.to_string()))?;
    let server = ServerName::try_from(host.clone()).map_err(|_| wrong("has a host that is none"))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await;
    // Who is not whom the token names is refused, now and later.
    let stream = stream.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => wrong(&error.to_string()),
        _ => away(error.to_string()),
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| away(e.to_string()))?;
    let connection = async {
        // What goes wrong with it shows in the answer.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let request = Request::post(uri.path())
        .header("host", host)
        .header("name", name)
        .header("subject", subject)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| wrong(&error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| away(e.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST).collect().await;
        let body = body.map_err(|e| away(e.to_string()))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let (status, text) = tokio::select! {
        answer = answer => answer?,
        () = connection => return Err(away("the connection has ended".into())),
    };
    match status {
        StatusCode::OK => Ok(text),
        StatusCode::SERVICE_UNAVAILABLE => Err(away(text.trim().into())),
        status => {
            let reason = status.canonical_reason().unwrap_or_default();
            let code = status.as_u16();
            Err(Failure::Refused(format!(
                "Controller got failed response: {code} ({reason}) {}",
                text.trim()
            )))
        }
    }
}

/// A secret, and links.
fn documents(text: &str) -> Result<(Secret, Vec<Link>), Failure> {
    let wrong = || Failure::Refused("Controller could not decode response".into());
    let mut secret = None;
    let mut links = Vec::new();
    for document in text.split("---\n").filter(|document| !document.trim().is_empty()) {
        let document: Value = serde_yaml::from_str(document).map_err(|_| wrong())?;
        match document.get("kind").and_then(Value::as_str) {
            Some("Secret") => secret = serde_json::from_value(document).ok(),
            Some("Link") => links.push(serde_json::from_value(document).map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
    }
    Ok((secret.ok_or_else(wrong)?, links))
}
