//! How the server is, by HTTP: `/health`, `/ready`, `/metrics`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::server::Server;

/// Connections at once; further ones wait to be taken.
pub(super) const CONNECTIONS: usize = 32;
/// How long a request may take to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may be kept.
const LONGEST: Duration = Duration::from_secs(60);

/// Never ends.
pub(super) async fn serve(listener: TcpListener, server: Arc<Server>, places: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = server.clone();
                connections.spawn(async move {
                    let answer = service_fn(|request| std::future::ready(answer(&request, &server)));
                    let mut builder = hyper::server::conn::http1::Builder::new();
                    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
                    let connection = builder.serve_connection(TokioIo::new(stream), answer);
                    // However a connection ends, it ends for its peer only.
                    let _ = tokio::time::timeout(LONGEST, connection).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

fn answer(request: &Request<Incoming>, server: &Server) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match request.uri().path() {
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into())
        }
        "/health" => (StatusCode::OK, "OK".into()),
        "/ready" if server.synced() => (StatusCode::OK, "OK".into()),
        "/ready" => (StatusCode::SERVICE_UNAVAILABLE, "the cluster's names are not known yet".into()),
        "/metrics" => (StatusCode::OK, server.render_metrics()),
        _ => (StatusCode::NOT_FOUND, "there are /health, /ready and /metrics\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}
