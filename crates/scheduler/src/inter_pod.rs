//! Pods that want to be near to, or apart from, other pods.
//!
//! Source: kubernetes `pkg/scheduler/framework/plugins/interpodaffinity/{filtering,scoring}.go`.

use std::collections::BTreeMap;

use crate::fit::MOST;
use crate::node::NodeInfo;
use crate::pod::{Namespaces, PodInfo, Term};

/// What a required affinity of a running pod is worth to one that it wants (`HardPodAffinityWeight`).
const HARD_WEIGHT: i64 = 1;

/// What is known of places, as zones: by the label of nodes, by its value.
type Places<T> = BTreeMap<String, BTreeMap<String, T>>;

fn note<T: Default>(places: &mut Places<T>, term: &Term, node: &NodeInfo, change: impl FnOnce(&mut T)) {
    let Some(value) = node.label(&term.topology_key) else { return };
    let of_key = places.entry(term.topology_key.clone()).or_default();
    change(of_key.entry(value.to_owned()).or_default());
}

fn has(places: &Places<()>, key: &str, node: &NodeInfo) -> bool {
    let of_key = places.get(key);
    node.label(key).zip(of_key).is_some_and(|(value, of_key)| of_key.contains_key(value))
}

/// Why a node will not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsociable {
    /// The pod wants others that are not there.
    Affinity,
    /// The pod does not want others that are there.
    AntiAffinity,
    /// Others there do not want the pod.
    OthersAntiAffinity,
}

/// Where others are that the pod wants, or does not want, or that do not want it.
#[derive(Debug, Default)]
pub(crate) struct Hard {
    wanted: Places<()>,
    /// The pod is the first one of those that it wants.
    is_first: bool,
    unwanted: Places<()>,
    refusing: Places<()>,
}

impl Hard {
    pub(crate) fn new<'a>(
        pod: &PodInfo,
        nodes: impl Iterator<Item = &'a NodeInfo>,
        namespaces: &Namespaces,
    ) -> Self {
        let mut hard = Self::default();
        let has_terms = !(pod.near.is_empty() && pod.apart.is_empty());
        for node in nodes {
            for other in node.load.with_terms.values() {
                let refuses = other.apart.iter().filter(|term| term.matches(pod, namespaces));
                refuses.for_each(|term| note(&mut hard.refusing, term, node, |()| {}));
            }
            if !has_terms {
                continue;
            }
            for other in node.load.pods.values() {
                // All terms must want the other one.
                if pod.near.iter().all(|term| term.matches(other, namespaces)) {
                    pod.near.iter().for_each(|term| note(&mut hard.wanted, term, node, |()| {}));
                }
                let apart = pod.apart.iter().filter(|term| term.matches(other, namespaces));
                apart.for_each(|term| note(&mut hard.unwanted, term, node, |()| {}));
            }
        }
        hard.is_first = hard.wanted.is_empty() && pod.near.iter().all(|term| term.matches(pod, namespaces));
        hard
    }

    pub(crate) fn check(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Unsociable> {
        let near = pod.near.iter().all(|term| {
            let key = &term.topology_key;
            if self.is_first { node.label(key).is_some() } else { has(&self.wanted, key, node) }
        });
        if !near {
            return Some(Unsociable::Affinity);
        }
        if pod.apart.iter().any(|term| has(&self.unwanted, &term.topology_key, node)) {
            return Some(Unsociable::AntiAffinity);
        }
        let refused = self.refusing.keys().any(|key| has(&self.refusing, key, node));
        refused.then_some(Unsociable::OthersAntiAffinity)
    }
}

/// Where the pod would rather be, by those who are there.
#[derive(Debug)]
pub(crate) struct Soft(Places<i64>);

impl Soft {
    /// None if nobody has wishes.
    pub(crate) fn new<'a>(
        pod: &PodInfo,
        nodes: impl Iterator<Item = &'a NodeInfo>,
        namespaces: &Namespaces,
    ) -> Option<Self> {
        let mut weights = Places::<i64>::new();
        for node in nodes {
            let mut weigh = |term: &Term, weight: i64| note(&mut weights, term, node, |sum| *sum += weight);
            if !pod.preferred.is_empty() {
                for other in node.load.pods.values() {
                    let wishes = pod.preferred.iter().filter(|(_, term)| term.matches(other, namespaces));
                    wishes.for_each(|(weight, term)| weigh(term, *weight));
                }
            }
            for other in node.load.with_terms.values() {
                let near = other.near.iter().filter(|term| term.matches(pod, namespaces));
                near.for_each(|term| weigh(term, HARD_WEIGHT));
                let wishes = other.preferred.iter().filter(|(_, term)| term.matches(pod, namespaces));
                wishes.for_each(|(weight, term)| weigh(term, *weight));
            }
        }
        Some(Self(weights)).filter(|soft| !soft.0.is_empty())
    }

    pub(crate) fn scores(&self, feasible: &[&NodeInfo]) -> Vec<i64> {
        let raw = |node: &&NodeInfo| {
            let of =
                |(key, weights): (&String, &BTreeMap<String, i64>)| weights.get(node.label(key)?).copied();
            self.0.iter().filter_map(of).sum::<i64>()
        };
        let raw: Vec<i64> = feasible.iter().map(raw).collect();
        let (least, most) = (raw.iter().min().copied().unwrap_or(0), raw.iter().max().copied().unwrap_or(0));
        let scale = |score: i64| if most > least { MOST * (score - least) / (most - least) } else { 0 };
        raw.into_iter().map(scale).collect()
    }
}
