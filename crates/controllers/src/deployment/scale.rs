//! How many pods each ReplicaSet of a Deployment shall have next.
//!
//! Source: kubernetes `pkg/controller/deployment/{rolling,recreate,sync}.go`. Upstream trusts that a status is
//! of its spec and corrects itself by errors; here nothing is scaled in a rolling update before the statuses
//! are, and pods count as there until they have gone, so that its bounds hold at every moment.

use super::bounds::Bounds;
use super::sets::{DESIRED, Set, noted_most, spec_replicas};

/// One step of a rolling update: more of the new, or else fewer of the old.
pub(crate) fn rolling(bounds: Bounds, new: &mut Set, old: &mut [Set]) {
    if new.replicas > bounds.replicas {
        new.replicas = bounds.replicas;
        return;
    }
    if !new.is_observed() || !old.iter().all(Set::is_observed) {
        return;
    }
    let old_pods: i32 = old.iter().map(Set::pods).sum();
    let room = (bounds.most() - old_pods - new.pods()).min(bounds.replicas - new.replicas);
    if room > 0 {
        new.replicas += room;
        return;
    }
    let old_replicas: i32 = old.iter().map(|set| set.replicas).sum();
    let new_missing = new.replicas - new.available();
    let most_down = old_replicas + new.replicas - bounds.least() - new_missing;
    if old_replicas == 0 || most_down <= 0 {
        return;
    }
    drop_unavailable(old, most_down);
    drop_available(bounds, new, old);
}

/// First those that serve nobody (`cleanupUnhealthyReplicas`).
fn drop_unavailable(old: &mut [Set], most: i32) {
    let mut left = most;
    for set in old {
        let unavailable = set.replicas - set.available();
        let down = unavailable.min(left).max(0);
        set.replicas -= down;
        left -= down;
    }
}

/// (`scaleDownOldReplicaSetsForRollingUpdate`)
fn drop_available(bounds: Bounds, new: &Set, old: &mut [Set]) {
    let available = new.available() + old.iter().map(Set::available).sum::<i32>();
    let mut left = available - bounds.least();
    for set in old {
        // Beside those that are not available and could not go yet.
        let down = set.available().min(left).max(0);
        set.replicas -= down;
        left -= down;
    }
}

/// One step of a new start: all of the old go, and when they are gone the new come. `running` are pods of the
/// old that have not ended.
pub(crate) fn recreate(bounds: Bounds, new: Option<&mut Set>, old: &mut [Set], running: bool) {
    if old.iter().any(Set::is_active) {
        old.iter_mut().for_each(|set| set.replicas = 0);
    } else if let Some(new) = new.filter(|_| !running) {
        new.replicas = bounds.replicas;
    }
}

/// Whether the Deployment's replicas were changed, and not its template (`isScalingEvent`).
pub(crate) fn is_scaling(bounds: Bounds, sets: &[&Set]) -> bool {
    let mut active = sets.iter().filter(|set| set.is_active());
    active.any(|set| set.number(DESIRED).is_some_and(|desired| desired != bounds.replicas))
}

/// The same share for each when the Deployment's replicas are changed (`scale`).
pub(crate) fn proportional(
    bounds: Bounds,
    rolling: bool,
    total: i32,
    new: Option<&mut Set>,
    old: &mut [Set],
) {
    let count = old.iter().chain(new.as_deref()).filter(|set| set.is_active()).count();
    if count < 2 {
        if let Some(set) = active_or_latest(new, old) {
            set.replicas = bounds.replicas;
        }
        return;
    }
    if new.as_deref().is_some_and(|new| is_saturated(bounds, new)) {
        old.iter_mut().for_each(|set| set.replicas = 0);
        return;
    }
    if !rolling {
        return;
    }
    let mut all: Vec<&mut Set> = old.iter_mut().chain(new).filter(|set| set.is_active()).collect();
    let to_add = bounds.most() - all.iter().map(|set| set.replicas).sum::<i32>();
    // The largest first; of equal ones the newest if there will be more, else the oldest.
    if to_add > 0 {
        all.reverse();
    }
    all.sort_by_key(|set| std::cmp::Reverse(set.replicas));
    let mut added = 0;
    let sizes: Vec<i32> = all
        .iter()
        .map(|set| {
            let share = proportion(bounds, total, set, to_add, added);
            added += share;
            set.replicas + share
        })
        .collect();
    for (i, (set, size)) in all.into_iter().zip(sizes).enumerate() {
        let rest = if i == 0 { to_add - added } else { 0 };
        set.replicas = (size + rest).max(0);
    }
}

/// (`FindActiveOrLatest`)
fn active_or_latest<'a>(new: Option<&'a mut Set>, old: &'a mut [Set]) -> Option<&'a mut Set> {
    let old_active = old.iter().rposition(Set::is_active);
    match (new, old_active) {
        (Some(new), at) if new.is_active() || at.is_none() => Some(new),
        (_, Some(at)) => old.get_mut(at),
        (_, None) => old.last_mut(),
    }
}

fn is_saturated(bounds: Bounds, new: &Set) -> bool {
    spec_replicas(&new.set) == bounds.replicas
        && new.number(DESIRED) == Some(bounds.replicas)
        && new.status(|status| status.available_replicas) == bounds.replicas
}

/// (`GetReplicaSetProportion`) `total` are the Deployment's pods, for sets without a note.
fn proportion(bounds: Bounds, total: i32, set: &Set, to_add: i32, added: i32) -> i32 {
    if set.replicas == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let share = if bounds.replicas == 0 {
        -set.replicas
    } else {
        let before = noted_most(set).unwrap_or(total).max(1);
        let most = f64::from(bounds.replicas.saturating_add(bounds.surge));
        let size = f64::from(set.replicas) * most / f64::from(before);
        size.round() as i32 - set.replicas
    };
    let left = to_add - added;
    if to_add > 0 { share.min(left) } else { share.max(left) }
}

#[cfg(test)]
mod tests;
