//! Where a pod goes: filters say where it can, scores where it had best. Pure.
//!
//! Source: kubernetes `pkg/scheduler/schedule_one.go`, `pkg/scheduler/apis/config/v1/default_plugins.go` (the
//! filters, their order and the scores' weights), `pkg/scheduler/framework/types.go` (`FitError`).
//!
//! Left out of the default profile: volumes, which a lab has none of that are bound to nodes, the locality of
//! images, of which all nodes have the same, and preemption. Where scores are equal upstream leaves it to
//! chance; here the first name goes first, so that a lab comes up the same each time.

use std::collections::BTreeMap;
use std::fmt;

use api::Selector;

use crate::cache::Cache;
use crate::fit::{self, MOST};
use crate::inter_pod::{self, Unsociable};
use crate::node::NodeInfo;
use crate::node_affinity;
use crate::pod::PodInfo;
use crate::spread::{self, Unspread};
use crate::taints;

/// In clusters of at most so many nodes all are looked at (`minFeasibleNodesToFind`).
const FEW: usize = 100;

/// What could help a pod that fits nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Obstacle {
    /// Only a change of a node.
    Node,
    /// Also that a pod goes.
    Space,
    /// Also that a pod comes, goes, or changes its labels.
    Pods,
}

/// A pod fits nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplaced {
    nodes: usize,
    /// How many nodes have each reason.
    reasons: BTreeMap<String, usize>,
    pub(crate) obstacle: Obstacle,
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available:", self.nodes)?;
        let mut reasons: Vec<_> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        if reasons.is_empty() { Ok(()) } else { write!(f, " {}.", reasons.join(", ")) }
    }
}

/// The node for a pod. `application` selects the pods that belong together with it; `turn` counts the pods
/// that were placed, so that in large clusters not always the same nodes are looked at.
pub(crate) fn place<'a>(
    pod: &PodInfo,
    cache: &'a Cache,
    application: &Selector,
    turn: usize,
) -> Result<&'a NodeInfo, Unplaced> {
    let nodes: Vec<&NodeInfo> = cache.nodes().collect();
    let filters = Filters::new(pod, cache);
    let mut unplaced = Unplaced { nodes: nodes.len(), reasons: BTreeMap::new(), obstacle: Obstacle::Node };
    let wanted = enough(nodes.len());
    let start = if wanted < nodes.len() { turn * wanted % nodes.len() } else { 0 };
    let mut feasible: Vec<&NodeInfo> = Vec::new();
    for at in 0..nodes.len() {
        let node = nodes[(start + at) % nodes.len()];
        match filters.check(pod, node) {
            None => feasible.push(node),
            Some((reasons, obstacle)) => {
                unplaced.obstacle = unplaced.obstacle.max(obstacle);
                for reason in reasons {
                    *unplaced.reasons.entry(reason).or_default() += 1;
                }
            }
        }
        if feasible.len() >= wanted {
            break;
        }
    }
    if feasible.len() < 2 {
        return feasible.pop().ok_or(unplaced);
    }
    let scores = scores(pod, cache, application, &feasible);
    let best =
        scores.iter().zip(&feasible).max_by_key(|(score, node)| (**score, std::cmp::Reverse(node.name())));
    best.map(|(_, node)| *node).ok_or(unplaced)
}

/// As many nodes that will do are enough to choose from (`numFeasibleNodesToFind`).
fn enough(nodes: usize) -> usize {
    if nodes < FEW {
        return nodes.max(1);
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(FEW)
}

/// What can be prepared for all nodes.
struct Filters {
    spread: spread::Hard,
    others: inter_pod::Hard,
}

impl Filters {
    fn new(pod: &PodInfo, cache: &Cache) -> Self {
        Self {
            spread: spread::Hard::new(pod, cache.nodes()),
            others: inter_pod::Hard::new(pod, cache.nodes(), &cache.namespaces),
        }
    }

    /// Why the pod cannot go there, by the first filter that says so.
    fn check(&self, pod: &PodInfo, node: &NodeInfo) -> Option<(Vec<String>, Obstacle)> {
        let because = |reason: &str, obstacle| Some((vec![reason.to_owned()], obstacle));
        let spec = pod.spec();
        if taints::is_cordoned(&spec, &node.node) {
            return because("node(s) were unschedulable", Obstacle::Node);
        }
        if let Some(taint) = taints::untolerated(&spec, &node.node) {
            let value = taint.value.as_deref().unwrap_or_default();
            let reason = format!("node(s) had untolerated taint {{{}: {value}}}", taint.key);
            return because(&reason, Obstacle::Node);
        }
        if !node_affinity::allows(&spec, &node.node) {
            return because("node(s) didn't match Pod's node affinity/selector", Obstacle::Node);
        }
        if fit::port_taken(pod, node) {
            return because("node(s) didn't have free ports for the requested pod ports", Obstacle::Space);
        }
        let lacks = fit::lacks(pod, node);
        if !lacks.is_empty() {
            return Some((lacks, Obstacle::Space));
        }
        match self.spread.check(pod, node) {
            None => {}
            Some(Unspread::Skewed) => {
                return because("node(s) didn't match pod topology spread constraints", Obstacle::Pods);
            }
            Some(Unspread::MissingLabel) => {
                let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
                return because(reason, Obstacle::Node);
            }
        }
        let reason = match self.others.check(pod, node)? {
            Unsociable::Affinity => "node(s) didn't match pod affinity rules",
            Unsociable::AntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Unsociable::OthersAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
        };
        because(reason, Obstacle::Pods)
    }
}

/// The weighted sums of all scores.
fn scores(pod: &PodInfo, cache: &Cache, application: &Selector, feasible: &[&NodeInfo]) -> Vec<i64> {
    let mut sums = vec![0; feasible.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += weight * score);
    };
    let each = |score: &dyn Fn(&NodeInfo) -> i64| feasible.iter().map(|node| score(node)).collect::<Vec<_>>();
    let spec = pod.spec();
    add(3, reversed(normalized(each(&|node| taints::disliked(&spec, &node.node)))));
    if !node_affinity::preferred(&spec).is_empty() {
        add(2, normalized(each(&|node| node_affinity::preference(&spec, &node.node))));
    }
    add(1, each(&|node| fit::least_allocated(pod, node)));
    add(1, each(&|node| fit::balanced(pod, node).unwrap_or(0)));
    if let Some(spread) = spread::Soft::new(pod, application, cache.nodes(), feasible) {
        add(2, spread.scores(pod, feasible));
    }
    if let Some(others) = inter_pod::Soft::new(pod, cache.nodes(), &cache.namespaces) {
        add(2, others.scores(feasible));
    }
    sums
}

/// The best gets the most, the others their share (`DefaultNormalizeScore`).
fn normalized(mut scores: Vec<i64>) -> Vec<i64> {
    let most = scores.iter().copied().max().unwrap_or(0);
    if most > 0 {
        scores.iter_mut().for_each(|score| *score = MOST * *score / most);
    }
    scores
}

fn reversed(mut scores: Vec<i64>) -> Vec<i64> {
    scores.iter_mut().for_each(|score| *score = MOST - *score);
    scores
}

#[cfg(test)]
mod tests;
