//! Reverse proxies by hand, a kind of our own: a port of one node, and where its paths lead.
//!
//! ```yaml
//! apiVersion: knetsim.dev/v1
//! kind: NodeIngress
//! metadata: {name: grp1}
//! spec:
//!   node: C0w1
//!   port: 8001
//!   paths:
//!   - {path: /svc1, backend: "100.64.11.1:8000"}
//! ```
//!
//! A path leads everything that begins with it, unchanged, to its backend; of several, the longest counts.

use serde::{Deserialize, Serialize};

use crate::custom::custom_kind;

custom_kind! {
    /// A reverse proxy on a port of one node.
    NodeIngress: "knetsim.dev" "v1" "nodeingresses" ClusterResourceScope,
    spec: NodeIngressSpec, status: NodeIngressStatus
}

/// What a node's ingress is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeIngressSpec {
    /// The node.
    pub node: String,
    /// The port there, on all of its addresses.
    pub port: i32,
    /// Where paths lead.
    pub paths: Vec<NodeIngressPath>,
}

/// Where a path leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeIngressPath {
    /// The beginning of a request's path, as `/svc1`.
    pub path: String,
    /// An address and a port, as `100.64.11.1:8000`.
    pub backend: String,
}

/// How a node's ingress is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeIngressStatus {
    /// Whether it is served.
    pub ready: bool,
    /// Why not; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}
