//! What the API server does with an object between a request and etcd, for those who act as its clients
//! do: the command line, controllers that make and delete objects, an API server.
//!
//! - [`create`], [`update`]: decode strictly, set defaults, validate ([`api::admit`]); the namespace has to
//!   be there and may not be going;
//! - [`delete()`]: gracefully where the kind knows grace, by finalizers where there are some, at once
//!   otherwise. **Who deletes a pod calls this, not [`Store::delete`]**: a pod that runs is only marked, and
//!   its kubelet removes it at the end, with [`delete_now`];
//! - [`modify`]: as [`Store::modify`], and the object goes when its last finalizer is taken away. **Who
//!   removes finalizers calls this.**
//!
//! Each function has a twin without types, `…_raw`. Statuses, and what a controller writes into objects of
//! its own, need none of this: [`Store::modify`] and [`Store::update`] do.
//!
//! Sources: apiserver `pkg/registry/generic/registry/store.go`, `pkg/registry/rest/{create,update,delete}.go`,
//! `pkg/admission/plugin/namespace/lifecycle`; kubernetes `pkg/registry/core/{pod,namespace}`.

mod delete;
mod error;
mod namespace;
mod services;
#[cfg(test)]
mod tests;

use api::admit::{self, Rejection, Rules, Stamp};
use api::types::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use api::{KindInfo, time};
use serde_json::Value;

use crate::error::Error as StoreError;
use crate::typed::{Object, Store, Target};

pub use delete::{Deleted, Propagation};
pub use error::{Error, Result};
pub use namespace::empty as empty_namespace;

/// As often another name is tried for an object that has only the beginning of one
/// (kubernetes `RetryGenerateName`).
const NAMES: usize = 8;

/// Stores a new object from a document, as a client has sent it; gives it as it is stored.
///
/// # Errors
/// Everything that is wrong with it, [`StoreError::Exists`], or that its namespace is missing or going.
pub async fn create<K: Object + Rules>(store: &Store, document: &K) -> Result<K> {
    let created = create_raw(store, K::INFO, &to_value(K::INFO, document)?).await?;
    from_value(K::INFO, created)
}

/// As [`create`], for a kind of the table.
///
/// # Errors
/// As [`create`].
pub async fn create_raw(store: &Store, info: &'static KindInfo, document: &Value) -> Result<Value> {
    let mut tries = 0;
    loop {
        let mut object = admit::create_any(info, document, &stamp())?;
        if tries == 0 {
            namespace::must_take(store, info, &object).await?;
        }
        let taken = services::take(store, info, &mut object, None).await?;
        let result = store.create_raw(info, &mut object).await;
        if result.is_err() {
            services::give_back(taken).await;
        }
        match result {
            Err(StoreError::Exists { .. }) if named_by_chance(document) && tries < NAMES => tries += 1,
            result => return result.map(|()| object).map_err(Error::from),
        }
    }
}

/// What would be stored of a new document, without storing it (`--dry-run=server`).
///
/// # Errors
/// As [`create`].
pub async fn try_create_raw(store: &Store, info: &'static KindInfo, document: &Value) -> Result<Value> {
    let object = admit::create_any(info, document, &stamp())?;
    namespace::must_take(store, info, &object).await?;
    let (namespace, name) = names(&object);
    let target = Target::new(info, namespace, name)?;
    match store.get_raw(info, namespace, name).await? {
        Some(_) => Err(target.exists().into()),
        None => Ok(object),
    }
}

/// Replaces an object by a document; the status stays. A document without a `resourceVersion` changes
/// whatever is there. Nothing is written if nothing changes; the object goes if it is being deleted and the
/// document takes its last finalizer away. Gives the object as it is then.
///
/// # Errors
/// Everything that is wrong with the document, [`StoreError::NotFound`], [`StoreError::Conflict`].
pub async fn update<K: Object + Rules>(store: &Store, document: &K) -> Result<K> {
    let updated = update_raw(store, K::INFO, &to_value(K::INFO, document)?).await?;
    from_value(K::INFO, updated)
}

/// As [`update`], for a kind of the table.
///
/// # Errors
/// As [`update`].
pub async fn update_raw(store: &Store, info: &'static KindInfo, document: &Value) -> Result<Value> {
    let (namespace, name) = names(document);
    patch_raw(store, info, namespace, name, |_| Ok(document.clone())).await.map(|patched| patched.new)
}

/// An object before and after it was changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    /// Before.
    pub old: Value,
    /// Now; the same, with the same version, if nothing was written.
    pub new: Value,
}

/// Changes an object as an update does, as often as it takes to do it without overwriting anyone; `change`
/// makes the document from the latest version each time.
///
/// # Errors
/// As [`update`], and what `change` says.
pub async fn patch_raw(
    store: &Store,
    info: &'static KindInfo,
    namespace: &str,
    name: &str,
    change: impl FnMut(&Value) -> Result<Value>,
) -> Result<Patched> {
    let target = Target::new(info, namespace, name)?;
    let old = store.get_raw(info, namespace, name).await?.ok_or_else(|| target.not_found())?;
    patch_read(store, info, old, change).await
}

/// As [`patch_raw`], for who has read the object already.
///
/// # Errors
/// As [`patch_raw`].
pub async fn patch_read(
    store: &Store,
    info: &'static KindInfo,
    mut old: Value,
    mut change: impl FnMut(&Value) -> Result<Value>,
) -> Result<Patched> {
    let target = {
        let (namespace, name) = names(&old);
        Target::new(info, namespace, name)?
    };
    loop {
        let document = change(&old)?;
        let mut new = admit::update_any(info, &document, &old)?;
        if version(&new) != version(&old) {
            return Err(target.conflict().into());
        }
        if same(&new, &old) {
            return Ok(Patched { new: old.clone(), old });
        }
        let taken = services::take(store, info, &mut new, Some(&old)).await?;
        let result = replace_or_remove(store, info, &old, &mut new).await;
        if result.is_err() {
            services::give_back(taken).await;
        }
        match result {
            // A document that insists on its version is refused above, the next time.
            Err(StoreError::Conflict { .. }) => {
                let (namespace, name) = names(&old);
                old = store.get_raw(info, namespace, name).await?.ok_or_else(|| target.not_found())?;
            }
            result => return result.map(|()| Patched { old, new }).map_err(Error::from),
        }
    }
}

/// What an update would store, without storing it (`--dry-run=server`).
///
/// # Errors
/// As [`update`].
pub fn try_update_raw(info: &'static KindInfo, document: &Value, old: &Value) -> Result<Value> {
    Ok(admit::update_any(info, document, old)?)
}

/// Changes an object as [`Store::modify`] does; if it is being deleted and has no finalizer any more, it goes.
///
/// # Errors
/// [`StoreError::NotFound`] when there is none.
pub async fn modify<K>(
    store: &Store,
    namespace: &str,
    name: &str,
    mut change: impl FnMut(&mut K),
) -> Result<K>
where
    K: Object + Clone + PartialEq,
{
    let target = Target::new(K::INFO, namespace, name)?;
    loop {
        let old: K = store.get(namespace, name).await?.ok_or_else(|| target.not_found())?;
        let mut new = old.clone();
        change(&mut new);
        if new == old {
            return Ok(old);
        }
        new.metadata_mut().resource_version.clone_from(&old.metadata().resource_version);
        let (old_value, mut value) = (to_value(K::INFO, &old)?, to_value(K::INFO, &new)?);
        match replace_or_remove(store, K::INFO, &old_value, &mut value).await {
            Err(StoreError::Conflict { .. }) => {}
            result => {
                result?;
                new.metadata_mut().resource_version = version(&value).map(str::to_owned);
                return Ok(new);
            }
        }
    }
}

/// Deletes an object as its kind wants it: see [`Deleted`].
///
/// # Errors
/// [`StoreError::NotFound`], [`Error::Precondition`], or that it may not be deleted.
pub async fn delete<K: Object>(
    store: &Store,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted> {
    delete::run(store, K::INFO, namespace, name, options).await
}

/// As [`delete()`], for a kind of the table.
///
/// # Errors
/// As [`delete()`].
pub async fn delete_raw(
    store: &Store,
    info: &'static KindInfo,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted> {
    delete::run(store, info, namespace, name, options).await
}

/// Deletes an object without grace, if it still is the very one, by its uid: what a kubelet does with a pod
/// whose containers have ended. Finalizers are respected. That it is gone, or another, is no error.
///
/// # Errors
/// When etcd is away.
pub async fn delete_now<K: Object>(store: &Store, object: &K) -> Result<()> {
    let meta = object.metadata();
    let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    let mut options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    options.preconditions.get_or_insert_default().uid.clone_from(&meta.uid);
    match delete::<K>(store, namespace.unwrap_or_default(), name.unwrap_or_default(), &options).await {
        Err(Error::Store(StoreError::NotFound { .. }) | Error::Precondition { .. }) => Ok(()),
        result => result.map(|_| ()),
    }
}

/// A new UUID, and now.
#[must_use]
pub fn stamp() -> Stamp {
    Stamp { uid: crate::new_uid(), now: time::now() }
}

/// Writes an object, or takes it away if it was only waiting for its finalizers (`ShouldDeleteDuringUpdate`).
async fn replace_or_remove(
    store: &Store,
    info: &'static KindInfo,
    old: &Value,
    new: &mut Value,
) -> crate::Result<()> {
    let waiting = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64) == Some(0);
    if waiting && !delete::is_held(info, new) {
        let (namespace, name) = names(old);
        let expected = version(old).and_then(|version| version.parse().ok());
        store.delete_raw(info, namespace, name, expected).await?;
        services::release(store, info, old, None).await;
        return Ok(());
    }
    store.update_raw(info, new).await?;
    services::release(store, info, old, Some(new)).await;
    Ok(())
}

fn named_by_chance(document: &Value) -> bool {
    names(document).1.is_empty()
}

/// Namespace and name; empty where they are not set.
fn names(object: &Value) -> (&str, &str) {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    (text("/metadata/namespace"), text("/metadata/name"))
}

fn version(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).filter(|version| !version.is_empty())
}

fn same(a: &Value, b: &Value) -> bool {
    // What is stored may have been written by others, with fields that are empty or left out.
    fn rid(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.iter().filter(|(_, value)| !value.is_null());
                Value::Object(fields.map(|(name, value)| (name.clone(), rid(value))).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(rid).collect()),
            other => other.clone(),
        }
    }
    a == b || rid(a) == rid(b)
}

fn to_value<K: Object>(info: &KindInfo, object: &K) -> Result<Value> {
    let meta = object.metadata();
    let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
    let key = || info.key(namespace.unwrap_or_default(), name.unwrap_or_default());
    Ok(serde_json::to_value(object).map_err(|source| StoreError::Invalid { key: key(), source })?)
}

fn from_value<K: Object>(info: &KindInfo, object: Value) -> Result<K> {
    let (namespace, name) = names(&object);
    let key = info.key(namespace, name);
    Ok(serde_json::from_value(object).map_err(|source| StoreError::Invalid { key, source })?)
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(Box::new(rejection))
    }
}
