//! What there is to do for a Deployment, from it and its ReplicaSets. Pure.
//!
//! Source: kubernetes `pkg/controller/deployment/{deployment_controller,sync,rolling,recreate}.go`. Where upstream
//! goes on with what it has just written, here the next look does.

use std::sync::Arc;
use std::time::Duration;

use api::types::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use api::types::apimachinery::pkg::apis::meta::v1::Time;
use api::types::jiff::Timestamp;

use super::bounds::Bounds;
use super::scale;
use super::sets::{Annotations, REVISION, Set, make, renewed, revision, sizes, split};
use super::status;
use crate::meta::Meta;

/// One thing to write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Create(Box<ReplicaSet>),
    /// Its size, with the notes that go with it.
    Scale {
        set: Arc<ReplicaSet>,
        replicas: i32,
        notes: Annotations,
    },
    /// Its annotations, and how long its pods have to be ready.
    Renew {
        set: Arc<ReplicaSet>,
        annotations: Annotations,
        min_ready: Option<i32>,
    },
    /// It is of a revision that is too old.
    Delete(Arc<ReplicaSet>),
}

/// What there is to do.
#[derive(Debug, PartialEq)]
pub(crate) struct DeploymentPlan {
    pub(crate) steps: Vec<Step>,
    pub(crate) status: DeploymentStatus,
    /// The revision that is to be noted on the Deployment.
    pub(crate) revision: Option<i64>,
    pub(crate) again: Option<Duration>,
}

impl DeploymentPlan {
    /// Whether all is as it should be.
    pub(crate) fn is_empty(&self, deployment: &Deployment) -> bool {
        let noted = self.revision.is_none_or(|number| number == revision(deployment));
        self.steps.is_empty() && noted && deployment.status.as_ref() == Some(&self.status)
    }
}

/// Plans for a Deployment with these ReplicaSets; `running` says whether pods of a set have not ended.
pub(crate) fn plan(
    deployment: &Deployment,
    sets: &[Arc<ReplicaSet>],
    running: impl Fn(&ReplicaSet) -> bool,
    now: Timestamp,
) -> DeploymentPlan {
    let spec = deployment.spec.clone().unwrap_or_default();
    let (new, old) = split(&spec, sets);
    let now = status::seconds(now);
    let planner =
        Planner { deployment, bounds: Bounds::of(&spec), new, old, now, steps: vec![], revision: None };
    let all: Vec<&Set> = planner.old.iter().chain(&planner.new).collect();
    let recreates = spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate");
    if deployment.is_deleting() {
        return planner.counted();
    }
    if spec.paused == Some(true) || scale::is_scaling(planner.bounds, &all) {
        return planner.scale(!recreates, spec.paused == Some(true));
    }
    if recreates {
        let running = planner.old.iter().any(|set| running(&set.set));
        let gone = !running && !planner.old.iter().any(Set::is_active);
        return planner.roll(gone, |bounds, new, old| scale::recreate(bounds, new, old, running));
    }
    planner.roll(true, |bounds, new, old| {
        if let Some(new) = new {
            scale::rolling(bounds, new, old);
        }
    })
}

struct Planner<'a> {
    deployment: &'a Deployment,
    bounds: Bounds,
    new: Option<Set>,
    old: Vec<Set>,
    now: Time,
    steps: Vec<Step>,
    revision: Option<i64>,
}

impl Planner<'_> {
    /// A step of the roll-out; `may_make`: whether the new set may be made if it is not there.
    fn roll(
        mut self,
        may_make: bool,
        step: impl FnOnce(Bounds, Option<&mut Set>, &mut [Set]),
    ) -> DeploymentPlan {
        let made = self.new.is_none() && may_make;
        if made {
            self.make();
        } else if !self.renew() {
            step(self.bounds, self.new.as_mut(), &mut self.old);
            self.resize();
        }
        let mut status = status::progressed(self.deployment, self.new.as_ref(), &self.old, &self.now);
        if let Some(new) = &self.new {
            status::tell_new(self.deployment, &mut status, new.set.name(), false, &self.now);
        }
        if status::is_complete(self.deployment, &status) && self.steps.is_empty() {
            self.forget_old();
        }
        self.finish(status)
    }

    /// Its size has changed, or it is paused: no new template, but the same for all in proportion.
    fn scale(mut self, rolling: bool, paused: bool) -> DeploymentPlan {
        if !self.renew() {
            let total =
                self.deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or_default();
            scale::proportional(self.bounds, rolling, total, self.new.as_mut(), &mut self.old);
            self.resize();
            if paused {
                self.forget_old();
            }
        }
        let status = status::counted(self.deployment, self.new.as_ref(), &self.old, &self.now);
        self.finish(status)
    }

    fn counted(self) -> DeploymentPlan {
        let status = status::counted(self.deployment, self.new.as_ref(), &self.old, &self.now);
        self.finish(status)
    }

    fn finish(self, status: DeploymentStatus) -> DeploymentPlan {
        let again = status::look_again(self.deployment, &status, &self.now);
        DeploymentPlan { steps: self.steps, status, revision: self.revision, again }
    }

    /// The revision of a template that is new, or comes back.
    fn newest(&self) -> i64 {
        self.old.iter().map(|set| revision(set.set.as_ref())).max().unwrap_or_default() + 1
    }

    fn make(&mut self) {
        let newest = self.newest();
        let mut set = make(self.deployment, newest);
        let observed = self.old.iter().all(Set::is_observed);
        let there: i32 = self.old.iter().map(Set::pods).sum();
        let room = if observed { (self.bounds.most() - there).clamp(0, self.bounds.replicas) } else { 0 };
        set.spec.get_or_insert_default().replicas = Some(room);
        self.revision = Some(newest);
        self.steps.push(Step::Create(Box::new(set)));
    }

    /// Whether the new set's annotations were out of date, which comes first.
    fn renew(&mut self) -> bool {
        let newest = self.newest();
        let Some(new) = &self.new else { return false };
        let min_ready = self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        let has = new.set.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        let same = min_ready.unwrap_or_default() == has.unwrap_or_default();
        let annotations = renewed(self.deployment, &new.set, newest);
        if annotations.is_none() && same {
            self.revision =
                Some(revision(new.set.as_ref())).filter(|_| new.set.annotation(REVISION).is_some());
            return false;
        }
        let set = new.set.clone();
        let annotations = annotations.unwrap_or_else(|| set.metadata.annotations.clone().unwrap_or_default());
        self.steps.push(Step::Renew { set, annotations, min_ready });
        true
    }

    /// Writes sizes that have changed, and the notes of active sets that are out of date.
    fn resize(&mut self) {
        let notes = sizes(self.bounds);
        for set in self.old.iter().chain(&self.new) {
            let noted = notes.iter().all(|(key, value)| set.set.annotation(key) == Some(value));
            if set.is_scaled() || set.is_active() && !noted {
                let step = Step::Scale { set: set.set.clone(), replicas: set.replicas, notes: notes.clone() };
                self.steps.push(step);
            }
        }
    }

    /// Deletes sets of old revisions beyond those that shall be kept (`cleanupDeployment`).
    fn forget_old(&mut self) {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else { return };
        let mut alive: Vec<_> = self.old.iter().filter(|set| !set.set.is_deleting()).collect();
        let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        alive.sort_by_key(|set| revision(set.set.as_ref()));
        for set in alive.into_iter().take(surplus) {
            if set.pods() == 0 && set.is_observed() {
                self.steps.push(Step::Delete(set.set.clone()));
            }
        }
    }
}
