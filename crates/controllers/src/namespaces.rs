//! Namespaces that are being deleted: first everything in them, then they.
//!
//! The registry deletes what is in a namespace and takes its finalizer away; this says in its status what is
//! still there, and tries again when that may have changed.
//!
//! Source: kubernetes `pkg/controller/namespace/deletion/{namespaced_resources_deleter,
//! status_condition_utils}.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::kinds::KINDS;
use api::types::api::core::v1::{Namespace, NamespaceCondition, Pod};
use runtime::Queue;
use serde_json::Value;
use store::{ObjectName, Store, registry};

use crate::claim::ignore_missing;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::driver::{Controller, Plan};
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::view::{Source, View, sides};
use crate::writer::Writer;

/// What else keeps a namespace from going is looked for so often.
const PERIOD: Duration = Duration::from_secs(2);
/// Conditions that say what is still there.
const CONTENT: &str = "NamespaceContentRemaining";
const FINALIZERS: &str = "NamespaceFinalizersRemaining";

/// The controller.
#[derive(Debug)]
pub(crate) struct Namespaces {
    namespaces: View<Namespace>,
    /// What takes longest.
    pods: View<Pod>,
    clock: Clock,
}

impl Namespaces {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self {
            namespaces: View::new(&cluster.namespaces, |_| vec![]),
            pods: View::new(&cluster.pods, |_| vec![]),
            clock: cluster.clock.clone(),
        }
    }
}

impl Controller for Namespaces {
    const NAME: &'static str = "namespace-controller";
    type Key = String;
    type Work = Arc<Namespace>;

    fn sources(&self) -> Vec<&dyn Source> {
        vec![&self.namespaces, &self.pods]
    }

    fn observe(&mut self, queue: &mut Queue<String>) {
        for change in self.namespaces.drain() {
            let (_, new) = sides(&change);
            new.into_iter().for_each(|namespace| queue.add(namespace.name().into()));
        }
        for change in self.pods.drain() {
            if let (Some(gone), None) = sides(&change) {
                queue.add(gone.namespace().into());
            }
        }
    }

    fn plan(&mut self, key: &String) -> Plan<Arc<Namespace>> {
        let namespace = self.namespaces.get(&ObjectName::new("", key)).filter(|one| one.is_deleting());
        let again = namespace.map(|_| PERIOD);
        Plan { work: namespace.cloned(), again }
    }

    fn apply(
        &self,
        namespace: Arc<Namespace>,
        writer: Writer,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let clock = self.clock.clone();
        async move {
            if registry::empty_namespace(writer.store(), namespace.name()).await.map_err(Error::from)? {
                return Ok(());
            }
            let left = Left::look(writer.store(), namespace.name()).await?;
            let conditions = left.conditions();
            let set = |namespace: &mut Namespace| {
                let all = namespace.status.get_or_insert_default().conditions.get_or_insert_default();
                for (kind, status, reason, message) in &conditions {
                    if all.iter().any(|one| {
                        one.type_ == *kind && one.status == *status && one.message.as_ref() == Some(message)
                    }) {
                        continue;
                    }
                    all.retain(|one| one.type_ != *kind);
                    all.push(NamespaceCondition {
                        type_: (*kind).into(),
                        status: (*status).into(),
                        reason: Some((*reason).into()),
                        message: Some(message.clone()),
                        last_transition_time: Some(clock.time()),
                    });
                }
            };
            ignore_missing(writer.modify(namespace.as_ref(), set).await)
        }
    }
}

/// What is still in a namespace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    /// By resource, as `deployments.apps`.
    resources: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Left {
    async fn look(store: &Store, namespace: &str) -> Result<Self> {
        let mut left = Self::default();
        for info in KINDS.iter().copied().filter(|info| info.namespaced) {
            for object in store.list_raw(info, Some(namespace)).await?.items {
                let dot = if info.group.is_empty() { "." } else { "" };
                *left.resources.entry(format!("{}{dot}", info.resource())).or_default() += 1;
                let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array);
                for finalizer in finalizers.into_iter().flatten().filter_map(Value::as_str) {
                    *left.finalizers.entry(finalizer.into()).or_default() += 1;
                }
            }
        }
        Ok(left)
    }

    /// Kind, status, reason and message.
    fn conditions(&self) -> [(&'static str, &'static str, &'static str, String); 2] {
        let list = |all: &BTreeMap<String, usize>, what: &dyn Fn(&str, usize) -> String| {
            all.iter().map(|(name, count)| what(name, *count)).collect::<Vec<_>>().join(", ")
        };
        let resources =
            list(&self.resources, &|name, count| format!("{name} has {count} resource instances"));
        let content = if resources.is_empty() {
            (CONTENT, "False", "ContentRemoved", "All content successfully removed".into())
        } else {
            (CONTENT, "True", "SomeResourcesRemain", format!("Some resources are remaining: {resources}"))
        };
        let held = list(&self.finalizers, &|name, count| format!("{name} in {count} resource instances"));
        let finalizers = if held.is_empty() {
            (
                FINALIZERS,
                "False",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished".into(),
            )
        } else {
            let message = format!("Some content in the namespace has finalizers remaining: {held}");
            (FINALIZERS, "True", "SomeFinalizersRemain", message)
        };
        [content, finalizers]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use api::types::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;
    use crate::fake::World;

    fn message(namespace: &Namespace, kind: &str) -> String {
        let conditions = namespace.status.as_ref().and_then(|status| status.conditions.as_ref());
        let found = conditions.into_iter().flatten().find(|one| one.type_ == kind);
        found.and_then(|one| one.message.clone()).unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_goes_after_everything_in_it_and_says_what_keeps_it() {
        let mut world = World::new();
        world.start(Namespaces::new(&world.cluster));
        world.start_kubelet();
        let east = world
            .create::<Namespace>(
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "east"}}),
            )
            .await;
        let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "held", "namespace": "east", "finalizers": ["example.com/hold"],
        }});
        let held = world.create::<ConfigMap>(held).await;
        world.kubelet.stopped.store(true, Ordering::Relaxed);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "east"},
            "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "nginx"}]}});
        world.create::<Pod>(pod).await;

        registry::delete::<Namespace>(&world.store, "", "east", &Default::default()).await.unwrap();
        let told = |namespace: &Namespace| {
            message(namespace, CONTENT)
                == "Some resources are remaining: configmaps. has 1 resource instances, pods. has 1 resource instances"
        };
        let east = world.until_one("it says what is there", &east, told).await;
        let finalizers = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances";
        assert_eq!(message(&east, FINALIZERS), finalizers);
        world.kubelet.stopped.store(false, Ordering::Relaxed);
        world.until_all::<Pod>("the pod ends", <[_]>::is_empty).await;
        registry::modify(&world.store, "east", "held", |held: &mut ConfigMap| {
            held.metadata.finalizers = None
        })
        .await
        .unwrap();
        world.until_all::<Namespace>("it is gone", <[_]>::is_empty).await;
        assert_eq!(world.list::<ConfigMap>().await, []);
        assert_eq!(held.namespace(), "east");
    }
}
