//! The cluster's DNS server: the Kubernetes DNS-Based Service Discovery specification 1.1.0, answered from
//! the cluster's store.
//!
//! - [`zone`]: an index of Services, EndpointSlices and Namespaces, changed object by object, and what it
//!   answers to a question. Pure.

pub mod zone;
