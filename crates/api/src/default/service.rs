//! Defaults of services.

use k8s_openapi::api::core::v1::{ClientIPConfig, Service, ServiceSpec, SessionAffinityConfig};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::text;

/// Three hours (`DefaultClientIPServiceAffinitySeconds`).
const AFFINITY_SECONDS: i32 = 10_800;

pub(crate) fn service(service: &mut Service) {
    let spec = service.spec.get_or_insert_default();
    text(&mut spec.session_affinity, "None");
    affinity(spec);
    text(&mut spec.type_, "ClusterIP");
    for port in spec.ports.iter_mut().flatten() {
        text(&mut port.protocol, "TCP");
        let unset = match &port.target_port {
            None => true,
            Some(IntOrString::Int(number)) => *number == 0,
            Some(IntOrString::String(name)) => name.is_empty(),
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    let kind = spec.type_.as_deref().unwrap_or_default().to_owned();
    if is_external(spec) {
        text(&mut spec.external_traffic_policy, "Cluster");
    }
    if kind != "ExternalName" {
        spec.internal_traffic_policy.get_or_insert_with(|| "Cluster".into());
        addresses(spec);
    }
    if kind == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

fn affinity(spec: &mut ServiceSpec) {
    let client_ip = spec.session_affinity.as_deref() == Some("ClientIP");
    let seconds = || Some(spec.session_affinity_config.as_ref()?.client_ip.as_ref()?.timeout_seconds);
    if !client_ip && spec.session_affinity.as_deref() == Some("None") {
        spec.session_affinity_config = None;
    } else if client_ip && seconds().flatten().is_none() {
        let client_ip = Some(ClientIPConfig { timeout_seconds: Some(AFFINITY_SECONDS) });
        spec.session_affinity_config = Some(SessionAffinityConfig { client_ip });
    }
}

/// Whether it can be reached from outside of the cluster (kubernetes `pkg/api/v1/service/util.go`).
pub(crate) fn is_external(spec: &ServiceSpec) -> bool {
    match spec.type_.as_deref() {
        Some("LoadBalancer" | "NodePort") => true,
        Some("ClusterIP") => spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty()),
        _ => false,
    }
}

/// The two fields for addresses, and the families (kubernetes `pkg/registry/core/service/strategy.go`,
/// `NormalizeClusterIPs`, and `storage/alloc.go`). The clusters here have one family, IPv4.
fn addresses(spec: &mut ServiceSpec) {
    let one = spec.cluster_ip.clone().filter(|ip| !ip.is_empty());
    let many = spec.cluster_ips.as_deref().unwrap_or_default();
    match (one, many.first()) {
        (Some(ip), None) => spec.cluster_ips = Some(vec![ip]),
        (None, Some(ip)) => spec.cluster_ip = Some(ip.clone()),
        _ => {}
    }
    spec.ip_families.get_or_insert_with(|| vec!["IPv4".into()]);
    text(&mut spec.ip_family_policy, "SingleStack");
}
