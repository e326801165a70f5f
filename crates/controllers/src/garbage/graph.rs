//! Who belongs to whom, and what is to be done about it. Pure.
//!
//! Source: kubernetes `pkg/controller/garbagecollector/{garbagecollector,graph,graph_builder}.go`.

use std::collections::{BTreeMap, BTreeSet};

use api::KindInfo;
use api::types::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use store::ObjectName;
use store::registry::Propagation;

/// Finalizers that this collector takes away (apimachinery `pkg/apis/meta/v1/types.go`).
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// An object.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) info: &'static KindInfo,
    pub(crate) name: ObjectName,
    pub(crate) uid: String,
    owners: Vec<OwnerReference>,
    deleting: bool,
    /// It goes when those that belong to it are gone.
    waits: bool,
    /// Those that belong to it are to stay.
    orphans: bool,
}

impl Node {
    pub(crate) fn new(info: &'static KindInfo, meta: &ObjectMeta) -> Self {
        let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|one| one == finalizer);
        let deleting = meta.deletion_timestamp.is_some();
        Self {
            info,
            name: ObjectName::of(meta),
            uid: meta.uid.clone().unwrap_or_default(),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting,
            waits: deleting && has(FOREGROUND),
            orphans: deleting && has(ORPHAN),
        }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It belongs to nobody that is there. Its owners are to be looked for once more before it is deleted.
    Delete { owners: Vec<Owner>, propagation: Propagation },
    /// Some of its owners are not there; those are to be looked for once more.
    Disown { owners: Vec<Owner> },
    /// All that belonged to it are gone.
    Finish,
    /// Those that belong to it do no longer.
    Orphan { dependents: Vec<Target> },
}

/// An object to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) info: &'static KindInfo,
    pub(crate) name: ObjectName,
    pub(crate) uid: String,
}

/// An owner that seems to be gone, or that is going and waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) target: Target,
    /// It is there and waits for those that belong to it; if not, it is to be looked for.
    pub(crate) waits: bool,
}

/// All objects, by their uids.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: BTreeMap<String, Node>,
    /// Those that name an owner, by the owner's uid.
    dependents: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// An object is there, or has changed. Gives whom to look at.
    pub(crate) fn set(&mut self, node: Node) -> Vec<String> {
        if node.uid.is_empty() {
            // Written by someone who gives no uids: nobody can tell whose it is.
            return vec![];
        }
        let mut look = vec![node.uid.clone()];
        let old = self.nodes.insert(node.uid.clone(), node.clone());
        let before = old.as_ref().map(|old| old.owners.clone()).unwrap_or_default();
        for owner in &before {
            self.cut(&owner.uid, &node.uid);
        }
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(node.uid.clone());
        }
        // An owner may have waited for a dependent that is no longer its own.
        look.extend(before.into_iter().map(|owner| owner.uid));
        if node.waits && !old.is_some_and(|old| old.waits) {
            look.extend(self.dependents_of(&node.uid).map(|dependent| dependent.uid.clone()));
        }
        look
    }

    /// An object is gone. Gives whom to look at.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return vec![] };
        let mut look: Vec<String> = self.dependents_of(uid).map(|dependent| dependent.uid.clone()).collect();
        for owner in node.owners {
            self.cut(&owner.uid, uid);
            look.push(owner.uid);
        }
        look
    }

    fn cut(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    pub(crate) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &Node> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.nodes.get(uid))
    }

    /// What is to be done with an object.
    pub(crate) fn plan(&self, node: &Node) -> Option<Step> {
        if node.orphans {
            let dependents = self.dependents_of(&node.uid).map(target).collect();
            return Some(Step::Orphan { dependents });
        }
        if node.waits {
            return (!self.is_blocked(node)).then_some(Step::Finish);
        }
        if node.deleting || node.owners.is_empty() {
            return None;
        }
        let (mut solid, mut others) = (false, Vec::new());
        for reference in &node.owners {
            match self.owner(node, reference) {
                None => solid = true,
                Some(owner) => others.push(owner),
            }
        }
        if solid {
            return (!others.is_empty()).then_some(Step::Disown { owners: others });
        }
        // A waiting owner goes after all below it: so it is passed on.
        let waited = others.iter().any(|owner| owner.waits);
        let propagation = if waited && self.dependents_of(&node.uid).next().is_some() {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        Some(Step::Delete { owners: others, propagation })
    }

    /// Whether one that belongs to it is still there and may keep it from going.
    fn is_blocked(&self, node: &Node) -> bool {
        self.dependents_of(&node.uid).any(|dependent| {
            let blocks =
                |owner: &&OwnerReference| owner.uid == node.uid && owner.block_owner_deletion == Some(true);
            // Two that wait for each other would wait for ever.
            let circle = dependent.waits && self.is_below(node, dependent);
            dependent.owners.iter().any(|owner| blocks(&owner)) && !circle
        })
    }

    /// Whether `node` belongs to `above`, by however many steps.
    fn is_below(&self, node: &Node, above: &Node) -> bool {
        let (mut seen, mut open) = (BTreeSet::new(), vec![node]);
        while let Some(node) = open.pop() {
            for owner in &node.owners {
                if owner.uid == above.uid {
                    return true;
                }
                if seen.insert(owner.uid.as_str()) {
                    open.extend(self.nodes.get(&owner.uid));
                }
            }
        }
        false
    }

    /// An owner that is gone, or waits; none if it is there, or nothing is known of such objects.
    fn owner(&self, node: &Node, reference: &OwnerReference) -> Option<Owner> {
        if let Some(owner) = self.nodes.get(&reference.uid) {
            let same_place = !owner.info.namespaced || owner.name.namespace == node.name.namespace;
            if same_place {
                return owner.waits.then(|| Owner { target: target(owner), waits: true });
            }
        }
        if reference.uid.is_empty() {
            return None;
        }
        let info = api::kinds::by_kind(&reference.api_version, &reference.kind).ok()?;
        if info.namespaced && !node.info.namespaced {
            // Nobody can tell where it would be.
            return None;
        }
        let namespace = if info.namespaced { node.name.namespace.as_str() } else { "" };
        let name = ObjectName::new(namespace, &reference.name);
        Some(Owner { target: Target { info, name, uid: reference.uid.clone() }, waits: false })
    }
}

pub(crate) fn target(node: &Node) -> Target {
    Target { info: node.info, name: node.name.clone(), uid: node.uid.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds::{CONFIG_MAPS, NODES, PODS};
    use serde_json::{Value, json};

    fn node(uid: &str, owners: &[(&str, bool)], finalizers: &[&str]) -> Node {
        let owner = |(uid, blocks): &(&str, bool)| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": blocks});
        let owners: Vec<Value> = owners.iter().map(owner).collect();
        let at = (!finalizers.is_empty()).then_some("2026-01-01T00:00:00Z");
        let meta = json!({"name": uid, "namespace": "default", "uid": uid, "ownerReferences": owners,
            "finalizers": finalizers, "deletionTimestamp": at});
        Node::new(&CONFIG_MAPS, &serde_json::from_value(meta).unwrap())
    }

    fn planned(graph: &Graph, uid: &str) -> String {
        let names = |owners: &[Owner]| {
            owners.iter().map(|owner| owner.target.uid.as_str()).collect::<Vec<_>>().join(" ")
        };
        match graph.plan(graph.get(uid).unwrap()) {
            None => "nothing".into(),
            Some(Step::Delete { owners, propagation }) => {
                format!("delete for {} {propagation:?}", names(&owners))
            }
            Some(Step::Disown { owners }) => format!("disown {}", names(&owners)),
            Some(Step::Finish) => "finish".into(),
            Some(Step::Orphan { dependents }) => format!("orphan {}", dependents.len()),
        }
    }

    fn graph(nodes: &[Node]) -> Graph {
        let mut graph = Graph::default();
        for node in nodes {
            graph.set(node.clone());
        }
        graph
    }

    #[test]
    fn what_belongs_to_nobody_goes() {
        let graph = graph(&[
            node("owner", &[], &[]),
            node("free", &[], &[]),
            node("kept", &[("owner", true)], &[]),
            node("half", &[("owner", true), ("gone", true)], &[]),
            node("orphan", &[("gone", true)], &[]),
        ]);
        assert_eq!(planned(&graph, "free"), "nothing");
        assert_eq!(planned(&graph, "kept"), "nothing");
        assert_eq!(planned(&graph, "half"), "disown gone");
        assert_eq!(planned(&graph, "orphan"), "delete for gone Background");
    }

    #[test]
    fn one_that_waits_goes_last() {
        let mut graph = graph(&[
            node("top", &[], &[FOREGROUND]),
            node("middle", &[("top", true)], &[]),
            node("leaf", &[("middle", true)], &[]),
            node("loose", &[("top", false)], &[]),
        ]);
        assert_eq!(planned(&graph, "top"), "nothing");
        assert_eq!(planned(&graph, "middle"), "delete for top Foreground");
        assert_eq!(planned(&graph, "loose"), "delete for top Background");
        assert_eq!(planned(&graph, "leaf"), "nothing");
        let look = graph.set(node("middle", &[("top", true)], &[FOREGROUND]));
        assert!(look.contains(&"leaf".to_owned()));
        assert_eq!(planned(&graph, "leaf"), "delete for middle Background");
        assert_eq!(graph.remove("leaf"), ["middle"]);
        assert_eq!(planned(&graph, "middle"), "finish");
        assert_eq!(graph.remove("middle"), ["top"]);
        assert_eq!(planned(&graph, "top"), "finish", "one that does not block is not waited for");
    }

    #[test]
    fn two_that_wait_for_each_other_do_not_wait_for_ever() {
        let graph =
            graph(&[node("a", &[("b", true)], &[FOREGROUND]), node("b", &[("a", true)], &[FOREGROUND])]);
        assert_eq!(planned(&graph, "a"), "finish");
    }

    #[test]
    fn those_that_shall_stay_stay() {
        let mut graph = graph(&[node("top", &[], &[ORPHAN]), node("a", &[("top", true)], &[])]);
        assert_eq!(planned(&graph, "top"), "orphan 1");
        assert_eq!(graph.set(node("a", &[], &[])), ["a", "top"]);
        assert_eq!(planned(&graph, "top"), "orphan 0");
    }

    #[test]
    fn of_owners_that_nobody_knows_nothing_is_said() {
        let meta = |kind: &str, namespace: &str| -> ObjectMeta {
            serde_json::from_value(
                json!({"name": "x", "namespace": namespace, "uid": "x", "ownerReferences": [
                    {"apiVersion": "v1", "kind": kind, "name": "y", "uid": "y"},
                ]}),
            )
            .unwrap()
        };
        let nameless = json!({"name": "x", "uid": "x", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "y", "uid": ""},
        ]});
        let planned = |node: Node| {
            let mut graph = Graph::default();
            graph.set(node.clone());
            graph.plan(&node)
        };
        assert_eq!(planned(Node::new(&PODS, &meta("Widget", "default"))), None);
        assert_eq!(planned(Node::new(&NODES, &meta("Pod", ""))), None);
        assert_eq!(planned(Node::new(&PODS, &serde_json::from_value(nameless).unwrap())), None);
        let Some(Step::Delete { owners, .. }) = planned(Node::new(&PODS, &meta("Node", "default"))) else {
            panic!()
        };
        assert_eq!(owners[0].target.name, ObjectName::new("", "y"));
    }
}
