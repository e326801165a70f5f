//! Keys in etcd, as the API server lays them out.
//!
//! Source: kubernetes `pkg/registry/**/storage*.go` (`WithPrefix`/`ResourcePrefix`) and
//! `cmd/kube-apiserver/app/options`: the prefix is `/registry`.

use k8s_openapi::Resource;

/// A kind whose objects have a key of their own.
pub trait Kind: Resource {
    /// The folder of its keys below `/registry`.
    const FOLDER: &'static str;
    /// Whether its objects live in namespaces.
    const NAMESPACED: bool;
}

impl Kind for k8s_openapi::api::core::v1::Node {
    // Nodes were called minions once, and their keys still are.
    const FOLDER: &'static str = "minions";
    const NAMESPACED: bool = false;
}

impl Kind for k8s_openapi::api::coordination::v1::Lease {
    const FOLDER: &'static str = "leases";
    const NAMESPACED: bool = true;
}

/// The key of an object; `namespace` is passed over for a kind without namespaces.
#[must_use]
pub fn key<K: Kind>(namespace: &str, name: &str) -> String {
    if K::NAMESPACED {
        format!("/registry/{}/{namespace}/{name}", K::FOLDER)
    } else {
        format!("/registry/{}/{name}", K::FOLDER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};

    #[test]
    fn keys_are_where_the_api_server_keeps_them() {
        assert_eq!(key::<Node>("", "C0w1"), "/registry/minions/C0w1");
        assert_eq!(key::<Lease>("kube-node-lease", "C0w1"), "/registry/leases/kube-node-lease/C0w1");
    }
}
