//! Deployments: ReplicaSets for each template, and the way from one to the next.
//!
//! - [`bounds`]: how many pods may be too many and too few; [`sets`]: which ReplicaSet is which;
//!   [`scale`]: how many pods each has next; [`status`]: counts and conditions;
//! - [`plan()`]: all of it together; this module looks and writes.
//!
//! Going back is going on with an old template: who wants that copies the template of the ReplicaSet with that
//! revision into the Deployment.

mod bounds;
mod plan;
mod scale;
mod sets;
mod status;

use std::sync::Arc;

use api::Selector;
use api::types::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use api::types::api::core::v1::Pod;
use runtime::{Queue, chain};
use store::ObjectName;
use store::events::{NORMAL, Recorder, WARNING, reference};

use crate::claim::{self, Claim, claim, ignore_missing, settle};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::driver::{Controller, Plan};
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::pods;
use crate::replica_set::{by_owner, orphans};
use crate::view::{Source, View, sides};
use crate::writer::Writer;

use plan::{DeploymentPlan, Step, plan};
use sets::{Annotations, REVISION, has_template, spec_replicas};

/// The controller.
#[derive(Debug)]
pub(crate) struct Deployments {
    deployments: View<Deployment>,
    sets: View<ReplicaSet>,
    pods: View<Pod>,
    recorder: Recorder,
    clock: Clock,
}

/// What there is to do for one.
#[derive(Debug)]
pub(crate) struct Work {
    deployment: Arc<Deployment>,
    claim: Claim<ReplicaSet>,
    plan: DeploymentPlan,
}

impl Deployments {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self {
            deployments: View::new(&cluster.deployments, |_| vec![]),
            sets: View::new(&cluster.replica_sets, by_owner),
            pods: View::new(&cluster.pods, by_owner),
            recorder: cluster.recorder(Self::NAME),
            clock: cluster.clock.clone(),
        }
    }

    /// The Deployments that a ReplicaSet, as it is, concerns.
    fn concerned(&self, set: &ReplicaSet) -> Vec<ObjectName> {
        if set.controller().is_some() {
            return set.owner::<Deployment>().into_iter().collect();
        }
        let selects =
            |deployment: &&Arc<Deployment>| selector(deployment).matches(set.metadata.labels.as_ref());
        let all = self.deployments.of_namespace(set.namespace());
        all.filter(selects).map(|deployment| deployment.key()).collect()
    }
}

fn selector(deployment: &Deployment) -> Selector {
    claim::selector(deployment.spec.as_ref().map(|spec| &spec.selector))
}

impl Controller for Deployments {
    const NAME: &'static str = "deployment-controller";
    type Key = ObjectName;
    type Work = Work;

    fn sources(&self) -> Vec<&dyn Source> {
        vec![&self.deployments, &self.sets, &self.pods]
    }

    fn observe(&mut self, queue: &mut Queue<ObjectName>) {
        self.deployments.drain_into(queue);
        for change in self.sets.drain() {
            let (old, new) = sides(&change);
            for set in [old, new].into_iter().flatten() {
                self.concerned(set).into_iter().for_each(|name| queue.add(name));
            }
        }
        for change in self.pods.drain() {
            // Only a pod that has gone or ended matters, to those that wait for all of them.
            let (Some(old), new) = sides(&change) else { continue };
            if new.is_some_and(|new| !pods::is_terminal(new)) {
                continue;
            }
            let Some(owner) = old.controller() else { continue };
            let set = self.sets.get(&ObjectName::new(old.namespace(), &owner.name));
            let names = set.map(|set| self.concerned(set)).unwrap_or_default();
            names.into_iter().for_each(|name| queue.add(name));
        }
    }

    fn plan(&mut self, key: &ObjectName) -> Plan<Work> {
        let Some(deployment) = self.deployments.get(key) else { return Plan::nothing() };
        let own = self.sets.by(deployment.uid());
        let orphans = self.sets.by(&orphans(deployment.namespace()));
        let claim = claim(&deployment.metadata, &selector(deployment), own.chain(orphans));
        let running = |set: &ReplicaSet| self.pods.by(set.uid()).any(|pod| !pods::is_terminal(pod));
        let plan = plan(deployment, &claim.mine, running, self.clock.now());
        let again = plan.again;
        let settled = claim.adopt.is_empty() && claim.release.is_empty();
        let work = (!settled || !plan.is_empty(deployment)).then(|| Work {
            deployment: deployment.clone(),
            claim,
            plan,
        });
        Plan { work, again }
    }

    fn apply(&self, work: Work, writer: Writer) -> impl Future<Output = Result<()>> + Send + 'static {
        let applier = Applier { writer, recorder: self.recorder.clone(), clock: self.clock.clone() };
        async move { applier.apply(work).await }
    }
}

/// Everything that writing takes.
struct Applier {
    writer: Writer,
    recorder: Recorder,
    clock: Clock,
}

impl Applier {
    async fn apply(&self, work: Work) -> Result<()> {
        let Work { deployment, claim, plan } = work;
        settle(deployment.as_ref(), &claim, &self.writer).await?;
        let mut status = plan.status;
        let mut done = Ok(());
        for step in plan.steps {
            done = match step {
                Step::Create(set) => self.create(&deployment, *set, &mut status).await,
                Step::Scale { set, replicas, notes } => self.scale(&deployment, &set, replicas, &notes).await,
                Step::Renew { set, annotations, min_ready } => {
                    self.renew(&set, &annotations, min_ready).await
                }
                Step::Delete(set) => self.writer.delete(set.as_ref()).await,
            };
            if done.is_err() {
                break;
            }
        }
        let revision = plan.revision.filter(|_| done.is_ok());
        self.write(&deployment, &status, revision).await?;
        done
    }

    async fn create(
        &self,
        deployment: &Deployment,
        set: ReplicaSet,
        status: &mut DeploymentStatus,
    ) -> Result<()> {
        let (name, replicas, now) = (set.name().to_owned(), spec_replicas(&set), self.clock.time());
        match self.writer.create(&set).await {
            Ok(_) => {
                status::tell_new(deployment, status, &name, true, &now);
                if replicas > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {replicas}");
                    self.recorder.event(&reference(deployment), NORMAL, "ScalingReplicaSet", &message);
                }
                Ok(())
            }
            Err(exists @ Error::Store(store::Error::Exists { .. })) => {
                let there: Option<ReplicaSet> = self.writer.store().get(set.namespace(), &name).await?;
                let template = &deployment.spec.clone().unwrap_or_default().template;
                let ours = |there: &ReplicaSet| {
                    has_template(there, template)
                        && there.controller().is_some_and(|owner| owner.uid == deployment.uid())
                };
                if there.as_ref().is_some_and(ours) {
                    // The view will show it.
                    return Err(exists);
                }
                // It is another one, whose template has the same hash.
                status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
                Ok(())
            }
            Err(error) => {
                let why = chain(&error);
                status::tell_refused(status, &name, &why, &now);
                let message = format!("Failed to create new replica set \"{name}\": {why}");
                self.recorder.event(&reference(deployment), WARNING, "ReplicaSetCreateError", &message);
                Err(error)
            }
        }
    }

    async fn scale(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        replicas: i32,
        notes: &Annotations,
    ) -> Result<()> {
        let change = |set: &mut ReplicaSet| {
            set.metadata.annotations.get_or_insert_default().extend(notes.clone());
            if spec_replicas(set) != replicas {
                set.spec.get_or_insert_default().replicas = Some(replicas);
                count(set);
            }
        };
        self.writer.modify(set, change).await?;
        let (name, before) = (set.name(), spec_replicas(set));
        if before != replicas {
            let direction = if replicas > before { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {name} from {before} to {replicas}");
            self.recorder.event(&reference(deployment), NORMAL, "ScalingReplicaSet", &message);
        }
        Ok(())
    }

    async fn renew(&self, set: &ReplicaSet, annotations: &Annotations, min_ready: Option<i32>) -> Result<()> {
        let change = |set: &mut ReplicaSet| {
            set.metadata.annotations = Some(annotations.clone());
            let spec = set.spec.get_or_insert_default();
            if spec.min_ready_seconds.unwrap_or_default() != min_ready.unwrap_or_default() {
                spec.min_ready_seconds = min_ready;
                count(set);
            }
        };
        self.writer.modify(set, change).await.map(|_| ())
    }

    async fn write(
        &self,
        deployment: &Deployment,
        status: &DeploymentStatus,
        revision: Option<i64>,
    ) -> Result<()> {
        let change = |deployment: &mut Deployment| {
            deployment.status = Some(status.clone());
            if let Some(revision) = revision {
                let annotations = deployment.metadata.annotations.get_or_insert_default();
                annotations.insert(REVISION.into(), revision.to_string());
            }
        };
        ignore_missing(self.writer.modify(deployment, change).await)
    }
}

/// Counts a change of its spec.
fn count(set: &mut ReplicaSet) {
    set.metadata.generation = Some(set.metadata.generation.unwrap_or_default() + 1);
}

#[cfg(test)]
mod tests;
