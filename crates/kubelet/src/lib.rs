//! The kubelet: makes the pods that are bound to its node, and tells the cluster of both.
//!
//! ```text
//! store ── pods of this node ──► pods: a worker each ──► cri: sandbox, containers
//!   ▲                              │      └────────────► cni: network
//!   └── status, events ────────────┘
//! ```
//!
//! - [`node`], [`register`]: the Node object, which says what there is, and the Lease, that it is alive;
//! - [`pods`]: the pods, and their workers;
//! - `plan`, `status`: what is to be started when, what the status says (pure);
//! - [`environment`]: what a container is started with (pure);
//! - [`probe`], [`hosts`]: probes; the pod's name and `/etc/hosts`;
//! - `network`: what CNI does for a sandbox.

pub mod environment;
pub mod hosts;
pub mod logs;
pub mod machine;
mod network;
pub mod node;
mod plan;
pub mod pods;
pub mod probe;
pub mod register;
mod status;
pub mod volumes;
mod worker;

pub use machine::MachineInfo;
pub use node::NodeInfo;
pub use pods::Options;
pub use register::COMPONENT;
