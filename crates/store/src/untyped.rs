//! Objects by the table of kinds, for those who do not know their types: the command line and the API
//! server.

use api::KindInfo;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::encoding::{decode_metadata, decode_value, encode_value, set_version};
use crate::entry::Listing;
use crate::error::Result;
use crate::typed::{List, Store, Target};
use crate::watch::Watch;

impl Store {
    /// The object of that name, with its `resourceVersion`.
    ///
    /// # Errors
    /// When etcd is away, or what is stored is no JSON.
    pub async fn get_raw(
        &self,
        info: &'static KindInfo,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>> {
        let target = Target::new(info, namespace, name)?;
        self.0.get(&target.key).await?.map(|entry| decode_value(&entry)).transpose()
    }

    /// Every object of a kind, in the order of the keys; of one namespace, or of all.
    ///
    /// # Errors
    /// When etcd is away, or one of them is no JSON.
    pub async fn list_raw(&self, info: &'static KindInfo, namespace: Option<&str>) -> Result<List<Value>> {
        let Listing { entries, revision } = self.0.list(&info.prefix(namespace)).await?;
        Ok(List { items: entries.iter().map(decode_value).collect::<Result<_>>()?, revision })
    }

    /// Stores a new object and gives it its `resourceVersion`.
    ///
    /// # Errors
    /// [`Error::Exists`](crate::Error::Exists) when there is one of that name.
    pub async fn create_raw(&self, info: &'static KindInfo, object: &mut Value) -> Result<()> {
        let target = target_of(info, object)?;
        let json = encode_value(info, &target.key, object)?;
        let revision = self.insert(&target, json).await?;
        set_version(object, revision);
        Ok(())
    }

    /// Replaces an object if it is still the one whose `resourceVersion` it bears, and gives it its new
    /// one.
    ///
    /// # Errors
    /// [`Error::Conflict`](crate::Error::Conflict) when it is not,
    /// [`Error::NotFound`](crate::Error::NotFound) when there is none.
    pub async fn update_raw(&self, info: &'static KindInfo, object: &mut Value) -> Result<()> {
        let target = target_of(info, object)?;
        let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let version: Option<i64> = version.and_then(|version| version.parse().ok());
        let expected = version.filter(|version| *version > 0).ok_or_else(|| target.conflict())?;
        let json = encode_value(info, &target.key, object)?;
        let revision = self.replace(&target, Some(expected), json).await?;
        set_version(object, revision);
        Ok(())
    }

    /// Stores an object whether or not there is one, whatever its version, and gives it its
    /// `resourceVersion`.
    ///
    /// # Errors
    /// When etcd is away.
    pub async fn put_raw(&self, info: &'static KindInfo, object: &mut Value) -> Result<()> {
        let target = target_of(info, object)?;
        let json = encode_value(info, &target.key, object)?;
        let revision = self.replace(&target, None, json).await?;
        set_version(object, revision);
        Ok(())
    }

    /// Deletes an object, if its version is the one given; gives what it was.
    ///
    /// # Errors
    /// [`Error::Conflict`](crate::Error::Conflict) when the version is another,
    /// [`Error::NotFound`](crate::Error::NotFound) when there is none.
    pub async fn delete_raw(
        &self,
        info: &'static KindInfo,
        namespace: &str,
        name: &str,
        version: Option<i64>,
    ) -> Result<Value> {
        let target = Target::new(info, namespace, name)?;
        let entry = self.erase(&target, version).await?;
        decode_value(&entry)
    }

    /// The metadata of every object of a kind, for those who need no more.
    ///
    /// # Errors
    /// When etcd is away, or one of them is no object.
    pub async fn list_metadata(&self, info: &'static KindInfo) -> Result<List<ObjectMeta>> {
        let Listing { entries, revision } = self.0.list(&info.prefix(None)).await?;
        Ok(List { items: entries.iter().map(decode_metadata).collect::<Result<_>>()?, revision })
    }

    /// What changes of the metadata after a revision.
    ///
    /// # Errors
    /// As [`Store::watch`].
    pub async fn watch_metadata(&self, info: &'static KindInfo, after: i64) -> Result<Watch<ObjectMeta>> {
        let watch = self.0.watch(&info.prefix(None), after).await?;
        Ok(Watch::new(watch, info, decode_metadata))
    }

    /// What changes after a revision, of one namespace or of all.
    ///
    /// # Errors
    /// As [`Store::watch`].
    pub async fn watch_raw(
        &self,
        info: &'static KindInfo,
        namespace: Option<&str>,
        after: i64,
    ) -> Result<Watch<Value>> {
        let watch = self.0.watch(&info.prefix(namespace), after).await?;
        Ok(Watch::new(watch, info, decode_value))
    }
}

fn target_of(info: &'static KindInfo, object: &Value) -> Result<Target> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    Target::new(info, text("/metadata/namespace"), text("/metadata/name"))
}
