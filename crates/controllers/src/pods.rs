//! What controllers ask of pods, and how they make them.
//!
//! Sources: kubernetes `pkg/api/v1/pod/util.go`, `pkg/controller/controller_utils.go`.

use std::time::Duration;

use api::types::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use api::types::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use api::types::jiff::Timestamp;

use crate::meta::Meta;

/// As many pods are made or deleted at once (`BurstReplicas` of the ReplicaSet controller).
pub(crate) const BURST: usize = 500;

pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

pub(crate) fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// It will not run again.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// It runs, or will (`IsPodActive`).
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !pod.is_deleting()
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when it has been ready, if it is.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// It has been ready for so many seconds (`IsPodAvailable`).
pub(crate) fn is_available(pod: &Pod, min_ready: i32, now: Timestamp) -> bool {
    is_ready(pod) && (min_ready <= 0 || available_in(pod, min_ready, now) == Some(Duration::ZERO))
}

/// In how long it will be available if it stays ready; none if it is not.
pub(crate) fn available_in(pod: &Pod, min_ready: i32, now: Timestamp) -> Option<Duration> {
    if !is_ready(pod) {
        return None;
    }
    let since = ready_since(pod)?;
    let at = since.checked_add(Duration::from_secs(u64::try_from(min_ready).unwrap_or(0))).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// A new pod from a template, to be stored (`GetPodFromTemplate`).
pub(crate) fn from_template(template: &PodTemplateSpec, namespace: &str, owner: OwnerReference) -> Pod {
    let given = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(name_prefix(&owner.name)),
            namespace: Some(namespace.into()),
            labels: given.labels,
            annotations: given.annotations,
            finalizers: given.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// (`getPodsPrefix`)
fn name_prefix(owner: &str) -> String {
    let prefix = format!("{owner}-");
    // A name of pods may be a subdomain; one that ends in `-` is none, so its last character does not count.
    let valid = api::names::dns_subdomain(&api::names::as_prefix(&prefix)).is_empty();
    if valid { prefix } else { owner.into() }
}
