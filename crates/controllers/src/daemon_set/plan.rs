//! What there is to do for a DaemonSet. Pure.
//!
//! Source: kubernetes `pkg/controller/daemon/{daemon_controller,update}.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::types::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use api::types::api::core::v1::{Node, Pod, PodSpec};
use api::types::apimachinery::pkg::util::intstr::IntOrString;
use api::types::jiff::Timestamp;

use super::place::{Fit, fit, node_of, tolerant};
use crate::history::HASH;
use crate::meta::Meta;
use crate::pods;

/// A pod that has failed is replaced, but not at once again and again.
const PAUSE: Duration = Duration::from_secs(10);

/// What there is to do.
#[derive(Debug, PartialEq)]
pub(crate) struct DaemonPlan {
    /// The nodes that need a pod.
    pub(crate) create: Vec<String>,
    pub(crate) delete: Vec<Arc<Pod>>,
    pub(crate) status: DaemonSetStatus,
    pub(crate) again: Option<Duration>,
}

/// What is there.
pub(crate) struct Observed<'a> {
    pub(crate) set: &'a DaemonSet,
    pub(crate) nodes: Vec<&'a Arc<Node>>,
    /// The set's own.
    pub(crate) pods: &'a [Arc<Pod>],
    /// Of the newest template.
    pub(crate) hash: &'a str,
    pub(crate) now: Timestamp,
}

/// A node with the pods that are there, or will be.
struct Place<'a> {
    node: &'a Node,
    fit: Fit,
    /// The oldest first; those that are there before those that are not.
    pods: Vec<&'a Arc<Pod>>,
}

pub(crate) fn plan(observed: &Observed<'_>) -> DaemonPlan {
    let set_spec = observed.set.spec.clone().unwrap_or_default();
    let spec = tolerant(set_spec.template.spec.as_ref().unwrap_or(&PodSpec::default()));
    let mut on: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in observed.pods {
        on.entry(node_of(pod).unwrap_or_default()).or_default().push(pod);
    }
    let places: Vec<Place<'_>> = observed
        .nodes
        .iter()
        .map(|node| {
            let mut pods = on.remove(node.name()).unwrap_or_default();
            let age = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|at| at.0);
            pods.sort_by_key(|pod| (pods::node_name(pod).is_empty(), age(pod), pod.name().to_owned()));
            Place { node, fit: fit(&spec, node), pods }
        })
        .collect();
    let status = status(observed, &set_spec, &places);
    let mut plan = DaemonPlan { create: vec![], delete: vec![], status, again: None };
    if observed.set.is_deleting() {
        return plan;
    }
    let bounds = Bounds::of(&set_spec, plan.status.desired_number_scheduled);
    places.iter().for_each(|place| manage(observed, &set_spec, bounds, place, &mut plan));
    // Pods of nodes that are not there.
    let lost = on.into_values().flatten().filter(|pod| !pod.is_deleting());
    plan.delete.extend(lost.cloned());
    let rolls = set_spec.update_strategy.as_ref().and_then(|one| one.type_.as_deref()) != Some("OnDelete");
    if rolls && plan.create.is_empty() && plan.delete.is_empty() {
        roll(observed, &set_spec, bounds, &places, &mut plan);
    }
    let min_ready = set_spec.min_ready_seconds.unwrap_or_default();
    let waits = observed.pods.iter().filter_map(|pod| pods::available_in(pod, min_ready, observed.now));
    plan.again = waits.filter(|wait| !wait.is_zero()).chain(plan.again).min();
    plan
}

/// How many pods an update may have too few, or too many.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    unavailable: usize,
    surge: usize,
}

impl Bounds {
    fn of(spec: &DaemonSetSpec, desired: i32) -> Self {
        let rolling = spec.update_strategy.clone().unwrap_or_default().rolling_update.unwrap_or_default();
        let scaled = |value: Option<IntOrString>, default: i32| {
            let number = match value {
                None => i64::from(default),
                Some(IntOrString::Int(number)) => number.into(),
                Some(IntOrString::String(text)) => {
                    let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
                    i64::from(desired).saturating_mul(percent).saturating_add(99) / 100
                }
            };
            usize::try_from(number).unwrap_or(0)
        };
        let surge = scaled(rolling.max_surge, 0);
        let unavailable = scaled(rolling.max_unavailable, 1);
        // Something has to give.
        Self { unavailable: if surge == 0 { unavailable.max(1) } else { unavailable }, surge }
    }
}

/// One pod on each node that should have one, none on others (`podsShouldBeOnNode`).
fn manage(
    observed: &Observed<'_>,
    spec: &DaemonSetSpec,
    bounds: Bounds,
    place: &Place<'_>,
    plan: &mut DaemonPlan,
) {
    let ending = |pod: &&&Arc<Pod>| pod.is_deleting();
    if place.fit.run && place.pods.is_empty() {
        plan.create.push(place.node.name().into());
        return;
    }
    if !place.fit.stay {
        plan.delete.extend(place.pods.iter().filter(|pod| !pod.is_deleting()).map(|pod| (*pod).clone()));
        return;
    }
    let mut running = Vec::new();
    for pod in place.pods.iter().filter(|pod| !ending(pod)) {
        if !pods::is_terminal(pod) {
            running.push(*pod);
            continue;
        }
        let made = pod.metadata.creation_timestamp.as_ref().map_or(observed.now, |at| at.0);
        let age = Duration::try_from(observed.now.duration_since(made)).unwrap_or_default();
        match PAUSE.checked_sub(age).filter(|left| !left.is_zero()) {
            None => plan.delete.push((*pod).clone()),
            Some(left) => plan.again = plan.again.into_iter().chain([left]).min(),
        }
    }
    // While a node is updated with surge, an old pod and a new one are there.
    let is_new = |pod: &&Arc<Pod>| pod.label(HASH) == Some(observed.hash);
    let (new, old): (Vec<&Arc<Pod>>, Vec<&Arc<Pod>>) = running.iter().copied().partition(is_new);
    let both = bounds.surge > 0 && !new.is_empty() && !old.is_empty();
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    if both {
        let serves = new.iter().any(|pod| pods::is_available(pod, min_ready, observed.now));
        let superfluous = if serves { &old[..] } else { &old[1..] };
        plan.delete.extend(superfluous.iter().chain(&new[1..]).map(|pod| (*pod).clone()));
    } else {
        plan.delete.extend(running.into_iter().skip(1).cloned());
    }
}

/// Replaces pods of old templates, a few at a time (`rollingUpdate`).
fn roll(
    observed: &Observed<'_>,
    spec: &DaemonSetSpec,
    bounds: Bounds,
    places: &[Place<'_>],
    plan: &mut DaemonPlan,
) {
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    let available = |pod: &Pod| pods::is_available(pod, min_ready, observed.now) && !pod.is_deleting();
    let is_new = |pod: &&&Arc<Pod>| pod.label(HASH) == Some(observed.hash);
    let (mut missing, mut surging) = (0, 0);
    let (mut at_once, mut candidates) = (vec![], vec![]);
    for place in places.iter().filter(|place| place.fit.run) {
        let new = place.pods.iter().find(is_new);
        let old = place.pods.iter().find(|pod| !is_new(pod) && !pod.is_deleting());
        match (new, old) {
            (None, None) => missing += 1,
            (Some(new), None) => missing += usize::from(!available(new)),
            (None, Some(old)) if !available(old) => {
                missing += 1;
                at_once.push((place, *old));
            }
            (None, Some(old)) => candidates.push((place, *old)),
            (Some(_), Some(_)) => surging += 1,
        }
    }
    if bounds.surge > 0 {
        let room = bounds.surge.saturating_sub(surging);
        let nodes = at_once.iter().chain(candidates.iter().take(room));
        plan.create.extend(nodes.map(|(place, _)| place.node.name().to_owned()));
    } else {
        let room = bounds.unavailable.saturating_sub(missing);
        let old = at_once.iter().chain(candidates.iter().take(room));
        plan.delete.extend(old.map(|(_, pod)| (*pod).clone()));
    }
}

fn status(observed: &Observed<'_>, spec: &DaemonSetSpec, places: &[Place<'_>]) -> DaemonSetStatus {
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    let count = |of: &dyn Fn(&Place<'_>) -> bool| {
        i32::try_from(places.iter().filter(|place| of(place)).count()).unwrap_or(i32::MAX)
    };
    let runs = |place: &Place<'_>, of: &dyn Fn(&Pod) -> bool| {
        place.fit.run && place.pods.first().is_some_and(|pod| of(pod))
    };
    let desired = count(&|place| place.fit.run);
    let available = count(&|place| runs(place, &|pod| pods::is_available(pod, min_ready, observed.now)));
    let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
    let before = observed.set.status.clone().unwrap_or_default();
    DaemonSetStatus {
        desired_number_scheduled: desired,
        current_number_scheduled: count(&|place| runs(place, &|_| true)),
        number_misscheduled: count(&|place| !place.fit.run && !place.pods.is_empty()),
        number_ready: count(&|place| runs(place, &pods::is_ready)),
        updated_number_scheduled: nonzero(count(&|place| {
            runs(place, &|pod| pod.label(HASH) == Some(observed.hash))
        })),
        number_available: nonzero(available),
        number_unavailable: nonzero(desired - available),
        observed_generation: observed.set.metadata.generation,
        collision_count: before.collision_count,
        conditions: before.conditions,
    }
}
