//! A pod as an endpoint of a service.
//!
//! Source: kubernetes `staging/src/k8s.io/endpointslice/{utils,reconciler}.go`,
//! `endpointslice/util/{controller_utils,endpoints}.go`.

use std::net::IpAddr;

use api::types::api::core::v1::{Container, Node, ObjectReference, Pod, Service, ServicePort, ServiceSpec};
use api::types::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForZone};
use api::types::apimachinery::pkg::util::intstr::IntOrString;

use crate::meta::Meta;
use crate::pods;

const ZONE: &str = "topology.kubernetes.io/zone";

/// Of which kind a slice's addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(service: &ServiceSpec) -> Vec<Self> {
        let of = |family: &String| if family == "IPv6" { Self::V6 } else { Self::V4 };
        match service.ip_families.as_deref() {
            None | Some([]) => vec![Self::V4],
            Some(families) => families.iter().map(of).collect(),
        }
    }

    pub(crate) fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn has(self, address: &str) -> bool {
        match address.parse() {
            Ok(IpAddr::V4(_)) => self == Self::V4,
            Ok(IpAddr::V6(_)) => self == Self::V6,
            Err(_) => false,
        }
    }
}

/// What of a pod, beside its labels, shows in endpoints; a change of anything else does not matter.
#[derive(Debug, PartialEq)]
pub(crate) struct Visible<'a> {
    addresses: Vec<&'a str>,
    ready: bool,
    deleting: bool,
    terminal: bool,
    node: &'a str,
    uid: &'a str,
}

impl<'a> Visible<'a> {
    pub(crate) fn of(pod: &'a Pod) -> Self {
        Self {
            addresses: addresses(pod).collect(),
            ready: pods::is_ready(pod),
            deleting: pod.is_deleting(),
            terminal: pods::is_terminal(pod),
            node: pods::node_name(pod),
            uid: pod.uid(),
        }
    }
}

fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let status = pod.status.as_ref();
    let many = status.and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
    // One that knows only the older field.
    let one = status.and_then(|status| status.pod_ip.as_deref()).filter(|_| many.is_empty());
    many.iter().map(|ip| ip.ip.as_str()).chain(one).filter(|ip| !ip.is_empty())
}

/// Everything that makes a pod's endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) service: &'a Service,
    pub(crate) pod: &'a Pod,
    pub(crate) node: Option<&'a Node>,
    pub(crate) family: Family,
}

impl Source<'_> {
    fn spec(&self) -> Option<&ServiceSpec> {
        self.service.spec.as_ref()
    }

    fn publishes_not_ready(&self) -> bool {
        self.spec().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or_default()
    }

    /// Whether it has one at all (`ShouldPodBeInEndpoints`). A pod on a node that is not there is left out,
    /// unless everything shall be published.
    pub(crate) fn has_endpoint(&self) -> bool {
        let placed = self.node.is_some() || self.publishes_not_ready();
        placed && !pods::is_terminal(self.pod) && self.addresses().next().is_some()
    }

    fn addresses(&self) -> impl Iterator<Item = &str> {
        addresses(self.pod).filter(|address| self.family.has(address))
    }

    fn zone(&self) -> Option<&str> {
        self.node?.label(ZONE)
    }

    /// (`ShouldSetHostname`)
    fn hostname(&self) -> Option<&str> {
        let spec = self.pod.spec.as_ref()?;
        let hostname = spec.hostname.as_deref().filter(|hostname| !hostname.is_empty())?;
        (spec.subdomain.as_deref() == Some(self.service.name())).then_some(hostname)
    }

    /// Ready, serving, terminating.
    fn conditions(&self) -> [bool; 3] {
        let (serving, terminating) = (pods::is_ready(self.pod), self.pod.is_deleting());
        [self.publishes_not_ready() || serving && !terminating, serving, terminating]
    }

    /// The zone that shall use it, where traffic prefers to stay near.
    fn hint(&self) -> Option<&str> {
        let near = self.spec()?.traffic_distribution.as_deref() == Some("PreferClose");
        self.zone().filter(|_| near)
    }

    /// The endpoint (`podToEndpoint`).
    pub(crate) fn endpoint(&self) -> Endpoint {
        let [ready, serving, terminating] = self.conditions();
        let node = Some(pods::node_name(self.pod)).filter(|node| !node.is_empty());
        Endpoint {
            addresses: self.addresses().map(Into::into).collect(),
            conditions: Some(EndpointConditions {
                ready: Some(ready),
                serving: Some(serving),
                terminating: Some(terminating),
            }),
            hostname: self.hostname().map(Into::into),
            node_name: node.map(Into::into),
            zone: self.zone().map(Into::into),
            hints: self.hint().map(|zone| EndpointHints {
                for_zones: Some(vec![ForZone { name: zone.into() }]),
                ..EndpointHints::default()
            }),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".into()),
                namespace: Some(self.pod.namespace().into()),
                name: Some(self.pod.name().into()),
                uid: Some(self.pod.uid().into()),
                ..ObjectReference::default()
            }),
            deprecated_topology: None,
        }
    }

    /// Whether the endpoint is this one, without making it: a service may have thousands, of which one has
    /// changed.
    pub(crate) fn is(&self, endpoint: &Endpoint) -> bool {
        let [ready, serving, terminating] = self.conditions();
        let conditions = endpoint.conditions.as_ref();
        let node = Some(pods::node_name(self.pod)).filter(|node| !node.is_empty());
        let zones = endpoint.hints.as_ref().map(|hints| hints.for_zones.as_deref().unwrap_or_default());
        let hint = match zones {
            None => self.hint().is_none(),
            Some([zone]) => self.hint() == Some(&zone.name),
            Some(_) => false,
        };
        conditions.is_some_and(|all| {
            (all.ready, all.serving, all.terminating) == (Some(ready), Some(serving), Some(terminating))
        }) && endpoint.addresses.iter().map(String::as_str).eq(self.addresses())
            && endpoint.hostname.as_deref() == self.hostname()
            && endpoint.node_name.as_deref() == node
            && endpoint.zone.as_deref() == self.zone()
            && hint
            && endpoint.target_ref.as_ref().is_some_and(|target| {
                target.uid.as_deref() == Some(self.pod.uid())
                    && target.name.as_deref() == Some(self.pod.name())
            })
    }
}

/// The ports under which a pod serves; a port by a name that the pod does not have is left out
/// (`getEndpointPorts`).
pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let all = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let port = |port: &ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target(port, pod)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
    };
    all.iter().filter_map(port).collect()
}

/// Whether all pods serve under the same ports.
pub(crate) fn ports_are_numbers(service: &Service) -> bool {
    let all = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    all.iter().all(|port| !matches!(port.target_port, Some(IntOrString::String(_))))
}

/// (`FindPort`)
fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let mut same = ports.filter(|one| {
        one.name.as_ref() == Some(name) && one.protocol.as_deref().unwrap_or("TCP") == protocol
    });
    same.next().map(|port| port.container_port)
}
