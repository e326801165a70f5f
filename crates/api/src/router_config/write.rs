//! Entities as text, the same for the same entities.

use serde_json::Value;

use super::entity::Entity;

/// JSON in the router's form, an attribute a line, in the schema's order, defaults left out:
///
/// ```text
/// [
///   ["tcpListener", {
///     "address": "svc1",
///     "port": "1028"
///   }]
/// ]
/// ```
pub(super) fn text(entities: &[Entity]) -> String {
    if entities.is_empty() {
        return "[]\n".to_owned();
    }
    let entities: Vec<String> = entities.iter().map(one).collect();
    format!("[\n{}\n]\n", entities.join(",\n"))
}

fn one(entity: &Entity) -> String {
    let kind = Value::from(entity.kind.short_name());
    let attributes: Vec<String> =
        entity.said().map(|(name, value)| format!("    {}: {value}", Value::from(name))).collect();
    if attributes.is_empty() {
        return format!("  [{kind}, {{}}]");
    }
    format!("  [{kind}, {{\n{}\n  }}]", attributes.join(",\n"))
}
