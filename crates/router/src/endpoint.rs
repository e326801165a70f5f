//! AMQP ports and the connections to other routers: from a socket to a running connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use api::router_config::{Connector, Listener, Role, SslProfile};
use bytes::BytesMut;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::core::{Connection, Core};
use crate::driver::{self, Driver, Heard};
use crate::engine::{Engine, MAX_FRAME, Settings};
use crate::io::Io;
use crate::mailbox::{Letter, Mailbox};
use crate::{sasl, tls};

/// skrouterd's default, which says nothing: ours then offers [`MAX_FRAME`].
const DEFAULT_FRAME: u32 = 16384;
/// As many connections as the kernel holds while the router is busy.
const BACKLOG: u32 = 1024;
/// TLS and SASL are done by then, or never.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connecting is given up after these in turn: a lost link shall be noticed soon when it is back, and a slow one
/// shall be connected over all the same.
const CONNECT: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3)];
/// After a refused connection.
const RETRY: Duration = Duration::from_millis(100);
/// After a connection that was made and then refused.
const REFUSED: Duration = Duration::from_secs(1);
/// Neighbours send HELLO every second: one that is silent for longer may have lost this connection only.
const SUSPECT: Duration = Duration::from_millis(1600);
/// How often a neighbour's silence is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// An `sslProfile`, which may change while it is used: new connections take it as it then is.
pub(crate) type Profile = Rc<RefCell<SslProfile>>;

/// Why a connection was not made, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("TLS failed")]
    Tls(#[source] std::io::Error),
    #[error("{0} is no name of a host")]
    Name(String),
    #[error("SASL failed")]
    Sasl(#[from] sasl::Error),
    #[error("connection ended")]
    Driver(#[from] driver::Error),
}

/// Both with all that led to it: `a: b: c`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn max_frame(configured: u32) -> u32 {
    if configured == DEFAULT_FRAME { MAX_FRAME } else { configured.max(512) }
}

fn half(idle: Duration) -> u32 {
    u32::try_from(idle.as_millis() / 2).unwrap_or(u32::MAX)
}

/// A running connection, seen from whoever made it.
struct Running {
    id: u64,
    mailbox: Rc<Mailbox>,
    heard: Heard,
}

/// Puts a connection that has passed TLS and SASL to work.
fn start(
    core: &Rc<Core>,
    tasks: &mut JoinSet<(u64, driver::Error)>,
    io: Io,
    input: BytesMut,
    settings: Settings,
    connection: Connection,
    idle: Duration,
) -> Running {
    let id = settings.id;
    let mailbox = Rc::clone(&connection.mailbox);
    let heard: Heard = Rc::new(Cell::new(Instant::now()));
    let traffic = Rc::clone(&connection.traffic);
    core.connections.borrow_mut().insert(id, Rc::new(connection));
    let engine = Engine::new(settings, Rc::clone(core), Rc::clone(&mailbox));
    let driver = Driver::new(io, input, engine, Rc::clone(&mailbox), Rc::clone(&heard), traffic, idle);
    let registered = Registered(Rc::clone(core), id);
    tasks.spawn_local(async move {
        let error = driver.run().await;
        drop(registered);
        (id, error)
    });
    Running { id, mailbox, heard }
}

/// The connection's place in the table, while it runs.
struct Registered(Rc<Core>, u64);

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.connections.borrow_mut().remove(&self.1);
    }
}

/// Accepts connections of clients and routers; runs until dropped.
pub(crate) async fn listen(core: Rc<Core>, listener: Listener, profile: Option<Profile>) {
    let mut tasks = JoinSet::new();
    let mut shaking = JoinSet::new();
    let mut trouble = String::new();
    let listener = Rc::new(listener);
    let socket = loop {
        match bind(&listener.host, listener.port).await {
            Ok(socket) => break socket,
            Err(error) => {
                let text = error.to_string();
                if trouble != text {
                    tracing::warn!(
                        name = listener.name,
                        "cannot listen on {}:{}: {error}; trying again",
                        listener.host,
                        listener.port
                    );
                    trouble = text;
                }
                sleep(Duration::from_secs(1)).await;
            }
        }
    };
    tracing::info!(
        name = listener.name,
        "listening on {}:{} for {}",
        listener.host,
        listener.port,
        listener.role
    );
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((io, from)) => {
                    let profile = profile.as_ref().map(|profile| profile.borrow().clone());
                    let listener = Rc::clone(&listener);
                    shaking.spawn_local(async move {
                        let shaken = timeout(HANDSHAKE, accept(&listener, profile.as_ref(), io)).await;
                        (from, shaken.unwrap_or(Err(Error::Timeout(HANDSHAKE))))
                    });
                }
                Err(error) => {
                    tracing::warn!(name = listener.name, %error, "accept failed");
                    sleep(RETRY).await;
                }
            },
            Some(Ok((from, shaken))) = shaking.join_next() => match shaken {
                Ok((io, input)) => {
                    let settings = Settings {
                        id: core.new_connection(),
                        inter_router: listener.role == Role::InterRouter,
                        incoming: true,
                        cost: listener.cost,
                        max_frame: max_frame(listener.max_frame_size),
                        idle: half(listener.idle_timeout),
                        hostname: None,
                    };
                    let connection = Connection::new(
                        Mailbox::new(), from.to_string(), true, listener.role.word(), io.is_tls());
                    start(&core, &mut tasks, io, input, settings, connection, listener.idle_timeout);
                }
                Err(error) => {
                    tracing::warn!(name = listener.name, %from, "connection not accepted: {}", chain(&error));
                }
            },
            Some(Ok((id, error))) = tasks.join_next() => {
                tracing::info!(connection = id, "connection ended: {}", chain(&error));
            }
        }
    }
}

pub(crate) async fn bind(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let mut last = std::io::Error::other("the host has no address");
    for address in lookup_host((host, port)).await? {
        let bound =
            if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.and_then(|socket| {
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                socket.listen(BACKLOG)
            });
        match bound {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// TLS and SASL of a connection that came.
async fn accept(
    listener: &Listener,
    profile: Option<&SslProfile>,
    io: TcpStream,
) -> Result<(Io, BytesMut), Error> {
    io.set_nodelay(true).map_err(Error::Connect)?;
    let mut io = match profile {
        None => Io::Plain(io),
        Some(profile) => {
            // Read anew for each connection: a rotated certificate is used without ending those that are there.
            let config = tls::server(profile, listener.authenticate_peer)
                .map_err(|e| Error::Tls(std::io::Error::other(chain(&e))))?;
            let tls = TlsAcceptor::from(config).accept(io).await.map_err(Error::Tls)?;
            Io::Tls(Box::new(TlsStream::Server(tls)))
        }
    };
    let input = sasl::accept(&mut io, &listener.sasl_mechanisms, listener.authenticate_peer).await?;
    Ok((io, input))
}

/// What a connector's last attempt came to, for management and the log.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) connected: Cell<bool>,
    pub(crate) trouble: RefCell<String>,
}

/// Keeps a connection to another router; runs until dropped.
///
/// A neighbour that falls silent may be gone, or only this connection may be: TCP tries again after ever longer
/// pauses. So new connections are tried beside it. When one comes up, the control protocol moves there at once;
/// the old one ends when the streams on it have.
pub(crate) async fn connect(
    core: Rc<Core>,
    connector: Connector,
    profile: Option<Profile>,
    status: Rc<Status>,
) {
    let mut tasks = JoinSet::new();
    let mut current: Option<Running> = None;
    let mut attempt = 0;
    let mut older: Vec<Running> = Vec::new();
    loop {
        // Not before the neighbour is there over the new one: no route is lost between.
        if current.as_ref().is_some_and(|running| core.is_mutual(running.id)) {
            for old in older.drain(..) {
                old.mailbox.send(Letter::Retire);
            }
        }
        while let Some(Ok((id, error))) = tasks.try_join_next() {
            tracing::info!(connection = id, "connection ended: {}", chain(&error));
        }
        current = current.filter(|running| core.is_connected(&running.mailbox));
        status.connected.set(current.is_some());
        let silent = current.as_ref().is_none_or(|running| {
            connector.role == Role::InterRouter && running.heard.get().elapsed() > SUSPECT
        });
        if !silent {
            tokio::select! {
                Some(Ok((id, error))) = tasks.join_next() => {
                    tracing::info!(connection = id, "connection ended: {}", chain(&error));
                }
                () = sleep(LOOK) => {}
            }
            continue;
        }
        let limit = CONNECT[attempt % CONNECT.len()];
        let now = profile.as_ref().map(|profile| profile.borrow().clone());
        match dial(&connector, now.as_ref(), limit).await {
            Ok((io, input)) => {
                attempt = 0;
                status.trouble.borrow_mut().clear();
                let settings = Settings {
                    id: core.new_connection(),
                    inter_router: connector.role == Role::InterRouter,
                    incoming: false,
                    cost: connector.cost,
                    max_frame: max_frame(connector.max_frame_size),
                    idle: half(connector.idle_timeout),
                    hostname: Some(connector.host.clone()),
                };
                let host = format!("{}:{}", connector.host, connector.port);
                let connection =
                    Connection::new(Mailbox::new(), host, false, connector.role.word(), io.is_tls());
                let new = start(&core, &mut tasks, io, input, settings, connection, connector.idle_timeout);
                older.extend(current.replace(new));
            }
            Err(error) => {
                let text = chain(&error);
                if *status.trouble.borrow() != text {
                    tracing::warn!(
                        name = connector.name,
                        "{}:{}: {text}; trying again",
                        connector.host,
                        connector.port
                    );
                    *status.trouble.borrow_mut() = text;
                }
                attempt += 1;
                match error {
                    Error::Timeout(_) => {}
                    Error::Connect(_) => sleep(RETRY).await,
                    // The other end is there and wants us not.
                    _ => sleep(REFUSED).await,
                }
            }
        }
    }
}

async fn dial(
    connector: &Connector,
    profile: Option<&SslProfile>,
    limit: Duration,
) -> Result<(Io, BytesMut), Error> {
    let connecting = TcpStream::connect((connector.host.as_str(), connector.port));
    let io = timeout(limit, connecting).await.map_err(|_| Error::Timeout(limit))?.map_err(Error::Connect)?;
    io.set_nodelay(true).map_err(Error::Connect)?;
    timeout(HANDSHAKE, shake(connector, profile, io)).await.map_err(|_| Error::Timeout(HANDSHAKE))?
}

/// TLS and SASL of a connection that was made.
async fn shake(
    connector: &Connector,
    profile: Option<&SslProfile>,
    io: TcpStream,
) -> Result<(Io, BytesMut), Error> {
    let (mut io, shows) = match profile {
        None => (Io::Plain(io), false),
        Some(profile) => {
            let (config, shows) = tls::client(profile, connector.verify_hostname)
                .map_err(|e| Error::Tls(std::io::Error::other(chain(&e))))?;
            let name = tls::server_name(&connector.host).map_err(|_| Error::Name(connector.host.clone()))?;
            let connecting = TlsConnector::from(Arc::clone(&config)).connect(name, io);
            (Io::Tls(Box::new(TlsStream::Client(connecting.await.map_err(Error::Tls)?))), shows)
        }
    };
    let input = sasl::connect(&mut io, &connector.sasl_mechanisms, shows).await?;
    Ok((io, input))
}
