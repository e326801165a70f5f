//! Services, their endpoints, and what leads to them.

use api::VirtualIP;
use api::selector::Selector;
use api::types::api::core::v1::{EndpointSubset, Endpoints, LoadBalancerIngress, Service, ServicePort};
use api::types::api::discovery::v1::{EndpointPort, EndpointSlice};
use api::types::api::networking::v1::{Ingress, IngressClass, IngressLoadBalancerIngress, NetworkPolicy};
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Context, Printer, label_text, none_if_empty, typed};

fn ends(meta: &ObjectMeta, context: &Context<'_>) -> (String, String) {
    (meta.name.clone().unwrap_or_default(), context.age(meta.creation_timestamp.as_ref()))
}

/// The width of a column of load balancers' addresses, unless it is wide.
const BALANCERS: usize = 16;

pub(super) static SERVICES: Printer = Printer {
    columns: &["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"],
    wide: &["SELECTOR"],
    cells: |object, context| {
        let service: Service = typed(object)?;
        let (name, age) = ends(&service.metadata, context);
        let spec = service.spec.clone().unwrap_or_default();
        let addresses = spec.cluster_ips.iter().flatten().next().or(spec.cluster_ip.as_ref());
        Some(vec![
            name,
            spec.type_.clone().unwrap_or_default(),
            none_if_empty(addresses.cloned().unwrap_or_default()),
            external(&service, context.wide),
            ports_text(spec.ports.as_deref().unwrap_or_default()),
            age,
            label_text(&spec.selector.unwrap_or_default()),
        ])
    },
};

/// `getServiceExternalIP`.
fn external(service: &Service, wide: bool) -> String {
    let spec = service.spec.clone().unwrap_or_default();
    let own = spec.external_ips.unwrap_or_default();
    match spec.type_.as_deref() {
        Some("ClusterIP" | "NodePort") => none_if_empty(own.join(",")),
        Some("ExternalName") => spec.external_name.unwrap_or_default(),
        Some("LoadBalancer") => {
            let status = service.status.clone().unwrap_or_default().load_balancer.unwrap_or_default();
            let mut all = own;
            let balancers = balancers(status.ingress.as_deref().unwrap_or_default(), wide);
            if !balancers.is_empty() {
                all.push(balancers);
            }
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        _ => "<unknown>".into(),
    }
}

fn balancers(ingress: &[LoadBalancerIngress], wide: bool) -> String {
    let address = |one: &LoadBalancerIngress| one.ip.clone().or(one.hostname.clone());
    cut(ingress.iter().filter_map(address).collect(), wide)
}

fn cut(mut addresses: Vec<String>, wide: bool) -> String {
    addresses.sort();
    addresses.dedup();
    let text = addresses.join(",");
    if wide || text.len() <= BALANCERS {
        return text;
    }
    let begin: String = text.chars().take(BALANCERS - 3).collect();
    format!("{begin}...")
}

/// As `80:30080/TCP,53/UDP`.
pub(crate) fn ports_text(ports: &[ServicePort]) -> String {
    let one = |port: &ServicePort| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        match port.node_port.filter(|port| *port > 0) {
            Some(node) => format!("{}:{node}/{protocol}", port.port),
            None => format!("{}/{protocol}", port.port),
        }
    };
    none_if_empty(ports.iter().map(one).collect::<Vec<_>>().join(","))
}

pub(super) static ENDPOINTS: Printer = Printer {
    columns: &["NAME", "ENDPOINTS", "AGE"],
    wide: &[],
    cells: |object, context| {
        let endpoints: Endpoints = typed(object)?;
        let (name, age) = ends(&endpoints.metadata, context);
        Some(vec![name, endpoints_text(&endpoints.subsets.unwrap_or_default(), None), age])
    },
};

/// As `11.10.0.2:80,11.10.0.3:80 + 4 more...`; of one port if it is named (`formatEndpoints`).
pub(crate) fn endpoints_text(subsets: &[EndpointSubset], only: Option<&str>) -> String {
    const MOST: usize = 3;
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = subset.addresses.as_deref().unwrap_or_default();
        let ports = subset.ports.as_deref().unwrap_or_default();
        if ports.is_empty() {
            all.extend(addresses.iter().map(|address| address.ip.clone()));
        }
        for port in ports.iter().filter(|port| only.is_none_or(|only| port.name.as_deref() == Some(only))) {
            all.extend(addresses.iter().map(|address| at_port(&address.ip, port.port)));
        }
    }
    none_if_empty(few(&all, MOST, " + ", " more..."))
}

/// As `11.10.0.2:80`, `[fd00::2]:80`.
pub(crate) fn at_port(address: &str, port: i32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn few(all: &[String], most: usize, and: &str, more: &str) -> String {
    let shown = all.iter().take(most).cloned().collect::<Vec<_>>().join(",");
    match all.len().checked_sub(most).filter(|rest| *rest > 0) {
        Some(rest) => format!("{shown}{and}{rest}{more}"),
        None => shown,
    }
}

pub(super) static ENDPOINT_SLICES: Printer = Printer {
    columns: &["NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"],
    wide: &[],
    cells: |object, context| {
        let slice: EndpointSlice = typed(object)?;
        let (name, age) = ends(&slice.metadata, context);
        let addresses: Vec<_> =
            slice.endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter().cloned()).collect();
        let shown = match few(&addresses, 3, " + ", " more...") {
            text if text.is_empty() => "<unset>".into(),
            text => text,
        };
        Some(vec![
            name,
            slice.address_type,
            slice_ports(slice.ports.as_deref().unwrap_or_default()),
            shown,
            age,
        ])
    },
};

/// `formatDiscoveryPorts`.
fn slice_ports(ports: &[EndpointPort]) -> String {
    let text = |port: &EndpointPort| match (port.port, port.name.as_deref()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) if !name.is_empty() => name.into(),
        _ => "*".into(),
    };
    let all: Vec<String> = ports.iter().map(text).collect();
    if all.is_empty() { "<unset>".into() } else { few(&all, 3, " + ", " more...") }
}

pub(super) static INGRESSES: Printer = Printer {
    columns: &["NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"],
    wide: &[],
    cells: |object, context| {
        let ingress: Ingress = typed(object)?;
        let (name, age) = ends(&ingress.metadata, context);
        let spec = ingress.spec.unwrap_or_default();
        let hosts: Vec<_> = spec
            .rules
            .iter()
            .flatten()
            .filter_map(|rule| rule.host.clone().filter(|host| !host.is_empty()))
            .collect();
        let hosts = match few(&hosts, 3, " + ", " more...") {
            text if text.is_empty() => "*".into(),
            text => text,
        };
        let status = ingress.status.and_then(|status| status.load_balancer).unwrap_or_default();
        let address = |one: &IngressLoadBalancerIngress| one.ip.clone().or(one.hostname.clone());
        let addresses = status.ingress.iter().flatten().filter_map(address).collect();
        let ports = if spec.tls.is_some_and(|tls| !tls.is_empty()) { "80, 443" } else { "80" };
        Some(vec![
            name,
            none_if_empty(spec.ingress_class_name.unwrap_or_default()),
            hosts,
            cut(addresses, context.wide),
            ports.into(),
            age,
        ])
    },
};

pub(super) static INGRESS_CLASSES: Printer = Printer {
    columns: &["NAME", "CONTROLLER", "PARAMETERS", "AGE"],
    wide: &[],
    cells: |object, context| {
        let class: IngressClass = typed(object)?;
        let (name, age) = ends(&class.metadata, context);
        let spec = class.spec.unwrap_or_default();
        let parameters = spec.parameters.map(|parameters| {
            let kind = match parameters.api_group.filter(|group| !group.is_empty()) {
                Some(group) => format!("{}.{group}", parameters.kind),
                None => parameters.kind,
            };
            format!("{kind}/{}", parameters.name)
        });
        let controller = spec.controller.unwrap_or_default();
        Some(vec![name, controller, none_if_empty(parameters.unwrap_or_default()), age])
    },
};

pub(super) static NETWORK_POLICIES: Printer = Printer {
    columns: &["NAME", "POD-SELECTOR", "AGE"],
    wide: &[],
    cells: |object, context| {
        let policy: NetworkPolicy = typed(object)?;
        let (name, age) = ends(&policy.metadata, context);
        let selector = policy.spec.unwrap_or_default().pod_selector.unwrap_or_default();
        let selector = Selector::try_from(&selector).map(|selector| selector.to_string()).unwrap_or_default();
        Some(vec![name, none_if_empty(selector), age])
    },
};

pub(super) static VIRTUAL_IPS: Printer = Printer {
    columns: &["NAME", "ADDRESS", "BACKENDS", "AGE"],
    wide: &[],
    cells: |object, context| {
        let vip: VirtualIP = typed(object)?;
        let (name, age) = ends(&vip.metadata, context);
        let backends = vip.spec.pods.into_iter().chain(vip.spec.addresses).collect();
        Some(vec![name, vip.spec.address, none_if_empty(cut(backends, context.wide)), age])
    },
};
