//! Pods, and the pods in templates.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec, Toleration};

use super::{changes, meta, pod_spec};
use crate::field::{Errors, Path};
use crate::{kinds, names};

/// What may change in a pod (`updatablePodSpecFields`).
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,\
                         `spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously \
                         negative)";

/// A new pod (`ValidatePodCreate`).
pub(crate) fn pod(pod: &Pod, errors: &mut Errors) {
    meta_and_spec(pod, errors);
    let path = Path::new("spec");
    let spec = pod.spec.clone().unwrap_or_default();
    if spec.ephemeral_containers.is_some_and(|all| !all.is_empty()) {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    let gated = spec.scheduling_gates.is_some_and(|gates| !gates.is_empty());
    if gated && spec.node_name.is_some_and(|name| !name.is_empty()) {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.forbidden(&path.child("nodeName"), why);
    }
}

fn meta_and_spec(pod: &Pod, errors: &mut Errors) {
    meta::object_meta(&pod.metadata, &kinds::PODS, errors);
    let spec = pod.spec.clone().unwrap_or_default();
    let path = Path::new("spec");
    pod_spec::pod_spec(&spec, &path, pod_spec::Within::Pod, errors);
    untrimmed_images(&spec, &path, errors);
}

fn untrimmed_images(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let lists = [("containers", Some(&spec.containers)), ("initContainers", spec.init_containers.as_ref())];
    for (field, containers) in lists {
        for (i, container) in containers.into_iter().flatten().enumerate() {
            let image = container.image.as_deref().unwrap_or_default();
            if image.trim() != image {
                let at = path.child(field).index(i).child("image");
                errors.invalid(&at, image, "must not have leading or trailing whitespace");
            }
        }
    }
}

/// The pod in a template (`ValidatePodTemplateSpec`).
pub(crate) fn template(template: &PodTemplateSpec, path: &Path, errors: &mut Errors) {
    let metadata = template.metadata.clone().unwrap_or_default();
    meta::labels(metadata.labels.as_ref(), &path.child("labels"), errors);
    meta::annotations(metadata.annotations.as_ref(), &path.child("annotations"), errors);
    let spec = template.spec.clone().unwrap_or_default();
    pod_spec::pod_spec(&spec, &path.child("spec"), pod_spec::Within::Template, errors);
    if spec.ephemeral_containers.is_some_and(|all| !all.is_empty()) {
        let at = path.child("spec").child("ephemeralContainers");
        errors.forbidden(&at, "ephemeral containers not allowed in pod template");
    }
}

/// A changed pod (`ValidatePodUpdate`).
pub(crate) fn pod_update(new: &Pod, old: &Pod, errors: &mut Errors) {
    meta::object_meta_update(&new.metadata, &old.metadata, errors);
    meta_and_spec(new, errors);
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    let path = Path::new("spec");
    let none = Vec::new();
    let lists = [
        ("containers", &new.containers, &old.containers),
        (
            "initContainers",
            new.init_containers.as_ref().unwrap_or(&none),
            old.init_containers.as_ref().unwrap_or(&none),
        ),
    ];
    for (field, new, old) in lists {
        if new.len() != old.len() {
            errors.forbidden(&path.child(field), "pod updates may not add or remove containers");
            return;
        }
    }
    if !deadline_update(&new, &old, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    tolerations_update(
        new.tolerations.as_deref().unwrap_or_default(),
        old.tolerations.as_deref().unwrap_or_default(),
        &path.child("tolerations"),
        errors,
    );
    gates_update(&new, &old, &path.child("schedulingGates"), errors);
    let kept = with_updatable_of(new, &old);
    if kept != old {
        let [old, new] = [&old, &kept].map(|spec| serde_json::to_value(spec).unwrap_or_default());
        let why =
            format!("pod updates may not change fields other than {UPDATABLE}\n{}", changes(&old, &new));
        errors.forbidden(&path, &why);
    }
}

/// The new spec, but for what may change: that is as before.
fn with_updatable_of(mut new: PodSpec, old: &PodSpec) -> PodSpec {
    let keep_images = |new: &mut [Container], old: &[Container]| {
        new.iter_mut().zip(old).for_each(|(new, old)| new.image.clone_from(&old.image));
    };
    keep_images(&mut new.containers, &old.containers);
    keep_images(
        new.init_containers.as_deref_mut().unwrap_or_default(),
        old.init_containers.as_deref().unwrap_or_default(),
    );
    new.active_deadline_seconds = old.active_deadline_seconds;
    new.tolerations.clone_from(&old.tolerations);
    new.scheduling_gates.clone_from(&old.scheduling_gates);
    let was_negative = old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0);
    if was_negative && new.termination_grace_period_seconds == Some(1) {
        new.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    // As the scheduler binds a pod: through a subresource of the API server, here by writing the field.
    if old.node_name.as_deref().unwrap_or_default().is_empty() {
        new.node_name.clone_from(&old.node_name);
    }
    new
}

/// Whether what follows is worth checking.
fn deadline_update(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) -> bool {
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(new), old) => {
            let wrong = names::in_range(new, 0, i32::MAX.into());
            let later = old.is_some_and(|old| old < new);
            if wrong.is_empty() && later {
                errors.invalid(path, new, "must be less than or equal to previous value");
            }
            let fine = wrong.is_empty() && !later;
            errors.invalid_each(path, new, wrong);
            fine
        }
        (None, Some(_)) => {
            errors.invalid(path, None::<i64>, "must not update from a positive integer to nil value");
            true
        }
        (None, None) => true,
    }
}

fn tolerations_update(new: &[Toleration], old: &[Toleration], path: &Path, errors: &mut Errors) {
    let kept = |old: &Toleration| {
        let same = |new: &Toleration| {
            Toleration { toleration_seconds: new.toleration_seconds, ..old.clone() } == *new
        };
        new.iter().any(same)
    };
    if !old.iter().all(kept) {
        errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn gates_update(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) {
    let before: Vec<_> = old.scheduling_gates.iter().flatten().map(|gate| &gate.name).collect();
    for (i, gate) in new.scheduling_gates.iter().flatten().enumerate() {
        if !before.contains(&&gate.name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
            errors.forbidden(&path.index(i).child("name"), &why);
        }
    }
}
