//! What holds data, and namespaces.

use api::types::api::core::v1::{ConfigMap, Namespace, Secret};
use serde_json::Value;

use super::{Description, typed};

pub(super) fn config_map(out: &mut Description<'_>, object: &Value) -> Option<()> {
    let map: ConfigMap = typed(object)?;
    out.head(&map.metadata);
    out.line(0, "");
    out.line(0, "Data");
    out.line(0, "====");
    for (key, value) in map.data.iter().flatten() {
        out.line(0, format_args!("{key}:"));
        out.line(0, "----");
        // Tabs would be columns.
        out.line(0, value.trim_end_matches('\n').replace('\t', "        "));
        out.line(0, "");
    }
    out.line(0, "");
    out.line(0, "BinaryData");
    out.line(0, "====");
    for (key, value) in map.binary_data.iter().flatten() {
        out.line(0, format_args!("{key}: {} bytes", value.0.len()));
    }
    out.line(0, "");
    Some(())
}

pub(super) fn secret(out: &mut Description<'_>, object: &Value) -> Option<()> {
    let secret: Secret = typed(object)?;
    out.head(&secret.metadata);
    out.line(0, "");
    out.field(0, "Type", secret.type_.as_deref().unwrap_or_default());
    out.line(0, "");
    out.line(0, "Data");
    out.line(0, "====");
    for (key, value) in secret.data.iter().flatten() {
        out.field(0, key, format_args!("{} bytes", value.0.len()));
    }
    out.line(0, "");
    Some(())
}

pub(super) fn namespace(out: &mut Description<'_>, object: &Value) -> Option<()> {
    let namespace: Namespace = typed(object)?;
    out.head(&namespace.metadata);
    let status = namespace.status.unwrap_or_default();
    out.field(0, "Status", status.phase.unwrap_or_default());
    for condition in status.conditions.iter().flatten().filter(|condition| condition.status == "True") {
        let message = condition.message.as_deref().unwrap_or_default();
        out.field(1, &condition.type_, message);
    }
    Some(())
}
