//! Services and what is behind them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::names;
use api::types::api::core::v1::{Service, ServicePort, ServiceSpec};
use api::types::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};
use store::{ObjectName, Objects};

use super::draft::Draft;
use super::{Behind, Cluster, Settings};
use crate::model::{Balance, Choice, Endpoint, Upstream};

/// The label that tells to which service a slice belongs.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Every service with its endpoints.
#[derive(Debug)]
pub(super) struct Backends<'a> {
    services: &'a Objects<Service>,
    slices: BTreeMap<ObjectName, Vec<&'a EndpointSlice>>,
    resolver: Option<IpAddr>,
}

/// A service's port, as an object names it.
#[derive(Debug, Clone, Copy)]
pub(super) enum PortRef<'a> {
    Number(i32),
    Name(&'a str),
    /// The first that there is.
    First,
}

/// How a service is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manner {
    /// By its own address, else by those of its endpoints.
    pub(super) by_service: bool,
    pub(super) balance: Balance,
    pub(super) max_fails: u32,
    pub(super) fail_timeout: u32,
}

impl Default for Manner {
    fn default() -> Self {
        // nginx's own: after one failure an endpoint is left alone for ten seconds.
        Self { by_service: false, balance: Balance::RoundRobin, max_fails: 1, fail_timeout: 10 }
    }
}

impl Manner {
    /// What tells upstreams of the same service apart.
    fn suffix(&self) -> String {
        if self.by_service {
            return ".service".into();
        }
        let mut suffix = match &self.balance {
            Balance::RoundRobin => String::new(),
            Balance::LeastConnections => ".least-conn".into(),
            Balance::ClientAddress => ".ip-hash".into(),
            Balance::Cookie(name) => format!(".cookie-{name}"),
            Balance::Variable(name) => format!(".hash-{name}"),
        };
        let usual = Self::default();
        if (self.max_fails, self.fail_timeout) != (usual.max_fails, usual.fail_timeout) {
            suffix.push_str(&format!(".fails-{}-{}", self.max_fails, self.fail_timeout));
        }
        suffix
    }
}

/// Why a service cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl<'a> Backends<'a> {
    pub(super) fn new(cluster: &'a Cluster, settings: &Settings) -> Self {
        let mut slices: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, slice) in cluster.slices.iter() {
            let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
            if let Some(service) = service {
                let service = ObjectName::new(&name.namespace, service);
                slices.entry(service).or_default().push(slice.as_ref());
            }
        }
        Self { services: &cluster.services, slices, resolver: settings.resolver }
    }

    /// Where requests for a service's port go. Adds the upstream to the model.
    pub(super) fn choose(
        &self,
        namespace: &str,
        name: &str,
        port: PortRef<'_>,
        manner: &Manner,
        draft: &mut Draft<'_>,
    ) -> Result<Choice, Fault> {
        let service_name = ObjectName::new(namespace, name);
        let service = self.services.get(&service_name).ok_or_else(|| Fault {
            reason: "ServiceNotFound",
            message: format!("service {service_name} does not exist"),
        })?;
        let empty = ServiceSpec::default();
        let spec = service.spec.as_ref().unwrap_or(&empty);
        if spec.type_.as_deref() == Some("ExternalName") {
            return self.elsewhere(&service_name, spec.external_name.as_deref(), port, draft);
        }
        let ports = spec.ports.as_deref().unwrap_or_default();
        let port = find_port(&service_name, ports, port)?;
        let address = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
        let manner = Manner { by_service: manner.by_service && address.is_some(), ..manner.clone() };
        let key = format!("{namespace}.{name}.{}{}", port.port, manner.suffix());
        if draft.model.upstreams.contains_key(&key) {
            return Ok(Choice::Upstream(key));
        }
        let (mut endpoints, total) = self.endpoints(&service_name, port);
        let backend = format!("{service_name}:{}", port.port);
        draft.behind(&key, Behind { backend, ready: endpoints.len(), total: Some(total) });
        if endpoints.is_empty() {
            return Ok(Choice::Nobody(503, key));
        }
        let mut about = format!("Service {service_name}, port {}{}", port.port, port_name(port));
        match address {
            Some(address) if manner.by_service => {
                about.push_str(": its own address");
                endpoints = vec![Endpoint { address: at_port(address, port.port), pod: None }];
            }
            _ => about.push_str(&format!(": {} of {total} endpoints are ready", endpoints.len())),
        }
        let upstream = Upstream {
            about,
            endpoints,
            balance: manner.balance,
            // Who keeps connections to a service's address always gets the same endpoint.
            keepalive: !manner.by_service,
            max_fails: if manner.by_service { 0 } else { manner.max_fails },
            fail_timeout: manner.fail_timeout,
        };
        draft.model.upstreams.insert(key.clone(), upstream);
        Ok(Choice::Upstream(key))
    }

    fn elsewhere(
        &self,
        service: &ObjectName,
        to: Option<&str>,
        port: PortRef<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Choice, Fault> {
        let to = to.unwrap_or_default().trim_end_matches('.');
        let fault = |reason, why: &str| Err(Fault { reason, message: format!("service {service} {why}") });
        if !names::dns_subdomain(to).is_empty() {
            return fault("InvalidExternalName", "is a name elsewhere, but no well-formed one");
        }
        let PortRef::Number(port) = port else {
            return fault("PortNotFound", "is a name elsewhere, so its port has to be a number");
        };
        if self.resolver.is_none() {
            return fault("NoResolver", "is a name elsewhere, and there is no DNS server to ask for it");
        }
        let name = format!("{to}:{port}");
        draft.behind(&name, Behind { backend: name.clone(), ready: 1, total: None });
        Ok(Choice::Name(name))
    }

    /// The endpoints that take requests, and how many there are in all.
    fn endpoints(&self, service: &ObjectName, port: &ServicePort) -> (Vec<Endpoint>, usize) {
        let (mut ready, mut ending) = (BTreeMap::new(), BTreeMap::new());
        let mut total = 0;
        for slice in self.slices.get(service).into_iter().flatten() {
            let wanted = port.name.as_deref().unwrap_or_default();
            let ports = slice.ports.as_deref().unwrap_or_default();
            let same = |p: &&api::types::api::discovery::v1::EndpointPort| {
                p.name.as_deref().unwrap_or_default() == wanted
            };
            let Some(number) = ports.iter().find(same).and_then(|port| port.port) else { continue };
            for endpoint in &slice.endpoints {
                let addresses = endpoint.addresses.iter().filter_map(|ip| ip.parse::<IpAddr>().ok());
                for address in addresses {
                    total += 1;
                    let one = Endpoint { address: at_port(address, number), pod: pod(endpoint, service) };
                    match state(endpoint) {
                        State::Ready => drop(ready.insert((address, number), one)),
                        State::Ending => drop(ending.insert((address, number), one)),
                        State::NotReady => {}
                    }
                }
            }
        }
        // As kube-proxy: where all are going, those that still serve are better than none.
        let used = if ready.is_empty() { ending } else { ready };
        (used.into_values().collect(), total)
    }
}

enum State {
    Ready,
    Ending,
    NotReady,
}

fn state(endpoint: &SliceEndpoint) -> State {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    if conditions.ready.unwrap_or(true) {
        State::Ready
    } else if conditions.serving == Some(true) && conditions.terminating == Some(true) {
        State::Ending
    } else {
        State::NotReady
    }
}

fn pod(endpoint: &SliceEndpoint, service: &ObjectName) -> Option<String> {
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"))?;
    let namespace = target.namespace.as_deref().unwrap_or(&service.namespace);
    Some(format!("{namespace}/{}", target.name.as_deref()?))
}

fn find_port<'p>(
    service: &ObjectName,
    ports: &'p [ServicePort],
    wanted: PortRef<'_>,
) -> Result<&'p ServicePort, Fault> {
    let is_tcp = |port: &&ServicePort| port.protocol.as_deref().unwrap_or("TCP") == "TCP";
    let found = ports.iter().filter(is_tcp).find(|port| match wanted {
        PortRef::Number(number) => port.port == number,
        PortRef::Name(name) => port.name.as_deref() == Some(name),
        PortRef::First => true,
    });
    found.ok_or_else(|| {
        let shown = |port: &ServicePort| format!("{}{}", port.port, port_name(port));
        let there: Vec<_> = ports.iter().filter(is_tcp).map(shown).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let wanted = match wanted {
            PortRef::Number(number) => number.to_string(),
            PortRef::Name(name) => name.to_owned(),
            PortRef::First => "at all".to_owned(),
        };
        let message = format!("service {service} has no TCP port {wanted}; it has {there}");
        Fault { reason: "PortNotFound", message }
    })
}

/// As ` (http)`; empty for a port without a name.
fn port_name(port: &ServicePort) -> String {
    port.name.as_deref().filter(|n| !n.is_empty()).map(|n| format!(" ({n})")).unwrap_or_default()
}

fn at_port(address: IpAddr, port: i32) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

/// Endpoints behind a service's port, by its number: those that take requests, and all.
pub(crate) fn service_behind(cluster: &Cluster, service: &ObjectName, port: i32) -> Option<(usize, usize)> {
    let backends = Backends::new(cluster, &Settings::new(""));
    let ports = backends.services.get(service)?.spec.as_ref()?.ports.as_deref()?;
    let port = find_port(service, ports, PortRef::Number(port)).ok()?;
    let (endpoints, total) = backends.endpoints(service, port);
    Some((endpoints.len(), total))
}

/// Who gets requests of a choice, and how many percent of them where that is by chance.
pub(super) fn shares(
    choice: &Choice,
    percent: Option<u32>,
    behind: &BTreeMap<String, Behind>,
    shares: &mut Vec<(Option<u32>, Behind)>,
) {
    match choice {
        Choice::Nobody(_, name) => {
            let unknown = || Behind { backend: name.clone(), ready: 0, total: Some(0) };
            shares.push((percent, behind.get(name).cloned().unwrap_or_else(unknown)));
        }
        Choice::Upstream(name) | Choice::Address(name) | Choice::Name(name) => {
            let unknown = || Behind { backend: name.clone(), ready: 1, total: None };
            shares.push((percent, behind.get(name).cloned().unwrap_or_else(unknown)));
        }
        Choice::Split(parts) => {
            let sum: u64 = parts.iter().map(|(weight, _)| u64::from(*weight)).sum();
            for (weight, part) in parts {
                let share = u64::from(*weight) * u64::from(percent.unwrap_or(100)) / sum.max(1);
                self::shares(part, u32::try_from(share).ok(), behind, shares);
            }
        }
        Choice::Match { arms, otherwise, .. } => {
            self::shares(otherwise, percent, behind, shares);
            for (_, choice) in arms {
                if choice != otherwise.as_ref() {
                    self::shares(choice, Some(0), behind, shares);
                }
            }
        }
    }
}
