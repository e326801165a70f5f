//! The controllers of a cluster: what is written into objects becomes true, and stays so.
//!
//! ```text
//! reflectors ── views ── one loop a controller: observe, plan (pure), apply ── store
//! ```
//!
//! - `driver`: the loop that all share; `view`, `writer`: what a controller sees, and waiting for one's own
//!   writes; `claim`: whose an object is;
//! - `deployment`: from one template to the next; `replica_set`: as many pods as wanted;
//! - `nodes`: those that are silent are not ready, and lose their pods;
//! - `garbage`: what belongs to something that is gone goes; `namespaces`: what is in one that goes;
//! - `endpoint_slice`: the pods of services; `services`: their addresses and ports.
//!
//! Level-triggered: a change only names a key to be looked at; what is done follows from how things are. All
//! in one process; of several of a cluster one works, by a lease.
//!
//! Words, orders and rules are those of Kubernetes 1.33; each module names its sources.

mod claim;
mod clock;
mod cluster;
mod deployment;
mod driver;
mod endpoint_slice;
mod error;
#[cfg(test)]
mod fake;
mod garbage;
mod meta;
mod namespaces;
mod nodes;
mod pods;
mod replica_set;
mod run;
mod services;
mod view;
mod writer;

pub use error::{Error, Result};
pub use run::{COMPONENT, LEASE, Options, run};
