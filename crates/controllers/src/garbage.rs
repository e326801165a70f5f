//! What belongs to something that is gone goes as well.
//!
//! [`feed`] follows the metadata of all kinds, [`graph`] says what is to be done, this module writes. An
//! object is deleted only when its owners were looked for once more in etcd itself.

mod feed;
mod graph;

use std::fmt;

use api::KindInfo;
use api::kinds::{EVENTS, KINDS};
use runtime::Queue;
use serde_json::Value;
use store::ObjectName;

use crate::cluster::Cluster;
use crate::driver::{Controller, Plan};
use crate::error::Result;
use crate::view::Source;
use crate::writer::Writer;

use feed::{Feed, News};
use graph::{FOREGROUND, Graph, Node, ORPHAN, Owner, Step, Target, target};

/// The controller.
#[derive(Debug)]
pub(crate) struct Garbage {
    feeds: Vec<Feed>,
    graph: Graph,
}

/// An object's uid, with its name for logs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Uid(String);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What there is to do with an object.
#[derive(Debug)]
pub(crate) struct Work {
    target: Target,
    step: Step,
}

impl Garbage {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        // Events expire.
        let kinds = KINDS.iter().copied().filter(|info| **info != EVENTS);
        let feeds = kinds.map(|info| Feed::start(&cluster.store, info)).collect();
        Self { feeds, graph: Graph::default() }
    }
}

impl Controller for Garbage {
    const NAME: &'static str = "garbage-collector";
    type Key = Uid;
    type Work = Work;

    fn sources(&self) -> Vec<&dyn Source> {
        self.feeds.iter().map(|feed| feed as &dyn Source).collect()
    }

    fn observe(&mut self, queue: &mut Queue<Uid>) {
        for feed in &mut self.feeds {
            let info = feed.info();
            for news in feed.drain() {
                let look = match news {
                    News::There(meta) => self.graph.set(Node::new(info, &meta)),
                    News::Gone(_, uid) => self.graph.remove(&uid),
                };
                look.into_iter().for_each(|uid| queue.add(Uid(uid)));
            }
        }
    }

    fn plan(&mut self, key: &Uid) -> Plan<Work> {
        let Some(node) = self.graph.get(&key.0) else { return Plan::nothing() };
        let step = self.graph.plan(node);
        Plan { work: step.map(|step| Work { target: target(node), step }), again: None }
    }

    fn apply(&self, work: Work, writer: Writer) -> impl Future<Output = Result<()>> + Send + 'static {
        apply(work, writer)
    }
}

async fn apply(Work { target, step }: Work, writer: Writer) -> Result<()> {
    let own = (&target.name, target.uid.as_str());
    match step {
        Step::Delete { owners, propagation } => {
            for owner in owners.iter().filter(|owner| !owner.waits) {
                if is_there(owner, &writer).await? {
                    // The feed will tell of it.
                    return Ok(());
                }
            }
            let object = format!("{} {}", target.info.resource(), target.name);
            tracing::debug!(object, ?propagation, "belongs to nobody any more");
            writer.delete_raw(target.info, own, propagation).await
        }
        Step::Disown { owners } => {
            let mut gone = Vec::new();
            for owner in owners {
                if owner.waits || !is_there(&owner, &writer).await? {
                    gone.push(owner.target.uid);
                }
            }
            disown(target.info, own, &gone, &writer).await
        }
        Step::Finish => remove_finalizer(target.info, own, FOREGROUND, &writer).await,
        Step::Orphan { dependents } => {
            for dependent in dependents {
                let name = (&dependent.name, dependent.uid.as_str());
                disown(dependent.info, name, std::slice::from_ref(&target.uid), &writer).await?;
            }
            remove_finalizer(target.info, own, ORPHAN, &writer).await
        }
    }
}

/// Whether an owner is there after all.
async fn is_there(owner: &Owner, writer: &Writer) -> Result<bool> {
    let Target { info, name, uid } = &owner.target;
    let found = writer.store().get_raw(info, &name.namespace, &name.name).await?;
    Ok(found.is_some_and(|found| found.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid)))
}

async fn disown(
    info: &'static KindInfo,
    object: (&ObjectName, &str),
    owners: &[String],
    writer: &Writer,
) -> Result<()> {
    let is_other = |owner: &Value| {
        let uid = owner.get("uid").and_then(Value::as_str).unwrap_or_default();
        !owners.iter().any(|gone| gone == uid)
    };
    writer.patch_raw(info, object, |object| retain(object, "ownerReferences", is_other)).await
}

async fn remove_finalizer(
    info: &'static KindInfo,
    object: (&ObjectName, &str),
    finalizer: &str,
    writer: &Writer,
) -> Result<()> {
    let is_other = |one: &Value| one.as_str() != Some(finalizer);
    writer.patch_raw(info, object, |object| retain(object, "finalizers", is_other)).await
}

/// Keeps some of a list of the metadata.
fn retain(object: &mut Value, field: &str, keep: impl Fn(&Value) -> bool) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(all) = metadata.get_mut(field).and_then(Value::as_array_mut) {
        all.retain(keep);
        if all.is_empty() {
            metadata.remove(field);
        }
    }
}

#[cfg(test)]
mod tests;
