//! What every object has: a name, an identity, owners.

use api::Kind;
use api::types::Metadata;
use api::types::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use store::ObjectName;

/// Fields of metadata, without the detours.
pub(crate) trait Meta {
    fn meta(&self) -> &ObjectMeta;

    fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    fn key(&self) -> ObjectName {
        ObjectName::of(self.meta())
    }

    fn is_deleting(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.meta().labels.as_ref()?.get(key).map(String::as_str)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The owner that manages it (apimachinery `GetControllerOf`).
    fn controller(&self) -> Option<&OwnerReference> {
        self.meta().owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
    }

    /// The name of the owner that manages it, if that is one of this kind.
    fn owner<K: Kind>(&self) -> Option<ObjectName> {
        let is = |owner: &&OwnerReference| {
            owner.kind == K::INFO.kind && owner.api_version == K::INFO.api_version()
        };
        Some(ObjectName::new(self.namespace(), &self.controller().filter(is)?.name))
    }

    #[cfg(test)]
    fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|owner| owner.uid == uid)
    }
}

impl<K: Metadata<Ty = ObjectMeta>> Meta for K {
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }
}

/// How an object that `owner` manages refers to it (apimachinery `NewControllerRef`).
pub(crate) fn controller_reference<K: Kind + Metadata<Ty = ObjectMeta>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::INFO.api_version(),
        kind: K::INFO.kind.into(),
        name: owner.name().into(),
        uid: owner.uid().into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
