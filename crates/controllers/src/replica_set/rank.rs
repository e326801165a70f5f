//! Which pods go first when there are too many.
//!
//! Source: kubernetes `pkg/controller/controller_utils.go` (`ActivePodsWithRanks`),
//! `pkg/controller/replicaset/replica_set.go` (`getPodsRankedByRelatedPodsOnSameNode`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use api::types::api::core::v1::{ContainerStatus, Pod};
use api::types::jiff::Timestamp;

use crate::meta::Meta;
use crate::pods;

/// A wish of the user's: the cheapest pod goes first.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods to delete, the first to go first. `related` are all pods of the same application, whose
/// being together on a node makes one of them superfluous.
pub(crate) fn first_to_go(
    pods: &[Arc<Pod>],
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        *on_node.entry(pods::node_name(pod)).or_default() += 1;
    }
    let together = |pod: &Pod| on_node.get(pods::node_name(pod)).copied().unwrap_or_default();
    let mut sorted = pods.to_vec();
    sorted.sort_by(|a, b| goes_before((a, together(a)), (b, together(b)), now));
    sorted.truncate(count);
    sorted
}

fn goes_before((a, a_together): (&Pod, usize), (b, b_together): (&Pod, usize), now: Timestamp) -> Ordering {
    let placed = |pod| !pods::node_name(pod).is_empty();
    let phase = |pod| match pods::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let restarts = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        statuses.into_iter().flatten().map(|status: &ContainerStatus| status.restart_count).max().unwrap_or(0)
    };
    let created = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let both_ready = pods::is_ready(a) && pods::is_ready(b);
    let by_readiness = || {
        if both_ready {
            younger_first(pods::ready_since(a), pods::ready_since(b), (a, b), now)
        } else {
            Ordering::Equal
        }
    };
    placed(a)
        .cmp(&placed(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| b_together.cmp(&a_together))
        .then_with(by_readiness)
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| younger_first(created(a), created(b), (a, b), now))
}

fn cost(pod: &Pod) -> i32 {
    pod.annotation(COST).and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

/// The younger goes first, but ages of the same magnitude count as the same, and then it is left to chance,
/// so that not always the newest replica of a failure domain goes.
fn younger_first(
    a: Option<Timestamp>,
    b: Option<Timestamp>,
    (a_pod, b_pod): (&Pod, &Pod),
    now: Timestamp,
) -> Ordering {
    match (a, b) {
        (a, b) if a == b => Ordering::Equal,
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(a), Some(b)) => {
            magnitude(a, now).cmp(&magnitude(b, now)).then_with(|| a_pod.uid().cmp(b_pod.uid()))
        }
    }
}

fn magnitude(since: Timestamp, now: Timestamp) -> i64 {
    let age = now.duration_since(since).as_nanos();
    u128::try_from(age).ok().filter(|age| *age > 0).map_or(-1, |age| i64::from(age.ilog2()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NOW: &str = "2026-01-02T00:00:00Z";

    fn pod(name: &str, fields: Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]},
        });
        merge(&mut pod, &fields);
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
            }
            (into, from) => *into = from.clone(),
        }
    }

    fn ready(status: &str, since: &str) -> Value {
        json!({"status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": since}]}})
    }

    fn goes(pods: &[Arc<Pod>]) -> Vec<String> {
        let now = NOW.parse().unwrap();
        first_to_go(pods, pods, pods.len(), now).iter().map(|pod| pod.name().to_owned()).collect()
    }

    #[test]
    fn each_rule_decides_when_those_before_it_do_not() {
        let early = "2026-01-01T00:00:00Z";
        let table = [
            (json!({"spec": {"nodeName": ""}}), json!({"status": {"phase": "Pending"}})),
            (json!({"status": {"phase": "Pending"}}), json!({"status": {"phase": "Unknown"}})),
            (json!({"status": {"phase": "Unknown"}}), ready("False", early)),
            (ready("False", early), json!({"metadata": {"annotations": {COST: "-5"}}})),
            (json!({"metadata": {"annotations": {COST: "-5"}}}), json!({})),
            (
                json!({"metadata": {"annotations": {COST: "nonsense"}}}),
                json!({"metadata": {"annotations": {COST: "1"}}}),
            ),
            (ready("True", "2026-01-01T23:59:00Z"), ready("True", early)),
            (
                json!({"status": {"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 3}]}}),
                json!({}),
            ),
            (json!({"metadata": {"creationTimestamp": "2026-01-01T23:59:00Z"}}), json!({})),
        ];
        for (first, second) in table {
            // The name is the last that decides, so it speaks for the other one.
            let pods = [pod("a-second", second.clone()), pod("b-first", first.clone())];
            assert_eq!(goes(&pods), ["b-first", "a-second"], "{first} before {second}");
        }
    }

    #[test]
    fn of_those_that_share_a_node_one_goes() {
        let on = |name: &str, node: &str| pod(name, json!({"spec": {"nodeName": node}}));
        let pods = [on("a", "n1"), on("b", "n2"), on("c", "n2")];
        assert_eq!(goes(&pods), ["b", "c", "a"]);
        // Those of the other ReplicaSets of a Deployment count, too.
        let related = [pods.as_slice(), &[on("d", "n1"), on("e", "n1")]].concat();
        let first = first_to_go(&pods, &related, 1, NOW.parse().unwrap());
        assert_eq!(first[0].name(), "a");
    }

    #[test]
    fn ages_of_one_magnitude_are_the_same() {
        let pods = [
            pod("a", ready("True", "2026-01-01T00:00:00Z")),
            pod("b", ready("True", "2026-01-01T00:00:09Z")),
        ];
        assert_eq!(goes(&pods), ["a", "b"]);
    }
}
