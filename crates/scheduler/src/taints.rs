//! Taints, and pods that tolerate them.
//!
//! Sources: api `core/v1/toleration.go` (`ToleratesTaint`), kubernetes
//! `pkg/scheduler/framework/plugins/{tainttoleration,nodeunschedulable}`.

use api::types::api::core::v1::{Node, PodSpec, Taint, Toleration};

/// The taint of a node that was cordoned.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => text(&toleration.value) == text(&taint.value),
        "Exists" => true,
        _ => false,
    }
}

fn tolerated(spec: &PodSpec, taint: &Taint) -> bool {
    spec.tolerations.iter().flatten().any(|toleration| tolerates(toleration, taint))
}

/// The first taint that keeps the pod away.
pub(crate) fn untolerated<'a>(spec: &PodSpec, node: &'a Node) -> Option<&'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let mut keeping = taints.into_iter().flatten().filter(|taint| taint.effect != "PreferNoSchedule");
    keeping.find(|taint| !tolerated(spec, taint))
}

/// How many taints would rather keep the pod away.
pub(crate) fn disliked(spec: &PodSpec, node: &Node) -> i64 {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let softly = taints.into_iter().flatten().filter(|taint| taint.effect == "PreferNoSchedule");
    // Tolerations of other effects do not count.
    let tolerations: Vec<_> = spec.tolerations.iter().flatten().collect();
    let tolerated = |taint: &Taint| {
        let soft = |one: &&&Toleration| matches!(one.effect.as_deref(), None | Some("" | "PreferNoSchedule"));
        tolerations.iter().filter(soft).any(|toleration| tolerates(toleration, taint))
    };
    i64::try_from(softly.filter(|taint| !tolerated(taint)).count()).unwrap_or(i64::MAX)
}

/// Whether the node was cordoned, and the pod does not mind.
pub(crate) fn is_cordoned(spec: &PodSpec, node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let taint = Taint { key: UNSCHEDULABLE.into(), effect: "NoSchedule".into(), ..Taint::default() };
    cordoned && !tolerated(spec, &taint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_toleration_tolerates_what_it_says() {
        let taint = json!({"key": "disk", "value": "slow", "effect": "NoSchedule"});
        let table = [
            (json!({}), false),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "disk", "operator": "Exists"}), true),
            (json!({"key": "disk", "operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "disk", "operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"key": "disk", "operator": "Equal", "value": "slow"}), true),
            (json!({"key": "disk", "value": "slow"}), true),
            (json!({"key": "disk", "value": "fast"}), false),
            (json!({"key": "disc", "operator": "Exists"}), false),
            (json!({"key": "disk", "operator": "Near"}), false),
        ];
        let taint: Taint = serde_json::from_value(taint).unwrap();
        for (toleration, expected) in table {
            let parsed = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerates(&parsed, &taint), expected, "{toleration}");
        }
    }

    #[test]
    fn a_node_keeps_away_with_two_effects_and_asks_with_one() {
        let spec = |tolerations: Value| -> PodSpec {
            serde_json::from_value(json!({"containers": [], "tolerations": tolerations})).unwrap()
        };
        let node: Node = serde_json::from_value(json!({"spec": {"unschedulable": true, "taints": [
            {"key": "a", "effect": "PreferNoSchedule"},
            {"key": "b", "effect": "NoExecute"},
            {"key": "c", "effect": "NoSchedule"},
        ]}}))
        .unwrap();
        let key = |spec: &PodSpec| untolerated(spec, &node).map(|taint| taint.key.clone());
        assert_eq!(key(&spec(json!([]))).as_deref(), Some("b"));
        let b = json!({"key": "b", "operator": "Exists"});
        assert_eq!(key(&spec(json!([b]))).as_deref(), Some("c"));
        let all = json!({"operator": "Exists"});
        assert_eq!(key(&spec(json!([all]))), None);
        assert_eq!(disliked(&spec(json!([b])), &node), 1);
        assert_eq!(disliked(&spec(json!([all])), &node), 0);
        assert!(is_cordoned(&spec(json!([b])), &node) && !is_cordoned(&spec(json!([all])), &node));
    }
}
