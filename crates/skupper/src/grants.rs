//! Where tokens are redeemed: a little HTTPS server of each site that takes in links.
//!
//! `POST /<uid of the grant>` with the code as body gives a client certificate, signed by the site's CA, and a
//! Link that uses it, as upstream's grant server does; `POST /renew` gives who shows a certificate of that CA a
//! new one. Whatever is wrong with a token, nothing is given; how often it was redeemed is counted in the
//! store, so that of two who redeem at once one is refused.
//!
//! Source: skupper 2 `internal/kube/grants/{grants,tokens}.go`.

mod judge;
pub(crate) mod tls;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use api::skupper::{AccessGrant, Endpoint, Link, LinkSpec};
use api::types::api::core::v1::Secret;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use runtime::chain;
use store::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::certs::{self, Ca, Usage};

pub use judge::{Refusal, judge};

/// A code is a few letters.
const MOST: usize = 4096;
/// As many are served at once, each for two times [`PATIENCE`] at most.
const MOST_CONNECTIONS: usize = 256;
/// Who connects and says nothing is let go.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);

/// What a site's server goes by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Site {
    /// The site's namespace.
    pub namespace: String,
    /// The secret with the site's server certificate.
    pub server: Option<Arc<Secret>>,
    /// The secret with the CA that signs.
    pub ca: Option<Arc<Secret>>,
    /// Where links go.
    pub endpoints: Vec<Endpoint>,
    /// How long certificates hold.
    pub lifetime: Duration,
    /// Where it listens itself, as `https://10.0.0.3:9443`.
    pub url: String,
}

/// Serves until dropped; `trouble` hears why it does not.
pub async fn run(
    address: (Ipv4Addr, u16),
    store: Store,
    site: watch::Receiver<Site>,
    trouble: watch::Sender<Option<String>>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => {
                let why = format!("the grant server cannot listen on {}:{}: {error}", address.0, address.1);
                trouble.send_if_modified(|old| old.replace(why.clone()) != Some(why));
                sleep(RETRY).await;
                continue;
            }
        };
        trouble.send_if_modified(|old| old.take().is_some());
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    // More at once than any sites have: somebody holds them open.
                    Ok((stream, _)) if connections.len() >= MOST_CONNECTIONS => drop(stream),
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, store.clone(), site.borrow().clone()));
                    }
                    // Out of descriptors, or the peer is gone.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn connection(stream: TcpStream, store: Store, site: Site) {
    let acceptor = match tls::acceptor(&site) {
        Ok(acceptor) => acceptor,
        Err(error) => return tracing::warn!(error = chain(&error), "the grant server has no certificate"),
    };
    let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await else { return };
    // It was checked with the CA when it came.
    let known = stream.get_ref().1.peer_certificates().is_some();
    let (store, site) = (&store, &site);
    let service = service_fn(move |request| async move {
        Ok::<_, Infallible>(match answer(store, site, known, request).await {
            Ok(text) => reply(StatusCode::OK, text),
            Err(refusal) => {
                tracing::warn!("a token was not redeemed: {}", refusal.message);
                reply(refusal.status, format!("{}\n", refusal.message))
            }
        })
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // What the peer does not read is its own loss.
    let _ = timeout(PATIENCE, served).await;
}

fn reply(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

async fn answer(
    store: &Store,
    site: &Site,
    known: bool,
    request: Request<Incoming>,
) -> Result<String, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Only POST is supported"));
    }
    let key = request.uri().path().trim_start_matches('/').to_owned();
    let header =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (name, subject) = (header("name").to_owned(), header("subject").to_owned());
    let body = Limited::new(request.into_body(), MOST).collect().await;
    let body = body.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "Request body not valid"))?.to_bytes();
    if !api::names::dns_subdomain(&name).is_empty() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "No valid name"));
    }
    if key == "renew" {
        return if known {
            token(site, &name, &subject, false)
        } else {
            Err(Refusal::new(StatusCode::FORBIDDEN, "No certificate of this site"))
        };
    }
    // Before it is counted: a token is not used up by a site that cannot give anything yet.
    if site.endpoints.is_empty() || site.ca.is_none() {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The site is not ready"));
    }
    redeem(store, site, &key, &body).await?;
    token(site, &name, &subject, true)
}

/// Counts a redemption, if it is allowed.
async fn redeem(store: &Store, site: &Site, uid: &str, code: &[u8]) -> Result<(), Refusal> {
    let away = |error: store::Error| {
        tracing::error!(error = chain(&error), "a token could not be redeemed");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Internal error")
    };
    let grants: Vec<AccessGrant> = store.list(Some(&site.namespace)).await.map_err(away)?;
    let grant = grants.into_iter().find(|grant| grant.metadata.uid.as_deref() == Some(uid));
    let Some(grant) = grant else { return Err(Refusal::new(StatusCode::NOT_FOUND, "No such claim")) };
    let mut verdict = Ok(());
    let count = |grant: &mut AccessGrant| {
        verdict = judge(grant, code, &api::time::now());
        if verdict.is_ok() {
            grant.status.get_or_insert_default().redemptions += 1;
        }
    };
    let name = grant.metadata.name.clone().unwrap_or_default();
    store.modify(&site.namespace, &name, count).await.map_err(away)?;
    verdict
}

/// A certificate and the Link that uses it, documents of YAML.
fn token(site: &Site, name: &str, subject: &str, with_link: bool) -> Result<String, Refusal> {
    let internal = |error: crate::Error| {
        tracing::error!(error = chain(&error), "no certificate for a token");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Could not get issuer for requested certificate")
    };
    let no_ca =
        || Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Could not get issuer for requested certificate");
    if site.endpoints.is_empty() {
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "No valid endpoints found for site"));
    }
    let ca = Ca::of(site.ca.as_deref().ok_or_else(no_ca)?).map_err(internal)?;
    let subject = if subject.is_empty() { name } else { subject };
    let credentials = ca.sign(Usage::Client, subject, &[], site.lifetime).map_err(internal)?;
    let mut secret = certs::to_secret("", name, &credentials);
    secret.metadata.namespace = None;
    let renew = format!("{}/renew", site.url);
    secret.metadata.annotations.get_or_insert_default().insert(crate::redeem::RENEW_URL.into(), renew);
    let mut text = format!("---\n{}\n", serde_json::to_string(&secret).unwrap_or_default());
    if with_link {
        let spec = LinkSpec {
            endpoints: site.endpoints.clone(),
            tls_credentials: name.into(),
            ..LinkSpec::default()
        };
        let link = Link::new("", name, spec);
        text += &format!("---\n{}\n", serde_json::to_string(&link).unwrap_or_default());
    }
    Ok(text)
}
