//! Services, their endpoints, and ingresses.

use api::VirtualIP;
use api::types::api::core::v1::{Endpoints, Pod, Service, ServicePort, ServiceSpec};
use api::types::api::discovery::v1::EndpointSlice;
use api::types::api::networking::v1::{Ingress, IngressBackend};
use api::types::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{Description, Related, containers, or_none, typed};
use crate::printers::{at_port, endpoints_text, label_text};

pub(super) fn service(out: &mut Description<'_>, object: &Value, related: &Related) -> Option<()> {
    let service: Service = typed(object)?;
    let spec = service.spec.clone().unwrap_or_default();
    out.head(&service.metadata);
    out.labels(0, "Selector", spec.selector.as_ref());
    out.field(0, "Type", spec.type_.as_deref().unwrap_or_default());
    out.maybe(0, "IP Family Policy", spec.ip_family_policy.as_ref());
    let families = spec.ip_families.as_deref().unwrap_or_default().join(",");
    out.field(0, "IP Families", or_none(&families));
    out.field(0, "IP", or_none(spec.cluster_ip.as_deref().unwrap_or_default()));
    let addresses = spec.cluster_ips.as_deref().unwrap_or_default().join(",");
    out.field(0, "IPs", or_none(&addresses));
    out.maybe(0, "External IPs", spec.external_ips.as_ref().map(|all| all.join(",")));
    out.maybe(0, "Desired LoadBalancer IP", spec.load_balancer_ip.as_ref());
    out.maybe(0, "External Name", spec.external_name.as_ref());
    let balancer = service.status.clone().unwrap_or_default().load_balancer.unwrap_or_default();
    let ingress = balancer.ingress.unwrap_or_default();
    let ingress: Vec<_> = ingress.into_iter().filter_map(|one| one.ip.or(one.hostname)).collect();
    out.maybe(0, "LoadBalancer Ingress", Some(ingress.join(", ")));
    for port in spec.ports.iter().flatten() {
        ports(out, port, related);
    }
    out.field(0, "Session Affinity", spec.session_affinity.as_deref().unwrap_or("None"));
    out.maybe(0, "External Traffic Policy", spec.external_traffic_policy.as_ref());
    out.maybe(0, "Internal Traffic Policy", spec.internal_traffic_policy.as_ref());
    out.maybe(0, "Traffic Distribution", spec.traffic_distribution.as_ref());
    out.maybe(0, "HealthCheck NodePort", spec.health_check_node_port.filter(|port| *port > 0));
    out.maybe(0, "LoadBalancer Source Ranges", spec.load_balancer_source_ranges.map(|all| all.join(",")));
    out.maybe(0, "Ping", ping(&service));
    out.maybe(0, "Warning", idle(&service, related));
    Some(())
}

/// Why nothing answers a ping.
fn ping(service: &Service) -> Option<&'static str> {
    let spec: &ServiceSpec = service.spec.as_ref()?;
    match spec.cluster_ip.as_deref()? {
        "" | "None" => None,
        _ => Some(
            "not answered: no interface has the cluster IP; rules on each node rewrite what is sent to the ports \
             above",
        ),
    }
}

/// Why connections to it go nowhere, if they do.
fn idle(service: &Service, related: &Related) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    let leads =
        |port: &ServicePort| endpoints_of(port.name.as_deref().unwrap_or_default(), related) != or_none("");
    if spec.type_.as_deref() == Some("ExternalName") || spec.ports.iter().flatten().all(leads) {
        return None;
    }
    let chosen = |pod: &&Pod| {
        let has = pod.metadata.labels.as_ref();
        labels.iter().all(|(key, value)| has.and_then(|has| has.get(key)) == Some(value))
    };
    let pods: Vec<&Pod> = related.pods.iter().filter(chosen).collect();
    if pods.is_empty() {
        // Endpoints that are there have not gone yet.
        if related.slices.iter().any(|slice| !slice.endpoints.is_empty()) {
            return None;
        }
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let wanted = label_text(labels);
        return Some(format!(
            "no pod of namespace {namespace} has the labels that the selector wants: {wanted}"
        ));
    }
    let ready = |pod: &&&Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
        let of_pod = conditions.unwrap_or_default();
        of_pod.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let matched = if pods.len() == 1 { "1 pod".to_owned() } else { format!("{} pods", pods.len()) };
    if pods.iter().filter(ready).count() == 0 && spec.publish_not_ready_addresses != Some(true) {
        return Some(format!("the selector matches {matched}: none is ready"));
    }
    let has = |name: &str| pods.iter().any(|pod| has_port(pod, name));
    let named = |port: &ServicePort| match &port.target_port {
        Some(IntOrString::String(name)) => Some(name.clone()),
        _ => None,
    };
    let missing = spec.ports.iter().flatten().filter_map(named).find(|name| !has(name));
    missing.map(|name| format!("the selector matches {matched}: no container has a port named {name}"))
}

fn has_port(pod: &Pod, name: &str) -> bool {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let ports = containers.iter().flat_map(|container| container.ports.as_deref().unwrap_or_default());
    ports.into_iter().any(|port| port.name.as_deref() == Some(name))
}

fn ports(out: &mut Description<'_>, port: &ServicePort, related: &Related) {
    let name = port.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("<unset>");
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    out.field(0, "Port", format_args!("{name}\t{}/{protocol}", port.port));
    let target = port.target_port.as_ref().map_or_else(|| port.port.to_string(), containers::number);
    out.field(0, "TargetPort", format_args!("{target}/{protocol}"));
    if let Some(node) = port.node_port.filter(|port| *port > 0) {
        out.field(0, "NodePort", format_args!("{name}\t{node}/{protocol}"));
    }
    out.field(0, "Endpoints", endpoints_of(port.name.as_deref().unwrap_or_default(), related));
}

/// Addresses that take connections to a port.
fn endpoints_of(port: &str, related: &Related) -> String {
    /// As many are shown.
    const MOST: usize = 3;
    if related.slices.is_empty() {
        let subsets = related.endpoints.as_ref().and_then(|endpoints| endpoints.subsets.clone());
        return endpoints_text(&subsets.unwrap_or_default(), Some(port).filter(|port| !port.is_empty()));
    }
    let mut all = Vec::new();
    for slice in &related.slices {
        let mut ports = slice.ports.iter().flatten();
        let Some(found) = ports.find(|one| one.name.as_deref().unwrap_or_default() == port) else { continue };
        let ready = |conditions: &Option<api::types::api::discovery::v1::EndpointConditions>| {
            conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
        };
        for endpoint in slice.endpoints.iter().filter(|endpoint| ready(&endpoint.conditions)) {
            let number = found.port.unwrap_or_default();
            all.extend(endpoint.addresses.iter().map(|address| at_port(address, number)));
        }
    }
    let shown = or_none(&all.iter().take(MOST).cloned().collect::<Vec<_>>().join(",")).to_owned();
    match all.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

pub(super) fn virtual_ip(out: &mut Description<'_>, object: &Value, related: &Related) -> Option<()> {
    let vip: VirtualIP = typed(object)?;
    out.head(&vip.metadata);
    out.field(0, "Address", &vip.spec.address);
    out.field(0, "Ping", "answered by the backends: rules on each node rewrite every protocol");
    let there = |name: &str| related.pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name));
    let address = |pod: &Pod| pod.status.as_ref()?.pod_ip.clone();
    if vip.spec.pods.is_empty() && vip.spec.addresses.is_empty() {
        out.field(0, "Backends", "<none>");
        return Some(());
    }
    out.line(0, "Backends:\t(each gets as many new flows as the others, whether or not it is there)");
    out.line(1, "Pod\tAddress\tNow");
    out.line(1, "---\t-------\t---");
    for name in &vip.spec.pods {
        match there(name).map(address) {
            Some(Some(address)) => out.line(1, format_args!("{name}\t{address}\tthere")),
            Some(None) => out.line(1, format_args!("{name}\t<none>\tno address yet")),
            None => out.line(1, format_args!("{name}\t<none>\tnot there: its flows fail")),
        }
    }
    for address in &vip.spec.addresses {
        out.line(1, format_args!("<none>\t{address}\t<unknown>"));
    }
    Some(())
}

pub(super) fn slice(out: &mut Description<'_>, object: &Value) -> Option<()> {
    let slice: EndpointSlice = typed(object)?;
    out.head(&slice.metadata);
    out.field(0, "AddressType", &slice.address_type);
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.is_empty() {
        out.field(0, "Ports", "<unset>");
    } else {
        out.line(0, "Ports:");
        out.line(1, "Name\tPort\tProtocol");
        out.line(1, "----\t----\t--------");
    }
    for port in ports {
        let name = port.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("<unset>");
        let number = port.port.map_or("<unset>".into(), |port| port.to_string());
        out.line(1, format_args!("{name}\t{number}\t{}", port.protocol.as_deref().unwrap_or("TCP")));
    }
    if slice.endpoints.is_empty() {
        out.field(0, "Endpoints", "<none>");
        return Some(());
    }
    out.line(0, "Endpoints:");
    for endpoint in &slice.endpoints {
        out.line(1, format_args!("- Addresses:\t{}", endpoint.addresses.join(", ")));
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let word = |value: Option<bool>| value.map_or("<unset>".into(), |value| value.to_string());
        out.line(2, "Conditions:");
        out.field(3, "Ready", word(conditions.ready));
        out.maybe(3, "Serving", conditions.serving);
        out.maybe(3, "Terminating", conditions.terminating);
        out.field(2, "Hostname", endpoint.hostname.as_deref().unwrap_or("<unset>"));
        if let Some(target) = &endpoint.target_ref {
            let (kind, name) = (target.kind.as_deref(), target.name.as_deref());
            let (kind, name) = (kind.unwrap_or_default(), name.unwrap_or_default());
            out.field(2, "TargetRef", format_args!("{kind}/{name}"));
        }
        out.field(2, "NodeName", endpoint.node_name.as_deref().unwrap_or("<unset>"));
        out.field(2, "Zone", endpoint.zone.as_deref().unwrap_or("<unset>"));
    }
    Some(())
}

pub(super) fn endpoints(out: &mut Description<'_>, object: &Value) -> Option<()> {
    let endpoints: Endpoints = typed(object)?;
    out.head(&endpoints.metadata);
    out.line(0, "Subsets:");
    for subset in endpoints.subsets.iter().flatten() {
        let text = |addresses: &Option<Vec<api::types::api::core::v1::EndpointAddress>>| {
            let all: Vec<_> = addresses.iter().flatten().map(|address| address.ip.as_str()).collect();
            or_none(&all.join(",")).to_owned()
        };
        out.field(1, "Addresses", text(&subset.addresses));
        out.field(1, "NotReadyAddresses", text(&subset.not_ready_addresses));
        let ports = subset.ports.as_deref().unwrap_or_default();
        if !ports.is_empty() {
            out.line(1, "Ports:");
            out.line(2, "Name\tPort\tProtocol");
            out.line(2, "----\t----\t--------");
        }
        for port in ports {
            let name = port.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("<unset>");
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            out.line(2, format_args!("{name}\t{}\t{protocol}", port.port));
        }
    }
    Some(())
}

pub(super) fn ingress(out: &mut Description<'_>, object: &Value) -> Option<()> {
    let ingress: Ingress = typed(object)?;
    let spec = ingress.spec.clone().unwrap_or_default();
    out.names(&ingress.metadata);
    out.labels(0, "Labels", ingress.metadata.labels.as_ref());
    let status = ingress.status.clone().unwrap_or_default().load_balancer.unwrap_or_default();
    let addresses: Vec<_> =
        status.ingress.unwrap_or_default().into_iter().filter_map(|one| one.ip.or(one.hostname)).collect();
    out.field(0, "Address", addresses.join(","));
    out.field(0, "Ingress Class", or_none(spec.ingress_class_name.as_deref().unwrap_or_default()));
    out.field(0, "Default backend", spec.default_backend.as_ref().map_or("<default>".into(), backend));
    if spec.tls.as_ref().is_some_and(|tls| !tls.is_empty()) {
        out.line(0, "TLS:");
    }
    for tls in spec.tls.iter().flatten() {
        let hosts = tls.hosts.as_deref().unwrap_or_default().join(",");
        let secret = tls.secret_name.as_deref().unwrap_or("SNI routes");
        out.line(1, format_args!("{secret} terminates {hosts}"));
    }
    out.line(0, "Rules:");
    out.line(1, "Host\tPath\tBackends");
    out.line(1, "----\t----\t--------");
    for rule in spec.rules.iter().flatten() {
        out.line(
            1,
            format_args!("{}\t", rule.host.as_deref().filter(|host| !host.is_empty()).unwrap_or("*")),
        );
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let text = path.path.as_deref().unwrap_or_default();
            out.line(1, format_args!("\t{text}\t{}", backend(&path.backend)));
        }
    }
    out.annotations(0, ingress.metadata.annotations.as_ref());
    Some(())
}

fn backend(backend: &IngressBackend) -> String {
    if let Some(service) = &backend.service {
        let port = service.port.clone().unwrap_or_default();
        let port = port.name.or(port.number.map(|port| port.to_string())).unwrap_or_default();
        return format!("{}:{port}", service.name);
    }
    let resource = backend.resource.clone().unwrap_or_default();
    format!("{}/{}", resource.kind, resource.name)
}
