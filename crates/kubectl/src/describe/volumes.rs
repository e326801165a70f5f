//! Volumes: `describeVolumes`.

use api::types::api::core::v1::Volume;
use serde_json::Value;

use super::{Description, pod};

pub(super) fn describe(out: &mut Description<'_>, level: usize, volumes: &[Volume]) {
    if volumes.is_empty() {
        out.field(level, "Volumes", "<none>");
        return;
    }
    out.line(level, "Volumes:");
    for volume in volumes {
        out.line(level + 1, format_args!("{}:", volume.name));
        one(out, level + 2, volume);
    }
}

fn one(out: &mut Description<'_>, level: usize, volume: &Volume) {
    if let Some(dir) = &volume.empty_dir {
        out.field(level, "Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
        out.field(level, "Medium", dir.medium.as_deref().unwrap_or_default());
        out.field(level, "SizeLimit", dir.size_limit.as_ref().map_or("<unset>", |limit| limit.0.as_str()));
    } else if let Some(path) = &volume.host_path {
        out.field(level, "Type", "HostPath (bare host directory volume)");
        out.field(level, "Path", &path.path);
        out.field(level, "HostPathType", path.type_.as_deref().unwrap_or_default());
    } else if let Some(map) = &volume.config_map {
        out.field(level, "Type", "ConfigMap (a volume populated by a ConfigMap)");
        out.field(level, "Name", &map.name);
        out.field(level, "Optional", pod::switch(map.optional));
    } else if let Some(secret) = &volume.secret {
        out.field(level, "Type", "Secret (a volume populated by a Secret)");
        out.field(level, "SecretName", secret.secret_name.as_deref().unwrap_or_default());
        out.field(level, "Optional", pod::switch(secret.optional));
    } else {
        // The name of its one field beside the name.
        let value = serde_json::to_value(volume).unwrap_or_default();
        let kind = value.as_object().and_then(|fields| fields.keys().find(|key| *key != "name")).cloned();
        out.field(level, "Type", kind.unwrap_or_else(|| Value::Null.to_string()));
    }
}
