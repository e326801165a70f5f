//! From objects to what they want of the table. Pure.
//!
//! Sources: kubernetes `pkg/proxy/{serviceport,endpointslicecache,topology}.go` and `pkg/proxy/nftables/proxier.go`
//! (which endpoints, whose source addresses change), KEP-1669 (endpoints that end), KEP-2086
//! (internalTrafficPolicy), KEP-4444 (trafficDistribution).

mod endpoints;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::VirtualIP;
use nft::ruleset::Family;
use store::ObjectName;

use crate::frontend::{Backend, Balance, Frontend, Masquerade, Place, Protocol, Target};
use crate::layout::MOST;
use crate::objects::{EndpointSlice, PROXY_NAME, Service};
use crate::state::Plan;

use endpoints::{Found, endpoints};

/// Three hours (`v1.DefaultClientIPServiceAffinitySeconds`).
const AFFINITY: u32 = 10_800;
/// A day (`v1.MaxClientIPServiceAffinitySeconds`).
const AFFINITY_MOST: u32 = 86_400;

/// What of the worker matters for a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its name.
    pub node: String,
    /// Its zone, if it has one.
    pub zone: Option<String>,
    /// The family of the table.
    pub family: Family,
}

/// What a service wants, given its slices.
#[must_use]
pub fn service<'a>(
    service: &Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice> + Clone,
    worker: &Worker,
) -> Plan {
    let mut plan = Plan::default();
    let spec = &service.spec;
    let labels = service.metadata.labels.as_ref();
    let others = labels.is_some_and(|labels| labels.contains_key(PROXY_NAME));
    let headless = &*spec.cluster_ip == "None" || spec.cluster_ips.iter().any(|ip| &**ip == "None");
    if others || headless || &*spec.kind == "ExternalName" {
        return plan;
    }
    let name = ObjectName::of(&service.metadata);
    let addresses = Addresses::of(service, worker.family);
    for port in &spec.ports {
        let owner: Arc<str> = match &*port.name {
            "" => name.to_string().into(),
            port => format!("{name}:{port}").into(),
        };
        let number = |number: i32| u16::try_from(number).ok().filter(|number| *number > 0);
        let (Some(protocol), Some(at)) = (Protocol::parse(&port.protocol), number(port.port)) else {
            plan.warnings.push(format!("service {owner}: port {}/{} cannot be", port.port, port.protocol));
            continue;
        };
        let found = endpoints(service, port, slices.clone(), worker);
        let affinity = affinity(service);
        for backends in [&found.cluster, &found.local] {
            if backends.len() > MOST {
                let count = backends.len();
                plan.warnings.push(format!("service {owner}: only {MOST} of its {count} endpoints are used"));
            }
        }
        let port = Port { owner, protocol, at, node_port: number(port.node_port), found, affinity };
        port.plan(service, &addresses, &mut plan);
    }
    plan.cluster_ips = addresses.cluster;
    plan
}

fn affinity(service: &Service) -> Option<u32> {
    let config = service.spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds).unwrap_or(AFFINITY);
    (&*service.spec.session_affinity == "ClientIP").then_some(seconds.clamp(1, AFFINITY_MOST))
}

/// The addresses of a service, of one family.
struct Addresses {
    cluster: BTreeSet<IpAddr>,
    external: BTreeSet<IpAddr>,
}

impl Addresses {
    fn of(service: &Service, family: Family) -> Self {
        let parse = |text: &str| text.parse::<IpAddr>().ok().filter(|ip| Family::of(*ip) == family);
        let spec = &service.spec;
        let cluster = spec.cluster_ips.iter().chain([&spec.cluster_ip]).filter_map(|ip| parse(ip)).collect();
        let balancer = service.status.load_balancer.ingress.iter();
        // Packets to a balancer that is a proxy come with another address.
        let balancer = balancer.filter(|ingress| &*ingress.ip_mode != "Proxy").map(|ingress| &ingress.ip);
        let balancer = balancer.filter(|_| &*spec.kind == "LoadBalancer");
        let external = spec.external_ips.iter().chain(balancer).filter_map(|ip| parse(ip)).collect();
        Self { cluster, external }
    }
}

/// One port of a service.
struct Port {
    owner: Arc<str>,
    protocol: Protocol,
    at: u16,
    node_port: Option<u16>,
    found: Found,
    affinity: Option<u32>,
}

impl Port {
    fn plan(&self, service: &Service, addresses: &Addresses, plan: &mut Plan) {
        let spec = &service.spec;
        let internal = &*spec.internal_traffic_policy == "Local";
        let target = if internal { self.local() } else { self.cluster() };
        let balance = self.balance(target, Masquerade::Outside);
        let at = |ip: &IpAddr| Place::Address(*ip, self.protocol, self.at);
        plan.frontends.extend(addresses.cluster.iter().map(|ip| (Frontend::new(at(ip)), balance.clone())));

        let on_nodes = matches!(&*spec.kind, "NodePort" | "LoadBalancer");
        let node_port = self.node_port.filter(|_| on_nodes).map(|port| Place::NodePort(self.protocol, port));
        let places: Vec<_> = addresses.external.iter().map(at).chain(node_port).collect();
        let local = &*spec.external_traffic_policy == "Local";
        // With the policy Local a client inside of the pod network is served as at the cluster's address, for its
        // packets need not come back the way they went.
        let masquerade = if local { Masquerade::Outside } else { Masquerade::Always };
        for place in places {
            plan.frontends.insert(Frontend::new(place), self.balance(self.cluster(), masquerade));
            if local {
                plan.frontends
                    .insert(Frontend::outside(place), self.balance(self.local(), Masquerade::Never));
            }
        }
    }

    fn balance(&self, target: Target, masquerade: Masquerade) -> Balance {
        Balance { owner: Arc::clone(&self.owner), target, masquerade, affinity: self.affinity }
    }

    fn cluster(&self) -> Target {
        match &self.found.cluster {
            none if none.is_empty() => Target::Reject,
            backends => Target::Backends(backends.clone()),
        }
    }

    fn local(&self) -> Target {
        match &self.found.local {
            none if !none.is_empty() => Target::Backends(none.clone()),
            // Somebody else may serve the client, so that it should try again.
            _ if !self.found.cluster.is_empty() => Target::Drop,
            _ => Target::Reject,
        }
    }
}

/// Where a pod is, or last was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAddress {
    /// Its address.
    pub address: IpAddr,
    /// Whether it is on this worker.
    pub local: bool,
}

/// What a virtual IP wants, given where its pods are. A pod of which that is not known has no share.
#[must_use]
pub fn virtual_ip(vip: &VirtualIP, pods: &BTreeMap<ObjectName, PodAddress>, worker: &Worker) -> Plan {
    let mut plan = Plan::default();
    let name = ObjectName::of(&vip.metadata);
    let of_family = |address: &IpAddr| Family::of(*address) == worker.family;
    let Some(address) = vip.spec.address.parse::<IpAddr>().ok().filter(of_family) else {
        plan.warnings.push(format!("virtual IP {name}: {} is no address of this cluster", vip.spec.address));
        return plan;
    };
    let mut backends = Vec::new();
    for pod in &vip.spec.pods {
        let pod = ObjectName::new(&name.namespace, pod);
        match pods.get(&pod) {
            Some(PodAddress { address, local }) => {
                backends.push(Backend {
                    address: *address,
                    port: 0,
                    local: *local,
                    name: pod.to_string().into(),
                });
            }
            None => plan.warnings.push(format!("virtual IP {name}: pod {pod} has no address yet")),
        }
    }
    for text in &vip.spec.addresses {
        match text.parse() {
            Ok(address) => backends.push(Backend { address, port: 0, local: false, name: "".into() }),
            Err(_) => plan.warnings.push(format!("virtual IP {name}: {text} is no address")),
        }
    }
    backends.retain(|backend| of_family(&backend.address));
    let mut seen = BTreeSet::new();
    backends.retain(|backend| seen.insert(backend.address));
    let target = if backends.is_empty() { Target::Reject } else { Target::Backends(backends) };
    let balance =
        Balance { owner: name.to_string().into(), target, masquerade: Masquerade::Outside, affinity: None };
    plan.frontends.insert(Frontend::new(Place::Virtual(address)), balance);
    plan
}

#[cfg(test)]
mod tests;
