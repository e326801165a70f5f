//! The topology file: what a lab consists of, before any of it exists.
//!
//! [`load`] reads a file and the files it names, checks everything that can be checked without
//! starting anything, fills in every default and gives a [`Topology`]. All problems of a file are
//! reported at once, each with file, line and, where one is known, a way out ([`Problem`]).
//!
//! Pure but for reading files; it knows nothing of namespaces.

mod cables;
mod file;
mod parse;
mod pod_network;
mod problem;
mod resolve;
mod suggest;
mod units;

pub mod model;

pub use cables::Cable;
pub use model::{
    Choice, Cluster, Components, EtcdMember, LinkProperties, LinkSpec, PodNetwork, SiteLink, Topology,
    Underlay, Worker, dns_address,
};
pub use parse::{DEFAULT_FLANNEL_CONFIG, DEFAULT_TOPOLOGY, load, load_default, load_str, manifest};
pub use problem::{Problem, Problems};
pub use suggest::closest;
pub use units::{Delay, Grace, Loss, Rate, UnitError};
