//! Objects by their types.

use std::sync::Arc;

use api::KindInfo;
use api::keys::Kind;
use api::types::Metadata;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::Backend;
use crate::encoding::{decode, encode};
use crate::entry::{Listing, Outcome};
use crate::error::{Error, Result};
use crate::etcd::Etcd;
use crate::watch::Watch;

/// A type whose objects are stored.
pub trait Object: Kind + Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned {}

impl<K: Kind + Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned> Object for K {}

/// A cluster's objects. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store(pub(crate) Backend);

/// Objects, all as of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T> {
    /// In the order of their keys.
    pub items: Vec<T>,
    /// From here on a watch tells what changes.
    pub revision: i64,
}

impl Store {
    /// The objects in the etcd that listens at `endpoints` (`http://10.1.0.1:2379`): the members of one
    /// cluster.
    ///
    /// # Errors
    /// An endpoint that is no URL, or none. Whether etcd is there shows with the first operation.
    pub async fn etcd(endpoints: &[String]) -> Result<Self> {
        Ok(Self(Backend::Etcd(Etcd::connect(endpoints).await?)))
    }

    /// An empty store in memory.
    #[must_use]
    pub fn memory() -> Self {
        Self(Backend::Memory(Arc::default()))
    }

    /// The object of that name, with its `resourceVersion`.
    ///
    /// # Errors
    /// When etcd is away, or what is stored is no such object.
    pub async fn get<K: Object>(&self, namespace: &str, name: &str) -> Result<Option<K>> {
        let target = Target::new(K::INFO, namespace, name)?;
        self.0.get(&target.key).await?.map(|entry| decode(&entry)).transpose()
    }

    /// Every object of a kind, in the order of the keys; of one namespace, or of all.
    ///
    /// # Errors
    /// When etcd is away, or one of them is no such object.
    pub async fn list<K: Object>(&self, namespace: Option<&str>) -> Result<Vec<K>> {
        Ok(self.list_as_of::<K>(namespace).await?.items)
    }

    /// As [`Store::list`], with the revision from which on to watch.
    ///
    /// # Errors
    /// When etcd is away, or one of them is no such object.
    pub async fn list_as_of<K: Object>(&self, namespace: Option<&str>) -> Result<List<K>> {
        let Listing { entries, revision } = self.0.list(&K::INFO.prefix(namespace)).await?;
        Ok(List { items: entries.iter().map(decode).collect::<Result<_>>()?, revision })
    }

    /// Stores a new object and gives it its `resourceVersion`.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is one of that name.
    pub async fn create<K: Object>(&self, object: &mut K) -> Result<()> {
        let target = Target::of(object)?;
        let json = encode(&target.key, object)?;
        let revision = self.insert(&target, json).await?;
        object.metadata_mut().resource_version = Some(revision.to_string());
        Ok(())
    }

    /// Replaces an object if it is still the one whose `resourceVersion` it bears, and gives it its new
    /// one.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not, [`Error::NotFound`] when there is none.
    pub async fn update<K: Object>(&self, object: &mut K) -> Result<()> {
        let target = Target::of(object)?;
        // One without a version was never read: revision 0 would create it.
        let expected = version(object).ok_or_else(|| target.conflict())?;
        let json = encode(&target.key, object)?;
        let revision = self.replace(&target, Some(expected), json).await?;
        object.metadata_mut().resource_version = Some(revision.to_string());
        Ok(())
    }

    /// Changes an object as often as it takes to do it without overwriting anyone; `change` sees the
    /// latest version each time. Nothing is written if it changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn modify<K>(&self, namespace: &str, name: &str, mut change: impl FnMut(&mut K)) -> Result<K>
    where
        K: Object + Clone + PartialEq,
    {
        let target = Target::new(K::INFO, namespace, name)?;
        loop {
            let entry = self.0.get(&target.key).await?.ok_or_else(|| target.not_found())?;
            let old: K = decode(&entry)?;
            let mut new = old.clone();
            change(&mut new);
            if new == old {
                return Ok(old);
            }
            new.metadata_mut().resource_version.clone_from(&old.metadata().resource_version);
            match self.update(&mut new).await {
                Err(Error::Conflict { .. }) => {}
                result => return result.map(|()| new),
            }
        }
    }

    /// Deletes an object if it is still the one whose `resourceVersion` it bears.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not, [`Error::NotFound`] when there is none.
    pub async fn delete<K: Object>(&self, object: &K) -> Result<()> {
        let target = Target::of(object)?;
        let expected = version(object).ok_or_else(|| target.conflict())?;
        self.erase(&target, Some(expected)).await.map(|_| ())
    }

    /// What changes after a revision, of one namespace or of all.
    ///
    /// # Errors
    /// When etcd is away, or the revision is none that has been. One that is no longer known shows with
    /// the first event.
    pub async fn watch<K: Object>(&self, namespace: Option<&str>, after: i64) -> Result<Watch<K>> {
        let watch = self.0.watch(&K::INFO.prefix(namespace), after).await?;
        Ok(Watch::new(watch, K::INFO, decode))
    }

    /// Forgets all history before a revision, so that etcd does not grow for ever. Objects stay.
    ///
    /// # Errors
    /// When etcd is away, or the revision has not been yet.
    pub async fn compact(&self, revision: i64) -> Result<()> {
        self.0.compact(revision).await
    }

    pub(crate) async fn insert(&self, target: &Target, json: Vec<u8>) -> Result<i64> {
        match self.0.put(&target.key, Some(0), json).await? {
            Outcome::Done(revision) => Ok(revision),
            _ => Err(target.exists()),
        }
    }

    pub(crate) async fn replace(&self, target: &Target, expected: Option<i64>, json: Vec<u8>) -> Result<i64> {
        match self.0.put(&target.key, expected, json).await? {
            Outcome::Done(revision) => Ok(revision),
            Outcome::Differs => Err(target.conflict()),
            Outcome::Missing => Err(target.not_found()),
        }
    }

    pub(crate) async fn erase(&self, target: &Target, expected: Option<i64>) -> Result<crate::entry::Entry> {
        match self.0.delete(&target.key, expected).await? {
            Outcome::Done(entry) => Ok(entry),
            Outcome::Differs => Err(target.conflict()),
            Outcome::Missing => Err(target.not_found()),
        }
    }
}

/// An object's place, for messages too.
#[derive(Debug)]
pub(crate) struct Target {
    info: &'static KindInfo,
    name: String,
    pub(crate) key: String,
}

impl Target {
    pub(crate) fn new(info: &'static KindInfo, namespace: &str, name: &str) -> Result<Self> {
        let parts = if info.namespaced { vec![namespace, name] } else { vec![name] };
        for part in parts {
            let why = match part {
                "" => "resource name and namespace may not be empty",
                "." | ".." => "resource name and namespace may not be '.' or '..'",
                part if part.contains(['/', '%']) => "resource name and namespace may not contain '/' or '%'",
                _ => continue,
            };
            return Err(Error::Name { resource: info.resource(), name: part.into(), why });
        }
        Ok(Self { info, name: name.into(), key: info.key(namespace, name) })
    }

    fn of<K: Object>(object: &K) -> Result<Self> {
        let meta = object.metadata();
        let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
        Self::new(K::INFO, namespace.unwrap_or_default(), name.unwrap_or_default())
    }

    pub(crate) fn not_found(&self) -> Error {
        Error::NotFound { resource: self.info.resource(), name: self.name.clone() }
    }

    pub(crate) fn conflict(&self) -> Error {
        Error::Conflict { resource: self.info.resource(), name: self.name.clone() }
    }

    pub(crate) fn exists(&self) -> Error {
        Error::Exists { resource: self.info.resource(), name: self.name.clone() }
    }
}

fn version<K: Metadata<Ty = ObjectMeta>>(object: &K) -> Option<i64> {
    object.metadata().resource_version.as_deref()?.parse().ok().filter(|version| *version > 0)
}
