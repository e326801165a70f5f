//! What the scheduler knows of the cluster: the nodes with what runs on them, also what it has just placed
//! there itself and what nobody tells of yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::types::api::core::v1::{Namespace, Node};
use store::ObjectName;

use crate::node::{Load, NodeInfo};
use crate::pod::{Namespaces, PodInfo};

/// The cluster.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    nodes: BTreeMap<String, NodeInfo>,
    /// Of nodes that are not there (any more).
    strays: BTreeMap<String, Load>,
    /// Where each pod is, or will be.
    places: BTreeMap<ObjectName, String>,
    pub(crate) namespaces: Namespaces,
}

impl Cache {
    /// In the order of their names.
    pub(crate) fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeInfo> {
        self.nodes.values()
    }

    pub(crate) fn place_of(&self, pod: &ObjectName) -> Option<&str> {
        self.places.get(pod).map(String::as_str)
    }

    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        match self.nodes.get_mut(&name) {
            Some(info) => info.set(node),
            None => {
                let load = self.strays.remove(&name).unwrap_or_default();
                self.nodes.insert(name, NodeInfo::new(node, load));
            }
        }
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.remove(name).filter(|info| !info.load.pods.is_empty()) {
            self.strays.insert(name.into(), info.load);
        }
    }

    /// A pod is on a node, or will be.
    pub(crate) fn set_pod(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove_pod(&pod.name);
        self.places.insert(pod.name.clone(), node.into());
        match self.nodes.get_mut(node) {
            Some(info) => info.load.add(pod),
            None => self.strays.entry(node.into()).or_default().add(pod),
        }
    }

    pub(crate) fn remove_pod(&mut self, pod: &ObjectName) {
        let Some(node) = self.places.remove(pod) else { return };
        if let Some(info) = self.nodes.get_mut(&node) {
            info.load.remove(pod);
        } else if let Some(load) = self.strays.get_mut(&node) {
            load.remove(pod);
            if load.pods.is_empty() {
                self.strays.remove(&node);
            }
        }
    }

    pub(crate) fn set_namespace(&mut self, namespace: &Namespace) {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        self.namespaces.insert(namespace.metadata.name.clone().unwrap_or_default(), labels);
    }
}
