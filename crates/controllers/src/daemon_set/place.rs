//! On which nodes a DaemonSet's pods are.
//!
//! Source: kubernetes `pkg/controller/daemon/daemon_controller.go` (`NodeShouldRunDaemonPod`),
//! `pkg/controller/daemon/util/daemonset_util.go`.

use api::scheduling::{node_affinity, taints};
use api::types::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Toleration,
};

use crate::meta::Meta;
use crate::pods;

/// Taints that daemons do not mind, with their effects (`AddOrUpdateDaemonPodTolerations`).
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node says of a DaemonSet's pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fit {
    /// It should be there.
    pub(crate) run: bool,
    /// It may stay there if it is.
    pub(crate) stay: bool,
}

/// `spec` is the template's with the daemons' tolerations.
pub(crate) fn fit(spec: &PodSpec, node: &Node) -> Fit {
    let named = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if named.is_some_and(|name| name != node.name()) || !node_affinity::allows(spec, node) {
        return Fit { run: false, stay: false };
    }
    match taints::untolerated(spec, node) {
        None => Fit { run: true, stay: true },
        Some(_) => {
            let mut driving = node.clone();
            let all = driving.spec.get_or_insert_default().taints.get_or_insert_default();
            all.retain(|taint| taint.effect == "NoExecute");
            Fit { run: false, stay: taints::untolerated(spec, &driving).is_none() }
        }
    }
}

/// The template's spec with the daemons' tolerations.
pub(crate) fn tolerant(spec: &PodSpec) -> PodSpec {
    let mut spec = spec.clone();
    let network = Some(NO_NETWORK).filter(|_| spec.host_network == Some(true));
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(network) {
        let new = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        if !tolerations.contains(&new) {
            tolerations.push(new);
        }
    }
    spec
}

/// The spec of the pod for a node: the scheduler puts it there and nowhere else
/// (`ReplaceDaemonSetPodNodeNameNodeAffinity`).
pub(crate) fn for_node(spec: &PodSpec, node: &str) -> PodSpec {
    let mut spec = spec.clone();
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".into(),
            operator: "In".into(),
            values: Some(vec![node.into()]),
        }]),
        match_expressions: None,
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    // The controller has seen to what stood there.
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    spec
}

/// The node of a daemon's pod, where it is or where it will be (`GetTargetNodeName`).
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    let placed = pods::node_name(pod);
    if !placed.is_empty() {
        return Some(placed);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let fields = terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut named = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
    named.next()?.values.as_ref()?.first().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn nodes_say_whether_a_daemon_runs_and_whether_it_may_stay() {
        let node = |spec: Value| -> Node {
            serde_json::from_value(
                json!({"metadata": {"name": "n1", "labels": {"disk": "ssd"}}, "spec": spec}),
            )
            .unwrap()
        };
        let taint = |key: &str, effect: &str| json!({"taints": [{"key": key, "effect": effect}]});
        let spec = |more: Value| -> PodSpec {
            let mut spec = json!({"containers": []});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            tolerant(&serde_json::from_value(spec).unwrap())
        };
        let (runs, stays, goes) = ((true, true), (false, true), (false, false));
        let table = [
            (json!({}), json!({}), runs),
            (json!({"nodeSelector": {"disk": "ssd"}}), json!({}), runs),
            (json!({"nodeSelector": {"disk": "hdd"}}), json!({}), goes),
            (json!({"nodeName": "n2"}), json!({}), goes),
            (json!({}), taint("gpu", "NoSchedule"), stays),
            (json!({}), taint("gpu", "NoExecute"), goes),
            (json!({}), taint("gpu", "PreferNoSchedule"), runs),
            (json!({}), taint("node.kubernetes.io/unreachable", "NoExecute"), runs),
            (json!({}), taint("node.kubernetes.io/unschedulable", "NoSchedule"), runs),
            (json!({}), taint("node.kubernetes.io/network-unavailable", "NoSchedule"), stays),
            (
                json!({"hostNetwork": true}),
                taint("node.kubernetes.io/network-unavailable", "NoSchedule"),
                runs,
            ),
            (json!({"tolerations": [{"operator": "Exists"}]}), taint("gpu", "NoExecute"), runs),
        ];
        for (pod, there, expected) in table {
            let Fit { run, stay } = fit(&spec(pod.clone()), &node(there.clone()));
            assert_eq!((run, stay), expected, "{pod} {there}");
        }
    }

    #[test]
    fn a_pod_knows_its_node_before_it_is_there() {
        let spec = for_node(&PodSpec::default(), "n7");
        let mut pod = Pod { spec: Some(spec), ..Pod::default() };
        assert_eq!(node_of(&pod), Some("n7"));
        pod.spec.as_mut().unwrap().node_name = Some("n8".into());
        assert_eq!(node_of(&pod), Some("n8"));
        assert_eq!(node_of(&Pod::default()), None);
    }
}
