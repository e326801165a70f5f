//! Metadata, labels and selectors.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use super::IMMUTABLE;
use crate::field::{Errors, Path};
use crate::{KindInfo, names};

/// Of all annotations together (`TotalAnnotationSizeLimitB`).
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// How the names of a kind's objects have to be.
pub(crate) type NameRule = fn(&str) -> Vec<String>;

/// The rule for kinds that have none of their own.
pub(crate) fn name_rule(info: &KindInfo) -> NameRule {
    match info.plural {
        // Leases of nodes are named after them.
        "nodes" | "leases" => names::node_name,
        "services" => names::dns_1035_label,
        "namespaces" => names::dns_label,
        _ => names::dns_subdomain,
    }
}

/// Metadata of a new object (`ValidateObjectMeta`).
pub(crate) fn object_meta(meta: &ObjectMeta, info: &KindInfo, errors: &mut Errors) {
    let path = Path::new("metadata");
    let rule = name_rule(info);
    if let Some(prefix) = meta.generate_name.as_deref().filter(|prefix| !prefix.is_empty()) {
        errors.invalid_each(&path.child("generateName"), prefix, rule(&names::as_prefix(prefix)));
    }
    match meta.name.as_deref().unwrap_or_default() {
        "" => errors.required(&path.child("name"), "name or generateName is required"),
        name => errors.invalid_each(&path.child("name"), name, rule(name)),
    }
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let at = path.child("namespace");
    match (info.namespaced, namespace) {
        (true, "") => errors.required(&at, ""),
        (true, namespace) => errors.invalid_each(&at, namespace, names::dns_label(namespace)),
        (false, "") => {}
        (false, _) => errors.forbidden(&at, "not allowed on this type"),
    }
    errors.negative(&path.child("generation"), meta.generation.unwrap_or_default());
    labels(meta.labels.as_ref(), &path.child("labels"), errors);
    annotations(meta.annotations.as_ref(), &path.child("annotations"), errors);
    owners(meta.owner_references.as_deref().unwrap_or_default(), &path.child("ownerReferences"), errors);
    for (i, name) in meta.finalizers.iter().flatten().enumerate() {
        let at = path.child("finalizers");
        errors.invalid_each(&at, name, names::qualified_name(name));
        finalizer(name, &at.index(i), errors);
    }
}

/// Metadata of a changed object (`ValidateObjectMetaUpdate`).
pub(crate) fn object_meta_update(new: &ObjectMeta, old: &ObjectMeta, errors: &mut Errors) {
    let path = Path::new("metadata");
    if old.deletion_timestamp.is_some() {
        let before: BTreeSet<_> = old.finalizers.iter().flatten().collect();
        let added: Vec<_> = new.finalizers.iter().flatten().filter(|name| !before.contains(name)).collect();
        if !added.is_empty() {
            let why = "no new finalizers can be added if the object is being deleted, found new finalizers";
            errors.forbidden(&path.child("finalizers"), &format!("{why} {added:?}"));
        }
    }
    if new.resource_version.as_deref().unwrap_or_default().is_empty() {
        errors.invalid(&path.child("resourceVersion"), "", "must be specified for an update");
    }
    let generation = new.generation.unwrap_or_default();
    errors.negative(&path.child("generation"), generation);
    if generation < old.generation.unwrap_or_default() {
        errors.invalid(&path.child("generation"), generation, "must not be decremented");
    }
    let mut immutable = |field: &str, new: serde_json::Value, same: bool| {
        if !same {
            errors.invalid(&path.child(field), new, IMMUTABLE);
        }
    };
    immutable("name", new.name.clone().into(), new.name == old.name);
    immutable("namespace", new.namespace.clone().into(), new.namespace == old.namespace);
    immutable("uid", new.uid.clone().into(), new.uid == old.uid);
    let time = |time: &Option<_>| serde_json::to_value(time).unwrap_or_default();
    let (created, deleted) = (&new.creation_timestamp, &new.deletion_timestamp);
    immutable("creationTimestamp", time(created), *created == old.creation_timestamp);
    immutable("deletionTimestamp", time(deleted), *deleted == old.deletion_timestamp);
    let grace = new.deletion_grace_period_seconds;
    immutable("deletionGracePeriodSeconds", grace.into(), grace == old.deletion_grace_period_seconds);
    labels(new.labels.as_ref(), &path.child("labels"), errors);
    annotations(new.annotations.as_ref(), &path.child("annotations"), errors);
    owners(new.owner_references.as_deref().unwrap_or_default(), &path.child("ownerReferences"), errors);
}

/// The finalizers without a domain are a closed list (`validateKubeFinalizerName`).
fn finalizer(name: &str, path: &Path, errors: &mut Errors) {
    let standard = ["kubernetes", "orphan", "foregroundDeletion"];
    if !name.contains('/') && !standard.contains(&name) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.invalid(path, name, why);
    }
}

fn owners(owners: &[OwnerReference], path: &Path, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for (i, owner) in owners.iter().enumerate() {
        let at = path.index(i);
        let fields = [
            ("apiVersion", &owner.api_version),
            ("kind", &owner.kind),
            ("name", &owner.name),
            ("uid", &owner.uid),
        ];
        for (field, _) in fields.into_iter().filter(|(_, value)| value.is_empty()) {
            errors.required(&at.child(field), "must not be empty");
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            errors.invalid(&at, owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.controller == Some(true) {
            let name = format!("{}/{}", owner.kind, owner.name);
            if let Some(first) = &controller {
                let why =
                    "Only one reference can have Controller set to true. Found \"true\" in references for";
                errors.invalid(path, owners, &format!("{why} {first} and {name}"));
            } else {
                controller = Some(name);
            }
        }
    }
}

/// Keys and values of labels (`ValidateLabels`).
pub(crate) fn labels(labels: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut Errors) {
    for (key, value) in labels.into_iter().flatten() {
        errors.invalid_each(path, key, names::qualified_name(key));
        errors.invalid_each(path, value, names::label_value(value));
    }
}

/// Keys of annotations, in any case, and their size (`ValidateAnnotations`).
pub(crate) fn annotations(all: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in all.into_iter().flatten() {
        errors.invalid_each(path, key, names::qualified_name(&key.to_lowercase()));
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_MAX {
        errors.too_long(path, ANNOTATIONS_MAX);
    }
}

/// A selector of labels (`ValidateLabelSelector`).
pub(crate) fn label_selector(selector: &LabelSelector, path: &Path, errors: &mut Errors) {
    labels(selector.match_labels.as_ref(), &path.child("matchLabels"), errors);
    for (i, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let at = path.child("matchExpressions").index(i);
        let values = expression.values.as_deref().unwrap_or_default();
        let values_at = at.child("values");
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&values_at, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&values_at, why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        errors.invalid_each(&at.child("key"), &expression.key, names::qualified_name(&expression.key));
        for (i, value) in values.iter().enumerate() {
            errors.invalid_each(&values_at.index(i), value, names::label_value(value));
        }
    }
}
