//! What goes over the control socket, and what pid 1 tells while starting.

use serde::{Deserialize, Serialize};
use topology::LinkProperties;

/// A question to pid 1: one JSON object a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// How everything is. Answer: [`crate::LabStatus`], then one message a pid.
    Status,
    /// The namespaces of a node, a switch or a pod. Answer: [`Entry`] with descriptors.
    Enter {
        /// Its name, a pod's as `C0/c1` or `C0/kube-system/dns`; empty is the lab itself.
        node: String,
    },
    /// Every link. Answer: a list of [`LinkStatus`].
    Links,
    /// Changes a link. Answer: [`LinkStatus`].
    LinkSet {
        /// The two neighbours.
        between: (String, String),
        /// What to change; the rest stays.
        change: LinkProperties,
        /// Forget all impairments first.
        clear: bool,
    },
}

/// The namespaces that are entered, the user namespace first: only in it is there the right to enter the others.
pub(crate) const KINDS: [&str; 6] = ["user", "mnt", "pid", "net", "uts", "ipc"];

/// The namespaces that a command enters, in the order in which their descriptors come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Kinds, as `user`, `mnt`, `pid`, `net`, `uts`.
    pub namespaces: Vec<String>,
    /// Whether only one user id exists there (see `net::ids`).
    pub single_id: bool,
    /// In a pod: the environment of its first container.
    #[serde(default)]
    pub env: Option<Vec<(String, String)>>,
}

/// A link as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// The lower end.
    pub a: LinkEnd,
    /// The switch's end.
    pub b: LinkEnd,
    /// Impairments in force, both ways.
    pub properties: LinkProperties,
    /// By what they are made, as `tbf`, `nft`, `netem`, `delay line`.
    pub means: Vec<String>,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkEnd {
    /// Node or switch.
    pub node: String,
    /// Interface.
    pub interface: String,
    /// Whether it can carry packets.
    pub up: bool,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// What pid 1 tells `topo up`: one JSON object a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Something begins, or goes on.
    Progress {
        /// What.
        what: String,
        /// How many are done.
        done: usize,
        /// Of how many.
        of: usize,
    },
    /// Something that the user should know.
    Note {
        /// One line.
        text: String,
    },
    /// Everything runs.
    Ready,
    /// It did not work; pid 1 ends now.
    Failed {
        /// One line.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// The last lines of the log that says more.
        log: Vec<String>,
    },
}
