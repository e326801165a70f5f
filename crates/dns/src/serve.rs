//! The server as a whole: sockets, the store, what it says of itself.

mod http;
mod tcp;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use runtime::{Backoff, Health, chain};
use store::Store;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::follow::{Follower, State};
use crate::forward::Forwarder;
use crate::server::Server;
use crate::zone::{EndpointSlice, Index, Namespace, Service};

/// The component's name in `topo status`.
pub const COMPONENT: &str = "dns";

/// What a server is told when it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where it answers, by UDP and by TCP: `0.0.0.0:53`.
    pub listen: Vec<SocketAddr>,
    /// Where `/health`, `/ready` and `/metrics` are, each at all of them; may be none. `CoreDNS` has them at
    /// the ports 8080, 8181 and 9153.
    pub http: Vec<SocketAddr>,
    /// The cluster's zone: `cluster.local`.
    pub zone: String,
    /// Where others reach it, for the zone's NS record: the address of the service `kube-dns`.
    pub name_servers: Vec<IpAddr>,
    /// The resolvers that know other names; without any there are no other names.
    pub upstreams: Vec<SocketAddr>,
    /// Whether every question is logged, under the target `dns::query`.
    pub log_queries: bool,
}

impl Options {
    /// A server for a cluster's zone on the usual ports, that asks nobody else.
    #[must_use]
    pub fn new(zone: &str) -> Self {
        let any = std::net::Ipv4Addr::UNSPECIFIED;
        Self {
            listen: vec![(any, 53).into()],
            http: vec![(any, 8080).into(), (any, 8181).into(), (any, 9153).into()],
            zone: zone.into(),
            name_servers: vec![],
            upstreams: vec![],
            log_queries: false,
        }
    }

    /// The resolvers without those that are this server itself: it would ask itself.
    fn others(&self) -> Vec<SocketAddr> {
        let own = |upstream: &SocketAddr| {
            self.listen.contains(upstream)
                || self.name_servers.contains(&upstream.ip())
                || self.listen.iter().any(|listen| {
                    listen.port() == upstream.port()
                        && listen.ip().is_unspecified()
                        && upstream.ip().is_loopback()
                })
        };
        let (own, others): (Vec<SocketAddr>, _) = self.upstreams.iter().partition(|upstream| own(upstream));
        if !own.is_empty() {
            tracing::warn!(?own, "these resolvers are this server itself, and are not asked");
        }
        others
    }
}

/// A server whose sockets are open. It answers once it runs.
#[derive(Debug)]
pub struct Bound {
    server: Arc<Server>,
    udp: Vec<tokio::net::UdpSocket>,
    tcp: Vec<tokio::net::TcpListener>,
    http: Vec<tokio::net::TcpListener>,
}

impl Bound {
    /// Opens the sockets of a server, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// A zone that is none, or an address that cannot be had.
    pub async fn open(options: &Options) -> Result<Self> {
        let index = Index::new(&options.zone, &options.name_servers)?;
        let server = Arc::new(Server::new(index, Forwarder::new(&options.others()), options.log_queries));
        let mut bound = Self { server, udp: vec![], tcp: vec![], http: vec![] };
        for address in &options.listen {
            let udp = udp::open(*address).map_err(|source| Error::listen("UDP", *address, source))?;
            // The same port for both, also where the system chooses it.
            let address = udp.local_addr().unwrap_or(*address);
            bound.udp.push(udp);
            bound.tcp.push(tcp::open(address).map_err(|source| Error::listen("TCP", address, source))?);
        }
        for address in &options.http {
            bound.http.push(tcp::open(*address).map_err(|source| Error::listen("TCP", *address, source))?);
        }
        Ok(bound)
    }

    /// Where it answers.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.udp.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Where it tells how it is.
    #[must_use]
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.http.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Answers from the store until dropped; `health` hears how that goes.
    pub async fn run(self, store: Store, health: Health) {
        let mut tasks = JoinSet::new();
        let server = self.server;
        for socket in self.udp {
            tasks.spawn(udp::serve(socket, server.clone()));
        }
        let connections = Arc::new(Semaphore::new(tcp::CONNECTIONS));
        for listener in self.tcp {
            tasks.spawn(tcp::serve(listener, server.clone(), connections.clone()));
        }
        let connections = Arc::new(Semaphore::new(http::CONNECTIONS));
        for listener in self.http {
            tasks.spawn(http::serve(listener, server.clone(), connections.clone()));
        }
        let reading = Arc::new(Semaphore::new(1));
        let mut states = Vec::new();
        let mut follower = || {
            let (state, seen) = watch::channel(State::default());
            states.push(seen);
            Follower { store: store.clone(), server: server.clone(), reading: reading.clone(), state }
        };
        tasks.spawn(follower().run::<Namespace>());
        tasks.spawn(follower().run::<Service>());
        tasks.spawn(follower().run::<EndpointSlice>());
        tell(&server, states, &health).await;
    }
}

/// Serves a cluster's names until dropped, from the network namespace of the calling thread; `health` hears
/// how that goes. It is ready once it knows them, and stays so while the store is away: it answers as it
/// last was.
///
/// # Errors
/// A zone that is none. Addresses that cannot be had are tried again.
pub async fn run(options: Options, store: Store, health: Health) -> Result<()> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let bound = loop {
        match Bound::open(&options).await {
            Ok(bound) => break bound,
            Err(error @ Error::Zone(_)) => return Err(error),
            Err(error) => health.set(COMPONENT, false, &chain(&error)),
        }
        tokio::time::sleep(backoff.after(Duration::ZERO)).await;
    };
    bound.run(store, health).await;
    Ok(())
}

/// Says how the kinds are followed, whenever that changes.
async fn tell(server: &Server, mut states: Vec<watch::Receiver<State>>, health: &Health) {
    loop {
        let now: Vec<State> = states.iter_mut().map(|state| state.borrow_and_update().clone()).collect();
        let synced = now.iter().all(|state| state.synced);
        if synced && !server.synced() {
            server.set_synced();
            let (services, slices) = server.counts();
            tracing::info!(services, slices, "the zone is known");
        }
        let trouble = now.iter().find_map(|state| state.error.as_deref().filter(|_| !state.connected));
        let message = match (synced, trouble) {
            (true, None) => String::new(),
            (true, Some(trouble)) => format!("answers as it last knew: {trouble}"),
            (false, None) => "reading the cluster's names".into(),
            (false, Some(trouble)) => trouble.into(),
        };
        health.set(COMPONENT, synced, &message);
        let changes = states.iter_mut().map(|state| Box::pin(state.changed()));
        let (changed, ..) = futures_util::future::select_all(changes).await;
        if changed.is_err() {
            return;
        }
    }
}
