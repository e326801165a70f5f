//! By which field the items of a list are known.
//!
//! Source: `patchStrategy` and `patchMergeKey` in the comments and tags of kubernetes
//! `staging/src/k8s.io/api/*/v1/types.go` and apimachinery `pkg/apis/meta/v1/types.go`; all lists that are
//! not named there are one value.

use super::Strategy;

/// How a list is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    /// It is one value.
    Whole,
    /// Its items are values, each there or not.
    Set,
    /// Its items are known by this field.
    Keyed(&'static str),
}

/// Lists of objects, by the name of their field, whatever it is in.
const KEYED: &[(&str, &str)] = &[
    // Pods, and what has a template of them.
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("schedulingGates", "name"),
    ("resourceClaims", "name"),
    // Metadata.
    ("ownerReferences", "uid"),
    // Statuses.
    ("conditions", "type"),
];

/// Lists of objects, by the names of their field and the one it is in.
const KEYED_IN: &[(&str, &str, &str)] = &[
    ("containers", "ports", "containerPort"),
    ("initContainers", "ports", "containerPort"),
    ("ephemeralContainers", "ports", "containerPort"),
    // A ServiceAccount has a list of that name, too, which is one value.
    ("spec", "imagePullSecrets", "name"),
    ("status", "addresses", "type"),
    ("status", "podIPs", "ip"),
];

/// A place in an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'a> {
    strategy: Strategy,
    kind: &'a str,
    /// The field that this one is in.
    parent: &'a str,
    /// The field.
    name: &'a str,
}

impl<'a> Path<'a> {
    pub(super) fn root(strategy: Strategy, kind: &'a str) -> Self {
        Self { strategy, kind, parent: "", name: "" }
    }

    pub(super) fn child(&self, name: &'a str) -> Self {
        Self { parent: self.name, name, ..*self }
    }

    /// An item of this list.
    pub(super) fn item(&self) -> Self {
        *self
    }

    pub(super) fn items(&self) -> Items {
        if self.strategy == Strategy::Json {
            return Items::Whole;
        }
        match (self.kind, self.parent, self.name) {
            ("Service", "spec", "ports") => return Items::Keyed("port"),
            ("ServiceAccount", "", "secrets") => return Items::Keyed("name"),
            (_, "metadata", "finalizers") | ("Node", "spec", "podCIDRs") => return Items::Set,
            _ => {}
        }
        let within = KEYED_IN.iter().find(|(parent, name, _)| (*parent, *name) == (self.parent, self.name));
        let anywhere = KEYED.iter().find(|(name, _)| *name == self.name);
        let key = within.map(|(_, _, key)| *key).or(anywhere.map(|(_, key)| *key));
        key.map_or(Items::Whole, Items::Keyed)
    }

    /// Whether one field says which of the others there may be (`retainKeys`).
    pub(super) fn is_union(&self) -> bool {
        self.strategy == Strategy::Strategic
            && matches!(
                (self.kind, self.parent, self.name),
                ("Deployment", "spec", "strategy") | (_, "spec", "volumes" | "resourceClaims")
            )
    }
}
