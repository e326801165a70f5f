//! Containers of a pod.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource, PodSpec, VolumeMount,
};

use super::pod_spec::is_sidecar;
use super::{PROTOCOLS, one_of, probe, resources};
use crate::field::{Errors, Path};
use crate::names;

/// Names of the pod's volumes that are in order.
pub(super) type Volumes = BTreeSet<String>;

/// (`validateContainers`)
pub(super) fn containers(
    containers: &[Container],
    volumes: &Volumes,
    grace: Option<i64>,
    path: &Path,
    errors: &mut Errors,
) {
    if containers.is_empty() {
        return errors.required(path, "");
    }
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        let at = path.index(i);
        every_container(container, volumes, &at, errors);
        if !seen.insert(&container.name) {
            errors.duplicate(&at.child("name"), &container.name);
        }
        probe::lifecycle_and_probes(container, grace, &at, errors);
        if container.restart_policy.is_some() {
            errors.forbidden(&at.child("restartPolicy"), "may not be set for non-init containers");
        }
    }
}

/// (`validateInitContainers`)
pub(super) fn init_containers(
    spec: &PodSpec,
    volumes: &Volumes,
    grace: Option<i64>,
    path: &Path,
    errors: &mut Errors,
) {
    let mut seen: BTreeSet<_> = spec.containers.iter().map(|container| &container.name).collect();
    for (i, container) in spec.init_containers.iter().flatten().enumerate() {
        let at = path.index(i);
        every_container(container, volumes, &at, errors);
        if let Some(policy) = &container.restart_policy {
            one_of(Some(policy), &at.child("restartPolicy"), &["Always"], errors);
        }
        if !seen.insert(&container.name) {
            errors.duplicate(&at.child("name"), &container.name);
        }
        if is_sidecar(container) {
            probe::lifecycle_and_probes(container, grace, &at, errors);
            continue;
        }
        let set = [
            ("lifecycle", container.lifecycle.is_some()),
            ("livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", container.readiness_probe.is_some()),
            ("startupProbe", container.startup_probe.is_some()),
        ];
        for (field, _) in set.into_iter().filter(|(_, set)| *set) {
            let why = "may not be set for init containers without restartPolicy=Always";
            errors.forbidden(&at.child(field), why);
        }
    }
}

/// (`validateContainerCommon`)
fn every_container(container: &Container, volumes: &Volumes, path: &Path, errors: &mut Errors) {
    match container.name.as_str() {
        "" => errors.required(&path.child("name"), ""),
        name => errors.invalid_each(&path.child("name"), name, names::dns_label(name)),
    }
    if container.image.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("image"), "");
    }
    let policy = container.termination_message_policy.as_deref();
    let supported = ["File", "FallbackToLogsOnError"];
    one_of(policy, &path.child("terminationMessagePolicy"), &supported, errors);
    ports(container.ports.as_deref().unwrap_or_default(), &path.child("ports"), errors);
    env(container.env.as_deref().unwrap_or_default(), &path.child("env"), errors);
    env_from(container.env_from.as_deref().unwrap_or_default(), &path.child("envFrom"), errors);
    let mount_list = container.volume_mounts.as_deref().unwrap_or_default();
    mounts(mount_list, volumes, &path.child("volumeMounts"), errors);
    let policy = container.image_pull_policy.as_deref();
    one_of(policy, &path.child("imagePullPolicy"), &["Always", "IfNotPresent", "Never"], errors);
    if let Some(requirements) = &container.resources {
        resources::requirements(requirements, &path.child("resources"), errors);
    }
}

/// (`validateContainerPorts`)
fn ports(ports: &[ContainerPort], path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = path.index(i);
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let wrong = names::port_name(name);
            if wrong.is_empty() && !seen.insert(name) {
                errors.duplicate(&at.child("name"), name);
            }
            errors.invalid_each(&at.child("name"), name, wrong);
        }
        match port.container_port {
            0 => errors.required(&at.child("containerPort"), ""),
            number => errors.invalid_each(&at.child("containerPort"), number, names::port_number(number)),
        }
        if let Some(number) = port.host_port.filter(|number| *number != 0) {
            errors.invalid_each(&at.child("hostPort"), number, names::port_number(number));
        }
        one_of(port.protocol.as_deref(), &at.child("protocol"), PROTOCOLS, errors);
    }
}

/// (`ValidateEnv`)
fn env(vars: &[EnvVar], path: &Path, errors: &mut Errors) {
    for (i, var) in vars.iter().enumerate() {
        let at = path.index(i);
        match var.name.as_str() {
            "" => errors.required(&at.child("name"), ""),
            name => errors.invalid_each(&at.child("name"), name, names::env_name(name)),
        }
        if let Some(from) = &var.value_from {
            let has_value = var.value.as_deref().is_some_and(|value| !value.is_empty());
            value_from(from, has_value, &at.child("valueFrom"), errors);
        }
    }
}

/// Fields of a pod that its containers can be told (`validEnvDownwardAPIFieldPathExpressions`).
const DOWNWARD: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn value_from(from: &EnvVarSource, has_value: bool, path: &Path, errors: &mut Errors) {
    if let Some(field) = &from.field_ref {
        let at = path.child("fieldRef").child("fieldPath");
        let base = field.field_path.split('[').next().unwrap_or_default();
        let with_key =
            ["metadata.labels", "metadata.annotations"].contains(&base) && base != field.field_path;
        if field.field_path.is_empty() {
            errors.required(&at, "");
        } else if !with_key && !DOWNWARD.contains(&field.field_path.as_str()) {
            errors.not_supported(&at, &field.field_path, DOWNWARD);
        }
    }
    let keys = [
        ("configMapKeyRef", from.config_map_key_ref.as_ref().map(|one| (&one.name, &one.key))),
        ("secretKeyRef", from.secret_key_ref.as_ref().map(|one| (&one.name, &one.key))),
    ];
    for (field, (name, key)) in keys.into_iter().filter_map(|(field, one)| Some((field, one?))) {
        let at = path.child(field);
        errors.invalid_each(&at.child("name"), name, names::dns_subdomain(name));
        match key.as_str() {
            "" => errors.required(&at.child("key"), ""),
            key => errors.invalid_each(&at.child("key"), key, names::config_key(key)),
        }
    }
    let set = [
        from.field_ref.is_some(),
        from.resource_field_ref.is_some(),
        from.config_map_key_ref.is_some(),
        from.secret_key_ref.is_some(),
    ];
    let sources = set.into_iter().filter(|set| *set).count();
    if sources == 0 {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        errors.invalid(path, "", why);
    } else if has_value {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

/// (`ValidateEnvFrom`)
fn env_from(all: &[EnvFromSource], path: &Path, errors: &mut Errors) {
    for (i, from) in all.iter().enumerate() {
        let at = path.index(i);
        if let Some(prefix) = from.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            errors.invalid_each(&at.child("prefix"), prefix, names::env_name(prefix));
        }
        let sources = [
            ("configMapRef", from.config_map_ref.as_ref().map(|one| &one.name)),
            ("secretRef", from.secret_ref.as_ref().map(|one| &one.name)),
        ];
        for (field, name) in sources.iter().filter_map(|(field, name)| Some((field, (*name)?))) {
            let at = at.child(field).child("name");
            match name.as_str() {
                "" => errors.required(&at, ""),
                name => errors.invalid_each(&at, name, names::dns_subdomain(name)),
            }
        }
        match sources.iter().filter(|(_, name)| name.is_some()).count() {
            0 => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
        }
    }
}

/// (`ValidateVolumeMounts`)
fn mounts(mounts: &[VolumeMount], volumes: &Volumes, path: &Path, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, mount) in mounts.iter().enumerate() {
        let at = path.index(i);
        if mount.name.is_empty() {
            errors.required(&at.child("name"), "");
        }
        if !volumes.contains(&mount.name) {
            errors.not_found(&at.child("name"), &mount.name);
        }
        if mount.mount_path.is_empty() {
            errors.required(&at.child("mountPath"), "");
        }
        if !seen.insert(&mount.mount_path) {
            errors.invalid(&at.child("mountPath"), &mount.mount_path, "must be unique");
        }
        let sub_path = mount.sub_path.as_deref().unwrap_or_default();
        if sub_path.starts_with('/') {
            errors.invalid(&path.child("subPath"), sub_path, "must be a relative path");
        }
        if sub_path.split('/').any(|part| part == "..") {
            errors.invalid(&path.child("subPath"), sub_path, "must not contain '..'");
        }
    }
}
