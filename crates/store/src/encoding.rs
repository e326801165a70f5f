//! Objects as JSON, without a version in it: the revision is the version, as for the API server.

use api::KindInfo;
use api::keys;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::typed::Object;

pub(crate) fn encode<K: Object>(key: &str, object: &mut K) -> Result<Vec<u8>> {
    let version = object.metadata_mut().resource_version.take();
    let json = serde_json::to_vec(object);
    object.metadata_mut().resource_version = version;
    json.map_err(|source| Error::Invalid { key: key.into(), source })
}

pub(crate) fn decode<K: Object>(entry: &Entry) -> Result<K> {
    let decoded = serde_json::from_slice(&entry.value);
    let mut object: K = decoded.map_err(|source| Error::Invalid { key: entry.key.clone(), source })?;
    object.metadata_mut().resource_version = Some(entry.revision.to_string());
    Ok(object)
}

pub(crate) fn encode_value(info: &KindInfo, key: &str, object: &Value) -> Result<Vec<u8>> {
    let mut object = object.clone();
    if let Value::Object(fields) = &mut object {
        fields.entry("apiVersion").or_insert_with(|| info.api_version().into());
        fields.entry("kind").or_insert_with(|| info.kind.into());
    }
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("resourceVersion");
    }
    serde_json::to_vec(&object).map_err(|source| Error::Invalid { key: key.into(), source })
}

pub(crate) fn decode_value(entry: &Entry) -> Result<Value> {
    let decoded = serde_json::from_slice(&entry.value);
    let mut object: Value = decoded.map_err(|source| Error::Invalid { key: entry.key.clone(), source })?;
    set_version(&mut object, entry.revision);
    Ok(object)
}

/// Reads no more than the metadata.
pub(crate) fn decode_metadata(entry: &Entry) -> Result<ObjectMeta> {
    #[derive(serde::Deserialize)]
    struct Partial {
        #[serde(default)]
        metadata: ObjectMeta,
    }
    let decoded = serde_json::from_slice(&entry.value);
    let Partial { mut metadata } =
        decoded.map_err(|source| Error::Invalid { key: entry.key.clone(), source })?;
    metadata.resource_version = Some(entry.revision.to_string());
    Ok(metadata)
}

pub(crate) fn set_version(object: &mut Value, revision: i64) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), revision.to_string().into());
    }
}

/// An object of which no more than its key is known.
pub(crate) fn nameless(info: &KindInfo, key: &str, revision: i64) -> Entry {
    let (namespace, name) = keys::parse(info, key).unwrap_or_default();
    let mut metadata = json!({"name": name});
    if info.namespaced {
        metadata["namespace"] = namespace.into();
    }
    let value = json!({"apiVersion": info.api_version(), "kind": info.kind, "metadata": metadata});
    Entry { key: key.into(), value: value.to_string().into_bytes(), revision, created: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::types::api::core::v1::{ConfigMap, Node};

    #[test]
    fn of_an_object_that_is_forgotten_the_name_is_known() {
        let entry = nameless(&api::kinds::CONFIG_MAPS, "/registry/configmaps/default/a", 7);
        let object: ConfigMap = decode(&entry).unwrap();
        let metadata = ObjectMeta {
            name: Some("a".into()),
            namespace: Some("default".into()),
            resource_version: Some("7".into()),
            ..ObjectMeta::default()
        };
        assert_eq!(object, ConfigMap { metadata, ..ConfigMap::default() });
        let node: Node = decode(&nameless(&api::kinds::NODES, "/registry/minions/C0w1", 7)).unwrap();
        assert_eq!((node.metadata.name.as_deref(), node.metadata.namespace), (Some("C0w1"), None));
    }

    #[test]
    fn what_is_stored_has_its_kind_and_no_version() {
        let object = json!({"metadata": {"name": "a", "resourceVersion": "7"}, "status": {}});
        let bytes = encode_value(&api::kinds::SITES, "", &object).unwrap();
        let stored: Value = serde_json::from_slice(&bytes).unwrap();
        let expected = json!({
            "apiVersion": "skupper.io/v2alpha1", "kind": "Site", "metadata": {"name": "a"}, "status": {},
        });
        assert_eq!(stored, expected);
    }
}
