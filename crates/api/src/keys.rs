//! Keys in etcd, as the API server lays them out.
//!
//! Source: kubernetes `pkg/registry/**/storage*.go` (`WithPrefix`/`ResourcePrefix`) and
//! `cmd/kube-apiserver/app/options`: the prefix is `/registry`.

use k8s_openapi::Resource;

use crate::kinds::KindInfo;

/// A kind whose objects have a key of their own.
pub trait Kind: Resource {
    /// Its line in the table of kinds.
    const INFO: &'static KindInfo;
    /// The folder of its keys below `/registry`.
    const FOLDER: &'static str = Self::INFO.folder;
    /// Whether its objects live in namespaces.
    const NAMESPACED: bool = Self::INFO.namespaced;
}

/// The key of an object; `namespace` is passed over for a kind without namespaces.
#[must_use]
pub fn key<K: Kind>(namespace: &str, name: &str) -> String {
    K::INFO.key(namespace, name)
}

/// What the keys of a namespace's objects begin with, or those of all.
#[must_use]
pub fn prefix<K: Kind>(namespace: Option<&str>) -> String {
    K::INFO.prefix(namespace)
}

/// The namespace and the name of the object with that key; none where it is not one of the kind.
#[must_use]
pub fn parse<'a>(info: &KindInfo, key: &'a str) -> Option<(&'a str, &'a str)> {
    let rest = key.strip_prefix("/registry/")?.strip_prefix(info.folder)?.strip_prefix('/')?;
    let (namespace, name) = if info.namespaced { rest.split_once('/')? } else { ("", rest) };
    (!name.is_empty() && !name.contains('/')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};

    #[test]
    fn keys_are_where_the_api_server_keeps_them() {
        assert_eq!(key::<Node>("", "C0w1"), "/registry/minions/C0w1");
        assert_eq!(key::<Lease>("kube-node-lease", "C0w1"), "/registry/leases/kube-node-lease/C0w1");
        assert_eq!(prefix::<Lease>(Some("kube-node-lease")), "/registry/leases/kube-node-lease/");
    }

    #[test]
    fn keys_name_their_object() {
        let of = |key| parse(Lease::INFO, key);
        assert_eq!(of("/registry/leases/kube-node-lease/C0w1"), Some(("kube-node-lease", "C0w1")));
        assert_eq!(of("/registry/leases/C0w1"), None);
        assert_eq!(of("/registry/leases/a/b/c"), None);
        assert_eq!(of("/registry/leases/a/"), None);
        assert_eq!(parse(Node::INFO, "/registry/minions/C0w1"), Some(("", "C0w1")));
        assert_eq!(parse(Node::INFO, "/registry/leases/a/b"), None);
    }
}
