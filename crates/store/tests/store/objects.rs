//! Objects to store, and short words for what is told of them.

use api::types::api::core::v1::ConfigMap;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use store::{Change, Changes};

use crate::server::soon;

pub(crate) fn config(name: &str, value: &str) -> ConfigMap {
    config_in("default", name, value)
}

pub(crate) fn config_in(namespace: &str, name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            ..ObjectMeta::default()
        },
        data: Some([("key".to_owned(), value.to_owned())].into()),
        ..ConfigMap::default()
    }
}

pub(crate) fn value(object: &ConfigMap) -> String {
    object.data.as_ref().and_then(|data| data.get("key")).cloned().unwrap_or_default()
}

/// As `a=1`.
pub(crate) fn shown(object: &ConfigMap) -> String {
    format!("{}={}", object.metadata.name.clone().unwrap_or_default(), value(object))
}

/// As `+a=1`, `a=1>a=2`, `-a=2`.
pub(crate) fn change(change: &Change<ConfigMap>) -> String {
    match change {
        Change::Added(object) => format!("+{}", shown(object)),
        Change::Modified { old, new } => format!("{}>{}", shown(old), shown(new)),
        Change::Deleted(object) => format!("-{}", shown(object)),
    }
}

/// The next changes up to the one that is `last`.
pub(crate) async fn told_up_to(changes: &mut Changes<ConfigMap>, last: &str) -> Vec<String> {
    let mut told = Vec::new();
    while told.last().is_none_or(|said| said != last) {
        let what = format!("{last} after {told:?}");
        told.push(change(&soon(&what, changes.next()).await.expect("a reflector")));
    }
    told
}
