//! The cluster's DNS server: the Kubernetes DNS-Based Service Discovery specification 1.1.0, answered from
//! the cluster's store.
//!
//! ```text
//! store ── follow ──► zone::Index ──┐
//! packets ── udp, tcp ── wire ── Server ── wire ── packets
//!                                   └──► forward: names of others, with a cache
//! ```
//!
//! - [`zone`]: an index of Services, EndpointSlices and Namespaces, changed object by object, and what it
//!   answers to a question. Pure;
//! - [`run`]: the server;
//! - [`mod@trace`]: what a look-up costs whoever makes it.

mod error;
mod follow;
mod forward;
mod metrics;
mod serve;
mod server;
pub mod trace;
mod wire;
pub mod zone;

pub use error::{Error, Result};
pub use serve::{Bound, COMPONENT, Options, run};
