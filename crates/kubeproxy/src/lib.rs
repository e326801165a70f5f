//! kube-proxy: the addresses of services, in nftables.
//!
//! From Services, EndpointSlices and virtual IPs to one table of each worker, programmed over netlink.
//!
//! ```text
//! objects ── plan ── state ── ops ── apply ── kernel
//!   the lean     frontends   what to do,   transactions
//!   copies       and claims  in order
//! ```
//!
//! - [`plan`]: what a service wants, and a virtual IP: frontends with endpoints. Pure;
//! - [`state`]: all that is wanted, and what a change of it takes;
//! - `layout`, `elements`, `chains`: how frontends become elements of maps that all services share, and the few rules
//!   that look there;
//! - [`ops`]: what has to be done to the table, in an order that may be interrupted;
//! - [`apply`]: the kernel; [`proxy`]: keeps the one as the other wants it;
//! - [`reconcile`]: the loop of a worker;
//! - `announce`: addresses of load balancers, told to the network by one worker each;
//! - [`mod@show`]: the rules of a service in words, from the table itself.

mod announce;
pub mod apply;
mod chains;
mod elements;
mod error;
mod events;
#[cfg(test)]
mod fake;
pub mod frontend;
mod inputs;
mod layout;
pub mod objects;
pub mod ops;
pub mod plan;
pub mod proxy;
pub mod reconcile;
mod room;
pub mod show;
pub mod state;

pub use chains::{Networks, Structure};
pub use error::{Error, Result};
pub use reconcile::{COMPONENT, Options, run};
pub use show::show;
