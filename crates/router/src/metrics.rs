//! What a router tells over HTTP: `/healthz` and `/metrics`, in Prometheus' text form (version 0.0.4).
//!
//! Names that upstream has (`src/http-libwebsockets.c`) mean what they mean there. Upstream tells nothing of
//! single services; the families `qdr_tcp_…` do.

use std::fmt::Write as _;

/// The state of a router at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// AMQP connections.
    pub connections: u64,
    /// AMQP links.
    pub links: u64,
    /// Addresses with a consumer, here or elsewhere.
    pub addresses: u64,
    /// Other routers that can be reached.
    pub routers: u64,
    /// Deliveries that ended accepted.
    pub accepted: u64,
    /// Deliveries that ended released.
    pub released: u64,
    /// Deliveries that ended rejected.
    pub rejected: u64,
    /// Deliveries that ended modified.
    pub modified: u64,
    /// Deliveries that came from clients.
    pub ingress: u64,
    /// Deliveries that went to consumers here.
    pub egress: u64,
    /// Deliveries that came from a router and went to a router.
    pub transit: u64,
    /// When the network last changed, in seconds since 1970; 0: never.
    pub last_topology_change: u64,
    /// Since the start.
    pub uptime_seconds: u64,
    /// Every tcpListener and tcpConnector.
    pub services: Vec<Service>,
    /// Every connection to another router.
    pub neighbours: Vec<Neighbour>,
}

/// A tcpListener or tcpConnector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `listener` or `connector`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The address that it leads to or serves.
    pub address: String,
    /// Bytes that came from the client or server.
    pub bytes_in: u64,
    /// Bytes that went to the client or server.
    pub bytes_out: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that have ended.
    pub closed: u64,
    /// Connections that never worked: the server refused, or nobody served the address.
    pub failed: u64,
    /// Whether it listens, or its server last answered.
    pub up: bool,
}

/// A connection to another router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// The other's id.
    pub router: String,
    /// The cost of the link.
    pub cost: u32,
    /// Bytes that came.
    pub bytes_in: u64,
    /// Bytes that went.
    pub bytes_out: u64,
}

/// An answer to an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The header `content-type`.
    pub content_type: &'static str,
    /// The body; not to be sent where the method is HEAD.
    pub body: String,
}

/// Answers a request to a listener that may tell its health, its metrics, or both.
#[must_use]
pub fn page(
    method: &str,
    target: &str,
    healthz: bool,
    metrics: bool,
    snapshot: impl FnOnce() -> Snapshot,
) -> Page {
    let plain = |status, body: &str| Page { status, content_type: "text/plain", body: body.to_owned() };
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    match path {
        "/healthz" if healthz => {}
        "/metrics" if metrics => {}
        _ => {
            return plain(
                404,
                "not found: there are /healthz and /metrics, where the listener has them on\n",
            );
        }
    }
    match (method, path) {
        ("GET" | "HEAD", "/healthz") => plain(200, "OK\n"),
        ("GET" | "HEAD", _) => {
            Page { status: 200, content_type: "text/plain; version=0.0.4", body: text(&snapshot()) }
        }
        _ => plain(405, "only GET and HEAD\n"),
    }
}

/// What a service counts.
type Count = fn(&Service) -> u64;
/// One family: name, type, meaning.
type Family = (&'static str, &'static str, &'static str);

/// The state as text.
#[must_use]
pub fn text(snapshot: &Snapshot) -> String {
    let mut out = Text(String::new());
    let plain: [(Family, u64); 14] = [
        (("qdr_connections_total", "gauge", "AMQP connections"), snapshot.connections),
        (("qdr_links_total", "gauge", "AMQP links"), snapshot.links),
        (("qdr_addresses_total", "gauge", "Addresses with a consumer somewhere"), snapshot.addresses),
        (("qdr_routers_total", "gauge", "Other routers that can be reached"), snapshot.routers),
        (("qdr_accepted_deliveries_total", "counter", "Deliveries accepted"), snapshot.accepted),
        (("qdr_released_deliveries_total", "counter", "Deliveries released"), snapshot.released),
        (("qdr_rejected_deliveries_total", "counter", "Deliveries rejected"), snapshot.rejected),
        (("qdr_modified_deliveries_total", "counter", "Deliveries modified"), snapshot.modified),
        (("qdr_deliveries_ingress_total", "counter", "Deliveries from clients"), snapshot.ingress),
        (("qdr_deliveries_egress_total", "counter", "Deliveries to consumers here"), snapshot.egress),
        (("qdr_deliveries_transit_total", "counter", "Deliveries from router to router"), snapshot.transit),
        (
            ("qdr_last_topology_change_timestamp", "gauge", "When the network last changed, since 1970"),
            snapshot.last_topology_change,
        ),
        (("qdr_uptime_seconds", "gauge", "Since the start"), snapshot.uptime_seconds),
        (
            ("qdr_services_up", "gauge", "TCP listeners that listen and connectors whose server answers"),
            snapshot.services.iter().filter(|service| service.up).count().try_into().unwrap_or(u64::MAX),
        ),
    ];
    for (family, value) in plain {
        out.family(family);
        out.sample(family.0, &[], value);
    }
    services(&mut out, &snapshot.services);
    neighbours(&mut out, &snapshot.neighbours);
    out.0
}

fn services(out: &mut Text, services: &[Service]) {
    let mut services: Vec<&Service> = services.iter().collect();
    services.sort_by_key(|service| (service.kind, &service.address, &service.name));
    let bytes = ("qdr_tcp_bytes_total", "counter", "Bytes from (in) and to (out) clients and servers");
    out.family(bytes);
    for service in &services {
        for (direction, value) in [("in", service.bytes_in), ("out", service.bytes_out)] {
            let labels = service.labels();
            let labels = [labels[0], labels[1], labels[2], ("direction", direction)];
            out.sample(bytes.0, &labels, value);
        }
    }
    let each: [(Family, Count); 5] = [
        (("qdr_tcp_connections_opened_total", "counter", "Connections opened"), |one| one.opened),
        (("qdr_tcp_connections_closed_total", "counter", "Connections that have ended"), |one| one.closed),
        (("qdr_tcp_connections_failed_total", "counter", "Connections that never worked"), |one| one.failed),
        (("qdr_tcp_connections_active", "gauge", "Connections that are open"), |one| {
            one.opened.saturating_sub(one.closed)
        }),
        (("qdr_tcp_up", "gauge", "1: it listens, or its server last answered"), |one| one.up.into()),
    ];
    for (family, value) in each {
        out.family(family);
        for service in &services {
            out.sample(family.0, &service.labels(), value(service));
        }
    }
}

fn neighbours(out: &mut Text, neighbours: &[Neighbour]) {
    let mut neighbours: Vec<&Neighbour> = neighbours.iter().collect();
    neighbours.sort_by_key(|neighbour| (&neighbour.router, neighbour.cost));
    let cost = ("qdr_neighbour_cost", "gauge", "Cost of the link to a neighbour");
    out.family(cost);
    for one in &neighbours {
        out.sample(cost.0, &[("router", &one.router)], one.cost.into());
    }
    let bytes = ("qdr_neighbour_bytes_total", "counter", "Bytes from (in) and to (out) a neighbour");
    out.family(bytes);
    for one in &neighbours {
        for (direction, value) in [("in", one.bytes_in), ("out", one.bytes_out)] {
            out.sample(bytes.0, &[("router", &one.router), ("direction", direction)], value);
        }
    }
}

impl Service {
    fn labels(&self) -> [(&'static str, &str); 3] {
        [("kind", self.kind), ("address", &self.address), ("name", &self.name)]
    }
}

struct Text(String);

impl Text {
    fn family(&mut self, (name, kind, meaning): Family) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {meaning}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let _ = match labels.as_slice() {
            [] => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
        };
    }
}

/// A label's value as the text form wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let service = |kind, name: &str| Service {
            kind,
            name: name.to_owned(),
            address: "svc1".to_owned(),
            bytes_in: 10,
            bytes_out: 2000,
            opened: 7,
            closed: 5,
            failed: 1,
            up: kind == "listener",
        };
        Snapshot {
            connections: 2,
            routers: 3,
            accepted: 9,
            last_topology_change: 1_795_408_453,
            services: vec![
                service("listener", "b"),
                service("listener", "a"),
                service("connector", "q\"\\\n"),
            ],
            neighbours: vec![Neighbour { router: "C1".to_owned(), cost: 2, bytes_in: 5, bytes_out: 6 }],
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_text_is_prometheus() {
        insta::assert_snapshot!(text(&snapshot()));
    }

    #[test]
    fn each_family_stands_together_and_each_sample_is_there_once() {
        let text = text(&snapshot());
        let mut seen: Vec<&str> = Vec::new();
        let mut samples = std::collections::BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<u64>().is_ok(), "{line}");
            assert!(samples.insert(sample), "{line}");
            let name = sample.split('{').next().unwrap();
            assert!(seen.last() == Some(&name) || !seen.contains(&name), "{line}");
            seen.push(name);
        }
    }

    #[test]
    fn pages_are_there_where_they_are_on() {
        let ask =
            |method, path, healthz, metrics| page(method, path, healthz, metrics, Snapshot::default).status;
        assert_eq!(ask("GET", "/healthz", true, false), 200);
        assert_eq!(ask("GET", "/healthz", false, true), 404);
        assert_eq!(ask("GET", "/metrics?x=1", false, true), 200);
        assert_eq!(ask("GET", "/metrics", true, false), 404);
        assert_eq!(ask("POST", "/metrics", true, true), 405);
        assert_eq!(ask("GET", "/", true, true), 404);
        let health = page("GET", "/healthz", true, true, || unreachable!("health needs no snapshot"));
        assert_eq!(health.body, "OK\n");
    }
}
