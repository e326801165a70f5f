//! Resources: whether a pod fits, and where it fits best.
//!
//! Sources: kubernetes `pkg/scheduler/framework/plugins/noderesources/{fit,least_allocated,
//! balanced_allocation}.go`, `plugins/nodeports`.

use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::resources::asks_for_nothing;

/// The best score.
pub(crate) const MOST: i64 = 100;

/// What is lacking, in upstream's words.
pub(crate) fn lacks(pod: &PodInfo, node: &NodeInfo) -> Vec<String> {
    let mut lacks = Vec::new();
    if i64::try_from(node.load.pods.len()).unwrap_or(i64::MAX) + 1 > node.most_pods {
        lacks.push("Too many pods".to_owned());
    }
    let (asked, used, there) = (&pod.requests, &node.load.requested, &node.allocatable);
    let mut check = |name: &str, asked: i64, used: i64, there: i64| {
        if asked > 0 && asked > there - used {
            lacks.push(format!("Insufficient {name}"));
        }
    };
    check("cpu", asked.milli_cpu, used.milli_cpu, there.milli_cpu);
    check("memory", asked.memory, used.memory, there.memory);
    for (name, asked) in &asked.others {
        let of = |list: &std::collections::BTreeMap<String, i64>| list.get(name).copied().unwrap_or_default();
        check(name, *asked, of(&used.others), of(&there.others));
    }
    lacks
}

/// Whether a port of the node that the pod wants is taken.
pub(crate) fn port_taken(pod: &PodInfo, node: &NodeInfo) -> bool {
    pod.ports.iter().any(|wanted| node.load.ports.keys().any(|taken| taken.conflicts_with(wanted)))
}

/// The emptier the better (`LeastAllocated`).
pub(crate) fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let pairs = [
        (node.load.guessed.milli_cpu + pod.guessed.milli_cpu, node.allocatable.milli_cpu),
        (node.load.guessed.memory + pod.guessed.memory, node.allocatable.memory),
    ];
    let scores = pairs.into_iter().filter(|(_, there)| *there > 0).map(|(used, there)| {
        if used > there {
            0
        } else {
            saturating(i128::from(there - used) * i128::from(MOST) / i128::from(there))
        }
    });
    let scores: Vec<_> = scores.collect();
    if scores.is_empty() { 0 } else { scores.iter().sum::<i64>() / scores.len() as i64 }
}

fn saturating(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The more evenly processors and memory are used the better (`NodeResourcesBalancedAllocation`); none for a
/// pod that asks for nothing.
pub(crate) fn balanced(pod: &PodInfo, node: &NodeInfo) -> Option<i64> {
    if asks_for_nothing(&pod.requests) {
        return None;
    }
    let pairs = [
        (node.load.requested.milli_cpu + pod.requests.milli_cpu, node.allocatable.milli_cpu),
        (node.load.requested.memory + pod.requests.memory, node.allocatable.memory),
    ];
    let fractions: Vec<f64> = pairs
        .into_iter()
        .filter(|(_, there)| *there > 0)
        .map(|(used, there)| (used as f64 / there as f64).min(1.0))
        .collect();
    // Of two values the standard deviation is half of their distance.
    let deviation = if let [a, b] = fractions[..] { (a - b).abs() / 2.0 } else { 0.0 };
    Some(((1.0 - deviation) * MOST as f64) as i64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::node::Load;
    use serde_json::{Value, json};

    fn pod(name: &str, container: Value) -> Arc<PodInfo> {
        let mut container = container;
        container["name"] = "c".into();
        let pod =
            json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [container]}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    fn asks(name: &str, cpu: &str, memory: &str) -> Arc<PodInfo> {
        pod(name, json!({"resources": {"requests": {"cpu": cpu, "memory": memory}}}))
    }

    fn node(pods: &[Arc<PodInfo>]) -> NodeInfo {
        let node = json!({
            "metadata": {"name": "n1"},
            "status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "3", "gpu": "1"}},
        });
        let mut load = Load::default();
        pods.iter().for_each(|pod| load.add(pod.clone()));
        NodeInfo::new(Arc::new(serde_json::from_value(node).unwrap()), load)
    }

    #[test]
    fn what_is_lacking_is_told() {
        let used = [asks("a", "2", "1Gi"), asks("b", "1", "1Gi")];
        let table = [
            (asks("c", "1", "2Gi"), vec![]),
            (asks("c", "1001m", "2Gi"), vec!["Insufficient cpu"]),
            (asks("c", "2", "3Gi"), vec!["Insufficient cpu", "Insufficient memory"]),
            (pod("c", json!({"resources": {"requests": {"gpu": "2"}}})), vec!["Insufficient gpu"]),
            (pod("c", json!({"resources": {"requests": {"fpga": "1"}}})), vec!["Insufficient fpga"]),
            (pod("c", json!({})), vec![]),
        ];
        for (pod, expected) in table {
            assert_eq!(lacks(&pod, &node(&used)), expected, "{:?}", pod.requests);
        }
        let three = [asks("a", "0", "0"), asks("b", "0", "0"), asks("c", "0", "0")];
        assert_eq!(lacks(&asks("d", "0", "0"), &node(&three)), ["Too many pods"]);
    }

    #[test]
    fn what_has_gone_is_free_again() {
        let mut node = node(&[asks("a", "4", "4Gi")]);
        assert!(!lacks(&asks("b", "1", "1Gi"), &node).is_empty());
        node.load.remove(&asks("a", "0", "0").name);
        assert!(lacks(&asks("b", "4", "4Gi"), &node).is_empty());
    }

    #[test]
    fn ports_of_the_node_are_taken_once() {
        let port = |name: &str, port: Value| pod(name, json!({"ports": [port]}));
        let taken = port("a", json!({"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.3"}));
        let table = [
            (json!({"containerPort": 80}), false),
            (json!({"containerPort": 80, "hostPort": 8081}), false),
            (json!({"containerPort": 80, "hostPort": 8080}), true),
            (json!({"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}), false),
            (json!({"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}), false),
            (json!({"containerPort": 80, "hostPort": 8080, "hostIP": "10.0.0.3"}), true),
            (json!({"containerPort": 80, "hostPort": 8080, "hostIP": "0.0.0.0"}), true),
        ];
        for (wanted, expected) in table {
            let said = port_taken(&port("b", wanted.clone()), &node(std::slice::from_ref(&taken)));
            assert_eq!(said, expected, "{wanted}");
        }
    }

    #[test]
    fn scores_are_as_upstreams() {
        // 3000/4000 and 5000/10000 of upstream's tables, in other units.
        let empty = node(&[]);
        assert_eq!(least_allocated(&asks("a", "2", "1Gi"), &empty), (50 + 75) / 2);
        assert_eq!(least_allocated(&asks("a", "5", "1Gi"), &empty), 75 / 2);
        assert_eq!(balanced(&asks("a", "2", "1Gi"), &empty), Some(87));
        assert_eq!(balanced(&asks("a", "2", "2Gi"), &empty), Some(100));
        assert_eq!(balanced(&pod("a", json!({})), &empty), None);
        // Without requests a pod counts as a small one.
        assert_eq!(least_allocated(&pod("a", json!({})), &empty), (97 + 95) / 2);
    }
}
