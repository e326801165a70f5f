//! What the API server does with services beside defaulting and validating.

use k8s_openapi::api::core::v1::{Service, ServiceSpec, ServiceStatus};

pub(super) fn prepare_create(service: &mut Service) {
    service.status = Some(ServiceStatus { load_balancer: Some(Default::default()), conditions: None });
}

/// A document that does not mention what was allocated keeps it (kubernetes
/// `pkg/registry/core/service/strategy.go`, `patchAllocatedValues`).
pub(super) fn prepare_update(service: &mut Service, old: &Service) {
    let (new, Some(old)) = (service.spec.get_or_insert_default(), &old.spec) else { return };
    if has_cluster_ip(new) && has_cluster_ip(old) {
        let nothing_said = new.cluster_ip.as_deref().unwrap_or_default().is_empty()
            && new.cluster_ips.as_ref().is_none_or(Vec::is_empty);
        if nothing_said {
            new.cluster_ip.clone_from(&old.cluster_ip);
            new.cluster_ips.clone_from(&old.cluster_ips);
        } else if new.cluster_ip != old.cluster_ip && new.cluster_ips == old.cluster_ips {
            // The first field was changed by someone who does not know the second.
            new.cluster_ips = new.cluster_ip.clone().map(|ip| vec![ip]);
        }
        if new.ip_families.is_none() {
            new.ip_families.clone_from(&old.ip_families);
        }
        if new.ip_family_policy.is_none() {
            new.ip_family_policy.clone_from(&old.ip_family_policy);
        }
    }
    if has_node_ports(new) && has_node_ports(old) {
        let before = old.ports.as_deref().unwrap_or_default();
        for port in new.ports.iter_mut().flatten().filter(|port| port.node_port.unwrap_or_default() == 0) {
            let same = before.iter().find(|one| {
                one.port == port.port && one.protocol.as_deref() == port.protocol.as_deref().or(Some("TCP"))
            });
            port.node_port = same.and_then(|one| one.node_port);
        }
    }
    if new.health_check_node_port.is_none() && new.type_ == old.type_ {
        new.health_check_node_port = old.health_check_node_port;
    }
}

fn kind(spec: &ServiceSpec) -> &str {
    // Defaults come later.
    spec.type_.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("ClusterIP")
}

fn has_cluster_ip(spec: &ServiceSpec) -> bool {
    matches!(kind(spec), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn has_node_ports(spec: &ServiceSpec) -> bool {
    matches!(kind(spec), "NodePort" | "LoadBalancer")
}
