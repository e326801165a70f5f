//! When a node's taints drive a pod away. Pure.
//!
//! Source: kubernetes `pkg/controller/tainteviction/taint_eviction.go`. Upstream counts from when it saw the
//! taint, here from when the taint was added, so that a controller that is restarted does not begin anew.

use std::time::Duration;

use api::types::api::core::v1::{Pod, Taint, Toleration};
use api::types::jiff::Timestamp;

/// In how long the pod has to go; none if it may stay.
pub(crate) fn goes_in(pod: &Pod, taints: &[Taint], now: Timestamp) -> Option<Duration> {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let driving = taints.iter().filter(|taint| taint.effect == "NoExecute");
    driving.filter_map(|taint| stays(taint, tolerations, now)).min()
}

/// How long it stays in spite of a taint; none: for ever.
fn stays(taint: &Taint, tolerations: &[Toleration], now: Timestamp) -> Option<Duration> {
    let Some(toleration) = tolerations.iter().find(|one| tolerates(one, taint)) else {
        return Some(Duration::ZERO);
    };
    let seconds = u64::try_from(toleration.toleration_seconds?.max(0)).unwrap_or(0);
    let since = taint.time_added.as_ref().map_or(now, |at| at.0);
    let at = since.checked_add(Duration::from_secs(seconds)).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// (api `core/v1/toleration.go`, `ToleratesTaint`)
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates() {
        let pod = |tolerations: Value| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [], "tolerations": tolerations}})).unwrap()
        };
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect, "timeAdded": "2026-01-01T00:00:00Z"});
        let tolerates = |key: &str, seconds: Option<i64>| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        let (a, b) = (taint("a", "NoExecute"), taint("b", "NoExecute"));
        let table = [
            (json!([]), json!([]), None),
            (json!([]), json!([taint("a", "NoSchedule")]), None),
            (json!([]), json!([a]), Some(0)),
            (json!([tolerates("a", None)]), json!([a]), None),
            (json!([tolerates("a", Some(300))]), json!([a]), Some(240)),
            (json!([tolerates("a", Some(30))]), json!([a]), Some(0)),
            (json!([tolerates("a", Some(-1))]), json!([a]), Some(0)),
            (json!([tolerates("a", Some(300))]), json!([a, b]), Some(0)),
            (json!([tolerates("a", Some(300)), tolerates("b", Some(100))]), json!([a, b]), Some(40)),
            (json!([tolerates("a", Some(300)), tolerates("b", None)]), json!([a, b]), Some(240)),
            (json!([tolerates("", None)]), json!([a, b]), None),
        ];
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        for (tolerations, taints, expected) in table {
            let parsed: Vec<Taint> = serde_json::from_value(taints.clone()).unwrap();
            let said = goes_in(&pod(tolerations.clone()), &parsed, now).map(|wait| wait.as_secs());
            assert_eq!(said, expected, "{tolerations} {taints}");
        }
    }
}
