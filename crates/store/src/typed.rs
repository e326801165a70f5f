//! Objects by their types.

use std::sync::Arc;

use api::keys::{Kind, key};
use api::types::Metadata;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::etcd::{Etcd, Versioned};
use crate::memory::Memory;

/// A cluster's objects. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store(Backend);

#[derive(Debug, Clone)]
enum Backend {
    Etcd(Box<Etcd>),
    Memory(Arc<Memory>),
}

impl Store {
    /// The objects in the etcd that listens at `endpoints` (`http://10.1.0.1:2379`).
    ///
    /// # Errors
    /// An endpoint that is no URL. Whether etcd is there shows with the first operation.
    pub async fn etcd(endpoints: &[String]) -> Result<Self> {
        Ok(Self(Backend::Etcd(Box::new(Etcd::connect(endpoints).await?))))
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
    pub async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>>
    where
        K: Kind + Metadata<Ty = ObjectMeta> + DeserializeOwned,
    {
        let key = key::<K>(namespace, name);
        let found = match &self.0 {
            Backend::Etcd(etcd) => etcd.get(&key).await?,
            Backend::Memory(memory) => memory.get(&key),
        };
        found.map(|versioned| decode(&key, &versioned)).transpose()
    }

    /// Every object of a kind, in the order of the keys; of one namespace, or of all.
    ///
    /// # Errors
    /// When etcd is away, or one of them is no such object.
    pub async fn list<K>(&self, namespace: Option<&str>) -> Result<Vec<K>>
    where
        K: Kind + Metadata<Ty = ObjectMeta> + DeserializeOwned,
    {
        let prefix = match namespace {
            Some(namespace) => key::<K>(namespace, ""),
            None => format!("/registry/{}/", K::FOLDER),
        };
        let found = match &self.0 {
            Backend::Etcd(etcd) => etcd.list(&prefix).await?,
            Backend::Memory(memory) => memory.list(&prefix),
        };
        found.iter().map(|(key, versioned)| decode(key, versioned)).collect()
    }

    /// Stores a new object and gives it its `resourceVersion`.
    ///
    /// # Errors
    /// [`Error::Exists`] when there is one of that name.
    pub async fn create<K>(&self, object: &mut K) -> Result<()>
    where
        K: Kind + Metadata<Ty = ObjectMeta> + Serialize,
    {
        let key = key_of(object);
        if self.put_if(&key, 0, object).await? { Ok(()) } else { Err(Error::Exists(key)) }
    }

    /// Replaces an object if it is still the one whose `resourceVersion` it bears, and gives it its new
    /// one.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not.
    pub async fn update<K>(&self, object: &mut K) -> Result<()>
    where
        K: Kind + Metadata<Ty = ObjectMeta> + Serialize,
    {
        let key = key_of(object);
        // One without a version was never read: revision 0 would create it.
        let expected = revision(object).filter(|revision| *revision > 0);
        let Some(expected) = expected else { return Err(Error::Conflict(key)) };
        if self.put_if(&key, expected, object).await? { Ok(()) } else { Err(Error::Conflict(key)) }
    }

    /// Deletes an object if it is still the one whose `resourceVersion` it bears.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not, or is gone.
    pub async fn delete<K>(&self, object: &K) -> Result<()>
    where
        K: Kind + Metadata<Ty = ObjectMeta>,
    {
        let key = key_of(object);
        let Some(expected) = revision(object) else { return Err(Error::Conflict(key)) };
        let deleted = match &self.0 {
            Backend::Etcd(etcd) => etcd.delete_if(&key, expected).await?,
            Backend::Memory(memory) => memory.delete_if(&key, expected),
        };
        if deleted { Ok(()) } else { Err(Error::Conflict(key)) }
    }

    async fn put_if<K>(&self, key: &str, expected: i64, object: &mut K) -> Result<bool>
    where
        K: Kind + Metadata<Ty = ObjectMeta> + Serialize,
    {
        // Stored without a version, as the API server does: the revision is the version.
        let version = object.metadata_mut().resource_version.take();
        let json = serde_json::to_vec(object);
        object.metadata_mut().resource_version = version;
        let json = json.map_err(|source| Error::Invalid { key: key.into(), source })?;
        let stored = match &self.0 {
            Backend::Etcd(etcd) => etcd.put_if(key, expected, json).await?,
            Backend::Memory(memory) => memory.put_if(key, expected, json),
        };
        if let Some(revision) = stored {
            object.metadata_mut().resource_version = Some(revision.to_string());
        }
        Ok(stored.is_some())
    }
}

fn key_of<K: Kind + Metadata<Ty = ObjectMeta>>(object: &K) -> String {
    let meta = object.metadata();
    key::<K>(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

fn revision<K: Metadata<Ty = ObjectMeta>>(object: &K) -> Option<i64> {
    object.metadata().resource_version.as_deref()?.parse().ok()
}

fn decode<K>(key: &str, versioned: &Versioned) -> Result<K>
where
    K: Metadata<Ty = ObjectMeta> + DeserializeOwned,
{
    let decoded = serde_json::from_slice(&versioned.value);
    let mut object: K = decoded.map_err(|source| Error::Invalid { key: key.into(), source })?;
    object.metadata_mut().resource_version = Some(versioned.revision.to_string());
    Ok(object)
}
