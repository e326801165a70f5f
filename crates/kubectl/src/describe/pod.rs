//! Pods.

use api::types::api::core::v1::{
    Pod, PodCondition, PodSpec, PodStatus, Toleration, TopologySpreadConstraint,
};
use serde_json::Value;

use super::{Description, containers, moment, or_none, selector_text, truth, typed, volumes};

pub(super) fn describe(out: &mut Description<'_>, object: &Value) -> Option<()> {
    let pod: Pod = typed(object)?;
    let (spec, status) = (pod.spec.clone().unwrap_or_default(), pod.status.clone().unwrap_or_default());
    out.names(&pod.metadata);
    out.maybe(0, "Priority", spec.priority);
    out.maybe(0, "Priority Class Name", spec.priority_class_name.as_ref());
    out.maybe(0, "Service Account", spec.service_account_name.as_ref());
    match spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        Some(node) => {
            let address = status.host_ip.as_deref().unwrap_or_default();
            out.field(0, "Node", format_args!("{node}/{address}"));
        }
        None => out.field(0, "Node", "<none>"),
    }
    if status.start_time.is_some() {
        out.field(0, "Start Time", moment(status.start_time.as_ref()));
    }
    out.labels(0, "Labels", pod.metadata.labels.as_ref());
    out.annotations(0, pod.metadata.annotations.as_ref());
    state(out, &pod, &status);
    addresses(out, &status);
    out.controller(&pod.metadata);
    out.maybe(0, "NominatedNodeName", status.nominated_node_name.as_ref());
    if let Some(init) = spec.init_containers.as_ref().filter(|init| !init.is_empty()) {
        let statuses = status.init_container_statuses.as_deref().unwrap_or_default();
        containers::describe(out, 0, "Init Containers", init, Some(statuses), &pod);
    }
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    containers::describe(out, 0, "Containers", &spec.containers, Some(statuses), &pod);
    gates(out, &spec, &status);
    conditions(out, status.conditions.as_deref().unwrap_or_default());
    volumes::describe(out, 0, spec.volumes.as_deref().unwrap_or_default());
    out.maybe(0, "QoS Class", status.qos_class.as_ref());
    placement(out, 0, &spec);
    Some(())
}

fn state(out: &mut Description<'_>, pod: &Pod, status: &PodStatus) {
    let phase = status.phase.as_deref().unwrap_or_default();
    match &pod.metadata.deletion_timestamp {
        Some(at) if !matches!(phase, "Succeeded" | "Failed") => {
            let since = out.age(Some(at));
            out.field(0, "Status", format_args!("Terminating (lasts {since})"));
            let period = pod.metadata.deletion_grace_period_seconds;
            out.maybe(0, "Termination Grace Period", period.map(|seconds| format!("{seconds}s")));
        }
        _ => out.field(0, "Status", phase),
    }
    out.maybe(0, "Reason", status.reason.as_ref());
    out.maybe(0, "Message", status.message.as_ref());
}

fn addresses(out: &mut Description<'_>, status: &PodStatus) {
    out.field(0, "IP", status.pod_ip.as_deref().unwrap_or_default());
    match status.pod_ips.as_deref().unwrap_or_default() {
        [] => out.field(0, "IPs", "<none>"),
        all => {
            out.line(0, "IPs:");
            for address in all {
                out.field(1, "IP", &address.ip);
            }
        }
    }
}

fn gates(out: &mut Description<'_>, spec: &PodSpec, status: &PodStatus) {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if gates.is_empty() {
        return;
    }
    out.line(0, "Readiness Gates:");
    out.line(1, "Type\tStatus");
    for gate in gates {
        let mut conditions = status.conditions.iter().flatten();
        let found = conditions.find(|condition| condition.type_ == gate.condition_type);
        let status = found.map_or("<none>", |condition| condition.status.as_str());
        out.line(1, format_args!("{}\t{status}", gate.condition_type));
    }
}

fn conditions(out: &mut Description<'_>, conditions: &[PodCondition]) {
    if conditions.is_empty() {
        return;
    }
    out.line(0, "Conditions:");
    out.line(1, "Type\tStatus");
    for condition in conditions {
        out.line(1, format_args!("{}\t{}", condition.type_, condition.status));
    }
}

/// Where a pod may run.
pub(super) fn placement(out: &mut Description<'_>, level: usize, spec: &PodSpec) {
    out.labels(level, "Node-Selectors", spec.node_selector.as_ref());
    out.lines(level, "Tolerations", spec.tolerations.iter().flatten().map(toleration));
    let spread = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    if !spread.is_empty() {
        out.lines(level, "Topology Spread Constraints", spread.iter().map(constraint));
    }
}

fn toleration(toleration: &Toleration) -> String {
    let mut text = toleration.key.clone().unwrap_or_default();
    if let Some(value) = toleration.value.as_deref().filter(|value| !value.is_empty()) {
        text += &format!("={value}");
    }
    if let Some(effect) = toleration.effect.as_deref().filter(|effect| !effect.is_empty()) {
        text += &format!(":{effect}");
    }
    let exists = toleration.operator.as_deref() == Some("Exists");
    if exists && toleration.value.as_deref().unwrap_or_default().is_empty() {
        text += if text.is_empty() { "op=Exists" } else { " op=Exists" };
    }
    if let Some(seconds) = toleration.toleration_seconds {
        text += &format!(" for {seconds}s");
    }
    text
}

fn constraint(one: &TopologySpreadConstraint) -> String {
    let selector = one.label_selector.as_ref().map(selector_text).unwrap_or_default();
    let (key, action, skew) = (&one.topology_key, &one.when_unsatisfiable, one.max_skew);
    format!("{key}:{action} when max skew {skew} is exceeded for selector {}", or_none(&selector))
}

/// As `true`, for a switch that may be missing.
pub(super) fn switch(value: Option<bool>) -> String {
    value.unwrap_or_default().to_string()
}

pub(super) fn ready(value: bool) -> &'static str {
    truth(value)
}
