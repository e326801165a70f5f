//! `printPod`.

use api::types::api::core::v1::{
    Container, ContainerState, ContainerStatus, Pod, PodCondition, PodSpec, PodStatus,
};
use api::types::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::{Context, Printer, none_if_empty, or_none, typed};

pub(super) static PODS: Printer = Printer {
    columns: &[
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
        "IP",
        "NODE",
        "NOMINATED NODE",
        "READINESS GATES",
    ],
    wide: &["IP", "NODE", "NOMINATED NODE", "READINESS GATES"],
    cells,
};

fn cells(object: &Value, context: &Context<'_>) -> Option<Vec<String>> {
    let pod: Pod = typed(object)?;
    let summary = summary(&pod);
    let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
    let restarts = match &summary.last_restart {
        Some(at) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, context.age(Some(at)))
        }
        _ => summary.restarts.to_string(),
    };
    let address = status.pod_ips.iter().flatten().next().map(|ip| ip.ip.clone());
    Some(vec![
        pod.metadata.name.unwrap_or_default(),
        format!("{}/{}", summary.ready, summary.containers),
        summary.reason,
        restarts,
        context.age(pod.metadata.creation_timestamp.as_ref()),
        none_if_empty(address.or(status.pod_ip.clone()).unwrap_or_default()),
        or_none(spec.node_name.as_ref()),
        or_none(status.nominated_node_name.as_ref()),
        gates(&spec, &status),
    ])
}

/// A pod in a line.
struct Summary {
    ready: usize,
    containers: usize,
    restarts: i32,
    last_restart: Option<Time>,
    reason: String,
}

fn summary(pod: &Pod) -> Summary {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let (spec, status) = (pod.spec.as_ref().unwrap_or(&no_spec), pod.status.as_ref().unwrap_or(&no_status));
    let phase = status.phase.as_deref().unwrap_or_default();
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let mut reason = status.reason.clone().filter(|reason| !reason.is_empty()).unwrap_or(phase.into());
    let gated =
        |c: &PodCondition| c.type_ == "PodScheduled" && c.reason.as_deref() == Some("SchedulingGated");
    if conditions.iter().any(gated) {
        reason = "SchedulingGated".into();
    }
    let mut line =
        Summary { ready: 0, containers: spec.containers.len(), restarts: 0, last_restart: None, reason };
    let (initializing, of_sidecars) = init_containers(spec, status, &mut line);
    if !initializing || is_true(conditions, "Initialized") {
        (line.restarts, line.last_restart) = of_sidecars;
        containers(status, conditions, &mut line);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason.as_deref() == Some("NodeLost") {
            line.reason = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            line.reason = "Terminating".into();
        }
    }
    line
}

type Restarts = (i32, Option<Time>);

/// Takes in the containers that run first; says whether one of them has not ended, and the restarts of those
/// that stay (sidecars).
fn init_containers(spec: &PodSpec, status: &PodStatus, line: &mut Summary) -> (bool, Restarts) {
    let all = spec.init_containers.as_deref().unwrap_or_default();
    let is_sidecar = |name: &str| {
        let stays = |c: &&Container| c.name == name && c.restart_policy.as_deref() == Some("Always");
        all.iter().any(|container| stays(&container))
    };
    line.containers += all.iter().filter(|container| is_sidecar(&container.name)).count();
    let mut of_sidecars: Restarts = (0, None);
    for (i, container) in status.init_container_statuses.iter().flatten().enumerate() {
        count(container, &mut line.restarts, &mut line.last_restart);
        let sidecar = is_sidecar(&container.name);
        if sidecar {
            count(container, &mut of_sidecars.0, &mut of_sidecars.1);
        }
        let state = container.state.clone().unwrap_or_default();
        if state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0) {
            continue;
        }
        if sidecar && container.started == Some(true) {
            line.ready += usize::from(container.ready);
            continue;
        }
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
        let waiting = waiting.filter(|reason| !reason.is_empty() && reason != "PodInitializing");
        line.reason = match (ended(&state), waiting) {
            (Some(ended), _) => format!("Init:{ended}"),
            (None, Some(waiting)) => format!("Init:{waiting}"),
            (None, None) => format!("Init:{i}/{}", all.len()),
        };
        return (true, of_sidecars);
    }
    (false, of_sidecars)
}

fn containers(status: &PodStatus, conditions: &[PodCondition], line: &mut Summary) {
    let mut running = false;
    for container in status.container_statuses.iter().flatten().rev() {
        count(container, &mut line.restarts, &mut line.last_restart);
        let state = container.state.clone().unwrap_or_default();
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
        if let Some(waiting) = waiting.filter(|reason| !reason.is_empty()) {
            line.reason = waiting;
        } else if let Some(ended) = ended(&state) {
            line.reason = ended;
        } else if container.ready && state.running.is_some() {
            running = true;
            line.ready += 1;
        }
    }
    if line.reason == "Completed" && running {
        line.reason = if is_true(conditions, "Ready") { "Running" } else { "NotReady" }.into();
    }
}

/// Why a container has ended.
fn ended(state: &ContainerState) -> Option<String> {
    let ended = state.terminated.as_ref()?;
    Some(match (&ended.reason, ended.signal) {
        (Some(reason), _) if !reason.is_empty() => reason.clone(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", ended.exit_code),
    })
}

fn count(container: &ContainerStatus, restarts: &mut i32, last: &mut Option<Time>) {
    *restarts += container.restart_count;
    let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let at = ended.and_then(|ended| ended.finished_at.clone());
    if at.as_ref().map(|at| at.0) > last.as_ref().map(|at| at.0) {
        *last = at;
    }
}

fn is_true(conditions: &[PodCondition], wanted: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == wanted && condition.status == "True")
}

fn gates(spec: &PodSpec, status: &PodStatus) -> String {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if gates.is_empty() {
        return "<none>".into();
    }
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let open = gates.iter().filter(|gate| is_true(conditions, &gate.condition_type)).count();
    format!("{open}/{}", gates.len())
}

#[cfg(test)]
mod tests;
