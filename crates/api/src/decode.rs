//! Reading documents strictly: a field that the type does not have is an error, not passed over.
//!
//! Source: apiserver `pkg/endpoints/handlers/create.go` (`transformDecodeError`) and apimachinery
//! `pkg/runtime/serializer/json` (strict decoding), which kubectl asks for (`fieldValidation=Strict`).

use std::fmt::Write as _;

use k8s_openapi::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A document that is no object of the kind, in the API server's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} in version {} cannot be handled as a {kind}: {problem}", crate::field::quoted(version))]
pub struct Undecodable {
    /// The kind.
    pub kind: String,
    /// Its group and version.
    pub version: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Fields that the type does not have, as `spec.containers[0].imge`, in their order.
    #[error("strict decoding error: {}", unknown(.0))]
    UnknownFields(Vec<String>),
    /// A value of a wrong type.
    #[error("json: {0}")]
    Type(String),
}

fn unknown(fields: &[String]) -> String {
    let fields: Vec<_> =
        fields.iter().map(|f| format!("unknown field {}", crate::field::quoted(f))).collect();
    fields.join(", ")
}

/// Reads an object from a document.
///
/// # Errors
/// A value of a wrong type, or else all fields that the type does not have.
pub fn strict<K: Resource + DeserializeOwned>(document: &Value) -> Result<K, Undecodable> {
    let fail = |problem| Undecodable { kind: K::KIND.into(), version: K::API_VERSION.into(), problem };
    let mut ignored = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(document, &mut track);
    // By its own type a closure would have all the code for a pod's spec made once for every kind: several
    // times the size of everything else.
    let mut note: &mut dyn FnMut(serde_ignored::Path<'_>) = &mut |path| ignored.push(shown(&path));
    let object = serde_ignored::deserialize(deserializer, &mut note);
    match object {
        Err(error) => Err(fail(Problem::Type(type_error::<K>(&track.path(), &error.to_string())))),
        Ok(_) if !ignored.is_empty() => Err(fail(Problem::UnknownFields(ignored))),
        Ok(object) => Ok(object),
    }
}

/// Reads an object from a document; fields that the type does not have are passed over.
///
/// # Errors
/// A value of a wrong type.
pub fn lenient<K: Resource + DeserializeOwned>(document: &Value) -> Result<K, Undecodable> {
    serde_path_to_error::deserialize(document).map_err(|error| {
        let problem = Problem::Type(type_error::<K>(error.path(), &error.inner().to_string()));
        Undecodable { kind: K::KIND.into(), version: K::API_VERSION.into(), problem }
    })
}

fn shown(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", shown(parent)),
        Path::Map { parent, key } => match shown(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            shown(parent)
        }
    }
}

/// What serde said, as Go's `json` package says it.
fn type_error<K: Resource>(path: &serde_path_to_error::Path, said: &str) -> String {
    let mut field = K::KIND.to_owned();
    for segment in path {
        // Writing to a String does not fail.
        let _ = match segment {
            serde_path_to_error::Segment::Seq { index } => write!(field, "[{index}]"),
            other => write!(field, ".{other}"),
        };
    }
    let Some((found, expected)) =
        said.strip_prefix("invalid type: ").and_then(|s| s.split_once(", expected "))
    else {
        return format!("cannot unmarshal into Go struct field {field}: {said}");
    };
    let found = match found.split_whitespace().next().unwrap_or_default() {
        "integer" | "floating" => "number",
        "boolean" => "bool",
        "map" => "object",
        "sequence" => "array",
        other => other,
    };
    let expected = match expected {
        "i32" => "int32",
        "i64" => "int64",
        "a string" => "string",
        "a boolean" => "bool",
        "a sequence" => "array",
        "a map" => "map",
        other => other,
    };
    format!("cannot unmarshal {found} into Go struct field {field} of type {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    fn said(document: Value) -> String {
        strict::<Pod>(&document).unwrap_err().to_string()
    }

    #[test]
    fn unknown_fields_are_named_with_their_paths() {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a", "label": {}},
            "spec": {"containers": [{"name": "a"}, {"name": "b", "imge": "x", "ports": [{"port": null}]}]},
            "specs": {},
        });
        let document = "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error:";
        let fields =
            ["metadata.label", "spec.containers[1].imge", "spec.containers[1].ports[0].port", "specs"];
        let fields = fields.map(|field| format!("unknown field \"{field}\"")).join(", ");
        assert_eq!(said(pod), format!("{document} {fields}"));
    }

    #[test]
    fn values_of_a_wrong_type_are_named_with_their_paths() {
        let container = |container: Value| json!({"spec": {"containers": [container]}});
        let table = [
            (
                container(json!({"ports": [{"containerPort": "x"}]})),
                "cannot unmarshal string into Go struct field Pod.spec.containers[0].ports[0].containerPort of \
                 type int32",
            ),
            (
                container(json!({"image": 1})),
                "cannot unmarshal number into Go struct field Pod.spec.containers[0].image of type string",
            ),
            (
                container(json!("x")),
                "cannot unmarshal string into Go struct field Pod.spec.containers[0] of type Container",
            ),
            (
                json!({"spec": {"containers": {}}}),
                "cannot unmarshal object into Go struct field Pod.spec.containers of type array",
            ),
            (
                json!({"spec": {"hostNetwork": "yes"}}),
                "cannot unmarshal string into Go struct field Pod.spec.hostNetwork of type bool",
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                "cannot unmarshal number into Go struct field Pod.metadata.labels.a of type string",
            ),
        ];
        for (document, message) in table {
            assert_eq!(
                said(document),
                format!("Pod in version \"v1\" cannot be handled as a Pod: json: {message}")
            );
        }
    }

    #[test]
    fn what_is_in_order_is_read() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "creationTimestamp": null},
            "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": 1}}}], "volumes": []},
        });
        assert_eq!(strict::<Pod>(&pod).unwrap().metadata.name.as_deref(), Some("a"));
        let other = strict::<Deployment>(&pod).unwrap_err().to_string();
        assert!(other.starts_with("Deployment in version \"apps/v1\" cannot be handled as a Deployment"));
    }
}
