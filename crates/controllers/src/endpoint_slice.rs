//! EndpointSlices: the pods of each service with a selector, by a hundred.
//!
//! [`endpoint`] makes an endpoint of a pod, [`plan()`] says which slices change, this module looks and writes.

mod endpoint;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::types::api::core::v1::{Node, Pod, Service};
use api::types::api::discovery::v1::EndpointSlice;
use runtime::Queue;
use store::ObjectName;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::driver::{Controller, Plan};
use crate::error::Result;
use crate::meta::Meta;
use crate::pods;
use crate::view::{Names, Source, View, sides};
use crate::writer::Writer;

use endpoint::Visible;
use plan::{MANAGED_BY, MANAGER, Observed, SERVICE, SlicePlan, plan};

/// The controller.
#[derive(Debug)]
pub(crate) struct EndpointSlices {
    services: View<Service>,
    pods: View<Pod>,
    nodes: View<Node>,
    slices: View<EndpointSlice>,
}

/// What there is to do for a service.
#[derive(Debug)]
pub(crate) struct Work(SlicePlan);

type Labels = BTreeMap<String, String>;

/// One label of a namespace's objects.
fn label_key(namespace: &str, (key, value): (&String, &String)) -> String {
    format!("{namespace}/{key}={value}")
}

fn node_key(node: &str) -> String {
    format!("on {node}")
}

/// A service is found by the first label that it selects.
fn by_first_label(service: &Service) -> Vec<String> {
    selector(service)
        .and_then(BTreeMap::first_key_value)
        .map(|pair| label_key(service.namespace(), pair))
        .into_iter()
        .collect()
}

/// A pod is found by each of its labels, and by its node.
fn by_label(pod: &Pod) -> Vec<String> {
    let labels = pod.metadata.labels.iter().flatten().map(|pair| label_key(pod.namespace(), pair));
    labels.chain([node_key(pods::node_name(pod))]).collect()
}

/// A slice is found by its service.
fn by_service(slice: &EndpointSlice) -> Vec<String> {
    service_of(slice).map(|name| name.to_string()).into_iter().collect()
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectName> {
    let ours = slice.label(MANAGED_BY) == Some(MANAGER);
    slice.label(SERVICE).filter(|_| ours).map(|service| ObjectName::new(slice.namespace(), service))
}

fn selector(service: &Service) -> Option<&Labels> {
    let spec = service.spec.as_ref()?;
    let external = spec.type_.as_deref() == Some("ExternalName");
    spec.selector.as_ref().filter(|selector| !external && !selector.is_empty())
}

fn selects(selector: &Labels, labels: Option<&Labels>) -> bool {
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

impl EndpointSlices {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self {
            services: View::new(&cluster.services, by_first_label),
            pods: View::new(&cluster.pods, by_label),
            nodes: View::new(&cluster.nodes, |_| vec![]),
            slices: View::new(&cluster.endpoint_slices, by_service),
        }
    }

    /// The services that select a pod.
    fn services_of(&self, pod: &Pod, names: &mut Names) {
        for pair in pod.metadata.labels.iter().flatten() {
            let candidates = self.services.by(&label_key(pod.namespace(), pair));
            let selecting = candidates.filter(|service| {
                selector(service).is_some_and(|selector| selects(selector, pod.metadata.labels.as_ref()))
            });
            names.extend(selecting.map(|service| service.key()));
        }
    }

    /// The pods that a service selects, found by the rarest of the labels that it wants.
    fn pods_of(&self, namespace: &str, selector: &Labels) -> Vec<&Arc<Pod>> {
        let keys = selector.iter().map(|pair| label_key(namespace, pair));
        let Some(rarest) = keys.min_by_key(|key| self.pods.count(key)) else { return vec![] };
        self.pods.by(&rarest).filter(|pod| selects(selector, pod.metadata.labels.as_ref())).collect()
    }

    fn pod_changed(&self, old: Option<&Pod>, new: Option<&Pod>, names: &mut Names) {
        if let (Some(old), Some(new)) = (old, new)
            && old.metadata.labels == new.metadata.labels
            && Visible::of(old) == Visible::of(new)
        {
            return;
        }
        [old, new].into_iter().flatten().for_each(|pod| self.services_of(pod, names));
    }
}

impl Controller for EndpointSlices {
    const NAME: &'static str = "endpointslice-controller";
    type Key = ObjectName;
    type Work = Work;

    fn sources(&self) -> Vec<&dyn Source> {
        vec![&self.services, &self.pods, &self.nodes, &self.slices]
    }

    fn observe(&mut self, queue: &mut Queue<ObjectName>) {
        let mut names = Names::new();
        for change in self.services.drain() {
            let (old, new) = sides(&change);
            names.extend(new.or(old).map(|service| service.key()));
        }
        for change in self.slices.drain() {
            let (old, new) = sides(&change);
            names.extend([old, new].into_iter().flatten().filter_map(|slice| service_of(slice)));
        }
        for change in self.nodes.drain() {
            let (old, new) = sides(&change);
            let same = |(old, new): (&Arc<Node>, &Arc<Node>)| old.metadata.labels == new.metadata.labels;
            if !old.zip(new).is_some_and(same) {
                let node = new.or(old).map(|node| node_key(node.name())).unwrap_or_default();
                self.pods.by(&node).for_each(|pod| self.services_of(pod, &mut names));
            }
        }
        for change in self.pods.drain() {
            let (old, new) = sides(&change);
            self.pod_changed(old.map(Arc::as_ref), new.map(Arc::as_ref), &mut names);
        }
        names.into_iter().for_each(|name| queue.add(name));
    }

    fn plan(&mut self, key: &ObjectName) -> Plan<Work> {
        // Slices of a service that is gone go with it, by their owner references.
        let service = self.services.get(key).filter(|service| !service.is_deleting());
        let Some((service, selector)) = service.and_then(|service| Some((service, selector(service)?)))
        else {
            return Plan::nothing();
        };
        let observed = Observed {
            service,
            pods: self.pods_of(&key.namespace, selector),
            slices: self.slices.by(&key.to_string()).collect(),
        };
        let node = |name: &str| self.nodes.get(&ObjectName::new("", name)).map(Arc::as_ref);
        let plan = plan(&observed, node);
        Plan { work: (!plan.is_empty()).then_some(Work(plan)), again: None }
    }

    fn apply(&self, work: Work, writer: Writer) -> impl Future<Output = Result<()>> + Send + 'static {
        apply(work.0, writer)
    }
}

/// First what is new, then what has changed, then what goes, so that no endpoint is missing meanwhile.
async fn apply(plan: SlicePlan, writer: Writer) -> Result<()> {
    let mut tasks = JoinSet::new();
    for slice in plan.create {
        let writer = writer.clone();
        tasks.spawn(async move { writer.create(&slice).await.map(|_| ()) });
    }
    all(tasks).await?;
    let mut tasks = JoinSet::new();
    for mut slice in plan.update {
        let writer = writer.clone();
        tasks.spawn(async move { writer.update(&mut slice).await });
    }
    all(tasks).await?;
    let mut tasks = JoinSet::new();
    for slice in plan.delete {
        let writer = writer.clone();
        tasks.spawn(async move { writer.delete(slice.as_ref()).await });
    }
    all(tasks).await
}

async fn all(tasks: JoinSet<Result<()>>) -> Result<()> {
    tasks.join_all().await.into_iter().collect()
}

#[cfg(test)]
mod tests;
