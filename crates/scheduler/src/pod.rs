//! A pod, with everything that its placement asks again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Selector;
use api::selector::Labels;
use api::types::api::core::v1::{Pod, PodAffinityTerm, PodSpec};
use api::types::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use store::ObjectName;

use crate::resources::{self, Resources};

/// The labels of all namespaces.
pub(crate) type Namespaces = BTreeMap<String, Labels>;

/// A pod as the scheduler sees it.
#[derive(Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) name: ObjectName,
    pub(crate) requests: Resources,
    /// With guesses, for comparing nodes.
    pub(crate) guessed: Resources,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) near: Vec<Term>,
    pub(crate) apart: Vec<Term>,
    /// With weights; a negative one wants to be apart.
    pub(crate) preferred: Vec<(i64, Term)>,
}

/// A port of the node that a pod takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostPort {
    pub(crate) protocol: String,
    pub(crate) port: i32,
    /// `0.0.0.0` for all.
    pub(crate) ip: String,
}

/// Pods that a pod wants to be near to, or apart from.
#[derive(Debug)]
pub(crate) struct Term {
    namespaces: BTreeSet<String>,
    namespace_selector: Option<Selector>,
    selector: Selector,
    /// The label of nodes that says what is near.
    pub(crate) topology_key: String,
}

const ANY_ADDRESS: &str = "0.0.0.0";

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let affinity = spec.affinity.clone().unwrap_or_default();
        let (near, apart) =
            (affinity.pod_affinity.unwrap_or_default(), affinity.pod_anti_affinity.unwrap_or_default());
        let terms = |terms: Option<Vec<PodAffinityTerm>>| -> Vec<Term> {
            terms.iter().flatten().map(|term| Term::new(term, &pod)).collect()
        };
        let wishes = near.preferred_during_scheduling_ignored_during_execution.into_iter().flatten();
        let fears = apart.preferred_during_scheduling_ignored_during_execution.into_iter().flatten();
        let wishes = wishes.map(|one| (i64::from(one.weight), Term::new(&one.pod_affinity_term, &pod)));
        let fears = fears.map(|one| (-i64::from(one.weight), Term::new(&one.pod_affinity_term, &pod)));
        Self {
            name: ObjectName::of(&pod.metadata),
            requests: resources::requests(&spec),
            guessed: resources::guessed_requests(&spec),
            ports: host_ports(&spec),
            near: terms(near.required_during_scheduling_ignored_during_execution),
            apart: terms(apart.required_during_scheduling_ignored_during_execution),
            preferred: wishes.chain(fears).collect(),
            pod,
        }
    }

    pub(crate) fn spec(&self) -> PodSpecRef<'_> {
        PodSpecRef(self.pod.spec.as_ref())
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.name.namespace
    }

    pub(crate) fn labels(&self) -> Option<&Labels> {
        self.pod.metadata.labels.as_ref()
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Whether it wants to be near to or apart from others.
    pub(crate) fn has_terms(&self) -> bool {
        !(self.near.is_empty() && self.apart.is_empty() && self.preferred.is_empty())
    }
}

/// A pod's spec; a pod without one cannot be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PodSpecRef<'a>(Option<&'a PodSpec>);

impl std::ops::Deref for PodSpecRef<'_> {
    type Target = PodSpec;

    fn deref(&self) -> &PodSpec {
        static NONE: std::sync::OnceLock<PodSpec> = std::sync::OnceLock::new();
        match self.0 {
            Some(spec) => spec,
            None => NONE.get_or_init(PodSpec::default),
        }
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecar = |container: &&api::types::api::core::v1::Container| {
        container.restart_policy.as_deref() == Some("Always")
    };
    let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let text = |field: &Option<String>, default: &str| {
        field.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| default.into())
    };
    ports
        .filter_map(|port| {
            Some(HostPort {
                protocol: text(&port.protocol, "TCP"),
                port: port.host_port.filter(|port| *port > 0)?,
                ip: text(&port.host_ip, ANY_ADDRESS),
            })
        })
        .collect()
}

impl HostPort {
    pub(crate) fn conflicts_with(&self, other: &Self) -> bool {
        let overlap = self.ip == other.ip || self.ip == ANY_ADDRESS || other.ip == ANY_ADDRESS;
        self.protocol == other.protocol && self.port == other.port && overlap
    }
}

impl Term {
    fn new(term: &PodAffinityTerm, owner: &Pod) -> Self {
        let labels = owner.metadata.labels.clone().unwrap_or_default();
        let mut namespaces: BTreeSet<_> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(owner.metadata.namespace.clone().unwrap_or_default());
        }
        let mut selector = term.label_selector.clone();
        same_labels(selector.as_mut(), term.match_label_keys.as_deref(), &labels, "In");
        same_labels(selector.as_mut(), term.mismatch_label_keys.as_deref(), &labels, "NotIn");
        Self {
            namespaces,
            namespace_selector: term.namespace_selector.as_ref().map(|one| parse(Some(one))),
            selector: parse(selector.as_ref()),
            topology_key: term.topology_key.clone(),
        }
    }

    pub(crate) fn matches(&self, pod: &PodInfo, namespaces: &Namespaces) -> bool {
        let by_label = || {
            self.namespace_selector.as_ref().is_some_and(|one| one.matches(namespaces.get(pod.namespace())))
        };
        (self.namespaces.contains(pod.namespace()) || by_label()) && self.selector.matches(pod.labels())
    }
}

/// No selector selects nothing; one that is malformed cannot be stored.
pub(crate) fn parse(selector: Option<&LabelSelector>) -> Selector {
    selector.and_then(|selector| Selector::try_from(selector).ok()).unwrap_or_else(Selector::nothing)
}

/// Keys whose values have to be those of the pod itself, or others (`matchLabelKeys`).
pub(crate) fn same_labels(
    selector: Option<&mut LabelSelector>,
    keys: Option<&[String]>,
    labels: &Labels,
    operator: &str,
) {
    let Some(selector) = selector else { return };
    for key in keys.unwrap_or_default() {
        if let Some(value) = labels.get(key) {
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.into(),
                values: Some(vec![value.clone()]),
            });
        }
    }
}
