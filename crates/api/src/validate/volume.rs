//! Volumes of a pod.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Volume;
use serde_json::Value;

use super::container::Volumes;
use crate::field::{Errors, Path};
use crate::names;

/// Kinds of volumes, in the order in which they are looked at (`validateVolumeSource`).
const KINDS: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Gives the names of the volumes that can be mounted (`ValidateVolumes`).
pub(super) fn volumes(volumes: &[Volume], path: &Path, errors: &mut Errors) -> Volumes {
    let mut good = BTreeSet::new();
    for (i, volume) in volumes.iter().enumerate() {
        let at = path.index(i);
        let before = errors.len();
        source(volume, &at, errors);
        match volume.name.as_str() {
            "" => errors.required(&at.child("name"), ""),
            name => errors.invalid_each(&at.child("name"), name, names::dns_label(name)),
        }
        if good.contains(&volume.name) {
            errors.duplicate(&at.child("name"), &volume.name);
        }
        if errors.len() == before {
            good.insert(volume.name.clone());
        }
    }
    good
}

fn source(volume: &Volume, path: &Path, errors: &mut Errors) {
    let fields = serde_json::to_value(volume).unwrap_or_default();
    let mut set = KINDS.iter().copied().filter(|kind| fields.get(kind).is_some_and(|value| !value.is_null()));
    let Some(first) = set.next() else {
        return errors.required(path, "must specify a volume type");
    };
    let at = path.child(first);
    // The name of what it is made of.
    let required = match first {
        "hostPath" => Some("path"),
        "secret" => Some("secretName"),
        "configMap" => Some("name"),
        "persistentVolumeClaim" => Some("claimName"),
        _ => None,
    };
    if let Some(field) = required {
        let value = fields.pointer(&format!("/{first}/{field}")).and_then(Value::as_str).unwrap_or_default();
        if value.is_empty() {
            errors.required(&at.child(field), "");
        } else if first == "hostPath" && value.split('/').any(|part| part == "..") {
            errors.invalid(&at.child(field), value, "must not contain '..'");
        }
    }
    let mode = fields.pointer(&format!("/{first}/defaultMode")).and_then(Value::as_i64);
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(&at.child("defaultMode"), mode, why);
    }
    for other in set {
        errors.forbidden(&path.child(other), "may not specify more than 1 volume type");
    }
}
