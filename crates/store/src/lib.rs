//! Kubernetes objects in etcd, as the API server keeps them: JSON under `/registry`, and
//! `resourceVersion` is the revision of the object's last change (`mod_revision`).
//!
//! [`Store`] is either a cluster's etcd or a twin in memory for tests; both pass the same contract
//! suite.

mod error;
mod etcd;
mod memory;
mod typed;

pub use error::{Error, Result};
pub use typed::Store;
