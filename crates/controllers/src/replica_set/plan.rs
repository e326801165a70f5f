//! What there is to do for a ReplicaSet, from it and the pods of its namespace.
//!
//! Source: kubernetes `pkg/controller/replicaset/{replica_set,replica_set_utils}.go`.

use std::sync::Arc;
use std::time::Duration;

use api::Selector;
use api::types::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use api::types::api::core::v1::Pod;
use api::types::apimachinery::pkg::apis::meta::v1::Time;
use api::types::jiff::Timestamp;

use super::rank;
use crate::claim::{Claim, claim};
use crate::meta::Meta;
use crate::pods;

/// The condition that tells that pods could not be made or deleted.
const FAILURE: &str = "ReplicaFailure";

/// What there is to do.
#[derive(Debug)]
pub(crate) struct ReplicaPlan {
    pub(crate) claim: Claim<Pod>,
    pub(crate) create: usize,
    pub(crate) delete: Vec<Arc<Pod>>,
    /// As it will be if nothing fails.
    pub(crate) status: ReplicaSetStatus,
    /// When pods that are ready will count as available.
    pub(crate) again: Option<Duration>,
}

impl ReplicaPlan {
    /// Whether all is as it should be.
    pub(crate) fn is_empty(&self, set: &ReplicaSet) -> bool {
        let mut status = self.status.clone();
        clear_failure(&mut status);
        let settled = self.claim.adopt.is_empty() && self.claim.release.is_empty();
        settled && self.create == 0 && self.delete.is_empty() && set.status.as_ref() == Some(&status)
    }
}

/// Plans. `related` gives the pods of all ReplicaSets with the same owner.
pub(crate) fn plan<'a>(
    set: &ReplicaSet,
    pods_of_namespace: impl Iterator<Item = &'a Arc<Pod>>,
    related: impl FnOnce() -> Vec<Arc<Pod>>,
    now: Timestamp,
) -> ReplicaPlan {
    let spec = set.spec.clone().unwrap_or_default();
    // An invalid selector selects nothing.
    let selector = Selector::try_from(&spec.selector).unwrap_or_else(|_| Selector::nothing());
    let active = pods_of_namespace.filter(|pod| pods::is_active(pod));
    let claim = claim(&set.metadata, &selector, active);
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let (mut create, mut delete) = (0, vec![]);
    if !set.is_deleting() {
        create = wanted.saturating_sub(claim.mine.len()).min(pods::BURST);
        let surplus = claim.mine.len().saturating_sub(wanted).min(pods::BURST);
        if surplus > 0 {
            delete = rank::first_to_go(&claim.mine, &related(), surplus, now);
        }
    }
    let status = status(set, &claim.mine, now);
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    let waiting = claim.mine.iter().filter_map(|pod| pods::available_in(pod, min_ready, now));
    let again = waiting.filter(|wait| *wait > Duration::ZERO).min();
    ReplicaPlan { claim, create, delete, status, again }
}

fn status(set: &ReplicaSet, mine: &[Arc<Pod>], now: Timestamp) -> ReplicaSetStatus {
    let spec = set.spec.clone().unwrap_or_default();
    let wanted = spec.template.and_then(|template| template.metadata?.labels).unwrap_or_default();
    let has_all = |pod: &Pod| wanted.iter().all(|(key, value)| pod.label(key) == Some(value));
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    let count = |of: &dyn Fn(&Pod) -> bool| {
        i32::try_from(mine.iter().filter(|pod| of(pod)).count()).unwrap_or(i32::MAX)
    };
    let before = set.status.clone().unwrap_or_default();
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: nonzero(count(&has_all)),
        ready_replicas: nonzero(count(&pods::is_ready)),
        available_replicas: nonzero(count(&|pod| pods::is_available(pod, min_ready, now))),
        observed_generation: set.metadata.generation,
        conditions: before.conditions,
        terminating_replicas: before.terminating_replicas,
    }
}

/// Go leaves zeros out.
fn nonzero(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

/// Tells in the status that pods could not be made or deleted, with a reason and a message.
pub(crate) fn set_failure(status: &mut ReplicaSetStatus, reason: &str, message: String, now: Time) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().all(|condition| condition.type_ != FAILURE) {
        conditions.push(ReplicaSetCondition {
            type_: FAILURE.into(),
            status: "True".into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: Some(now),
        });
    }
}

/// Tells that they could.
pub(crate) fn clear_failure(status: &mut ReplicaSetStatus) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != FAILURE);
    }
    status.conditions.take_if(|conditions| conditions.is_empty());
}
