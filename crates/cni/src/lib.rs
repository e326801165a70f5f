//! The runtime side of CNI, version 1.1.0 of the specification
//! (<https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md>): what a kubelet's container
//! runtime does to give a container its network.
//!
//! A network is a list of plugins, programs that are called one after the other. [`NetworkList`] is
//! such a list, read from a file or a text; [`Cni`] runs it:
//!
//! ```text
//! NetworkList + Attachment ──► request: environment and configuration of each plugin   (pure)
//!                                 │
//!                                 ▼
//!                              PluginExec: the program runs, within a time limit
//!                                 │
//!           next plugin ◄── AddResult (prevResult)      Failure: its own error, or what was seen
//!                                 │
//!                                 ▼
//!                              cache: the last result, for CHECK, DEL and GC
//! ```
//!
//! - [`config`]: configurations, their files and everything that can be wrong with them;
//! - [`request`]: what a plugin is told;
//! - [`exec`]: how it is run; [`fake`]: how it is not, for tests;
//! - [`result`]: what it answers, in all versions; [`failure`]: how it fails;
//! - [`cache`]: what is remembered, in the form of the Go library libcni;
//! - [`runtime`]: ADD, DEL, CHECK, GC, STATUS and VERSION over a whole list, and who waits for whom;
//! - [`tool`]: the conventions of the command cnitool.
//!
//! Plugins run in the network namespace of the thread that calls: call from inside the worker's.
//! `docs/cni-plugin.md` shows the other side, a plugin in twenty lines.

pub mod cache;
pub mod config;
pub mod error;
pub mod exec;
pub mod failure;
pub mod fake;
mod locks;
mod names;
pub mod request;
pub mod result;
pub mod runtime;
pub mod tool;
pub mod version;

pub use cache::Cached;
pub use config::{ConfigError, NetworkList};
pub use error::{Error, Result};
pub use exec::{PluginExec, ProcessExec};
pub use failure::{Code, Failure, Reason};
pub use request::{Attachment, Command};
pub use result::AddResult;
pub use runtime::{Cni, TIME_LIMIT};
pub use version::Version;
