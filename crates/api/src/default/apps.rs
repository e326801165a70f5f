//! Defaults of workloads.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, RollingUpdateDaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{pod, text};

/// As many old ReplicaSets, or revisions, are kept.
const HISTORY: i32 = 10;

fn template(template: &mut PodTemplateSpec) {
    pod::pod_spec(template.spec.get_or_insert_default());
}

pub(crate) fn deployment(deployment: &mut Deployment) {
    let spec = deployment.spec.get_or_insert_default();
    spec.replicas.get_or_insert(1);
    let strategy = spec.strategy.get_or_insert_default();
    text(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert(IntOrString::String("25%".into()));
        rolling.max_surge.get_or_insert(IntOrString::String("25%".into()));
    }
    spec.revision_history_limit.get_or_insert(HISTORY);
    spec.progress_deadline_seconds.get_or_insert(600);
    template(&mut spec.template);
}

pub(crate) fn replica_set(set: &mut ReplicaSet) {
    let spec = set.spec.get_or_insert_default();
    spec.replicas.get_or_insert(1);
    template(spec.template.get_or_insert_default());
}

pub(crate) fn daemon_set(set: &mut DaemonSet) {
    let spec = set.spec.get_or_insert_default();
    let strategy = spec.update_strategy.get_or_insert_default();
    text(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling = strategy.rolling_update.get_or_insert_with(RollingUpdateDaemonSet::default);
        rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        rolling.max_surge.get_or_insert(IntOrString::Int(0));
    }
    spec.revision_history_limit.get_or_insert(HISTORY);
    template(&mut spec.template);
}

pub(crate) fn stateful_set(set: &mut StatefulSet) {
    let spec = set.spec.get_or_insert_default();
    text(&mut spec.pod_management_policy, "OrderedReady");
    let strategy = spec.update_strategy.get_or_insert_default();
    text(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        strategy.rolling_update.get_or_insert_default().partition.get_or_insert(0);
    }
    let claims = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
    text(&mut claims.when_deleted, "Retain");
    text(&mut claims.when_scaled, "Retain");
    spec.replicas.get_or_insert(1);
    spec.revision_history_limit.get_or_insert(HISTORY);
    template(&mut spec.template);
}
