//! The container runtime: what containerd and its shims are to a kubelet.
//!
//! A pod's sandbox is a network, pid, mount, UTS and IPC namespace, held by one small process, the shim,
//! which is the first process in there and the parent of the pod's containers:
//!
//! ```text
//! agent ── Runtime::create ──► shim (pid 1 of the pod) ──► containers
//!   ▲                            │  │
//!   └── unix socket: requests, ──┘  └── log files, a line each (CRI's format)
//!       every change of state
//! ```
//!
//! The shim outlives the agent: the next one finds the sandboxes by their folders ([`Runtime::adopt`])
//! and hears from each shim all that has happened meanwhile. If a shim is killed, the kernel ends the
//! pod's processes with it, and its namespaces; nothing of a sandbox outlives both.
//!
//! - [`sandbox`]: making, finding and removing sandboxes;
//! - [`protocol`]: what agent and shim say to each other;
//! - [`shim`]: the process itself;
//! - [`log`]: the containers' log files.
//!
//! No images are pulled: a container is a command of the machine's own files, which it sees through a root
//! of its own: what it writes stays in its sandbox, and goes with it.

pub mod error;
pub mod log;
pub mod protocol;
mod root;
pub mod sandbox;
pub mod shim;

pub use error::{Error, Result};
pub use protocol::{ContainerState, Files, Kind, Mount, Outcome, Phase, Process, Source};
pub use sandbox::{Options, Runtime, Sandbox, SandboxSpec, State};
