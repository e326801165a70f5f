//! The status of a Deployment: counts, and whether it gets on.
//!
//! Source: kubernetes `pkg/controller/deployment/{progress,sync}.go`,
//! `pkg/controller/deployment/util/deployment_util.go`.

use std::time::Duration;

use api::types::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSetCondition,
};
use api::types::apimachinery::pkg::apis::meta::v1::Time;

use super::bounds::Bounds;
use super::sets::{Set, spec_replicas};
use crate::clock::whole;
use crate::meta::Meta;

/// Conditions.
const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";
/// Reasons of [`PROGRESSING`].
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
/// A deadline that counts as none.
const NO_DEADLINE: i32 = i32::MAX;

/// Whether it is to be told how the Deployment gets on.
fn deadline(spec: &DeploymentSpec) -> Option<i32> {
    spec.progress_deadline_seconds.filter(|seconds| *seconds != NO_DEADLINE)
}

/// A condition that changes now.
fn condition(kind: &str, status: &str, reason: &str, message: String, now: &Time) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now.clone()),
    }
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// (`SetDeploymentCondition`) What says the same as before stays as it is.
fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(old) = find(status, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time.clone_from(&old.last_transition_time);
        }
    }
    remove(status, &new.type_);
    status.conditions.get_or_insert_default().push(new);
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != kind);
    }
    status.conditions.take_if(|conditions| conditions.is_empty());
}

/// The counts, and whether enough pods are available (`calculateStatus`).
pub(crate) fn counted(
    deployment: &Deployment,
    new: Option<&Set>,
    old: &[Set],
    now: &Time,
) -> DeploymentStatus {
    let spec = deployment.spec.clone().unwrap_or_default();
    let bounds = Bounds::of(&spec);
    let before = deployment.status.clone().unwrap_or_default();
    let all = || old.iter().chain(new);
    let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
    let available: i32 = all().map(|set| set.status(|status| status.available_replicas)).sum();
    let wanted: i32 = all().map(|set| spec_replicas(&set.set)).sum();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(all().map(|set| set.status(|status| Some(status.replicas))).sum()),
        updated_replicas: nonzero(new.map_or(0, |set| set.status(|status| Some(status.replicas)))),
        ready_replicas: nonzero(all().map(|set| set.status(|status| status.ready_replicas)).sum()),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((wanted - available).max(0)),
        collision_count: before.collision_count,
        terminating_replicas: before.terminating_replicas,
        conditions: before.conditions,
    };
    let enough = if available >= bounds.least() {
        let message = "Deployment has minimum availability.".to_owned();
        condition(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    };
    set(&mut status, enough);
    tell_paused(deployment, &mut status, now);
    status
}

/// Also how the roll-out gets on (`syncRolloutStatus`).
pub(crate) fn progressed(
    deployment: &Deployment,
    new: Option<&Set>,
    old: &[Set],
    now: &Time,
) -> DeploymentStatus {
    let mut status = counted(deployment, new, old, now);
    let spec = deployment.spec.clone().unwrap_or_default();
    if deadline(&spec).is_none() {
        remove(&mut status, PROGRESSING);
    } else if !was_complete(&status) {
        let who = match new {
            Some(new) => format!("ReplicaSet \"{}\"", new.set.name()),
            None => format!("Deployment \"{}\"", deployment.name()),
        };
        if is_complete(deployment, &status) {
            let message = format!("{who} has successfully progressed.");
            set(&mut status, condition(PROGRESSING, "True", COMPLETE, message, now));
        } else if is_progressing(deployment, &status) {
            let message = format!("{who} is progressing.");
            let mut news = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
            if let Some(old) = find(&status, PROGRESSING).filter(|old| old.status == "True") {
                news.last_transition_time.clone_from(&old.last_transition_time);
            }
            // Also if it says the same: each step begins the time anew.
            remove(&mut status, PROGRESSING);
            set(&mut status, news);
        } else if is_timed_out(&spec, &status, now) {
            let message = format!("{who} has timed out progressing.");
            set(&mut status, condition(PROGRESSING, "False", TIMED_OUT, message, now));
        }
    }
    match failure(new, old) {
        Some(failure) => set(&mut status, failure),
        None => remove(&mut status, FAILURE),
    }
    status
}

fn was_complete(status: &DeploymentStatus) -> bool {
    let reason = find(status, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    status.replicas == status.updated_replicas && reason == Some(COMPLETE)
}

/// (`DeploymentComplete`)
pub(crate) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    counts.iter().all(|count| count.unwrap_or_default() == wanted)
        && status.observed_generation >= deployment.metadata.generation
}

/// (`DeploymentProgressing`)
fn is_progressing(deployment: &Deployment, new: &DeploymentStatus) -> bool {
    let before = deployment.status.clone().unwrap_or_default();
    let number = Option::<i32>::unwrap_or_default;
    let old_pods = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(new.updated_replicas) > number(before.updated_replicas)
        || old_pods(new) < old_pods(&before)
        || number(new.ready_replicas) > number(before.ready_replicas)
        || number(new.available_replicas) > number(before.available_replicas)
}

/// (`DeploymentTimedOut`)
fn is_timed_out(spec: &DeploymentSpec, status: &DeploymentStatus, now: &Time) -> bool {
    let Some(condition) = find(status, PROGRESSING) else { return false };
    match condition.reason.as_deref() {
        Some(COMPLETE) => false,
        Some(TIMED_OUT) => true,
        _ => left(spec, status, now).is_some_and(|left| left.is_zero()),
    }
}

/// The time until the deadline.
fn left(spec: &DeploymentSpec, status: &DeploymentStatus, now: &Time) -> Option<Duration> {
    let since = find(status, PROGRESSING)?.last_update_time.as_ref()?.0;
    let seconds = u64::try_from(deadline(spec)?).ok()?;
    let at = since.checked_add(Duration::from_secs(seconds)).ok()?;
    Some(Duration::try_from(at.duration_since(now.0)).unwrap_or_default())
}

/// When to look whether it has timed out (`requeueStuckDeployment`).
pub(crate) fn look_again(deployment: &Deployment, status: &DeploymentStatus, now: &Time) -> Option<Duration> {
    let spec = deployment.spec.clone().unwrap_or_default();
    let reason = find(status, PROGRESSING)?.reason.as_deref();
    let ended = is_complete(deployment, status) || matches!(reason, Some(TIMED_OUT | COMPLETE));
    if ended || spec.paused == Some(true) {
        return None;
    }
    Some(left(&spec, status, now)? + Duration::from_secs(1))
}

/// What a ReplicaSet says of pods that it cannot make or delete; the new one's word counts most.
fn failure(new: Option<&Set>, old: &[Set]) -> Option<DeploymentCondition> {
    let of = |set: &Set| -> Option<ReplicaSetCondition> {
        let conditions = set.set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == FAILURE).cloned()
    };
    let told = new.and_then(of).or_else(|| old.iter().find_map(of))?;
    Some(DeploymentCondition {
        type_: FAILURE.into(),
        status: told.status,
        reason: told.reason,
        message: told.message,
        last_transition_time: told.last_transition_time.clone(),
        last_update_time: told.last_transition_time,
    })
}

/// A new ReplicaSet was made, or found.
pub(crate) fn tell_new(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    name: &str,
    made: bool,
    now: &Time,
) {
    let spec = deployment.spec.clone().unwrap_or_default();
    if deadline(&spec).is_none() || !made && find(status, PROGRESSING).is_some() {
        return;
    }
    let (reason, verb) =
        if made { ("NewReplicaSetCreated", "Created") } else { ("FoundNewReplicaSet", "Found") };
    let message = format!("{verb} new replica set \"{name}\"");
    set(status, condition(PROGRESSING, "True", reason, message, now));
}

/// A new ReplicaSet could not be made.
pub(crate) fn tell_refused(status: &mut DeploymentStatus, name: &str, why: &str, now: &Time) {
    let message = format!("Failed to create new replica set \"{name}\": {why}");
    set(status, condition(PROGRESSING, "False", "ReplicaSetCreateError", message, now));
}

/// That it was stopped, or goes on (`checkPausedConditions`).
fn tell_paused(deployment: &Deployment, status: &mut DeploymentStatus, now: &Time) {
    let spec = deployment.spec.clone().unwrap_or_default();
    let reason = find(status, PROGRESSING).and_then(|condition| condition.reason.clone());
    if deadline(&spec).is_none() || reason.as_deref() == Some(TIMED_OUT) {
        return;
    }
    let (paused, was_paused) = (spec.paused == Some(true), reason.as_deref() == Some("DeploymentPaused"));
    let news = match (paused, was_paused) {
        (true, false) => ("DeploymentPaused", "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return,
    };
    set(status, condition(PROGRESSING, "Unknown", news.0, news.1.into(), now));
}

/// Now, in whole seconds.
pub(crate) fn seconds(now: api::types::jiff::Timestamp) -> Time {
    whole(now)
}
