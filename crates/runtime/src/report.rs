//! What a worker's agent says of itself; part of `topo status -o json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whether a component is the real program or ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComponentKind {
    /// The program that Kubernetes clusters run.
    Real,
    /// Ours.
    Builtin,
}

/// One component of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// The real program or ours.
    pub kind: ComponentKind,
    /// Its version.
    pub version: String,
    /// Whether it does its work now.
    pub ready: bool,
    /// Why not, or what it is doing; may be empty.
    pub message: String,
    /// Why it is of this kind, where the choice was ours; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What somebody has to do: there only when waiting will not make it ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is wrong though it does its work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ComponentStatus {
    /// One that was just started.
    #[must_use]
    pub fn starting(kind: ComponentKind, version: &str) -> Self {
        Self {
            kind,
            version: version.into(),
            ready: false,
            message: "starting".into(),
            why: String::new(),
            hint: None,
            warnings: Vec::new(),
        }
    }
}

/// Everything that a worker's agent says of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerReport {
    /// By name, as `kubelet`.
    pub components: BTreeMap<String, ComponentStatus>,
    /// The worker's share of the pod network, once it has one.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<String>,
}

impl WorkerReport {
    /// Whether there are components and all of them are ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        !self.components.is_empty() && self.components.values().all(|c| c.ready)
    }
}
