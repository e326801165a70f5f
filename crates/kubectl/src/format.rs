//! Objects as JSON, YAML or names.
//!
//! Source: cli-runtime `pkg/printers/{json,yaml,name}.go`, kubectl `pkg/cmd/get/get.go`.

use api::KindInfo;
use serde::Serialize;
use serde_json::{Value, json};

use crate::object::{name, reference};

/// Several objects as one document.
#[must_use]
pub fn list(objects: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {"resourceVersion": ""}})
}

/// JSON with kubectl's indentation, and a line's end.
#[must_use]
pub fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // What is JSON already can be written as such.
    let _ = value.serialize(&mut serializer);
    bytes.push(b'\n');
    String::from_utf8_lossy(&bytes).into_owned()
}

/// YAML, fields in the order of their names.
#[must_use]
pub fn yaml(value: &Value) -> String {
    let options = serde_yaml::ser_options! {
        folded_wrap_chars: usize::MAX,
    };
    let mut text = String::new();
    // What is JSON can be written as YAML.
    let _ = serde_yaml::to_fmt_writer_with_options(&mut text, value, options);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// As `pod/c1`, `deployment.apps/web`.
#[must_use]
pub fn reference_of(info: &KindInfo, object: &Value) -> String {
    reference(info, name(object))
}

/// What kubectl does not show unless asked.
pub fn hide_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_reads_as_kubectls_and_is_read_back() {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "annotations": {"a": "{\"x\":1}\n", "b": "line one\nline two\n", "c": ""},
                "creationTimestamp": "2026-11-01T10:00:00Z",
                "labels": {"number": "1", "yes": "true", "null": "null", "colon": "a: b", "version": "1.10"},
            },
            "spec": {
                "containers": [
                    {"args": ["-c", "sleep 1 && echo a long line that would be folded by some writers of YAML, and is not here"],
                     "env": [], "resources": {}, "name": "c"},
                ],
                "replicas": 3,
                "flag": false,
                "none": null,
            },
        });
        let text = yaml(&object);
        assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), object);
        insta::assert_snapshot!(text);
        insta::assert_snapshot!(json(&list(vec![json!({"a": [1]})])));
    }
}
