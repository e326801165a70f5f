//! A node's conditions and taints, by when it was last heard of. Pure.
//!
//! Source: kubernetes `pkg/controller/nodelifecycle/node_lifecycle_controller.go`.

use api::types::api::core::v1::{Node, NodeCondition, Taint};
use api::types::apimachinery::pkg::apis::meta::v1::Time;

const READY: &str = "Ready";
/// Conditions that only the kubelet knows.
const POSTED: [&str; 4] = [READY, "MemoryPressure", "DiskPressure", "PIDPressure"];
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Which condition with which status keeps new pods away, by which taint (`nodeConditionToTaintKeyStatusMap`).
const TAINTS: [(&str, &str, &str); 6] = [
    (READY, "False", NOT_READY),
    (READY, "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

fn conditions(node: &Node) -> &[NodeCondition] {
    node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn find<'a>(conditions: &'a [NodeCondition], kind: &str) -> Option<&'a NodeCondition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// `True`, `False` or `Unknown`.
pub(crate) fn readiness(conditions: &[NodeCondition]) -> &str {
    find(conditions, READY).map_or("Unknown", |condition| condition.status.as_str())
}

/// As the node says itself.
pub(crate) fn is_ready(node: &Node) -> bool {
    readiness(conditions(node)) == "True"
}

/// When the kubelet last said that it is ready or not.
pub(crate) fn heartbeat(node: &Node) -> Option<&Time> {
    find(conditions(node), READY)?.last_heartbeat_time.as_ref()
}

/// The conditions as they should be of a node that is `silent`.
pub(crate) fn wanted_conditions(node: &Node, silent: bool, now: &Time) -> Vec<NodeCondition> {
    let mut wanted = conditions(node).to_vec();
    if !silent {
        return wanted;
    }
    for kind in POSTED {
        match wanted.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("Kubelet stopped posting node status.".into());
                condition.last_transition_time = Some(now.clone());
            }
            None => wanted.push(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(now.clone()),
            }),
        }
    }
    wanted
}

/// Whether the taints of a node follow its conditions, as far as pods are driven away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// As the conditions say.
    Follows,
    /// Later: too many nodes at once.
    Waits,
    /// Not at all: no node is ready, so it is not the nodes' fault.
    Off,
}

/// The taints as they should be. Those of others stay.
pub(crate) fn wanted_taints(
    node: &Node,
    conditions: &[NodeCondition],
    eviction: Eviction,
    now: &Time,
) -> Vec<Taint> {
    let spec = node.spec.clone().unwrap_or_default();
    let ready = readiness(conditions);
    let mut keys: Vec<(&str, &str)> = TAINTS
        .iter()
        .filter(|(kind, status, _)| find(conditions, kind).is_some_and(|one| one.status == *status))
        .map(|(_, _, key)| (*key, "NoSchedule"))
        .collect();
    if spec.unschedulable == Some(true) {
        keys.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let drives_away = match ready {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    let has =
        |key: &str| spec.taints.iter().flatten().any(|taint| taint.key == key && taint.effect == "NoExecute");
    keys.extend(
        drives_away
            .filter(|key| match eviction {
                Eviction::Follows => true,
                Eviction::Waits => has(key),
                Eviction::Off => false,
            })
            .map(|key| (key, "NoExecute")),
    );

    let ours = |taint: &Taint| {
        let managed = TAINTS.iter().any(|(_, _, key)| *key == taint.key) || taint.key == UNSCHEDULABLE;
        let drives = matches!(taint.key.as_str(), NOT_READY | UNREACHABLE);
        managed && taint.effect == "NoSchedule" || drives && taint.effect == "NoExecute"
    };
    let is_wanted =
        |taint: &Taint| keys.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect);
    let mut taints: Vec<Taint> =
        spec.taints.into_iter().flatten().filter(|taint| !ours(taint) || is_wanted(taint)).collect();
    for (key, effect) in keys {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let time_added = Some(now.clone());
            taints.push(Taint { key: key.into(), effect: effect.into(), value: None, time_added });
        }
    }
    taints
}

/// Whether the taints would begin to drive pods away.
pub(crate) fn begins_eviction(node: &Node, taints: &[Taint]) -> bool {
    let drives =
        |taint: &&Taint| taint.effect == "NoExecute" && matches!(taint.key.as_str(), NOT_READY | UNREACHABLE);
    let before = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().any(|taint| drives(&taint)) && !before.iter().any(|taint| drives(&taint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(ready: &str, spec: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1"}, "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": "False"}]},
        }))
        .unwrap()
    }

    fn now() -> Time {
        Time("2026-01-01T00:00:00Z".parse().unwrap())
    }

    fn said(node: &Node, silent: bool, eviction: Eviction) -> String {
        let conditions = wanted_conditions(node, silent, &now());
        let taints = wanted_taints(node, &conditions, eviction, &now());
        let taints: Vec<_> = taints.iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect();
        taints.join(" ").replace("node.kubernetes.io/", "")
    }

    #[test]
    fn a_silent_node_is_unknown_and_keeps_its_words_if_it_was_already() {
        let said: Vec<_> = wanted_conditions(&node("True", json!({})), true, &now())
            .iter()
            .map(|one| format!("{} {} {}", one.type_, one.status, one.reason.as_deref().unwrap()))
            .collect();
        assert_eq!(
            said,
            [
                "Ready Unknown NodeStatusUnknown",
                "DiskPressure Unknown NodeStatusUnknown",
                "MemoryPressure Unknown NodeStatusNeverUpdated",
                "PIDPressure Unknown NodeStatusNeverUpdated",
            ]
        );
        let mut unknown = node("True", json!({}));
        unknown.status.as_mut().unwrap().conditions = Some(wanted_conditions(&unknown, true, &now()));
        let later = Time("2026-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(wanted_conditions(&unknown, true, &later), conditions(&unknown));
    }

    #[test]
    fn taints_follow_the_conditions() {
        let own = json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}, {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]});
        let table = [
            (node("True", json!({})), false, Eviction::Follows, ""),
            (node("False", json!({})), false, Eviction::Follows, "not-ready:NoSchedule not-ready:NoExecute"),
            (node("False", json!({})), false, Eviction::Waits, "not-ready:NoSchedule"),
            (
                node("False", own.clone()),
                false,
                Eviction::Waits,
                "gpu:NoSchedule not-ready:NoExecute not-ready:NoSchedule",
            ),
            (node("False", own.clone()), false, Eviction::Off, "gpu:NoSchedule not-ready:NoSchedule"),
            (node("True", own.clone()), false, Eviction::Follows, "gpu:NoSchedule"),
            (
                node("True", own),
                true,
                Eviction::Follows,
                "gpu:NoSchedule unreachable:NoSchedule unreachable:NoExecute",
            ),
            (
                node("True", json!({"unschedulable": true})),
                false,
                Eviction::Follows,
                "unschedulable:NoSchedule",
            ),
        ];
        for (node, silent, eviction, expected) in table {
            assert_eq!(said(&node, silent, eviction), expected, "{silent} {eviction:?}");
        }
    }
}
