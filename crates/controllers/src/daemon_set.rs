//! DaemonSets: one pod on each node.
//!
//! [`place`] says on which, [`plan()`] what to do, this module looks and writes; the scheduler puts the pods
//! there.

mod place;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::Selector;
use api::types::api::apps::v1::{ControllerRevision, DaemonSet};
use api::types::api::core::v1::{Node, Pod};
use runtime::{Queue, chain};
use store::ObjectName;
use store::events::{NORMAL, Recorder, WARNING, reference};

use crate::claim::{self, Claim, claim, ignore_missing, settle};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::driver::{Controller, Plan};
use crate::error::Result;
use crate::history::{self, HASH, Revision};
use crate::meta::{Meta, controller_reference};
use crate::pods;
use crate::replica_set::{by_owner, orphans};
use crate::view::{Source, View, sides};
use crate::writer::Writer;

pub(crate) use place::node_of;
use place::{for_node, tolerant};
use plan::{DaemonPlan, Observed, plan};

/// The controller.
#[derive(Debug)]
pub(crate) struct DaemonSets {
    sets: View<DaemonSet>,
    revisions: View<ControllerRevision>,
    pods: View<Pod>,
    nodes: View<Node>,
    recorder: Recorder,
    clock: Clock,
}

/// What there is to do for one.
#[derive(Debug)]
pub(crate) struct Work {
    set: Arc<DaemonSet>,
    claim: Claim<Pod>,
    revision: Revision,
    plan: DaemonPlan,
    superfluous: Vec<Arc<ControllerRevision>>,
}

impl DaemonSets {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self {
            sets: View::new(&cluster.daemon_sets, |_| vec![]),
            revisions: View::new(&cluster.revisions, by_owner),
            pods: View::new(&cluster.pods, by_owner),
            nodes: View::new(&cluster.nodes, |_| vec![]),
            recorder: cluster.recorder(Self::NAME),
            clock: cluster.clock.clone(),
        }
    }
}

/// What of a node decides whether daemons run there.
fn decisive(node: &Node) -> impl PartialEq {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
    (node.metadata.labels.clone(), taints)
}

impl Controller for DaemonSets {
    const NAME: &'static str = "daemonset-controller";
    type Key = ObjectName;
    type Work = Work;

    fn sources(&self) -> Vec<&dyn Source> {
        vec![&self.sets, &self.revisions, &self.pods, &self.nodes]
    }

    fn observe(&mut self, queue: &mut Queue<ObjectName>) {
        self.sets.drain_into(queue);
        for change in self.revisions.drain() {
            let (old, new) = sides(&change);
            let owners =
                [old, new].into_iter().flatten().filter_map(|revision| revision.owner::<DaemonSet>());
            owners.for_each(|set| queue.add(set));
        }
        for change in self.pods.drain() {
            let (old, new) = sides(&change);
            let owners = [old, new].into_iter().flatten().filter_map(|pod| pod.owner::<DaemonSet>());
            owners.for_each(|set| queue.add(set));
            for orphan in new.into_iter().filter(|pod| pod.controller().is_none()) {
                let selects = |set: &&Arc<DaemonSet>| selector(set).matches(orphan.metadata.labels.as_ref());
                let sets = self.sets.of_namespace(orphan.namespace()).filter(selects);
                sets.for_each(|set| queue.add(set.key()));
            }
        }
        for change in self.nodes.drain() {
            let (old, new) = sides(&change);
            if old.map(|node| decisive(node)) != new.map(|node| decisive(node)) {
                self.sets.all().for_each(|set| queue.add(set.key()));
            }
        }
    }

    fn plan(&mut self, key: &ObjectName) -> Plan<Work> {
        let Some(set) = self.sets.get(key) else { return Plan::nothing() };
        let spec = set.spec.clone().unwrap_or_default();
        let all = self.pods.by(set.uid()).chain(self.pods.by(&orphans(set.namespace())));
        let claim = claim(&set.metadata, &selector(set), all);
        let revisions: Vec<_> = self.revisions.by(set.uid()).cloned().collect();
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let revision = history::revision(set.as_ref(), &spec.template, collisions, &revisions);
        let nodes = self.nodes.all().collect();
        let now = self.clock.now();
        let observed = Observed { set, nodes, pods: &claim.mine, hash: &revision.hash, now };
        let plan = plan(&observed);
        let mut live: BTreeSet<&str> = claim.mine.iter().filter_map(|pod| pod.label(HASH)).collect();
        live.insert(&revision.hash);
        let superfluous = history::superfluous(&revisions, &live, spec.revision_history_limit);
        let settled = claim.adopt.is_empty() && claim.release.is_empty() && revision.step.is_none();
        let still = plan.create.is_empty() && plan.delete.is_empty() && superfluous.is_empty();
        let again = plan.again;
        let nothing = settled && still && set.status.as_ref() == Some(&plan.status);
        let work = (!nothing).then(|| Work { set: set.clone(), claim, revision, plan, superfluous });
        Plan { work, again }
    }

    fn apply(&self, work: Work, writer: Writer) -> impl Future<Output = Result<()>> + Send + 'static {
        let recorder = self.recorder.clone();
        async move { apply(work, &writer, &recorder).await }
    }
}

fn selector(set: &DaemonSet) -> Selector {
    claim::selector(set.spec.as_ref().map(|spec| &spec.selector))
}

async fn apply(work: Work, writer: &Writer, recorder: &Recorder) -> Result<()> {
    let Work { set, claim, revision, plan, superfluous } = work;
    settle(set.as_ref(), &claim, writer).await?;
    let mut status = plan.status;
    let mut done = Ok(());
    if let Some(step) = &revision.step {
        if history::apply(step, writer).await? {
            status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
        }
    } else {
        for node in &plan.create {
            done = done.and(create(&set, node, &revision.hash, writer, recorder).await);
        }
        for pod in plan.delete {
            done = done.and(delete(&set, &pod, writer, recorder).await);
        }
        for revision in superfluous {
            writer.delete(revision.as_ref()).await?;
        }
    }
    let write = |set: &mut DaemonSet| set.status = Some(status.clone());
    ignore_missing(writer.modify(set.as_ref(), write).await)?;
    done
}

async fn create(set: &DaemonSet, node: &str, hash: &str, writer: &Writer, recorder: &Recorder) -> Result<()> {
    let template = set.spec.clone().unwrap_or_default().template;
    let mut pod = pods::from_template(&template, set.namespace(), controller_reference(set));
    pod.metadata.labels.get_or_insert_default().insert(HASH.into(), hash.into());
    pod.spec = Some(for_node(&tolerant(&pod.spec.unwrap_or_default()), node));
    let created = writer.create(&pod).await;
    let (kind, reason, message) = match &created {
        Ok(pod) => (NORMAL, "SuccessfulCreate", format!("Created pod: {}", pod.name())),
        Err(error) => (WARNING, "FailedCreate", format!("Error creating: {}", chain(error))),
    };
    recorder.event(&reference(set), kind, reason, &message);
    created.map(|_| ())
}

async fn delete(set: &DaemonSet, pod: &Pod, writer: &Writer, recorder: &Recorder) -> Result<()> {
    let node = node_of(pod).unwrap_or_default();
    let (what, reason) = match pods::phase(pod) {
        "Failed" => ("failed", "FailedDaemonPod"),
        "Succeeded" => ("succeeded", "SucceededDaemonPod"),
        _ => ("", ""),
    };
    if !what.is_empty() {
        let kind = if what == "failed" { WARNING } else { NORMAL };
        let verb = if what == "failed" { "kill" } else { "delete" };
        let message = format!("Found {what} daemon pod {} on node {node}, will try to {verb} it", pod.key());
        recorder.event(&reference(set), kind, reason, &message);
    }
    let deleted = writer.delete(pod).await;
    let (kind, reason, message) = match &deleted {
        Ok(()) => (NORMAL, "SuccessfulDelete", format!("Deleted pod: {}", pod.name())),
        Err(error) => (WARNING, "FailedDelete", format!("Error deleting: {}", chain(error))),
    };
    recorder.event(&reference(set), kind, reason, &message);
    deleted
}

#[cfg(test)]
mod tests;
