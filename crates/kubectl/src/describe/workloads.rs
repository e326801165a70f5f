//! Deployments and ReplicaSets.

use api::types::api::apps::v1::{Deployment, DeploymentCondition, ReplicaSet};
use api::types::api::core::v1::{Pod, PodTemplateSpec};
use serde_json::Value;

use super::{Description, Related, containers, or_none, pod, selector_text, typed, volumes};
use crate::rollout::{new_replica_set, revision_of};

pub(super) fn deployment(out: &mut Description<'_>, object: &Value, related: &Related) -> Option<()> {
    let deployment: Deployment = typed(object)?;
    let (spec, status) =
        (deployment.spec.clone().unwrap_or_default(), deployment.status.clone().unwrap_or_default());
    out.names(&deployment.metadata);
    out.created(&deployment.metadata);
    out.labels(0, "Labels", deployment.metadata.labels.as_ref());
    out.annotations(0, deployment.metadata.annotations.as_ref());
    out.field(0, "Selector", selector_text(&spec.selector));
    let number = |number: Option<i32>| number.unwrap_or_default();
    out.field(
        0,
        "Replicas",
        format_args!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            spec.replicas.unwrap_or(1),
            number(status.updated_replicas),
            number(status.replicas),
            number(status.available_replicas),
            number(status.unavailable_replicas),
        ),
    );
    let strategy = spec.strategy.clone().unwrap_or_default();
    out.field(0, "StrategyType", strategy.type_.as_deref().unwrap_or_default());
    out.field(0, "MinReadySeconds", spec.min_ready_seconds.unwrap_or_default());
    if let Some(rolling) = &strategy.rolling_update {
        let most = rolling.max_unavailable.as_ref().map(containers::number).unwrap_or_default();
        let surge = rolling.max_surge.as_ref().map(containers::number).unwrap_or_default();
        out.field(0, "RollingUpdateStrategy", format_args!("{most} max unavailable, {surge} max surge"));
    }
    template(out, &spec.template);
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let text = |one: &DeploymentCondition| (one.type_.clone(), one.status.clone(), one.reason.clone());
    self::conditions(out, conditions.iter().map(text).collect());
    replica_sets(out, &deployment, related);
    Some(())
}

fn replica_sets(out: &mut Description<'_>, deployment: &Deployment, related: &Related) {
    let new = new_replica_set(deployment, &related.replica_sets);
    let text = |set: &ReplicaSet| {
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
        let there = set.status.as_ref().map_or(0, |status| status.replicas);
        let name = set.metadata.name.as_deref().unwrap_or_default();
        format!("{name} ({there}/{wanted} replicas created)")
    };
    let name = |set: &ReplicaSet| set.metadata.name.clone();
    let mut old: Vec<_> =
        related.replica_sets.iter().filter(|set| Some(name(set)) != new.map(name)).collect();
    old.sort_by_key(|set| revision_of(&set.metadata));
    let old: Vec<_> = old.into_iter().map(text).collect();
    out.field(0, "OldReplicaSets", or_none(&old.join(", ")));
    out.field(0, "NewReplicaSet", new.map_or("<none>".into(), text));
}

pub(super) fn replica_set(out: &mut Description<'_>, object: &Value, related: &Related) -> Option<()> {
    let set: ReplicaSet = typed(object)?;
    let (spec, status) = (set.spec.clone().unwrap_or_default(), set.status.clone().unwrap_or_default());
    out.names(&set.metadata);
    out.field(0, "Selector", selector_text(&spec.selector));
    out.labels(0, "Labels", set.metadata.labels.as_ref());
    out.annotations(0, set.metadata.annotations.as_ref());
    out.controller(&set.metadata);
    let (there, wanted) = (status.replicas, spec.replicas.unwrap_or(1));
    out.field(0, "Replicas", format_args!("{there} current / {wanted} desired"));
    let count = |wanted: &str| {
        let phase =
            |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(wanted);
        related.pods.iter().filter(phase).count()
    };
    out.field(
        0,
        "Pods Status",
        format_args!(
            "{} Running / {} Waiting / {} Succeeded / {} Failed",
            count("Running"),
            count("Pending"),
            count("Succeeded"),
            count("Failed"),
        ),
    );
    template(out, &spec.template.unwrap_or_default());
    let conditions = status.conditions.iter().flatten();
    let conditions = conditions.map(|one| (one.type_.clone(), one.status.clone(), one.reason.clone()));
    self::conditions(out, conditions.collect());
    Some(())
}

/// `DescribePodTemplate`.
fn template(out: &mut Description<'_>, template: &PodTemplateSpec) {
    out.line(0, "Pod Template:");
    let meta = template.metadata.clone().unwrap_or_default();
    out.labels(1, "Labels", meta.labels.as_ref());
    if meta.annotations.as_ref().is_some_and(|annotations| !annotations.is_empty()) {
        out.annotations(1, meta.annotations.as_ref());
    }
    let spec = template.spec.clone().unwrap_or_default();
    out.maybe(1, "Service Account", spec.service_account_name.as_ref());
    let none = Pod::default();
    if let Some(init) = spec.init_containers.as_ref().filter(|init| !init.is_empty()) {
        containers::describe(out, 1, "Init Containers", init, None, &none);
    }
    containers::describe(out, 1, "Containers", &spec.containers, None, &none);
    volumes::describe(out, 1, spec.volumes.as_deref().unwrap_or_default());
    pod::placement(out, 1, &spec);
}

fn conditions(out: &mut Description<'_>, conditions: Vec<(String, String, Option<String>)>) {
    if conditions.is_empty() {
        return;
    }
    out.line(0, "Conditions:");
    out.line(1, "Type\tStatus\tReason");
    out.line(1, "----\t------\t------");
    for (kind, status, reason) in conditions {
        out.line(1, format_args!("{kind}\t{status}\t{}", reason.unwrap_or_default()));
    }
}
