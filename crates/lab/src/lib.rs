//! The lab: one process tree in its own namespaces, and the ways in from outside.
//!
//! ```text
//! topo up ── state folder, lock ── Sandbox ──▶ pid 1 (`init`)
//!    ◀────────── progress ─────────────────────┤ world: mounts, /etc/hosts
//!                                              │ underlay: bridges, namespaces, veths
//! topo … ── control socket ── server ──────────┤ supervisor: etcd, control planes, agents
//!                                              └ wires: what `link set` changes
//! ```
//!
//! Whoever is outside finds a lab by its state folder ([`state`]), asks its pid 1 over a socket
//! ([`client`]) and enters it with descriptors that pid 1 hands out. If pid 1 ends, the kernel ends
//! everything else: nothing here cleans up for correctness, only for tidiness.

mod error;
mod framing;
mod logs;
mod resolver;
mod server;
mod specs;
mod supervisor;
mod underlay;
mod wires;
mod world;

pub mod client;
pub mod init;
pub mod programs;
pub mod protocol;
pub mod start;
pub mod state;
pub mod status;

pub use client::Client;
pub use error::{Error, Result};
pub use protocol::{Entry, Event, Request};
pub use resolver::VARIABLE as RESOLVERS_VARIABLE;
pub use start::{Manifest, Start, Started};
pub use state::{LabName, StateDir};
pub use status::{LabStatus, PodSummary};
