//! Defaults of pods and of the pods in templates.

use k8s_openapi::api::core::v1::{
    Container, HTTPGetAction, LifecycleHandler, Pod, PodSpec, Probe, Toleration, Volume,
};

use super::{number, text};

/// Defaults of a pod: of its spec, and those which templates do not get.
pub(crate) fn pod(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    pod_spec(spec);
    let host_network = spec.host_network == Some(true);
    for container in containers(spec) {
        let resources = container.resources.get_or_insert_default();
        // What is limited is also requested.
        for (name, limit) in resources.limits.iter().flatten() {
            resources.requests.get_or_insert_default().entry(name.clone()).or_insert_with(|| limit.clone());
        }
        for port in container.ports.iter_mut().flatten().filter(|_| host_network) {
            number(&mut port.host_port, port.container_port);
        }
    }
    spec.enable_service_links.get_or_insert(true);
}

/// What the default admission plugins `ServiceAccount`, `Priority` and `DefaultTolerationSeconds` set in
/// a new pod (kubernetes `plugin/pkg/admission`). There is no token volume here: pods have no API server
/// to show one to.
pub(crate) fn admission(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    let old_name = spec.service_account.clone().filter(|name| !name.is_empty());
    text(&mut spec.service_account_name, old_name.as_deref().unwrap_or("default"));
    spec.service_account.clone_from(&spec.service_account_name);
    spec.priority.get_or_insert(0);
    text(&mut spec.preemption_policy, "PreemptLowerPriority");
    let tolerations = spec.tolerations.get_or_insert_default();
    for taint in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = |one: &Toleration| {
            let key = one.key.as_deref().unwrap_or_default();
            let effect = one.effect.as_deref().unwrap_or_default();
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if !tolerations.iter().any(tolerated) {
            tolerations.push(Toleration {
                key: Some(taint.into()),
                operator: Some("Exists".into()),
                effect: Some("NoExecute".into()),
                toleration_seconds: Some(300),
                value: None,
            });
        }
    }
}

/// Defaults of a pod's spec, in a pod or in a template.
pub(crate) fn pod_spec(spec: &mut PodSpec) {
    text(&mut spec.dns_policy, "ClusterFirst");
    text(&mut spec.restart_policy, "Always");
    text(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_default();
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.volumes.iter_mut().flatten().for_each(volume);
    containers(spec).for_each(container);
}

fn containers(spec: &mut PodSpec) -> impl Iterator<Item = &mut Container> {
    spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten())
}

fn container(container: &mut Container) {
    let policy =
        if is_latest(container.image.as_deref().unwrap_or_default()) { "Always" } else { "IfNotPresent" };
    text(&mut container.image_pull_policy, policy);
    text(&mut container.termination_message_path, "/dev/termination-log");
    text(&mut container.termination_message_policy, "File");
    container.resources.get_or_insert_default();
    for port in container.ports.iter_mut().flatten() {
        text(&mut port.protocol, "TCP");
    }
    for from in container.env.iter_mut().flatten().filter_map(|env| env.value_from.as_mut()) {
        if let Some(field) = &mut from.field_ref {
            text(&mut field.api_version, "v1");
        }
    }
    let probes =
        [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(probe);
    if let Some(lifecycle) = &mut container.lifecycle {
        let handlers = [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten();
        handlers.for_each(|handler: &mut LifecycleHandler| {
            handler.http_get.iter_mut().for_each(http_get);
        });
    }
}

/// Whether an image's reference has the tag `latest`, which it has if it has neither tag nor digest
/// (kubernetes `pkg/util/parsers`).
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn probe(probe: &mut Probe) {
    number(&mut probe.timeout_seconds, 1);
    number(&mut probe.period_seconds, 10);
    number(&mut probe.success_threshold, 1);
    number(&mut probe.failure_threshold, 3);
    probe.http_get.iter_mut().for_each(http_get);
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn http_get(action: &mut HTTPGetAction) {
    text(&mut action.path, "/");
    text(&mut action.scheme, "HTTP");
}

fn volume(volume: &mut Volume) {
    /// `-rw-r--r--`
    const MODE: i32 = 0o644;
    if *volume == (Volume { name: volume.name.clone(), ..Volume::default() }) {
        volume.empty_dir = Some(k8s_openapi::api::core::v1::EmptyDirVolumeSource::default());
    }
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(MODE);
    }
    if let Some(config) = &mut volume.config_map {
        config.default_mode.get_or_insert(MODE);
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(MODE);
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(MODE);
        for source in projected.sources.iter_mut().flatten() {
            if let Some(token) = &mut source.service_account_token {
                token.expiration_seconds.get_or_insert(3600);
            }
        }
    }
    if let Some(host) = &mut volume.host_path {
        host.type_.get_or_insert_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_image_is_pulled_always() {
        let table = [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1.27", false),
            ("localhost:5000/nginx", true),
            ("localhost:5000/a/nginx:1", false),
            ("nginx@sha256:abc", false),
        ];
        for (image, latest) in table {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
