//! `/healthz` and `/metrics`: the port of a listener with `http`.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use api::router_config::Listener;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::endpoint::bind;
use crate::metrics::{Snapshot, page};

/// A port in use is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);
/// A client that has not said what it wants by then is left.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until dropped.
pub(crate) async fn serve(listener: Listener, snapshot: Rc<dyn Fn() -> Snapshot>) {
    let mut trouble = String::new();
    let socket = loop {
        match bind(&listener.host, listener.port).await {
            Ok(socket) => break socket,
            Err(error) => {
                let text = error.to_string();
                if trouble != text {
                    let Listener { name, host, port, .. } = &listener;
                    tracing::warn!(name, "cannot listen on {host}:{port}: {error}; trying again");
                    trouble = text;
                }
                sleep(RETRY).await;
            }
        }
    };
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok((io, _)) = socket.accept().await else {
            sleep(RETRY).await;
            continue;
        };
        let snapshot = Rc::clone(&snapshot);
        let (healthz, metrics) = (listener.healthz, listener.metrics);
        clients.spawn_local(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let target = request.uri().path().to_owned();
                let page = page(request.method().as_str(), &target, healthz, metrics, || snapshot());
                async move {
                    let mut response = Response::new(Full::new(Bytes::from(page.body)));
                    *response.status_mut() = hyper::StatusCode::from_u16(page.status)
                        .unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
                    let kind = header::HeaderValue::from_static(page.content_type);
                    response.headers_mut().insert(header::CONTENT_TYPE, kind);
                    Ok::<_, Infallible>(response)
                }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            if let Err(error) = http.serve_connection(TokioIo::new(io), answer).await {
                tracing::debug!(%error, "an HTTP client was lost");
            }
        });
    }
}
