//! The Kubernetes types in use, and where the API server keeps their objects in etcd.

pub mod keys;
pub mod time;

pub use k8s_openapi as types;
pub use keys::Kind;
