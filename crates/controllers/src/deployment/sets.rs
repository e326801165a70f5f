//! The ReplicaSets of a Deployment: which is the new one, which revision each has, what is noted in them.
//!
//! Source: kubernetes `pkg/controller/deployment/util/deployment_util.go`,
//! `pkg/controller/deployment/util/hash_test.go` (what the hash may do).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::types::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec};
use api::types::api::core::v1::PodTemplateSpec;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::bounds::Bounds;
use crate::meta::{Meta, controller_reference};

/// Tells the pods of a Deployment's ReplicaSets apart.
pub(crate) const HASH: &str = "pod-template-hash";
/// The how manyeth template it is, on the Deployment and on its ReplicaSets.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Which ones it was before, if one was taken back to.
const REVISIONS: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when the ReplicaSet was last scaled, and the most that there might be.
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not get.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISIONS,
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];

pub(crate) type Annotations = BTreeMap<String, String>;

/// A ReplicaSet with what is to become of it.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) set: Arc<ReplicaSet>,
    /// As many pods it shall have.
    pub(crate) replicas: i32,
}

impl Set {
    pub(crate) fn new(set: &Arc<ReplicaSet>) -> Self {
        Self { set: set.clone(), replicas: spec_replicas(set) }
    }

    /// Pods that it has, or is about to have.
    pub(crate) fn pods(&self) -> i32 {
        self.replicas.max(spec_replicas(&self.set)).max(self.status(|status| Some(status.replicas)))
    }

    /// Pods that are available and stay so: when there are too many, those that are not go first.
    pub(crate) fn available(&self) -> i32 {
        self.status(|status| status.available_replicas).min(spec_replicas(&self.set)).min(self.replicas)
    }

    /// Whether its status is of what its spec says.
    pub(crate) fn is_observed(&self) -> bool {
        let observed = self.set.status.as_ref().and_then(|status| status.observed_generation);
        observed.unwrap_or_default() >= self.set.metadata.generation.unwrap_or_default()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.replicas > 0
    }

    pub(crate) fn is_scaled(&self) -> bool {
        self.replicas != spec_replicas(&self.set)
    }

    pub(crate) fn status(
        &self,
        of: impl FnOnce(&api::types::api::apps::v1::ReplicaSetStatus) -> Option<i32>,
    ) -> i32 {
        self.set.status.as_ref().and_then(of).unwrap_or_default()
    }

    pub(crate) fn number(&self, annotation: &str) -> Option<i32> {
        self.set.annotation(annotation)?.parse().ok()
    }
}

pub(crate) fn spec_replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(crate) fn revision(meta: &impl Meta) -> i64 {
    meta.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The set with the Deployment's template, the oldest if several have it, and all others, the oldest first.
pub(crate) fn split(deployment: &DeploymentSpec, sets: &[Arc<ReplicaSet>]) -> (Option<Set>, Vec<Set>) {
    let mut sorted = sets.to_vec();
    sorted.sort_by_key(|set| (set.metadata.creation_timestamp.as_ref().map(|at| at.0), set.key()));
    let wanted = comparable(&deployment.template);
    let template =
        |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.as_ref()).map(comparable);
    let new = sorted.iter().position(|set| template(set).as_ref() == Some(&wanted));
    let new = new.map(|at| Set::new(&sorted.remove(at)));
    (new, sorted.iter().map(Set::new).collect())
}

/// Whether a set has that template.
pub(crate) fn has_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let own = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    own.is_some_and(|own| comparable(own) == comparable(template))
}

/// A template without what its ReplicaSet has added, and without what means nothing.
fn comparable(template: &PodTemplateSpec) -> Value {
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
                let items: Vec<_> =
                    items.into_iter().map(|item| strip(item).unwrap_or(Value::Null)).collect();
                (!items.is_empty()).then_some(Value::Array(items))
            }
            other => Some(other),
        }
    }
    let mut template = template.clone();
    if let Some(metadata) = &mut template.metadata {
        metadata.creation_timestamp = None;
        if let Some(labels) = &mut metadata.labels {
            labels.remove(HASH);
        }
    }
    serde_json::to_value(template).ok().and_then(strip).unwrap_or_default()
}

/// (`ComputeHash`) Upstream hashes how Go prints the template; any hash does that says the same for the same.
fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
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

/// A new ReplicaSet for the Deployment's template, without pods yet.
pub(crate) fn make(deployment: &Deployment, revision: i64) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.into(), hash.clone());
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH.into(), hash.clone());
    let mut annotations = inherited(deployment);
    annotations.insert(REVISION.into(), revision.to_string());
    annotations.extend(sizes(Bounds::of(&spec)));
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

fn inherited(deployment: &Deployment) -> Annotations {
    let all = deployment.metadata.annotations.iter().flatten();
    all.filter(|(key, _)| !OWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Notes for scaling in proportion.
pub(crate) fn sizes(bounds: Bounds) -> Annotations {
    let most = bounds.replicas.saturating_add(bounds.surge);
    [(DESIRED.to_owned(), bounds.replicas.to_string()), (MOST.to_owned(), most.to_string())].into()
}

/// The most pods that there might have been when the set was last scaled.
pub(crate) fn noted_most(set: &Set) -> Option<i32> {
    set.number(MOST).filter(|most| *most != 0)
}

/// The annotations of the new set, if they are not as they should be: those of the Deployment, and the newest
/// revision (`SetNewReplicaSetAnnotations`).
pub(crate) fn renewed(deployment: &Deployment, set: &ReplicaSet, newest: i64) -> Option<Annotations> {
    let before = set.metadata.annotations.clone().unwrap_or_default();
    let mut after = before.clone();
    after.extend(inherited(deployment));
    let own = revision(set);
    if own < newest {
        if let Some(old) = before.get(REVISION) {
            let history = before.get(REVISIONS).filter(|history| !history.is_empty());
            let history = history.map_or_else(|| old.clone(), |history| format!("{history},{old}"));
            after.insert(REVISIONS.into(), history);
        }
        after.insert(REVISION.into(), newest.to_string());
    }
    (after != before).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": image}], "volumes": []},
        }))
        .unwrap()
    }

    #[test]
    fn a_template_is_the_same_whatever_its_replica_set_adds() {
        let (a, mut b) = (template("a"), template("a"));
        b.metadata.as_mut().unwrap().labels.as_mut().unwrap().insert(HASH.into(), "x".into());
        b.spec.as_mut().unwrap().volumes = None;
        assert_eq!(comparable(&a), comparable(&b));
        assert_eq!(hash(&a, None), hash(&b, None));
        assert_ne!(comparable(&a), comparable(&template("b")));
        assert_ne!(hash(&a, None), hash(&template("b"), None));
        assert_ne!(hash(&a, None), hash(&a, Some(1)));
        assert_eq!(api::names::dns_label(&hash(&a, None)), [""; 0]);
    }

    #[test]
    fn a_template_that_comes_back_is_the_newest_revision_and_remembers() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "annotations": {
                "team": "red", REVISION: "7", "kubectl.kubernetes.io/last-applied-configuration": "{}",
            }},
        }))
        .unwrap();
        let set = |annotations: Value| -> ReplicaSet {
            serde_json::from_value(json!({"metadata": {"name": "web-1", "annotations": annotations}}))
                .unwrap()
        };
        let renewed = |annotations: Value| renewed(&deployment, &set(annotations), 5).map(|all| json!(all));
        assert_eq!(
            renewed(json!({REVISION: "2", REVISIONS: "1"})),
            Some(json!({"team": "red", REVISION: "5", REVISIONS: "1,2"}))
        );
        assert_eq!(
            renewed(json!({REVISION: "2"})),
            Some(json!({"team": "red", REVISION: "5", REVISIONS: "2"}))
        );
        assert_eq!(renewed(json!({"team": "red", REVISION: "5"})), None);
    }
}
