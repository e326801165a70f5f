//! What a pod is made of.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, Toleration};

use super::{container, meta, one_of, volume};
use crate::field::{Errors, Path};
use crate::names;

/// Where a pod's spec stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    Pod,
    Template,
}

/// (`ValidatePodSpec`)
pub(super) fn pod_spec(spec: &PodSpec, path: &Path, within: Within, errors: &mut Errors) {
    let grace = spec.termination_grace_period_seconds;
    if grace.is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let volumes = volume::volumes(volumes, &path.child("volumes"), errors);
    container::containers(&spec.containers, &volumes, grace, &path.child("containers"), errors);
    container::init_containers(spec, &volumes, grace, &path.child("initContainers"), errors);
    host_ports(spec, path, within, errors);
    let restart = spec.restart_policy.as_deref();
    one_of(restart, &path.child("restartPolicy"), &["Always", "OnFailure", "Never"], errors);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(spec.dns_policy.as_deref(), &path.child("dnsPolicy"), &policies, errors);
    meta::labels(spec.node_selector.as_ref(), &path.child("nodeSelector"), errors);
    dns_config(spec, &path.child("dnsConfig"), errors);
    gates(spec, path, errors);
    references(spec, path, errors);
    if let Some(seconds) = spec.active_deadline_seconds {
        let wrong = names::in_range(seconds, 1, i32::MAX.into());
        errors.invalid_each(&path.child("activeDeadlineSeconds"), seconds, wrong);
    }
    for (field, value) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        let value = value.as_deref().filter(|value| !value.is_empty());
        if let Some(value) = value {
            errors.invalid_each(&path.child(field), value, names::dns_label(value));
        }
    }
    tolerations(spec.tolerations.as_deref().unwrap_or_default(), &path.child("tolerations"), errors);
    host_aliases(spec, &path.child("hostAliases"), errors);
    if let Some(policy) = &spec.preemption_policy {
        let supported = ["PreemptLowerPriority", "Never"];
        one_of(Some(policy), &path.child("preemptionPolicy"), &supported, errors);
    }
}

/// Names of other objects.
fn references(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let rules: [(&str, &Option<String>, meta::NameRule); 4] = [
        ("serviceAccountName", &spec.service_account_name, names::dns_subdomain),
        ("nodeName", &spec.node_name, names::node_name),
        ("priorityClassName", &spec.priority_class_name, names::dns_subdomain),
        ("runtimeClassName", &spec.runtime_class_name, names::dns_subdomain),
    ];
    for (field, name, rule) in rules {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
            errors.invalid_each(&path.child(field), name, rule(name));
        }
    }
}

/// On the host's network a container's port is the host's (`validatePodHostNetworkDeps`), and no two
/// containers may want the same (`checkHostPortConflicts`).
fn host_ports(spec: &PodSpec, path: &Path, within: Within, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, container) in spec.containers.iter().enumerate() {
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let at = path.child("containers").index(i).child("ports").index(j).child("hostPort");
            let host = port.host_port.unwrap_or_default();
            let must_match = spec.host_network == Some(true) && (within == Within::Pod || host != 0);
            if must_match && host != port.container_port {
                errors.invalid(&at, host, "must match `containerPort` when `hostNetwork` is true");
            }
            let ip = port.host_ip.as_deref().unwrap_or_default();
            let all = format!("{}/{ip}/{host}", port.protocol.as_deref().unwrap_or_default());
            if host != 0 && !seen.insert(all.clone()) {
                errors.duplicate(&at, all);
            }
        }
    }
}

fn dns_config(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let none = spec.dns_policy.as_deref() == Some("None");
    let Some(config) = &spec.dns_config else {
        if none {
            errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let servers_at = path.child("nameservers");
    if none && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return errors.required(&servers_at, why);
    }
    if servers.len() > 3 {
        errors.invalid(&servers_at, servers, "must not have more than 3 nameservers");
    }
    for (i, server) in servers.iter().enumerate() {
        errors.invalid_each(&servers_at.index(i), server, names::ip(server));
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    let searches_at = path.child("searches");
    if searches.len() > 32 {
        errors.invalid(&searches_at, searches, "must not have more than 32 search paths");
    }
    if searches.join(" ").len() > 2048 {
        let why = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&searches_at, searches, why);
    }
    for (i, search) in searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        errors.invalid_each(&searches_at.index(i), search, names::dns_subdomain(search));
    }
    for (i, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_deref().unwrap_or_default().is_empty() {
            errors.required(&path.child("options").index(i), "must not be empty");
        }
    }
}

fn gates(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    for (i, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let at = path.child("readinessGates").index(i).child("conditionType");
        errors.invalid_each(&at, &gate.condition_type, names::qualified_name(&gate.condition_type));
    }
    let mut seen = BTreeSet::new();
    for (i, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        let at = path.child("schedulingGates").index(i);
        errors.invalid_each(&at, &gate.name, names::qualified_name(&gate.name));
        if !seen.insert(&gate.name) {
            errors.duplicate(&at, &gate.name);
        }
    }
}

/// (`ValidateTolerations`)
fn tolerations(tolerations: &[Toleration], path: &Path, errors: &mut Errors) {
    for (i, one) in tolerations.iter().enumerate() {
        let at = path.index(i);
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (key, operator, value, effect) =
            (text(&one.key), text(&one.operator), text(&one.value), text(&one.effect));
        if !key.is_empty() {
            errors.invalid_each(&at.child("key"), &key, names::qualified_name(&key));
        } else if operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&at.child("operator"), &operator, why);
        }
        if one.toleration_seconds.is_some() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&at.child("effect"), &effect, why);
        }
        match operator.as_str() {
            "Equal" | "" => {
                let wrong = names::label_value(&value);
                if !wrong.is_empty() {
                    errors.invalid(&at.child("operator"), &value, &wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.invalid(&at.child("operator"), &value, why);
            }
            "Exists" => {}
            other => errors.not_supported(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !effect.is_empty() && !effects.contains(&effect.as_str()) {
            errors.not_supported(&at.child("effect"), &effect, &effects);
        }
    }
}

fn host_aliases(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    for (i, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let at = path.index(i);
        errors.invalid_each(&at.child("ip"), &alias.ip, names::ip(&alias.ip));
        for (j, name) in alias.hostnames.iter().flatten().enumerate() {
            errors.invalid_each(&at.child("hostnames").index(j), name, names::dns_subdomain(name));
        }
    }
}

/// Whether an init container runs beside the others.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
