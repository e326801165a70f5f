//! Templates of pods: when two are the same, and a short name for each.

use api::types::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// A template without what means nothing.
pub(crate) fn comparable(template: &PodTemplateSpec) -> Value {
    fn strip(value: Value) -> Option<Value> {
        match value {
            Value::Null => None,
            Value::Object(fields) => {
                let fields: serde_json::Map<_, _> =
                    fields.into_iter().filter_map(|(key, value)| Some((key, strip(value)?))).collect();
                (!fields.is_empty()).then_some(Value::Object(fields))
            }
            Value::Array(items) => {
                // An item counts though nothing is in it.
                let items: Vec<_> = items
                    .into_iter()
                    .map(|item| strip(item).unwrap_or_else(|| Value::Object(Default::default())))
                    .collect();
                (!items.is_empty()).then_some(Value::Array(items))
            }
            other => Some(other),
        }
    }
    let mut template = template.clone();
    if let Some(metadata) = &mut template.metadata {
        metadata.creation_timestamp = None;
    }
    let stripped = serde_json::to_value(template).ok().and_then(strip);
    stripped.unwrap_or_else(|| Value::Object(Default::default()))
}

/// (`ComputeHash`) Upstream hashes how Go prints the template; any hash does that says the same for the same.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    // FNV-1a.
    let mut hash = 0x811c_9dc5u32;
    let text = comparable(template).to_string();
    let collisions = collisions.map(i32::to_le_bytes).unwrap_or_default();
    for byte in text.bytes().chain(collisions) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let digits = hash.to_string();
    digits.bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}
