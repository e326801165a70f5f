//! What there is to do for a StatefulSet: one thing at a time, in the order of the numbers. Pure.
//!
//! Source: kubernetes `pkg/controller/statefulset/stateful_set_control.go` (`updateStatefulSet`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::types::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use api::types::api::core::v1::Pod;
use api::types::jiff::Timestamp;

use super::pod::{is_identified, ordinal};
use crate::history::HASH;
use crate::meta::Meta;
use crate::pods;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// The pod of that number, of the newest template or of the one before.
    Create { ordinal: i32, newest: bool },
    /// With the reason, if it is to be told: it had ended by itself.
    Delete(Arc<Pod>, Option<&'static str>),
    /// Its labels are gone.
    Identify(Arc<Pod>),
}

/// What there is to do.
#[derive(Debug, PartialEq)]
pub(crate) struct StatefulPlan {
    pub(crate) steps: Vec<Step>,
    pub(crate) status: StatefulSetStatus,
    pub(crate) again: Option<Duration>,
}

/// What is there.
pub(crate) struct Observed<'a> {
    pub(crate) set: &'a StatefulSet,
    /// The set's own.
    pub(crate) pods: &'a [Arc<Pod>],
    /// The names of the revision that all pods had, and of the newest template.
    pub(crate) current: &'a str,
    pub(crate) update: &'a str,
    pub(crate) now: Timestamp,
}

pub(crate) fn plan(observed: &Observed<'_>) -> StatefulPlan {
    let spec = observed.set.spec.clone().unwrap_or_default();
    let mut planner = Planner::new(observed, &spec);
    let status = planner.status();
    if !observed.set.is_deleting() && planner.replicas() && planner.condemned() {
        planner.update();
    }
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    let waits = observed.pods.iter().filter_map(|pod| pods::available_in(pod, min_ready, observed.now));
    let again = waits.filter(|wait| !wait.is_zero()).min();
    StatefulPlan { steps: planner.steps, status, again }
}

struct Planner<'a> {
    observed: &'a Observed<'a>,
    spec: &'a StatefulSetSpec,
    start: i32,
    count: i32,
    /// By their numbers; of those that are wanted, and of those that are not.
    wanted: BTreeMap<i32, &'a Arc<Pod>>,
    surplus: BTreeMap<i32, &'a Arc<Pod>>,
    steps: Vec<Step>,
}

impl<'a> Planner<'a> {
    fn new(observed: &'a Observed<'a>, spec: &'a StatefulSetSpec) -> Self {
        let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
        let count = spec.replicas.unwrap_or(1).max(0);
        let (mut wanted, mut surplus) = (BTreeMap::new(), BTreeMap::new());
        for pod in observed.pods {
            if let Some(ordinal) = ordinal(observed.set, pod) {
                let range = start..start.saturating_add(count);
                let to = if range.contains(&ordinal) { &mut wanted } else { &mut surplus };
                to.insert(ordinal, pod);
            }
        }
        Self { observed, spec, start, count, wanted, surplus, steps: vec![] }
    }

    fn ordinals(&self) -> std::ops::Range<i32> {
        self.start..self.start.saturating_add(self.count)
    }

    /// One after the other, or all at once.
    fn in_order(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    fn is_healthy(&self, pod: &Pod) -> bool {
        pods::phase(pod) == "Running" && pods::is_ready(pod) && !pod.is_deleting()
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let min_ready = self.spec.min_ready_seconds.unwrap_or_default();
        self.is_healthy(pod) && pods::is_available(pod, min_ready, self.observed.now)
    }

    fn is_new(&self, pod: &Pod) -> bool {
        pod.label(HASH) == Some(self.observed.update)
    }

    /// Numbers from here on get the newest template.
    fn partition(&self) -> Option<i32> {
        let strategy = self.spec.update_strategy.as_ref()?;
        strategy.rolling_update.as_ref()?.partition.filter(|partition| *partition > 0)
    }

    /// (`newVersionedStatefulSetPod`)
    fn wants_newest(&self, ordinal: i32) -> bool {
        match self.partition() {
            Some(partition) => ordinal >= self.start.saturating_add(partition),
            None => {
                let status = self.observed.set.status.as_ref();
                let current = status.and_then(|status| status.current_replicas).unwrap_or_default();
                ordinal >= self.start.saturating_add(current) || self.observed.current == self.observed.update
            }
        }
    }

    /// Those that are wanted; says whether all are as they should be, so that others come to their turn.
    fn replicas(&mut self) -> bool {
        let in_order = self.in_order();
        for ordinal in self.ordinals() {
            // However many are wanted: the events of these bring the next.
            if self.steps.len() >= pods::BURST {
                return false;
            }
            let Some(pod) = self.wanted.get(&ordinal).copied() else {
                self.steps.push(Step::Create { ordinal, newest: self.wants_newest(ordinal) });
                if in_order {
                    return false;
                }
                continue;
            };
            let ended = match pods::phase(pod) {
                "Failed" => Some("RecreatingFailedPod"),
                "Succeeded" => Some("RecreatingTerminatedPod"),
                _ => None,
            };
            if ended.is_some() {
                if !pod.is_deleting() {
                    self.steps.push(Step::Delete(pod.clone(), ended));
                }
                if in_order {
                    return false;
                }
                continue;
            }
            if !is_identified(pod) && !pod.is_deleting() {
                self.steps.push(Step::Identify(pod.clone()));
            }
            if in_order && !self.is_available(pod) {
                return false;
            }
        }
        self.steps.is_empty()
    }

    /// Those that are not wanted go, the highest number first; says whether none is left.
    fn condemned(&mut self) -> bool {
        let in_order = self.in_order();
        let unhealthy = |planner: &Self| {
            let all = planner.wanted.values().chain(planner.surplus.values());
            all.copied().find(|pod| !planner.is_healthy(pod)).map(|pod| pod.uid().to_owned())
        };
        let first_unhealthy = unhealthy(self);
        for pod in self.surplus.clone().into_values().rev() {
            if pod.is_deleting() {
                if in_order {
                    return false;
                }
                continue;
            }
            if in_order && !self.is_healthy(pod) && first_unhealthy.as_deref() != Some(pod.uid()) {
                return false;
            }
            self.steps.push(Step::Delete(pod.clone(), None));
            if in_order {
                return false;
            }
        }
        self.surplus.is_empty()
    }

    /// Pods of an old template go, the highest number first, each when those above it serve.
    fn update(&mut self) {
        let strategy = self.spec.update_strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
            return;
        }
        let least = self.start.saturating_add(self.partition().unwrap_or(0));
        for (ordinal, pod) in self.wanted.clone().into_iter().rev() {
            if ordinal < least {
                return;
            }
            if !self.is_new(pod) && !pod.is_deleting() {
                self.steps.push(Step::Delete(pod.clone(), None));
                return;
            }
            if !self.is_available(pod) {
                return;
            }
        }
    }

    fn status(&self) -> StatefulSetStatus {
        let Observed { set, current, update, .. } = *self.observed;
        let before = set.status.clone().unwrap_or_default();
        let all = || self.wanted.values().chain(self.surplus.values()).map(|pod| pod.as_ref());
        let count = |of: &dyn Fn(&Pod) -> bool| {
            i32::try_from(all().filter(|pod| of(pod)).count()).unwrap_or(i32::MAX)
        };
        let lives = |pod: &Pod| !pod.is_deleting() && !pods::is_terminal(pod);
        let of = |pod: &Pod, revision: &str| lives(pod) && pod.label(HASH) == Some(revision);
        let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
        let replicas = count(&|_| true);
        let ready = count(&|pod| pods::phase(pod) == "Running" && pods::is_ready(pod));
        let updated = count(&|pod| of(pod, update));
        // The update is complete, and what was new is what all have (`completeRollingUpdate`).
        let rolls =
            self.spec.update_strategy.as_ref().and_then(|one| one.type_.as_deref()) != Some("OnDelete");
        let complete = rolls && updated == replicas && ready == replicas && replicas == self.count;
        let current = if complete { update } else { current };
        StatefulSetStatus {
            replicas,
            ready_replicas: nonzero(ready),
            available_replicas: Some(count(&|pod| self.is_available(pod))),
            current_replicas: nonzero(count(&|pod| of(pod, current))),
            updated_replicas: nonzero(updated),
            current_revision: Some(current.into()),
            update_revision: Some(update.into()),
            observed_generation: set.metadata.generation,
            collision_count: Some(before.collision_count.unwrap_or_default()),
            conditions: before.conditions,
        }
    }
}
