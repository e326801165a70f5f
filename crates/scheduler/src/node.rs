//! A node, with what runs on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::quantity::Amount;
use api::types::api::core::v1::Node;
use store::ObjectName;

use crate::pod::{HostPort, PodInfo};
use crate::resources::Resources;

/// A node as the scheduler sees it.
#[derive(Debug)]
pub(crate) struct NodeInfo {
    pub(crate) node: Arc<Node>,
    pub(crate) allocatable: Resources,
    /// As many pods may run there.
    pub(crate) most_pods: i64,
    pub(crate) load: Load,
}

/// What runs on a node. It is kept even while the node itself is not known.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) pods: BTreeMap<ObjectName, Arc<PodInfo>>,
    /// Those of them that want to be near to or apart from others.
    pub(crate) with_terms: BTreeMap<ObjectName, Arc<PodInfo>>,
    pub(crate) requested: Resources,
    pub(crate) guessed: Resources,
    pub(crate) ports: BTreeMap<HostPort, usize>,
}

impl NodeInfo {
    pub(crate) fn new(node: Arc<Node>, load: Load) -> Self {
        let mut info = Self { node, allocatable: Resources::default(), most_pods: 0, load };
        info.read();
        info
    }

    pub(crate) fn set(&mut self, node: Arc<Node>) {
        self.node = node;
        self.read();
    }

    fn read(&mut self) {
        let allocatable = self.node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        self.allocatable = Resources::of(allocatable);
        let pods = allocatable.and_then(|list| list.get("pods"));
        self.most_pods = pods.and_then(|pods| Amount::parse(pods).ok()).unwrap_or_default().units();
    }

    pub(crate) fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

impl Load {
    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.remove(&pod.name);
        self.requested.add(&pod.requests);
        self.guessed.add(&pod.guessed);
        for port in &pod.ports {
            *self.ports.entry(port.clone()).or_default() += 1;
        }
        if pod.has_terms() {
            self.with_terms.insert(pod.name.clone(), pod.clone());
        }
        self.pods.insert(pod.name.clone(), pod);
    }

    pub(crate) fn remove(&mut self, name: &ObjectName) {
        let Some(pod) = self.pods.remove(name) else { return };
        self.with_terms.remove(name);
        self.requested.subtract(&pod.requests);
        self.guessed.subtract(&pod.guessed);
        for port in &pod.ports {
            if let Some(count) = self.ports.get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    self.ports.remove(port);
                }
            }
        }
    }
}
