//! A cluster to place pods in without a store: for questions what would be, and for measuring.

use std::sync::Arc;

use api::Selector;
use api::types::api::core::v1::{Node, Pod};

use crate::cache::Cache;
use crate::plan::{Unplaced, place};
use crate::pod::PodInfo;

/// Nodes with what runs on them.
#[derive(Debug, Default)]
pub struct Picture {
    cache: Cache,
    placed: usize,
}

impl Picture {
    /// A node is there, or has changed.
    pub fn set_node(&mut self, node: Node) {
        self.cache.set_node(Arc::new(node));
    }

    /// A pod runs on the node that it names.
    pub fn set_pod(&mut self, pod: Pod) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        self.cache.set_pod(Arc::new(PodInfo::new(Arc::new(pod))), &node);
    }

    /// Places a pod that names no node, and counts it there; `application` selects the pods that belong together
    /// with it (none: an empty one).
    ///
    /// # Errors
    /// It fits nowhere, with the reasons.
    pub fn place(&mut self, pod: Pod, application: &Selector) -> Result<String, Unplaced> {
        let pod = Arc::new(PodInfo::new(Arc::new(pod)));
        let node = place(&pod, &self.cache, application, self.placed)?.name().to_owned();
        self.placed += 1;
        self.cache.set_pod(pod, &node);
        Ok(node)
    }
}
