//! HTTP/1.1, single-threaded: a [`Site`] answers, this does the rest.
//!
//! A server that is told to end goes on answering, and asks clients to leave, until nobody has come for a
//! moment: kubelets and kube-proxies hear at the same time that a pod is to go, and the one that ends it is
//! often faster than those that send clients to it. One that nobody visits ends at once.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{Error, access_log, listen};

/// The largest body that a request may have, in bytes.
const LARGEST_BODY: usize = 1 << 20;
/// How long requests may take that are under way when the server is told to end. A kubelet that gives
/// pods the usual 30 seconds is still waiting then.
const DRAIN: Duration = Duration::from_secs(25);
/// Nobody has come for so long: the word has spread.
const QUIET: Duration = Duration::from_millis(300);
/// Clients that come after that do not go by the word.
const LONGEST_FAREWELL: Duration = Duration::from_secs(5);
/// Pause of accepting when there is no descriptor left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// What goes back to the client.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    /// The client's address, as the server sees it.
    pub(crate) remote: SocketAddr,
    /// The address that the client has reached.
    pub(crate) local: SocketAddr,
}

/// A whole request.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) client: Client,
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
}

/// What answers requests; the same for all connections.
pub(crate) trait Site: Send + Sync + 'static {
    /// The answer. Whether it is for HEAD does not matter: its body is then left out.
    fn answer(&self, visit: &Visit) -> impl Future<Output = Answer> + Send;
}

impl<F: Fn(&Visit) -> Answer + Send + Sync + 'static> Site for F {
    async fn answer(&self, visit: &Visit) -> Answer {
        self(visit)
    }
}

impl Visit {
    /// The query's first value of that name, decoded.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let query = self.head.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }
}

/// A text as an answer.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", body)
}

/// An answer of any type.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Which signals end a server, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signals {
    /// SIGTERM, SIGINT and SIGQUIT let requests under way finish.
    Graceful,
    /// SIGQUIT does, SIGTERM and SIGINT do not (<https://nginx.org/en/docs/control.html>).
    Nginx,
}

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("make an event loop"))?;
    runtime.block_on(future)
}

/// Listens for signals from now on; the future waits until one comes, and says whether requests under
/// way may finish. Call it inside [`block_on`].
pub(crate) fn told_to_end(signals: Signals) -> Result<impl Future<Output = bool>, Error> {
    let listen = |kind| signal(kind).map_err(Error::io("listen for signals"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut quit = listen(SignalKind::quit())?;
    Ok(async move {
        let fast = tokio::select! {
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            _ = quit.recv() => false,
        };
        !(fast && signals == Signals::Nginx)
    })
}

/// Serves one site on one port until it is told to end.
pub(crate) fn serve<S: Site>(
    address: SocketAddr,
    site: S,
    log: bool,
    signals: Signals,
) -> Result<ExitCode, Error> {
    block_on(async {
        let end = told_to_end(signals)?;
        let listener = listen::tcp(address)?;
        Ok(Server { listener, site: Arc::new(site), log }.run(end).await)
    })
}

/// A server on one port.
#[derive(Debug)]
pub(crate) struct Server<S> {
    pub(crate) listener: TcpListener,
    pub(crate) site: Arc<S>,
    /// Whether each request is logged.
    pub(crate) log: bool,
}

impl<S: Site> Server<S> {
    /// Serves until `end` is done, which says whether requests under way may finish.
    pub(crate) async fn run(self, end: impl Future<Output = bool>) -> ExitCode {
        let house = Arc::new(House {
            site: self.site.clone(),
            log: self.log,
            stage: watch::Sender::new(Stage::Open),
            last: Mutex::new(None),
        });
        let mut connections = JoinSet::new();
        if !self.accept_until(end, &house, &mut connections).await {
            return ExitCode::SUCCESS;
        }
        house.stage.send_replace(Stage::Farewell);
        let farewell = tokio::time::timeout(LONGEST_FAREWELL, house.quiet());
        // Whoever still comes has not heard of it in time.
        let _ = self.accept_until(farewell, &house, &mut connections).await;
        // Those who are at the door already have been let in by the kernel.
        while let Ok(Ok(visitor)) = tokio::time::timeout(Duration::ZERO, self.listener.accept()).await {
            connections.spawn(converse(visitor, house.clone()));
        }
        drop(self.listener);
        house.stage.send_replace(Stage::Closed);
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            let _ = writeln!(
                io::stderr(),
                "{} requests took too long to end, and are cut off",
                connections.len()
            );
        }
        ExitCode::SUCCESS
    }

    async fn accept_until<T>(
        &self,
        end: impl Future<Output = T>,
        house: &Arc<House<S>>,
        connections: &mut JoinSet<()>,
    ) -> T {
        tokio::pin!(end);
        loop {
            tokio::select! {
                ended = &mut end => return ended,
                accepted = self.listener.accept() => match accepted {
                    Ok(visitor) => {
                        connections.spawn(converse(visitor, house.clone()));
                    }
                    Err(e) => self.rest(&e).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// A connection that ends before it is accepted is none of ours; for want of descriptors, wait.
    async fn rest(&self, e: &io::Error) {
        let gone = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
        if !gone.contains(&e.kind()) {
            let _ = writeln!(io::stderr(), "accept a connection: {e}");
            tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
        }
    }
}

/// How far a server's end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Each answer is the last one of its connection.
    Farewell,
    /// Nobody is let in, and who says nothing has to leave.
    Closed,
}

/// What the connections of a server share.
struct House<S> {
    site: Arc<S>,
    log: bool,
    stage: watch::Sender<Stage>,
    /// When somebody came, or asked, last.
    last: Mutex<Option<Instant>>,
}

impl<S> House<S> {
    fn visited(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns when nobody has come for a moment.
    async fn quiet(&self) {
        loop {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(until) = last.map(|last| last + QUIET).filter(|until| *until > Instant::now()) else {
                return;
            };
            tokio::time::sleep_until(until).await;
        }
    }
}

async fn converse<S: Site>((stream, remote): (TcpStream, SocketAddr), house: Arc<House<S>>) {
    house.visited();
    let mut stage = house.stage.subscribe();
    let _ = stream.set_nodelay(true);
    let client = Client {
        remote: canonical(remote),
        local: canonical(stream.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into())),
    };
    let service = service_fn(move |request| reply(house.clone(), client, request));
    // `printf … | nc` closes its end before it reads the answer.
    let connection = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // That a connection breaks is the client's affair.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = closed(&mut stage) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

async fn closed(stage: &mut watch::Receiver<Stage>) {
    // A server that is gone is closed, too.
    let _ = stage.wait_for(|stage| *stage == Stage::Closed).await;
}

/// IPv4 addresses as such, where the socket speaks both.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

async fn reply<S: Site>(
    house: Arc<House<S>>,
    client: Client,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    house.visited();
    let (head, body) = request.into_parts();
    let body = if body.is_end_stream() {
        Ok(Bytes::new())
    } else {
        Limited::new(body, LARGEST_BODY).collect().await.map(|body| body.to_bytes())
    };
    let visit = match body {
        Ok(body) => Visit { client, head, body },
        Err(_) => {
            let mut answer = text(StatusCode::PAYLOAD_TOO_LARGE, "at most 1 MiB\n");
            // What is left of the body must not be taken for a request.
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            if house.log {
                access_log::write(client, &head, &answer);
            }
            return Ok(answer);
        }
    };
    let mut answer = house.site.answer(&visit).await;
    if *house.stage.borrow() != Stage::Open {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if house.log {
        access_log::write(client, &visit.head, &answer);
    }
    Ok(answer)
}
