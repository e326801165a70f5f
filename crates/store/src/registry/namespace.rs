//! Namespaces: what may be made in them, and how they go.
//!
//! Sources: apiserver `pkg/admission/plugin/namespace/lifecycle/admission.go`; kubernetes
//! `pkg/controlplane/controller/systemnamespaces`, `pkg/controller/namespace/deletion`.

use api::KindInfo;
use api::kinds::{KINDS, NAMESPACES};
use api::types::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use serde_json::Value;

use super::{Error, Result, delete, names};
use crate::error::Error as StoreError;
use crate::typed::{Store, Target};

/// The control plane makes them as soon as it is there, so nobody has to wait for that.
const SYSTEM: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// These never go.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Checks that a new object's namespace is there and takes new objects.
pub(super) async fn must_take(store: &Store, info: &'static KindInfo, object: &Value) -> Result<()> {
    let (namespace, name) = names(object);
    if !info.namespaced || SYSTEM.contains(&namespace) {
        return Ok(());
    }
    let target = Target::new(&NAMESPACES, "", namespace)?;
    let there = store.get_raw(&NAMESPACES, "", namespace).await?.ok_or_else(|| target.not_found())?;
    if there.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()) {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(Error::Forbidden { resource: info.resource(), name: name.into(), why });
    }
    Ok(())
}

/// Checks that a namespace may be deleted.
pub(super) fn must_be_mortal(info: &KindInfo, name: &str) -> Result<()> {
    if *info == NAMESPACES && IMMORTAL.contains(&name) {
        let why = "this namespace may not be deleted".to_owned();
        return Err(Error::Forbidden { resource: info.resource(), name: name.into(), why });
    }
    Ok(())
}

/// One step of the end of a namespace: deletes everything in it, and the namespace once nothing is left.
/// Says whether it is gone; if not, something in it still needs time: call it again when that has changed.
/// A namespace that is not being deleted is left alone.
///
/// # Errors
/// When etcd is away.
pub async fn empty(store: &Store, name: &str) -> Result<bool> {
    let Some(namespace) = store.get_raw(&NAMESPACES, "", name).await? else { return Ok(true) };
    if namespace.pointer("/metadata/deletionTimestamp").is_none_or(Value::is_null) {
        return Ok(false);
    }
    let mut left = 0;
    for info in KINDS.iter().copied().filter(|info| info.namespaced) {
        for object in store.list_raw(info, Some(name)).await?.items {
            let (_, object) = names(&object);
            match delete::run(store, info, name, object, &DeleteOptions::default()).await {
                Ok(deleted) => left += usize::from(!deleted.is_gone()),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    if left > 0 {
        return Ok(false);
    }
    finalize(store, name).await
}

/// Takes the namespace's own finalizer away.
async fn finalize(store: &Store, name: &str) -> Result<bool> {
    let done = super::modify(store, "", name, |namespace: &mut api::types::api::core::v1::Namespace| {
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != "kubernetes");
        }
    })
    .await;
    match done {
        Ok(namespace) => {
            let meta = &namespace.metadata;
            Ok(meta.finalizers.as_ref().is_none_or(Vec::is_empty))
        }
        Err(Error::Store(StoreError::NotFound { .. })) => Ok(true),
        Err(error) => Err(error),
    }
}
