//! What a container may be told of its own pod: the downward API's fields.
//!
//! Sources: kubernetes `pkg/kubelet/kubelet_pods.go` (`podFieldSelectorRuntimeValue`),
//! `pkg/fieldpath/fieldpath.go`.

use std::collections::BTreeMap;

use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{ConfigError, Context, quoted};

/// A field of the pod, as text.
pub(super) fn pod_field(path: &str, context: &Context<'_>) -> Result<String, ConfigError> {
    let spec = context.pod.spec.as_ref();
    let text = |field: Option<&String>| field.cloned().unwrap_or_default();
    Ok(match path {
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" => text(context.host_ips.first()),
        "status.hostIPs" => context.host_ips.join(","),
        "status.podIP" => text(context.pod_ips.first()),
        "status.podIPs" => context.pod_ips.join(","),
        _ => {
            return metadata_field(path, &context.pod.metadata)
                .ok_or_else(|| ConfigError::FieldPath(path.into()));
        }
    })
}

/// A field of the metadata, as text; none if it cannot be told. A label or annotation that is not there
/// is empty.
pub(crate) fn metadata_field(path: &str, meta: &ObjectMeta) -> Option<String> {
    let one = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default()
    };
    if let Some((base, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        return match base {
            "metadata.labels" => Some(one(&meta.labels, key)),
            "metadata.annotations" => Some(one(&meta.annotations, key)),
            _ => None,
        };
    }
    Some(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => of_map(meta.labels.as_ref()),
        "metadata.annotations" => of_map(meta.annotations.as_ref()),
        _ => return None,
    })
}

/// `key="value"`, a line each (`FormatMap`).
pub(crate) fn of_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<_> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    lines.join("\n")
}
