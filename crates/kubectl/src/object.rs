//! Reading fields of objects without their types.

use api::KindInfo;
use api::selector::Labels;
use serde_json::Value;

/// A text field; empty where it is not set.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// As `pod/c1`, `deployment.apps/web`.
pub(crate) fn reference(info: &KindInfo, name: &str) -> String {
    format!("{}/{name}", singular(info))
}

/// As `pod`, `deployment.apps`.
pub(crate) fn singular(info: &KindInfo) -> String {
    if info.group.is_empty() { info.singular() } else { format!("{}.{}", info.singular(), info.group) }
}

pub(crate) fn labels(object: &Value, pointer: &str) -> Labels {
    let fields = object.pointer(pointer).and_then(Value::as_object);
    let pairs = fields.into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
