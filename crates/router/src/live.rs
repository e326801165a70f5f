//! What the running router tells of itself: to management, and as metrics.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_amqp::Value;

use crate::management::Live;
use crate::metrics::{Neighbour, Service as ServiceMetrics, Snapshot};
use crate::run::Router;
use crate::service::Service;

type Row = BTreeMap<String, Value>;

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn long(number: u64) -> Value {
    Value::Long(i64::try_from(number).unwrap_or(i64::MAX))
}

fn row<const N: usize>(attributes: [(&str, Value); N]) -> Row {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is told of a TCP service, whichever side it is.
fn counters(service: &Service) -> Vec<(&'static str, Value)> {
    let counters = &service.counters;
    vec![
        ("connectionsOpened", long(counters.opened.get())),
        ("connectionsClosed", long(counters.closed.get())),
        ("bytesIn", long(counters.bytes_in.get())),
        ("bytesOut", long(counters.bytes_out.get())),
    ]
}

impl Live for Router {
    fn attributes(&self, kind: &str, name: &str) -> Vec<(&'static str, Value)> {
        let entities = self.entities.borrow();
        match kind {
            "tcpListener" => entities.tcp_listeners.get(name).map_or_else(Vec::new, |listening| {
                let service = &listening.service;
                let mut told = counters(service);
                told.push(("operStatus", text(if service.listening.get() { "up" } else { "down" })));
                let message = match service.trouble.borrow().as_deref() {
                    Some(trouble) => trouble.to_owned(),
                    None if service.listening.get() => String::new(),
                    None => format!("nobody serves {}", service.address),
                };
                told.push(("connectionMsg", text(&message)));
                told
            }),
            "tcpConnector" => {
                entities.tcp_connectors.get(name).map_or_else(Vec::new, |service| counters(service))
            }
            "connector" => entities.connectors.get(name).map_or_else(Vec::new, |(_, status)| {
                let connected = status.connected.get();
                let trouble = status.trouble.borrow();
                let state = match (connected, trouble.is_empty()) {
                    (true, _) => "SUCCESS",
                    (false, true) => "CONNECTING",
                    (false, false) => "FAILED",
                };
                vec![("connectionStatus", text(state)), ("connectionMsg", text(&trouble))]
            }),
            _ => Vec::new(),
        }
    }

    fn rows(&self, kind: &str) -> Vec<Row> {
        match kind {
            "connection" => self.connection_rows(),
            "router.node" => self.node_rows(),
            "router.address" => self.address_rows(),
            _ => Vec::new(),
        }
    }
}

impl Router {
    fn connection_rows(&self) -> Vec<Row> {
        let connections = self.core.connections.borrow();
        let tell = |(id, connection): (&u64, &Rc<crate::core::Connection>)| {
            let identity = id.to_string();
            let peer = connection.peer.borrow();
            row([
                ("name", text(&format!("connection/{}", connection.host))),
                ("identity", text(&identity)),
                ("host", text(&connection.host)),
                ("role", text(connection.role)),
                ("dir", text(if connection.incoming { "in" } else { "out" })),
                ("container", text(peer.as_ref().map_or("", |peer| &peer.container))),
                ("opened", Value::Bool(peer.is_some())),
                ("active", Value::Bool(peer.is_some())),
                ("isEncrypted", Value::Bool(connection.encrypted)),
                ("ssl", Value::Bool(connection.encrypted)),
                ("adminStatus", text("enabled")),
                ("operStatus", text("up")),
            ])
        };
        connections.iter().map(tell).collect()
    }

    fn node_rows(&self) -> Vec<Row> {
        let id = self.core.id();
        let node = |id: &str, next: Value, cost: Option<u64>| {
            row([
                ("name", text(&format!("router.node/{id}"))),
                ("identity", text(&format!("router.node/{id}"))),
                ("id", text(id)),
                ("protocolVersion", Value::Long(1)),
                ("nextHop", next),
                ("cost", cost.map_or(Value::Null, long)),
                ("address", text(&format!("amqp:/_topo/0/{id}"))),
            ])
        };
        self.core.with_routes(|routes| {
            let mut rows = vec![node(id, text("(self)"), None)];
            rows.extend(routes.nodes.iter().map(|(id, way)| {
                let next = if way.next_hop == *id { Value::Null } else { text(&way.next_hop) };
                let mut row = node(id, next, Some(way.cost));
                row.insert("instance".into(), Value::Long(way.instance));
                let peers = way.peers.iter().map(|peer| text(peer)).collect();
                row.insert("linkState".into(), Value::List(peers));
                let origins = way.valid_origins.iter().map(|origin| text(origin)).collect();
                row.insert("validOrigins".into(), Value::List(origins));
                row.insert("routerLink".into(), long(way.link.0));
                row
            }));
            rows
        })
    }

    fn address_rows(&self) -> Vec<Row> {
        let local = self.core.local_addresses();
        self.core.with_routes(|routes| {
            let mut all: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
            for (address, count) in &local {
                all.entry(address).or_default().0 = *count;
            }
            for (address, routers) in &routes.addresses {
                all.entry(address).or_default().1 = routers.len();
            }
            all.into_iter()
                .map(|(address, (here, elsewhere))| {
                    row([
                        ("name", text(&format!("M{address}"))),
                        ("identity", text(&format!("M{address}"))),
                        ("key", text(&format!("M{address}"))),
                        ("subscriberCount", long(here as u64)),
                        ("remoteCount", long(elsewhere as u64)),
                    ])
                })
                .collect()
        })
    }

    /// For `/metrics`.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let entities = self.entities.borrow();
        let connections = self.core.connections.borrow();
        let totals = &self.core.totals;
        let told = |kind, service: &Service, up| {
            let counters = &service.counters;
            ServiceMetrics {
                kind,
                name: service.name.clone(),
                address: service.address.clone(),
                bytes_in: counters.bytes_in.get(),
                bytes_out: counters.bytes_out.get(),
                opened: counters.opened.get(),
                closed: counters.closed.get(),
                failed: counters.failed.get(),
                up,
            }
        };
        let listeners =
            entities.tcp_listeners.values().map(|l| told("listener", &l.service, l.service.listening.get()));
        let connectors =
            entities.tcp_connectors.values().map(|s| told("connector", s, s.trouble.borrow().is_none()));
        let neighbours = connections.values().filter(|c| c.role == "inter-router").filter_map(|connection| {
            let peer = connection.peer.borrow();
            let router = peer.as_ref()?.container.clone();
            let traffic = &connection.traffic;
            let (bytes_in, bytes_out) = (traffic.bytes_in.get(), traffic.bytes_out.get());
            Some(Neighbour { cost: peer.as_ref()?.cost, router, bytes_in, bytes_out })
        });
        let (addresses, routers) = self.core.with_routes(|routes| {
            let local = self.core.local_addresses();
            let elsewhere = routes.addresses.keys().filter(|address| !local.contains_key(*address)).count();
            (local.len() + elsewhere, routes.nodes.len())
        });
        Snapshot {
            connections: connections.len() as u64,
            addresses: addresses as u64,
            routers: routers as u64,
            accepted: totals.accepted.get(),
            released: totals.released.get(),
            rejected: totals.rejected.get(),
            modified: totals.modified.get(),
            ingress: totals.ingress.get(),
            egress: totals.egress.get(),
            transit: totals.transit.get(),
            uptime_seconds: self.started.elapsed().as_secs(),
            services: listeners.chain(connectors).collect(),
            neighbours: neighbours.collect(),
            ..Snapshot::default()
        }
    }
}
