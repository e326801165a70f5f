//! Workloads.

use k8s_openapi::api::apps::v1::{
    DaemonSet, Deployment, DeploymentStrategy, ReplicaSet, RollingUpdateDeployment, StatefulSet,
    StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{IMMUTABLE, meta, pod};
use crate::field::{Errors, Path};
use crate::selector::Selector;
use crate::{kinds, names};

/// (`ValidateDeployment`)
pub(crate) fn deployment(deployment: &Deployment, errors: &mut Errors) {
    meta::object_meta(&deployment.metadata, &kinds::DEPLOYMENTS, errors);
    deployment_spec(deployment, errors);
}

/// (`ValidateDeploymentUpdate`, and what apps/v1 forbids in its strategy's `ValidateUpdate`)
pub(crate) fn deployment_update(new: &Deployment, old: &Deployment, errors: &mut Errors) {
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
    deployment_spec(new, errors);
    immutable_selector(
        new.spec.as_ref().map(|spec| &spec.selector),
        old.spec.as_ref().map(|spec| &spec.selector),
        errors,
    );
}

fn deployment_spec(deployment: &Deployment, errors: &mut Errors) {
    let spec = deployment.spec.clone().unwrap_or_default();
    let path = Path::new("spec");
    errors.negative(&path.child("replicas"), spec.replicas.unwrap_or_default());
    selector_and_template(&spec.selector, &spec.template, "ReplicaSet", &path, errors);
    strategy(&spec.strategy.unwrap_or_default(), &path.child("strategy"), errors);
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    errors.negative(&path.child("minReadySeconds"), min_ready);
    errors.negative(&path.child("revisionHistoryLimit"), spec.revision_history_limit.unwrap_or_default());
    if let Some(deadline) = spec.progress_deadline_seconds {
        let at = path.child("progressDeadlineSeconds");
        errors.negative(&at, deadline);
        if deadline <= min_ready {
            errors.invalid(&at, deadline, "must be greater than minReadySeconds");
        }
    }
}

/// (`ValidateReplicaSet`)
pub(crate) fn replica_set(set: &ReplicaSet, errors: &mut Errors) {
    meta::object_meta(&set.metadata, &kinds::REPLICA_SETS, errors);
    replica_set_spec(set, errors);
}

/// (`ValidateReplicaSetUpdate`)
pub(crate) fn replica_set_update(new: &ReplicaSet, old: &ReplicaSet, errors: &mut Errors) {
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
    replica_set_spec(new, errors);
    immutable_selector(
        new.spec.as_ref().map(|spec| &spec.selector),
        old.spec.as_ref().map(|spec| &spec.selector),
        errors,
    );
}

fn replica_set_spec(set: &ReplicaSet, errors: &mut Errors) {
    let spec = set.spec.clone().unwrap_or_default();
    let path = Path::new("spec");
    errors.negative(&path.child("replicas"), spec.replicas.unwrap_or_default());
    errors.negative(&path.child("minReadySeconds"), spec.min_ready_seconds.unwrap_or_default());
    let template = spec.template.unwrap_or_default();
    selector_and_template(&spec.selector, &template, "ReplicaSet", &path, errors);
}

/// (`ValidateDaemonSet`)
pub(crate) fn daemon_set(set: &DaemonSet, errors: &mut Errors) {
    meta::object_meta(&set.metadata, &kinds::DAEMON_SETS, errors);
    daemon_set_spec(set, errors);
}

/// (`ValidateDaemonSetUpdate`)
pub(crate) fn daemon_set_update(new: &DaemonSet, old: &DaemonSet, errors: &mut Errors) {
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
    daemon_set_spec(new, errors);
    immutable_selector(
        new.spec.as_ref().map(|spec| &spec.selector),
        old.spec.as_ref().map(|spec| &spec.selector),
        errors,
    );
}

fn daemon_set_spec(set: &DaemonSet, errors: &mut Errors) {
    let spec = set.spec.clone().unwrap_or_default();
    let path = Path::new("spec");
    selector_and_template(&spec.selector, &spec.template, "DaemonSet", &path, errors);
    errors.negative(&path.child("minReadySeconds"), spec.min_ready_seconds.unwrap_or_default());
    let kind = spec.update_strategy.and_then(|strategy| strategy.type_);
    let at = path.child("updateStrategy").child("type");
    super::one_of(kind.as_deref(), &at, &["RollingUpdate", "OnDelete"], errors);
    errors.negative(&path.child("revisionHistoryLimit"), spec.revision_history_limit.unwrap_or_default());
}

/// (`ValidateStatefulSet`)
pub(crate) fn stateful_set(set: &StatefulSet, errors: &mut Errors) {
    meta::object_meta(&set.metadata, &kinds::STATEFUL_SETS, errors);
    let spec = set.spec.clone().unwrap_or_default();
    let path = Path::new("spec");
    if let Some(policy) =
        spec.pod_management_policy.filter(|p| !["OrderedReady", "Parallel"].contains(&p.as_str()))
    {
        let why = "must be 'OrderedReady' or 'Parallel'";
        errors.invalid(&path.child("podManagementPolicy"), policy, why);
    }
    errors.negative(&path.child("replicas"), spec.replicas.unwrap_or_default());
    let start = spec.ordinals.and_then(|ordinals| ordinals.start).unwrap_or_default();
    errors.negative(&path.child("ordinals").child("start"), start);
    let template = with_claims(&spec.template, spec.volume_claim_templates.as_deref().unwrap_or_default());
    selector_and_template(&spec.selector, &template, "StatefulSet", &path, errors);
}

/// The template with the volumes that its pods get of the claims, which their containers may mount. They come
/// last, so that what is wrong with the others is told in its place.
fn with_claims(template: &PodTemplateSpec, claims: &[PersistentVolumeClaim]) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(spec) = template.spec.as_mut().filter(|_| !claims.is_empty()) {
        let volumes = spec.volumes.get_or_insert_default();
        for name in claims.iter().filter_map(|claim| claim.metadata.name.clone()) {
            // A claim's volume takes the place of one of the same name.
            if volumes.iter().all(|volume| volume.name != name) {
                let claim_name = name.clone();
                let source = PersistentVolumeClaimVolumeSource { claim_name, ..Default::default() };
                volumes.push(Volume { name, persistent_volume_claim: Some(source), ..Volume::default() });
            }
        }
    }
    template
}

/// Few fields may change (`ValidateStatefulSetUpdate`).
pub(crate) fn stateful_set_update(new: &StatefulSet, old: &StatefulSet, errors: &mut Errors) {
    stateful_set(new, errors);
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
    let (Some(new), Some(old)) = (&new.spec, &old.spec) else { return };
    let same = StatefulSetSpec {
        replicas: new.replicas,
        ordinals: new.ordinals.clone(),
        template: new.template.clone(),
        update_strategy: new.update_strategy.clone(),
        revision_history_limit: new.revision_history_limit,
        persistent_volume_claim_retention_policy: new.persistent_volume_claim_retention_policy.clone(),
        min_ready_seconds: new.min_ready_seconds,
        ..old.clone()
    };
    if same != *new {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                   'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                   'minReadySeconds' are forbidden";
        errors.forbidden(&Path::new("spec"), why);
    }
}

fn immutable_selector(new: Option<&LabelSelector>, old: Option<&LabelSelector>, errors: &mut Errors) {
    if new != old {
        errors.invalid(&Path::new("spec").child("selector"), new, IMMUTABLE);
    }
}

/// The selector has to select the template's pods (`ValidatePodTemplateSpecForReplicaSet`). One that is
/// missing and one that is empty cannot be told apart in the types: both are called missing.
fn selector_and_template(
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    owner: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let at = path.child("selector");
    let is_missing = selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if is_missing {
        errors.required(&at, "");
    } else {
        meta::label_selector(selector, &at, errors);
    }
    let template_at = path.child("template");
    match Selector::try_from(selector) {
        Err(_) => return errors.invalid(&at, selector, "invalid label selector"),
        Ok(parsed) => {
            let labels = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
            if is_missing || !parsed.matches(labels) {
                let at = template_at.child("metadata").child("labels");
                errors.invalid(&at, labels, "`selector` does not match template `labels`");
            }
        }
    }
    pod::template(template, &template_at, errors);
    let spec = template.spec.clone().unwrap_or_default();
    let policy = spec.restart_policy.unwrap_or_default();
    // A policy that is no policy has been told already.
    if policy != "Always" {
        errors.not_supported(&template_at.child("spec").child("restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        let why = format!("activeDeadlineSeconds in {owner} is not Supported");
        errors.forbidden(&template_at.child("spec").child("activeDeadlineSeconds"), &why);
    }
}

/// (`ValidateDeploymentStrategy`)
fn strategy(strategy: &DeploymentStrategy, path: &Path, errors: &mut Errors) {
    match (strategy.type_.as_deref(), &strategy.rolling_update) {
        (Some("Recreate"), Some(_)) => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.forbidden(&path.child("rollingUpdate"), why);
        }
        (Some("Recreate"), None) => {}
        (Some("RollingUpdate"), None) => {
            let why = "this should be defaulted and never be nil";
            errors.required(&path.child("rollingUpdate"), why);
        }
        (Some("RollingUpdate"), Some(rolling)) => {
            rolling_update(rolling, &path.child("rollingUpdate"), errors)
        }
        _ => errors.not_supported(path, strategy, &["Recreate", "RollingUpdate"]),
    }
}

/// (`ValidateRollingUpdateDeployment`)
fn rolling_update(rolling: &RollingUpdateDeployment, path: &Path, errors: &mut Errors) {
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    let unavailable_at = path.child("maxUnavailable");
    number_or_percent(unavailable, &unavailable_at, errors);
    number_or_percent(surge, &path.child("maxSurge"), errors);
    if amount(unavailable) == 0 && amount(surge) == 0 {
        errors.invalid(&unavailable_at, unavailable, "may not be 0 when `maxSurge` is 0");
    }
    if matches!(unavailable, IntOrString::String(_)) && amount(unavailable) > 100 {
        errors.invalid(&unavailable_at, unavailable, "must not be greater than 100%");
    }
}

/// (`ValidatePositiveIntOrPercent`)
fn number_or_percent(value: &IntOrString, path: &Path, errors: &mut Errors) {
    match value {
        IntOrString::Int(number) => errors.negative(path, *number),
        IntOrString::String(text) => errors.invalid_each(path, value, names::percent(text)),
    }
}

fn amount(value: &IntOrString) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => text.trim_end_matches('%').parse().unwrap_or_default(),
    }
}
