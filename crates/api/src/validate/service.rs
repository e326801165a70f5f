//! Services.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::{PROTOCOLS, meta, one_of};
use crate::default::service::is_external;
use crate::field::{Errors, Path};
use crate::{kinds, names};

const POLICIES: &[&str] = &["Cluster", "Local"];
/// A day (`MaxClientIPServiceAffinitySeconds`).
const AFFINITY_MAX: i32 = 86_400;

/// A new service (`ValidateService`).
pub(crate) fn service(service: &Service, errors: &mut Errors) {
    meta::object_meta(&service.metadata, &kinds::SERVICES, errors);
    let spec = service.spec.clone().unwrap_or_default();
    let path = Path::new("spec");
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !is_headless(&spec) && kind(&spec) != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    by_type(&spec, &path, errors);
    self::ports(ports, &path.child("ports"), errors);
    meta::labels(spec.selector.as_ref(), &path.child("selector"), errors);
    affinity(&spec, &path, errors);
    cluster_ips(&spec, &path, errors);
    for (i, ip) in spec.external_ips.iter().flatten().enumerate() {
        let at = path.child("externalIPs").index(i);
        let wrong = names::ip(ip);
        let special = if wrong.is_empty() { super::endpoints::special_ip(ip) } else { vec![] };
        errors.invalid_each(&at, ip, wrong);
        errors.invalid_each(&at, ip, special);
    }
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(spec.type_.as_deref(), &path.child("type"), &types, errors);
    unique_ports(&spec, ports, &path.child("ports"), errors);
    traffic(&spec, &path, errors);
}

/// A changed service (`ValidateServiceUpdate`).
pub(crate) fn service_update(new: &Service, old: &Service, errors: &mut Errors) {
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
    let (before, after) = (old.spec.clone().unwrap_or_default(), new.spec.clone().unwrap_or_default());
    let external = kind(&before) == "ExternalName" || kind(&after) == "ExternalName";
    let headless = is_headless(&before) && is_headless(&after);
    if !external && !headless {
        let old_ips = before.cluster_ips.as_deref().unwrap_or_default();
        let new_ips = after.cluster_ips.as_deref().unwrap_or_default();
        let at = Path::new("spec").child("clusterIPs");
        match (old_ips.first(), new_ips.first()) {
            (Some(_), None) => errors.invalid(&at.index(0), new_ips, "primary clusterIP can not be unset"),
            (Some(old), Some(new)) if old != new => {
                errors.invalid(&at.index(0), new_ips, "may not change once set");
            }
            _ => {}
        }
        let (old_families, new_families) = (&before.ip_families, &after.ip_families);
        if is_headless(&before) == is_headless(&after)
            && old_families.as_ref().and_then(|all| all.first())
                != new_families.as_ref().and_then(|all| all.first())
            && old_families.is_some()
        {
            let at = Path::new("spec").child("ipFamilies").index(0);
            errors.invalid(&at, new_families, "may not change once set");
        }
    }
    service(new, errors);
}

fn kind(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or_default()
}

fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ips.as_deref().is_some_and(|ips| ips == ["None"])
}

/// What a type wants, and what others may not have.
fn by_type(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    match kind(spec) {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(spec) => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), "None", &why);
        }
        "ExternalName" => {
            let set = [
                ("clusterIPs", spec.cluster_ips.as_ref().is_some_and(|all| !all.is_empty())),
                ("ipFamilies", spec.ip_families.as_ref().is_some_and(|all| !all.is_empty())),
                ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
            ];
            for (field, _) in set.into_iter().filter(|(_, set)| *set) {
                errors.forbidden(&path.child(field), "may not be set for ExternalName services");
            }
            let name = spec.external_name.as_deref().unwrap_or_default();
            match name.strip_suffix('.').unwrap_or(name) {
                "" => errors.required(&path.child("externalName"), ""),
                name => errors.invalid_each(&path.child("externalName"), name, names::dns_subdomain(name)),
            }
        }
        _ => {}
    }
    if kind(spec) == "LoadBalancer" {
        return;
    }
    let only_for_balancers = [
        (
            "LoadBalancerSourceRanges",
            spec.load_balancer_source_ranges.as_ref().is_some_and(|r| !r.is_empty()),
        ),
        ("allocateLoadBalancerNodePorts", spec.allocate_load_balancer_node_ports.is_some()),
        ("loadBalancerClass", spec.load_balancer_class.is_some()),
    ];
    for (field, _) in only_for_balancers.into_iter().filter(|(_, set)| *set) {
        errors.forbidden(&path.child(field), "may only be used when `type` is 'LoadBalancer'");
    }
}

/// (`validateServicePort`)
fn ports(ports: &[ServicePort], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = path.index(i);
        match port.name.as_deref().unwrap_or_default() {
            "" if ports.len() > 1 => errors.required(&at.child("name"), ""),
            "" => {}
            name => {
                errors.invalid_each(&at.child("name"), name, names::dns_label(name));
                if !seen.insert(name) {
                    errors.duplicate(&at.child("name"), name);
                }
            }
        }
        errors.invalid_each(&at.child("port"), port.port, names::port_number(port.port));
        one_of(port.protocol.as_deref(), &at.child("protocol"), PROTOCOLS, errors);
        let target = port.target_port.clone().unwrap_or(IntOrString::Int(port.port));
        super::port(&target, &at.child("targetPort"), errors);
        if let Some(protocol) = &port.app_protocol {
            errors.invalid_each(&at.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

/// No two ports are the same.
fn unique_ports(spec: &ServiceSpec, ports: &[ServicePort], path: &Path, errors: &mut Errors) {
    let mut node_ports = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let node_port = port.node_port.unwrap_or_default();
        let at = path.index(i).child("nodePort");
        if node_port != 0 && kind(spec) == "ClusterIP" {
            errors.forbidden(&at, "may not be used when `type` is 'ClusterIP'");
        }
        if node_port != 0 && !node_ports.insert((&port.protocol, node_port)) {
            errors.duplicate(&at, node_port);
        }
        if !numbers.insert((&port.protocol, port.port)) {
            let both = json!({"protocol": port.protocol, "port": port.port});
            errors.duplicate(&path.index(i), both);
        }
    }
}

fn affinity(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let kind = spec.session_affinity.as_deref();
    one_of(kind, &path.child("sessionAffinity"), &["ClientIP", "None"], errors);
    let at = path.child("sessionAffinityConfig");
    match (kind, &spec.session_affinity_config) {
        (Some("None"), Some(_)) => {
            errors.forbidden(&at, "must not be set when session affinity is None");
        }
        (Some("ClientIP"), config) => {
            let seconds = config.as_ref().and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
            let at = at.child("clientIP").child("timeoutSeconds");
            match seconds {
                None => errors.required(&at, "when session affinity type is ClientIP"),
                Some(seconds) if !(1..=AFFINITY_MAX).contains(&seconds) => {
                    let why = format!("must be greater than 0 and less than {AFFINITY_MAX}");
                    errors.invalid(&at, seconds, &why);
                }
                Some(_) => {}
            }
        }
        _ => {}
    }
}

/// (`ValidateServiceClusterIPsRelatedFields`)
fn cluster_ips(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    if kind(spec) == "ExternalName" {
        return;
    }
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    let at = path.child("clusterIPs");
    match (spec.cluster_ip.as_deref().unwrap_or_default(), ips.first()) {
        ("", Some(_)) => errors.invalid(&at, ips, "must be empty when `clusterIP` is not specified"),
        (one, Some(first)) if one != first => errors.invalid(&at, ips, "first value must match `clusterIP`"),
        (one, None) if !one.is_empty() => errors.required(&at, ""),
        _ => {}
    }
    for (i, family) in spec.ip_families.iter().flatten().enumerate() {
        one_of(Some(family), &path.child("ipFamilies").index(i), &["IPv4", "IPv6"], errors);
    }
    if let Some(policy) = &spec.ip_family_policy {
        let supported = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        one_of(Some(policy), &path.child("ipFamilyPolicy"), &supported, errors);
    }
    if ips.len() > 1 && ips.iter().any(|ip| ip == "None") {
        errors.invalid(&at, ips, "'None' must be the first and only value");
    }
    for (i, ip) in ips.iter().enumerate().filter(|(_, ip)| *ip != "None") {
        errors.invalid_each(&at.index(i), ip, names::ip(ip));
    }
    if ips.len() > 2 {
        errors.invalid(&at, ips, "may only hold up to 2 values");
    }
}

/// Who may use which endpoints. The port for health checks is not asked for: nothing here allocates one.
fn traffic(spec: &ServiceSpec, path: &Path, errors: &mut Errors) {
    let at = path.child("externalTrafficPolicy");
    let policy = spec.external_traffic_policy.as_deref();
    if is_external(spec) {
        one_of(policy, &at, POLICIES, errors);
    } else if let Some(policy) = policy.filter(|policy| !policy.is_empty()) {
        errors.invalid(&at, policy, "may only be set for externally-accessible services");
    }
    let checked = kind(spec) == "LoadBalancer" && policy == Some("Local");
    if let Some(port) = spec.health_check_node_port.filter(|port| *port != 0 && !checked) {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid(&path.child("healthCheckNodePort"), port, why);
    }
    let at = path.child("internalTrafficPolicy");
    match spec.internal_traffic_policy.as_deref() {
        None if kind(spec) == "ExternalName" => {}
        policy => one_of(policy, &at, POLICIES, errors),
    }
    if let Some(distribution) = &spec.traffic_distribution {
        one_of(Some(distribution), &path.child("trafficDistribution"), &["PreferClose"], errors);
    }
}
