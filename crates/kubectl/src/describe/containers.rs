//! Containers: `describeContainers`.

use std::collections::BTreeMap;

use api::types::api::core::v1::{
    Container, ContainerPort, ContainerState, ContainerStatus, EnvVar, ObjectFieldSelector, Pod, Probe,
    VolumeMount,
};
use api::types::apimachinery::pkg::api::resource::Quantity;
use api::types::apimachinery::pkg::util::intstr::IntOrString;

use super::{Description, moment, or_none, pod};

/// `statuses` are none where there is only a template; of `pod` fields are read that containers refer to.
pub(super) fn describe(
    out: &mut Description<'_>,
    level: usize,
    title: &str,
    containers: &[Container],
    statuses: Option<&[ContainerStatus]>,
    pod: &Pod,
) {
    if containers.is_empty() {
        out.field(level, title, "<none>");
        return;
    }
    out.line(level, format_args!("{title}:"));
    for container in containers {
        out.line(level + 1, format_args!("{}:", container.name));
        let level = level + 2;
        let status = statuses.map(|all| all.iter().find(|status| status.name == container.name));
        basics(out, level, container, status.flatten());
        command(out, level, "Command", container.command.as_deref());
        command(out, level, "Args", container.args.as_deref());
        if let Some(Some(status)) = status {
            self::status(out, level, status);
        }
        let resources = container.resources.clone().unwrap_or_default();
        amounts(out, level, "Limits", resources.limits.as_ref());
        amounts(out, level, "Requests", resources.requests.as_ref());
        out.maybe(level, "Liveness", container.liveness_probe.as_ref().map(probe));
        out.maybe(level, "Readiness", container.readiness_probe.as_ref().map(probe));
        out.maybe(level, "Startup", container.startup_probe.as_ref().map(probe));
        environment(out, level, container, pod);
        mounts(out, level, container.volume_mounts.as_deref().unwrap_or_default());
    }
}

fn basics(out: &mut Description<'_>, level: usize, container: &Container, status: Option<&ContainerStatus>) {
    if let Some(status) = status {
        out.field(level, "Container ID", status.container_id.as_deref().unwrap_or_default());
    }
    out.field(level, "Image", container.image.as_deref().unwrap_or_default());
    if let Some(status) = status {
        out.field(level, "Image ID", &status.image_id);
    }
    let ports = container.ports.as_deref().unwrap_or_default();
    port_lines(out, level, "Port", ports, |port| port.container_port);
    port_lines(out, level, "Host Port", ports, |port| port.host_port.unwrap_or_default());
}

fn port_lines(
    out: &mut Description<'_>,
    level: usize,
    key: &str,
    ports: &[ContainerPort],
    number: impl Fn(&ContainerPort) -> i32,
) {
    let protocol = |port: &ContainerPort| port.protocol.clone().unwrap_or_else(|| "TCP".into());
    let all: Vec<_> = ports.iter().map(|port| format!("{}/{}", number(port), protocol(port))).collect();
    let key = if all.len() > 1 { format!("{key}s") } else { key.into() };
    out.field(level, &key, or_none(&all.join(", ")));
}

fn command(out: &mut Description<'_>, level: usize, key: &str, words: Option<&[String]>) {
    let Some(words) = words.filter(|words| !words.is_empty()) else { return };
    out.line(level, format_args!("{key}:"));
    for line in words.iter().flat_map(|word| word.split('\n')) {
        out.line(level + 1, line);
    }
}

fn status(out: &mut Description<'_>, level: usize, status: &ContainerStatus) {
    state(out, level, "State", status.state.as_ref().unwrap_or(&ContainerState::default()));
    if let Some(last) = status.last_state.as_ref().filter(|last| last.terminated.is_some()) {
        state(out, level, "Last State", last);
    }
    out.field(level, "Ready", pod::ready(status.ready));
    out.field(level, "Restart Count", status.restart_count);
}

fn state(out: &mut Description<'_>, level: usize, key: &str, state: &ContainerState) {
    if let Some(running) = &state.running {
        out.field(level, key, "Running");
        out.field(level + 1, "Started", moment(running.started_at.as_ref()));
    } else if let Some(ended) = &state.terminated {
        out.field(level, key, "Terminated");
        out.maybe(level + 1, "Reason", ended.reason.as_ref());
        out.maybe(level + 1, "Message", ended.message.as_ref());
        out.field(level + 1, "Exit Code", ended.exit_code);
        out.maybe(level + 1, "Signal", ended.signal.filter(|signal| *signal > 0));
        out.field(level + 1, "Started", moment(ended.started_at.as_ref()));
        out.field(level + 1, "Finished", moment(ended.finished_at.as_ref()));
    } else {
        out.field(level, key, "Waiting");
        let waiting = state.waiting.clone().unwrap_or_default();
        out.maybe(level + 1, "Reason", waiting.reason);
        out.maybe(level + 1, "Message", waiting.message);
    }
}

pub(super) fn amounts(
    out: &mut Description<'_>,
    level: usize,
    key: &str,
    amounts: Option<&BTreeMap<String, Quantity>>,
) {
    let Some(amounts) = amounts.filter(|amounts| !amounts.is_empty()) else { return };
    out.line(level, format_args!("{key}:"));
    for (name, quantity) in amounts {
        out.field(level + 1, name, &quantity.0);
    }
}

/// `DescribeProbe`.
fn probe(probe: &Probe) -> String {
    let times = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        probe.initial_delay_seconds.unwrap_or_default(),
        probe.timeout_seconds.unwrap_or(1),
        probe.period_seconds.unwrap_or(10),
        probe.success_threshold.unwrap_or(1),
        probe.failure_threshold.unwrap_or(3),
    );
    if let Some(exec) = &probe.exec {
        return format!("exec [{}] {times}", exec.command.as_deref().unwrap_or_default().join(" "));
    }
    if let Some(get) = &probe.http_get {
        let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
        let host = get.host.as_deref().unwrap_or_default();
        let path = get.path.as_deref().unwrap_or_default().trim_start_matches('/');
        return format!("http-get {scheme}://{host}:{}/{path} {times}", number(&get.port));
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = socket.host.as_deref().unwrap_or_default();
        return format!("tcp-socket {host}:{} {times}", number(&socket.port));
    }
    if let Some(grpc) = &probe.grpc {
        return format!("grpc <pod>:{} {} {times}", grpc.port, grpc.service.as_deref().unwrap_or_default());
    }
    format!("unknown {times}")
}

pub(super) fn number(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

fn environment(out: &mut Description<'_>, level: usize, container: &Container, pod: &Pod) {
    let sources = container.env_from.as_deref().unwrap_or_default();
    if !sources.is_empty() {
        out.line(level, "Environment Variables from:");
    }
    for source in sources {
        let prefix = source.prefix.as_deref().filter(|prefix| !prefix.is_empty());
        let prefix = prefix.map(|prefix| format!(" with prefix '{prefix}'")).unwrap_or_default();
        if let Some(map) = &source.config_map_ref {
            let optional = pod::switch(map.optional);
            out.line(level + 1, format_args!("{}\tConfigMap{prefix}\tOptional: {optional}", map.name));
        }
        if let Some(secret) = &source.secret_ref {
            let optional = pod::switch(secret.optional);
            out.line(level + 1, format_args!("{}\tSecret{prefix}\tOptional: {optional}", secret.name));
        }
    }
    let variables = container.env.as_deref().unwrap_or_default();
    if variables.is_empty() {
        out.field(level, "Environment", "<none>");
        return;
    }
    out.line(level, "Environment:");
    for variable in variables {
        variable_lines(out, level + 1, variable, pod);
    }
}

fn variable_lines(out: &mut Description<'_>, level: usize, variable: &EnvVar, pod: &Pod) {
    let name = &variable.name;
    let Some(from) = &variable.value_from else {
        let value = variable.value.as_deref().unwrap_or_default();
        out.lines(level, name, if value.is_empty() { vec![""] } else { value.lines().collect() });
        return;
    };
    if let Some(field) = &from.field_ref {
        let version = field.api_version.as_deref().unwrap_or("v1");
        let value = of_pod(pod, field);
        out.field(level, name, format_args!("{value} ({version}:{})", field.field_path));
    } else if let Some(key) = &from.config_map_key_ref {
        let optional = pod::switch(key.optional);
        let text = format!("<set to the key '{}' of config map '{}'>", key.key, key.name);
        out.field(level, name, format_args!("{text}\tOptional: {optional}"));
    } else if let Some(key) = &from.secret_key_ref {
        let optional = pod::switch(key.optional);
        let text = format!("<set to the key '{}' in secret '{}'>", key.key, key.name);
        out.field(level, name, format_args!("{text}\tOptional: {optional}"));
    } else if let Some(resource) = &from.resource_field_ref {
        out.field(level, name, format_args!("<of the container> ({})", resource.resource));
    }
}

/// The value that a field of the pod has now.
fn of_pod(pod: &Pod, field: &ObjectFieldSelector) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let value = match field.field_path.as_str() {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        "spec.nodeName" => spec.node_name,
        "spec.serviceAccountName" => spec.service_account_name,
        "status.hostIP" => status.host_ip,
        "status.podIP" => status.pod_ip,
        _ => None,
    };
    value.unwrap_or_default()
}

fn mounts(out: &mut Description<'_>, level: usize, mounts: &[VolumeMount]) {
    if mounts.is_empty() {
        out.field(level, "Mounts", "<none>");
        return;
    }
    out.line(level, "Mounts:");
    let mut mounts: Vec<_> = mounts.iter().collect();
    mounts.sort_by_key(|mount| &mount.mount_path);
    for mount in mounts {
        let how = if mount.read_only == Some(true) { "ro" } else { "rw" };
        let path = mount.sub_path.as_deref().filter(|path| !path.is_empty());
        let path = path.map(|path| format!(",path=\"{path}\"")).unwrap_or_default();
        out.line(level + 1, format_args!("{} from {} ({how}{path})", mount.mount_path, mount.name));
    }
}
