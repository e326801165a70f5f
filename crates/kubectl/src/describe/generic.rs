//! Any object: its fields, in words (`genericDescriber`).

use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::{Description, typed};
use crate::object::text;

pub(super) fn describe(out: &mut Description<'_>, object: &Value) {
    let meta: ObjectMeta = object.get("metadata").and_then(typed).unwrap_or_default();
    out.head(&meta);
    out.field(0, "API Version", text(object, "/apiVersion"));
    out.field(0, "Kind", text(object, "/kind"));
    let mut rest = object.as_object().cloned().unwrap_or_default();
    rest.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind"));
    if let Some(Value::Object(meta)) = rest.get_mut("metadata") {
        let told = ["name", "namespace", "labels", "annotations", "managedFields"];
        meta.retain(|name, _| !told.contains(&name.as_str()));
    }
    fields(out, 0, &rest);
}

fn fields(out: &mut Description<'_>, level: usize, object: &Map<String, Value>) {
    for (name, value) in object {
        let label = words(name);
        match value {
            Value::Object(fields) => {
                out.line(level, format_args!("{label}:"));
                self::fields(out, level + 1, fields);
            }
            Value::Array(items) => {
                out.line(level, format_args!("{label}:"));
                list(out, level + 1, items);
            }
            Value::Null => out.field(level, &label, "<nil>"),
            Value::String(text) => out.field(level, &label, text),
            other => out.field(level, &label, other),
        }
    }
}

fn list(out: &mut Description<'_>, level: usize, items: &[Value]) {
    for item in items {
        match item {
            Value::Object(fields) => self::fields(out, level, fields),
            Value::Array(items) => list(out, level + 1, items),
            Value::String(text) => out.line(level, text),
            other => out.line(level, other),
        }
    }
}

/// `linkAccess` is `Link Access` (`smartLabelFor`).
fn words(name: &str) -> String {
    /// Which are written in capitals.
    const SHORT: [&str; 8] = ["API", "URL", "UID", "OSB", "GUID", "IP", "ID", "TLS"];
    if name.contains(['/', '.', '-', '_']) {
        return name.into();
    }
    let mut parts: Vec<String> = Vec::new();
    let mut upper_before = false;
    for c in name.chars() {
        let begins = parts.is_empty() || c.is_uppercase() && !upper_before;
        upper_before = c.is_uppercase();
        match parts.last_mut() {
            Some(part) if !begins => part.push(c),
            _ => parts.push(c.to_string()),
        }
    }
    let written = parts.iter().map(|part| {
        let capitals = part.to_uppercase();
        if SHORT.contains(&capitals.as_str()) {
            return capitals;
        }
        let mut chars = part.chars();
        chars
            .next()
            .map(|first| first.to_uppercase().collect::<String>() + chars.as_str())
            .unwrap_or_default()
    });
    written.collect::<Vec<_>>().join(" ")
}
