//! StatefulSets: pods with numbers, made and replaced in their order.
//!
//! [`pod`] makes them, [`plan()`] says which, this module looks and writes. Claims of volumes are written into the
//! pods as upstream does it, but nobody here makes volumes for them.

mod plan;
mod pod;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::Selector;
use api::types::api::apps::v1::{ControllerRevision, StatefulSet};
use api::types::api::core::v1::{Pod, PodTemplateSpec};
use runtime::{Queue, chain};
use store::ObjectName;
use store::events::{NORMAL, Recorder, WARNING, reference};

use crate::claim::{self, Claim, claim, ignore_missing, settle};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::driver::{Controller, Plan};
use crate::error::Result;
use crate::history::{self, HASH, Revision};
use crate::meta::Meta;
use crate::replica_set::{by_owner, orphans};
use crate::view::{Source, View, sides};
use crate::writer::Writer;

use plan::{Observed, StatefulPlan, Step, plan};
use pod::{identify, make};

/// The controller.
#[derive(Debug)]
pub(crate) struct StatefulSets {
    sets: View<StatefulSet>,
    revisions: View<ControllerRevision>,
    pods: View<Pod>,
    recorder: Recorder,
    clock: Clock,
}

/// What there is to do for one.
#[derive(Debug)]
pub(crate) struct Work {
    set: Arc<StatefulSet>,
    claim: Claim<Pod>,
    update: Revision,
    /// The name and the template that all pods had, if that is another one.
    current: Option<(String, PodTemplateSpec)>,
    plan: StatefulPlan,
    superfluous: Vec<Arc<ControllerRevision>>,
}

impl StatefulSets {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self {
            sets: View::new(&cluster.stateful_sets, |_| vec![]),
            revisions: View::new(&cluster.revisions, by_owner),
            pods: View::new(&cluster.pods, by_owner),
            recorder: cluster.recorder(Self::NAME),
            clock: cluster.clock.clone(),
        }
    }
}

fn selector(set: &StatefulSet) -> Selector {
    claim::selector(set.spec.as_ref().map(|spec| &spec.selector))
}

impl Controller for StatefulSets {
    const NAME: &'static str = "statefulset-controller";
    type Key = ObjectName;
    type Work = Work;

    fn sources(&self) -> Vec<&dyn Source> {
        vec![&self.sets, &self.revisions, &self.pods]
    }

    fn observe(&mut self, queue: &mut Queue<ObjectName>) {
        self.sets.drain_into(queue);
        for change in self.revisions.drain() {
            let (old, new) = sides(&change);
            let owners =
                [old, new].into_iter().flatten().filter_map(|revision| revision.owner::<StatefulSet>());
            owners.for_each(|set| queue.add(set));
        }
        for change in self.pods.drain() {
            let (old, new) = sides(&change);
            let owners = [old, new].into_iter().flatten().filter_map(|pod| pod.owner::<StatefulSet>());
            owners.for_each(|set| queue.add(set));
            for orphan in new.into_iter().filter(|pod| pod.controller().is_none()) {
                let selects =
                    |set: &&Arc<StatefulSet>| selector(set).matches(orphan.metadata.labels.as_ref());
                let sets = self.sets.of_namespace(orphan.namespace()).filter(selects);
                sets.for_each(|set| queue.add(set.key()));
            }
        }
    }

    fn plan(&mut self, key: &ObjectName) -> Plan<Work> {
        let Some(set) = self.sets.get(key) else { return Plan::nothing() };
        let spec = set.spec.clone().unwrap_or_default();
        let own = self.pods.by(set.uid());
        // Only an orphan with one of its names.
        let orphans = self.pods.by(&orphans(set.namespace())).filter(|one| pod::ordinal(set, one).is_some());
        let claim = claim(&set.metadata, &selector(set), own.chain(orphans));
        let revisions: Vec<_> = self.revisions.by(set.uid()).cloned().collect();
        let status = set.status.clone().unwrap_or_default();
        let update = history::revision(set.as_ref(), &spec.template, status.collision_count, &revisions);
        let named =
            |revision: &&Arc<ControllerRevision>| status.current_revision.as_deref() == Some(revision.name());
        let current = revisions.iter().find(named).filter(|current| current.name() != update.name);
        let current = current.and_then(|one| Some((one.name().to_owned(), history::template_of(one)?)));
        let current_name = current.as_ref().map_or(update.name.as_str(), |(name, _)| name);
        let now = self.clock.now();
        let observed = Observed { set, pods: &claim.mine, current: current_name, update: &update.name, now };
        let plan = plan(&observed);
        let mut live: BTreeSet<&str> = claim.mine.iter().filter_map(|pod| pod.label(HASH)).collect();
        live.extend([current_name, &update.name]);
        let superfluous = history::superfluous(&revisions, &live, spec.revision_history_limit);
        let settled = claim.adopt.is_empty() && claim.release.is_empty() && update.step.is_none();
        let nothing = settled
            && plan.steps.is_empty()
            && superfluous.is_empty()
            && set.status.as_ref() == Some(&plan.status);
        let again = plan.again;
        let work = (!nothing).then(|| Work { set: set.clone(), claim, update, current, plan, superfluous });
        Plan { work, again }
    }

    fn apply(&self, work: Work, writer: Writer) -> impl Future<Output = Result<()>> + Send + 'static {
        let recorder = self.recorder.clone();
        async move { apply(work, &writer, &recorder).await }
    }
}

async fn apply(work: Work, writer: &Writer, recorder: &Recorder) -> Result<()> {
    let Work { set, claim, update, current, plan, superfluous } = work;
    settle(set.as_ref(), &claim, writer).await?;
    let mut status = plan.status;
    let mut done = Ok(());
    if let Some(step) = &update.step {
        if history::apply(step, writer).await? {
            status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
        }
    } else {
        let template = set.spec.clone().unwrap_or_default().template;
        let newest = (update.name, template);
        for step in plan.steps {
            let result = match step {
                Step::Create { ordinal, newest: wants_newest } => {
                    let (revision, template) =
                        if wants_newest { &newest } else { current.as_ref().unwrap_or(&newest) };
                    create(&set, &make(&set, template, ordinal, revision), writer, recorder).await
                }
                Step::Delete(pod, ended) => delete(&set, &pod, ended, writer, recorder).await,
                Step::Identify(pod) => {
                    let change = |pod: &mut Pod| identify(&set, pod);
                    ignore_missing(writer.modify(pod.as_ref(), change).await)
                }
            };
            done = done.and(result);
        }
        for revision in superfluous {
            writer.delete(revision.as_ref()).await?;
        }
    }
    let write = |set: &mut StatefulSet| set.status = Some(status.clone());
    ignore_missing(writer.modify(set.as_ref(), write).await)?;
    done
}

async fn create(set: &StatefulSet, pod: &Pod, writer: &Writer, recorder: &Recorder) -> Result<()> {
    let created = writer.create(pod).await;
    let what = format!("create Pod {} in StatefulSet {}", pod.name(), set.name());
    let (kind, reason, message) = match &created {
        Ok(_) => (NORMAL, "SuccessfulCreate", format!("{what} successful")),
        Err(error) => (WARNING, "FailedCreate", format!("{what} failed error: {}", chain(error))),
    };
    recorder.event(&reference(set), kind, reason, &message);
    created.map(|_| ())
}

async fn delete(
    set: &StatefulSet,
    pod: &Pod,
    ended: Option<&str>,
    writer: &Writer,
    recorder: &Recorder,
) -> Result<()> {
    if let Some(reason) = ended {
        let how = if reason == "RecreatingFailedPod" { "failed" } else { "terminated" };
        let message = format!("StatefulSet {} is recreating {how} Pod {}", set.key(), pod.name());
        recorder.event(&reference(set), WARNING, reason, &message);
    }
    let deleted = writer.delete(pod).await;
    let what = format!("delete Pod {} in StatefulSet {}", pod.name(), set.name());
    let (kind, reason, message) = match &deleted {
        Ok(()) => (NORMAL, "SuccessfulDelete", format!("{what} successful")),
        Err(error) => (WARNING, "FailedDelete", format!("{what} failed error: {}", chain(error))),
    };
    recorder.event(&reference(set), kind, reason, &message);
    deleted
}

#[cfg(test)]
mod tests;
