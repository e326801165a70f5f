//! What is served, for people: `topo ingress show`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;

use api::VirtualIP;
use api::types::api::core::v1::Pod;
use serde::Serialize;
use store::{ObjectName, Objects};

use crate::model::Owner;
use crate::plan::{Behind, Cluster, Except, Route, Settings, plan, service_behind};

/// Columns of [`Shown::rows`].
pub const COLUMNS: [&str; 8] = ["NODE", "PORT", "HOST", "PATH", "BACKEND", "ENDPOINTS", "HEALTH", "OBJECT"];
/// The node of what all nodes serve alike.
const ALL: &str = "*";

/// A node that serves, and the address that objects' statuses have for it.
#[derive(Debug, Clone)]
pub struct Node {
    /// How it plans.
    pub settings: Settings,
    /// As `10.0.0.3`.
    pub address: String,
}

/// Objects beside those of a [`Cluster`], which tell what is behind addresses.
#[derive(Debug, Default)]
pub struct Addresses {
    /// Addresses that stand for pods.
    pub virtual_ips: Objects<VirtualIP>,
    /// The pods.
    pub pods: Objects<Pod>,
}

/// A backend of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// As `default/web:80`, or an address.
    pub backend: String,
    /// Its share of requests in percent, where it is by chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// Endpoints that take requests.
    pub ready: usize,
    /// All of them; none where nobody counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The port.
    pub port: u16,
    /// The host, `*` for all others.
    pub host: String,
    /// The path and how it is compared.
    pub path: String,
    /// As `Ingress default/web`.
    pub object: String,
    /// The node that serves it, `*` for all.
    pub node: String,
    /// Where to.
    pub backends: Vec<Backend>,
    /// What happens instead, as `redirect 308`; empty where requests are passed on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instead: String,
    /// `ok`, or what is not.
    pub health: String,
}

/// Everything that is served, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// By port, host and path.
    pub routes: Vec<Line>,
    /// Sentences.
    pub problems: BTreeSet<String>,
}

/// What the nodes of a cluster serve.
#[must_use]
pub fn show(cluster: &Cluster, addresses: &Addresses, nodes: &[Node]) -> Shown {
    let mut shown = Shown::default();
    // By what they are without their nodes.
    let mut lines: BTreeMap<Line, Vec<&str>> = BTreeMap::new();
    for node in nodes {
        let plan = plan(cluster, &node.settings, &Except::default());
        shown.problems.extend(plan.problems.iter().map(ToString::to_string));
        for route in &plan.routes {
            let served = is_served(cluster, &route.owner, &node.address);
            if let Err(Some(why)) = &served {
                shown.problems.insert(format!("{}: {why}", route.owner));
            }
            let line = line(cluster, addresses, route, served.is_ok());
            lines.entry(line).or_default().push(&node.settings.node);
        }
    }
    for (line, on) in lines {
        if on.len() == nodes.len() && on.len() > 1 {
            shown.routes.push(Line { node: ALL.into(), ..line });
        } else {
            shown.routes.extend(on.into_iter().map(|node| Line { node: node.into(), ..line.clone() }));
        }
    }
    shown.routes.sort();
    shown
}

fn line(cluster: &Cluster, addresses: &Addresses, route: &Route, is_served: bool) -> Line {
    let backend = |(percent, behind): &(Option<u32>, Behind)| {
        let (ready, total) = behind
            .total
            .map(|total| (behind.ready, total))
            .or_else(|| at_address(cluster, addresses, &behind.backend))
            .map_or((behind.ready, None), |(ready, total)| (ready, Some(total)));
        Backend { backend: behind.backend.clone(), percent: *percent, ready, total }
    };
    let backends: Vec<_> = route.to.iter().map(backend).collect();
    let health = if !is_served {
        "not served"
    } else if is_error(&route.instead) {
        "error"
    } else if backends.iter().any(|one| one.total.is_some() && one.ready == 0) {
        "no endpoint"
    } else if backends.iter().any(|one| one.total.is_some_and(|total| one.ready < total)) {
        "degraded"
    } else {
        "ok"
    };
    Line {
        port: route.port,
        host: route.host.clone(),
        path: route.path.clone(),
        object: route.owner.to_string(),
        node: String::new(),
        backends,
        instead: route.instead.clone(),
        health: health.into(),
    }
}

/// Whether an answer that takes the place of a backend's is an error, as `503: no such service`.
fn is_error(instead: &str) -> bool {
    let status = instead.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse::<u16>().ok());
    status.is_some_and(|status| status >= 400)
}

/// Whether a node says that it serves an object, and if not, why.
fn is_served(cluster: &Cluster, owner: &Owner, address: &str) -> Result<(), Option<String>> {
    let name = ObjectName::new(&owner.namespace, &owner.name);
    let served = match owner.kind {
        "NodeIngress" => {
            let status = cluster.node_ingresses.get(&name).and_then(|one| one.status.clone());
            let status = status.unwrap_or_default();
            if status.ready {
                return Ok(());
            }
            return Err(Some(status.message).filter(|why| !why.is_empty()));
        }
        "Ingress" => {
            let status = cluster.ingresses.get(&name).and_then(|one| one.status.as_ref());
            let balancer = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
            balancer.into_iter().flatten().any(|one| one.ip.as_deref() == Some(address))
        }
        // One node speaks for all.
        "HTTPRoute" => cluster.http_routes.get(&name).is_some_and(|route| route.status.is_some()),
        _ => true,
    };
    if served { Ok(()) } else { Err(None) }
}

/// Endpoints behind an address that is a service's or a virtual one: those that are ready, and all.
fn at_address(cluster: &Cluster, addresses: &Addresses, backend: &str) -> Option<(usize, usize)> {
    let address: SocketAddr = backend.parse().ok()?;
    let ip = address.ip().to_string();
    for (name, service) in cluster.services.iter() {
        let spec = service.spec.as_ref();
        if spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some(&ip) {
            return service_behind(cluster, name, i32::from(address.port()));
        }
    }
    let (name, vip) = addresses.virtual_ips.iter().find(|(_, vip)| vip.spec.address == ip)?;
    let is_ready = |pod: &&String| {
        let pod = addresses.pods.get(&ObjectName::new(&name.namespace, pod));
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_deref());
        conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
    };
    let others = vip.spec.addresses.len();
    Some((vip.spec.pods.iter().filter(is_ready).count() + others, vip.spec.pods.len() + others))
}

impl Shown {
    /// A row for each route and, where requests are shared, for each of its backends.
    #[must_use]
    pub fn rows(&self) -> Vec<[String; 8]> {
        self.routes.iter().flat_map(rows_of).collect()
    }

    /// The rows as an aligned table, and below it what is wrong.
    #[must_use]
    pub fn table(&self) -> String {
        let rows = self.rows();
        let mut text = String::new();
        if rows.is_empty() {
            text.push_str("no routes\n");
        } else {
            let width = |i: usize| {
                let longest = rows.iter().map(|row| row[i].chars().count()).max().unwrap_or_default();
                longest.max(COLUMNS[i].len())
            };
            let widths: Vec<_> = (0..COLUMNS.len()).map(width).collect();
            print(&mut text, &COLUMNS.map(str::to_owned), &widths);
            rows.iter().for_each(|row| print(&mut text, row, &widths));
        }
        if !self.problems.is_empty() {
            text.push('\n');
        }
        for problem in &self.problems {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{problem}");
        }
        text
    }
}

fn rows_of(line: &Line) -> Vec<[String; 8]> {
    let row = |backend: String, endpoints: String| {
        let Line { node, host, path, health, object, .. } = line.clone();
        [node, line.port.to_string(), host, path, backend, endpoints, health, object]
    };
    if line.backends.is_empty() {
        return vec![row(line.instead.clone(), "-".into())];
    }
    let backend = |one: &Backend| {
        let share = one.percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
        let endpoints = one.total.map_or_else(|| "-".into(), |total| format!("{}/{total}", one.ready));
        row(format!("{}{share}", one.backend), endpoints)
    };
    line.backends.iter().map(backend).collect()
}

fn print(text: &mut String, cells: &[String; 8], widths: &[usize]) {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(line, "{cell:width$}  ");
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::sample;

    #[test]
    fn routes_and_problems() {
        let mut cluster = sample::cluster(
            "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: fanout}
spec:
  rules:
  - host: foo.bar.com
    http:
      paths:
      - {path: /foo, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}
      - {path: /bar, pathType: Exact, backend: {service: {name: none, port: {number: 80}}}}
      - {path: /baz, pathType: Exact, backend: {service: {name: missing, port: {number: 80}}}}
---
apiVersion: knetsim.dev/v1
kind: NodeIngress
metadata: {name: grp1}
spec: {node: C0w1, port: 8001, paths: [{path: /svc1, backend: '100.64.11.1:8000'}, {path: /x, backend: '1.2.3.4:5'}]}
---
apiVersion: knetsim.dev/v1
kind: NodeIngress
metadata: {name: grp2}
spec: {node: C0w2, port: 8001, paths: [{path: /, backend: '100.64.0.7:80'}]}",
        );
        sample::service(&mut cluster, "one", 80, &["11.10.0.2", "11.20.0.2"]);
        sample::service(&mut cluster, "none", 80, &[]);
        let ingresses = Arc::make_mut(&mut cluster.ingresses);
        let fanout = Arc::make_mut(ingresses.get_mut(&ObjectName::new("default", "fanout")).unwrap());
        let status = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.3"}]}});
        fanout.status = Some(serde_json::from_value(status).unwrap());
        for (name, ready, message) in [("grp1", true, ""), ("grp2", false, "nginx is not on this machine")] {
            let one = Arc::make_mut(&mut cluster.node_ingresses).get_mut(&ObjectName::new("", name)).unwrap();
            Arc::make_mut(one).status = Some(api::NodeIngressStatus { ready, message: message.into() });
        }
        let one = Arc::make_mut(&mut cluster.services).get_mut(&ObjectName::new("default", "one")).unwrap();
        Arc::make_mut(one).spec.as_mut().unwrap().cluster_ip = Some("100.64.0.7".into());
        let ready = json!({
            "metadata": {"name": "ic0", "namespace": "default"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        let vip = json!({
            "metadata": {"name": "vip", "namespace": "default"},
            "spec": {"address": "100.64.11.1", "pods": ["ic0", "ic1"]},
        });
        let mut addresses = Addresses::default();
        let vip: VirtualIP = serde_json::from_value(vip).unwrap();
        addresses.virtual_ips.insert(ObjectName::of(&vip.metadata), Arc::new(vip));
        let ready: Pod = serde_json::from_value(ready).unwrap();
        addresses.pods.insert(ObjectName::of(&ready.metadata), Arc::new(ready));
        let node =
            |name: &str, address: &str| Node { settings: Settings::new(name), address: address.into() };
        let nodes = [node("C0w1", "10.0.0.3"), node("C0w2", "10.0.0.4")];
        insta::assert_snapshot!(show(&cluster, &addresses, &nodes).table());
        assert_eq!(Shown::default().table(), "no routes\n");
    }
}
