//! ReplicaSets: as many pods as wanted.
//!
//! [`plan`] decides, [`rank`] which pods go first, this module looks and writes.

mod plan;
mod rank;

use std::sync::Arc;

use api::types::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use api::types::api::core::v1::Pod;
use runtime::{Queue, chain};
use store::events::{NORMAL, Recorder, WARNING, reference};
use store::{Change, ObjectName};
use tokio::task::JoinSet;

use crate::claim::{self, ignore_missing, settle};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::driver::{Controller, Plan};
use crate::error::Result;
use crate::meta::{Meta, controller_reference};
use crate::pods;
use crate::view::{Source, View, sides};
use crate::writer::Writer;

use plan::{ReplicaPlan, clear_failure, set_failure};

/// The controller.
#[derive(Debug)]
pub(crate) struct ReplicaSets {
    sets: View<ReplicaSet>,
    pods: View<Pod>,
    recorder: Recorder,
    clock: Clock,
}

/// What there is to do for one.
#[derive(Debug)]
pub(crate) struct Work {
    set: Arc<ReplicaSet>,
    plan: ReplicaPlan,
}

/// How pods are found: by their owner, or, without one, by their namespace.
pub(crate) fn by_owner<K>(object: &K) -> Vec<String>
where
    K: Meta,
{
    match object.controller() {
        Some(owner) => vec![owner.uid.clone()],
        None => vec![orphans(object.namespace())],
    }
}

/// Those of a namespace that nobody manages.
pub(crate) fn orphans(namespace: &str) -> String {
    format!("orphans of {namespace}")
}

impl ReplicaSets {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self {
            sets: View::new(&cluster.replica_sets, by_owner),
            pods: View::new(&cluster.pods, by_owner),
            recorder: cluster.recorder(Self::NAME),
            clock: cluster.clock.clone(),
        }
    }

    /// The sets that a pod, as it is now, concerns.
    fn concerned(&self, pod: &Pod) -> Vec<ObjectName> {
        if pod.controller().is_some() {
            return pod.owner::<ReplicaSet>().into_iter().collect();
        }
        let selects = |set: &&Arc<ReplicaSet>| {
            let selector = claim::selector(set.spec.as_ref().map(|spec| &spec.selector));
            selector.matches(pod.metadata.labels.as_ref())
        };
        self.sets.of_namespace(pod.namespace()).filter(selects).map(|set| set.key()).collect()
    }

    /// The pods of all sets with the same owner; its own if it has none.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let Some(owner) = set.controller() else { return self.pods.by(set.uid()).cloned().collect() };
        self.sets.by(&owner.uid).flat_map(|set| self.pods.by(set.uid())).cloned().collect()
    }
}

impl Controller for ReplicaSets {
    const NAME: &'static str = "replicaset-controller";
    type Key = ObjectName;
    type Work = Work;

    fn sources(&self) -> Vec<&dyn Source> {
        vec![&self.sets, &self.pods]
    }

    fn observe(&mut self, queue: &mut Queue<ObjectName>) {
        self.sets.drain_into(queue);
        for change in self.pods.drain() {
            let (old, new) = sides(&change);
            let orphaned = matches!(&change, Change::Deleted(pod) if pod.controller().is_none());
            for pod in [old, new].into_iter().flatten().filter(|_| !orphaned) {
                self.concerned(pod).into_iter().for_each(|name| queue.add(name));
            }
        }
    }

    fn plan(&mut self, key: &ObjectName) -> Plan<Work> {
        let Some(set) = self.sets.get(key) else { return Plan::nothing() };
        let pods = self.pods.by(set.uid()).chain(self.pods.by(&orphans(set.namespace())));
        let plan = plan::plan(set, pods, || self.related(set), self.clock.now());
        let again = plan.again;
        let work = (!plan.is_empty(set)).then(|| Work { set: set.clone(), plan });
        Plan { work, again }
    }

    fn apply(&self, work: Work, writer: Writer) -> impl Future<Output = Result<()>> + Send + 'static {
        let (recorder, clock) = (self.recorder.clone(), self.clock.clone());
        async move { apply(work, &writer, &recorder, &clock).await }
    }
}

async fn apply(work: Work, writer: &Writer, recorder: &Recorder, clock: &Clock) -> Result<()> {
    let Work { set, plan } = work;
    settle(set.as_ref(), &plan.claim, writer).await?;
    let created = create(&set, plan.create, writer, recorder).await;
    let deleted = delete(&set, plan.delete, writer, recorder).await;
    let mut status = plan.status;
    match (&created, &deleted) {
        (Err(error), _) => set_failure(&mut status, "FailedCreate", chain(error), clock.time()),
        (_, Err(error)) => set_failure(&mut status, "FailedDelete", chain(error), clock.time()),
        _ => clear_failure(&mut status),
    }
    write_status(&set, &status, writer).await?;
    created.and(deleted)
}

/// Makes pods: one, then two, then four … and stops when that fails, so that a template that is refused is
/// refused once and not a thousand times (`slowStartBatch`).
async fn create(set: &Arc<ReplicaSet>, mut count: usize, writer: &Writer, recorder: &Recorder) -> Result<()> {
    let mut batch = 1;
    while count > 0 {
        batch = batch.min(count);
        let mut tasks = JoinSet::new();
        for _ in 0..batch {
            let (set, writer, recorder) = (set.clone(), writer.clone(), recorder.clone());
            tasks.spawn(async move { create_one(&set, &writer, &recorder).await });
        }
        for result in tasks.join_all().await {
            result?;
        }
        count -= batch;
        batch *= 2;
    }
    Ok(())
}

async fn create_one(set: &ReplicaSet, writer: &Writer, recorder: &Recorder) -> Result<()> {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let pod = pods::from_template(&template, set.namespace(), controller_reference(set));
    let created = writer.create(&pod).await;
    let (kind, reason, message) = match &created {
        Ok(pod) => (NORMAL, "SuccessfulCreate", format!("Created pod: {}", pod.name())),
        Err(error) => (WARNING, "FailedCreate", format!("Error creating: {}", chain(error))),
    };
    recorder.event(&reference(set), kind, reason, &message);
    created.map(|_| ())
}

async fn delete(
    set: &Arc<ReplicaSet>,
    pods: Vec<Arc<Pod>>,
    writer: &Writer,
    recorder: &Recorder,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    for pod in pods {
        let (set, writer, recorder) = (set.clone(), writer.clone(), recorder.clone());
        tasks.spawn(async move {
            let result = writer.delete(pod.as_ref()).await;
            let (kind, reason, message) = match &result {
                Ok(()) => (NORMAL, "SuccessfulDelete", format!("Deleted pod: {}", pod.name())),
                Err(error) => (WARNING, "FailedDelete", format!("Error deleting: {}", chain(error))),
            };
            recorder.event(&reference(set.as_ref()), kind, reason, &message);
            result
        });
    }
    for result in tasks.join_all().await {
        result?;
    }
    Ok(())
}

async fn write_status(set: &ReplicaSet, status: &ReplicaSetStatus, writer: &Writer) -> Result<()> {
    if set.status.as_ref() == Some(status) {
        return Ok(());
    }
    let write = |set: &mut ReplicaSet| set.status = Some(status.clone());
    ignore_missing(writer.modify(set, write).await)
}

#[cfg(test)]
mod tests;
