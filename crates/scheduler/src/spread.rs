//! Spreading pods over zones, nodes or whatever a label of nodes says.
//!
//! Source: kubernetes `pkg/scheduler/framework/plugins/podtopologyspread/{common,filtering,scoring,plugin}.go`.

use std::collections::BTreeMap;

use api::Selector;
use api::selector::Labels;
use api::types::api::core::v1::TopologySpreadConstraint;

use crate::fit::MOST;
use crate::node::NodeInfo;
use crate::node_affinity;
use crate::pod::{PodInfo, parse, same_labels};
use crate::taints;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// A constraint, ready to be asked.
#[derive(Debug)]
struct Constraint {
    max_skew: i64,
    key: String,
    selector: Selector,
    min_domains: Option<i64>,
    /// Nodes that the pod's affinity excludes do not count.
    honors_affinity: bool,
    /// Nodes whose taints the pod does not tolerate do not count.
    honors_taints: bool,
}

impl Constraint {
    fn new(constraint: &TopologySpreadConstraint, labels: &Labels) -> Self {
        let mut selector = constraint.label_selector.clone();
        same_labels(selector.as_mut(), constraint.match_label_keys.as_deref(), labels, "In");
        Self {
            max_skew: constraint.max_skew.into(),
            key: constraint.topology_key.clone(),
            selector: parse(selector.as_ref()),
            min_domains: constraint.min_domains.map(i64::from),
            honors_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honors_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    /// What pods of one application get that say nothing (`systemDefaultConstraints`).
    fn default(max_skew: i64, key: &str, selector: &Selector) -> Self {
        Self {
            max_skew,
            key: key.into(),
            selector: selector.clone(),
            min_domains: None,
            honors_affinity: true,
            honors_taints: false,
        }
    }

    fn counts_on(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        (!self.honors_affinity || node_affinity::allows(&pod.spec(), &node.node))
            && (!self.honors_taints || taints::untolerated(&pod.spec(), &node.node).is_none())
    }

    /// The pods on the node that are meant.
    fn count(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let meant = |other: &&std::sync::Arc<PodInfo>| {
            other.namespace() == pod.namespace()
                && !other.is_deleting()
                && self.selector.matches(other.labels())
        };
        i64::try_from(node.load.pods.values().filter(meant).count()).unwrap_or(i64::MAX)
    }
}

fn constraints(pod: &PodInfo, when: &str) -> Vec<Constraint> {
    let none = Labels::new();
    let labels = pod.labels().unwrap_or(&none);
    let spec = pod.spec();
    let all = spec.topology_spread_constraints.iter().flatten();
    all.filter(|one| one.when_unsatisfiable == when).map(|one| Constraint::new(one, labels)).collect()
}

/// Why a node will not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unspread {
    MissingLabel,
    Skewed,
}

/// Constraints that must hold.
#[derive(Debug)]
pub(crate) struct Hard {
    /// With the number of pods that are meant, by domain.
    constraints: Vec<(Constraint, BTreeMap<String, i64>)>,
}

impl Hard {
    pub(crate) fn new<'a>(pod: &PodInfo, nodes: impl Iterator<Item = &'a NodeInfo>) -> Self {
        let all = constraints(pod, "DoNotSchedule");
        let mut constraints: Vec<_> = all.into_iter().map(|one| (one, BTreeMap::new())).collect();
        if constraints.is_empty() {
            return Self { constraints };
        }
        for node in nodes {
            if constraints.iter().any(|(one, _)| node.label(&one.key).is_none()) {
                continue;
            }
            for (constraint, counts) in &mut constraints {
                if let Some(domain) = node.label(&constraint.key)
                    && constraint.counts_on(pod, node)
                {
                    *counts.entry(domain.to_owned()).or_default() += constraint.count(pod, node);
                }
            }
        }
        Self { constraints }
    }

    pub(crate) fn check(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Unspread> {
        for (constraint, counts) in &self.constraints {
            let Some(domain) = node.label(&constraint.key) else { return Some(Unspread::MissingLabel) };
            let domains = i64::try_from(counts.len()).unwrap_or(i64::MAX);
            let too_few = constraint.min_domains.is_some_and(|least| domains < least);
            let least = if too_few { 0 } else { counts.values().copied().min().unwrap_or(i32::MAX.into()) };
            let itself = i64::from(constraint.selector.matches(pod.labels()));
            let there = counts.get(domain).copied().unwrap_or_default();
            if there + itself - least > constraint.max_skew {
                return Some(Unspread::Skewed);
            }
        }
        None
    }
}

/// Constraints that should hold.
#[derive(Debug)]
pub(crate) struct Soft {
    constraints: Vec<Wish>,
    /// A node that lacks one of the labels is the worst.
    wants_all_labels: bool,
}

#[derive(Debug)]
struct Wish {
    constraint: Constraint,
    weight: f64,
    counts: BTreeMap<String, i64>,
}

impl Soft {
    /// `application` selects the pods that belong together with this one, for pods that say nothing
    /// themselves. None if there is nothing to be compared.
    pub(crate) fn new<'a>(
        pod: &PodInfo,
        application: &Selector,
        all: impl Iterator<Item = &'a NodeInfo>,
        feasible: &[&NodeInfo],
    ) -> Option<Self> {
        let said = pod.spec().topology_spread_constraints.as_ref().is_some_and(|all| !all.is_empty());
        let constraints = if said {
            constraints(pod, "ScheduleAnyway")
        } else if application.is_empty() {
            vec![]
        } else {
            vec![Constraint::default(3, HOSTNAME, application), Constraint::default(5, ZONE, application)]
        };
        if constraints.is_empty() {
            return None;
        }
        let wishes = constraints.into_iter().map(|constraint| Wish {
            constraint,
            weight: 0.0,
            counts: BTreeMap::new(),
        });
        let mut soft = Self { constraints: wishes.collect(), wants_all_labels: said };
        soft.weigh(feasible);
        soft.count(pod, all);
        Some(soft)
    }

    fn ignores(&self, node: &NodeInfo) -> bool {
        let missing = |wish: &Wish| node.label(&wish.constraint.key).is_none();
        self.wants_all_labels && self.constraints.iter().any(missing)
    }

    /// The more domains, the more each pod counts.
    fn weigh(&mut self, feasible: &[&NodeInfo]) {
        let considered: Vec<_> = feasible.iter().filter(|node| !self.ignores(node)).collect();
        for wish in &mut self.constraints {
            let mut domains = considered.len();
            if wish.constraint.key != HOSTNAME {
                let labels = considered.iter().filter_map(|node| node.label(&wish.constraint.key));
                wish.counts = labels.map(|domain| (domain.to_owned(), 0)).collect();
                domains = wish.counts.len();
            }
            wish.weight = (domains as f64 + 2.0).ln();
        }
    }

    fn count<'a>(&mut self, pod: &PodInfo, all: impl Iterator<Item = &'a NodeInfo>) {
        if self.constraints.iter().all(|wish| wish.counts.is_empty()) {
            return;
        }
        for node in all {
            if self.ignores(node) {
                continue;
            }
            for wish in &mut self.constraints {
                let Some(domain) = node.label(&wish.constraint.key) else { continue };
                if let Some(count) = wish.counts.get_mut(domain)
                    && wish.constraint.counts_on(pod, node)
                {
                    *count += wish.constraint.count(pod, node);
                }
            }
        }
    }

    /// Scores of the feasible nodes: the fewer pods are there already, the better.
    pub(crate) fn scores(&self, pod: &PodInfo, feasible: &[&NodeInfo]) -> Vec<i64> {
        let raw: Vec<Option<i64>> = feasible.iter().map(|node| self.raw(pod, node)).collect();
        let (least, most) = (raw.iter().flatten().min(), raw.iter().flatten().max());
        let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
        let scale = |score: Option<i64>| match score {
            None => 0,
            Some(_) if most == 0 => MOST,
            Some(score) => MOST * (most + least - score) / most,
        };
        raw.into_iter().map(scale).collect()
    }

    fn raw(&self, pod: &PodInfo, node: &NodeInfo) -> Option<i64> {
        if self.ignores(node) {
            return None;
        }
        let mut score = 0.0;
        for Wish { constraint, weight, counts } in &self.constraints {
            let Some(domain) = node.label(&constraint.key) else { continue };
            let count = if constraint.key == HOSTNAME {
                constraint.count(pod, node)
            } else {
                counts.get(domain).copied().unwrap_or_default()
            };
            score += count as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        Some(score.round() as i64)
    }
}
