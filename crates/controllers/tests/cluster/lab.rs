//! A cluster without workers: its nodes are objects, and one task is all of their kubelets.

use std::fmt::Debug;
use std::time::Duration;

use api::time;
use api::types::api::apps::v1::Deployment;
use api::types::api::coordination::v1::{Lease, LeaseSpec};
use api::types::api::core::v1::{Node, Pod, PodCondition, PodIP, PodStatus};
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use controllers::Options;
use runtime::{ComponentKind, Health};
use serde_json::{Value, json};
use store::{Change, Error, Object, Reflector, Store, new_uid, registry};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

/// No condition takes longer, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Lab {
    pub(crate) store: Store,
    pub(crate) control_plane: Option<JoinHandle<()>>,
    kubelets: JoinHandle<()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kubelets.abort();
        self.stop();
    }
}

impl Lab {
    /// A cluster of so many nodes, each for 110 pods.
    pub(crate) async fn start(store: Store, nodes: usize) -> Self {
        for number in 0..nodes {
            node(&store, number).await;
        }
        let kubelets = tokio::spawn(kubelets(store.clone()));
        let mut lab = Self { store, control_plane: None, kubelets };
        lab.go();
        lab
    }

    /// Starts the control plane, under the name that it had.
    pub(crate) fn go(&mut self) {
        let (store, health) = (self.store.clone(), Health::default());
        health.announce(controllers::COMPONENT, ComponentKind::Builtin, "0");
        health.announce(scheduler::COMPONENT, ComponentKind::Builtin, "0");
        let options = Options {
            identity: "C0e1".into(),
            // The nodes of this lab never say another word.
            node_monitor_grace: Duration::from_secs(3600),
            ..Options::new("100.64.0.0/16".parse().unwrap())
        };
        self.control_plane = Some(tokio::spawn(async move {
            tokio::join!(
                controllers::run(options, store.clone(), health.clone()),
                scheduler::run("C0e1", store, health)
            );
        }));
    }

    /// Ends the control plane at once.
    pub(crate) fn stop(&mut self) {
        if let Some(task) = self.control_plane.take() {
            task.abort();
        }
    }

    /// As `topo apply` of something new.
    pub(crate) async fn create(&self, document: Value) -> Value {
        let info = api::kinds::of(&document).unwrap();
        let mut document = document;
        if info.namespaced {
            document["metadata"]["namespace"] = "default".into();
        }
        registry::create_raw(&self.store, info, &document).await.unwrap()
    }

    /// As `topo scale`.
    pub(crate) async fn scale(&self, name: &str, replicas: usize) {
        self.edit(name, |deployment| deployment["spec"]["replicas"] = replicas.into()).await;
    }

    pub(crate) async fn edit(&self, name: &str, edit: impl Fn(&mut Value)) {
        let patch = |old: &Value| {
            let mut new = old.clone();
            edit(&mut new);
            Ok(new)
        };
        let info = &api::kinds::DEPLOYMENTS;
        registry::patch_raw(&self.store, info, "default", name, patch).await.unwrap();
    }

    pub(crate) async fn deployment(&self, name: &str) -> Deployment {
        self.store.get("default", name).await.unwrap().unwrap()
    }

    /// Waits until all pods of a Deployment are available, and no others are there.
    pub(crate) async fn rolled_out(&self, name: &str) -> Deployment {
        let is_done = |deployment: &Deployment| {
            let status = deployment.status.clone().unwrap_or_default();
            let wanted = deployment.spec.as_ref().unwrap().replicas;
            status.observed_generation == deployment.metadata.generation
                && [status.replicas, status.updated_replicas, status.available_replicas] == [wanted; 3]
        };
        self.until("it is rolled out", || self.deployment(name), is_done).await
    }

    pub(crate) async fn list<K: Object>(&self) -> Vec<K> {
        self.store.list(None).await.unwrap()
    }

    pub(crate) async fn until<T, F>(
        &self,
        what: &str,
        look: impl FnMut() -> F,
        wanted: impl Fn(&T) -> bool,
    ) -> T
    where
        T: Debug,
        F: Future<Output = T>,
    {
        until(what, look, wanted).await
    }
}

/// Waits until what `look` gives is as `wanted`.
pub(crate) async fn until<T, F>(what: &str, mut look: impl FnMut() -> F, wanted: impl Fn(&T) -> bool) -> T
where
    T: Debug,
    F: Future<Output = T>,
{
    let began = Instant::now();
    loop {
        let now = look().await;
        if wanted(&now) {
            return now;
        }
        assert!(began.elapsed() < LIMIT, "{what}: in the end it is {now:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// The Deployment of Kubernetes' documentation.
pub(crate) fn nginx(replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "nginx-deployment", "labels": {"app": "nginx"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "nginx"}},
            "template": {
                "metadata": {"labels": {"app": "nginx"}},
                "spec": {"containers": [
                    {"name": "nginx", "image": "nginx:1.14.2", "ports": [{"containerPort": 80}]},
                ]},
            },
        },
    })
}

async fn node(store: &Store, number: usize) {
    let name = format!("C0w{number}");
    let ready = json!({"type": "Ready", "status": "True", "lastHeartbeatTime": time::now()});
    let node = json!({
        "metadata": {"name": name, "uid": new_uid(), "labels": {"kubernetes.io/hostname": name}},
        "status": {"conditions": [ready], "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "110"}},
    });
    store.create::<Node>(&mut serde_json::from_value(node).unwrap()).await.unwrap();
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: Some("kube-node-lease".into()),
        uid: Some(new_uid()),
        ..ObjectMeta::default()
    };
    let spec = LeaseSpec { renew_time: Some(time::micro_now()), ..LeaseSpec::default() };
    store.create(&mut Lease { metadata, spec: Some(spec) }).await.unwrap();
}

/// Marks pods that have a node as ready, and removes those that are to end. Several at a time, as many kubelets
/// do.
async fn kubelets(store: Store) {
    let pods = Reflector::<Pod>::start(&store, None);
    let mut changes = pods.changes();
    let mut number = 0u32;
    let mut tasks = JoinSet::new();
    while let Some(change) = changes.next().await {
        let (Change::Added(pod) | Change::Modified { new: pod, .. }) = change else { continue };
        number += 1;
        let (store, ip) = (store.clone(), std::net::Ipv4Addr::from(0x0b0a_0000 + number).to_string());
        tasks.spawn(async move { tend(&store, &pod, ip).await });
        while tasks.try_join_next().is_some() {}
    }
}

async fn tend(store: &Store, pod: &Pod, ip: String) {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let placed = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some();
    loop {
        let done: Result<(), Error> = if is_deleting(pod) {
            registry::delete_now(store, pod).await.map_err(|error| match error {
                registry::Error::Store(error) => error,
                other => panic!("{other}"),
            })
        } else if placed && phase == "Pending" {
            let name = pod.metadata.name.as_deref().unwrap();
            store.modify("default", name, |pod| run(pod, &ip)).await.map(|_| ())
        } else {
            return;
        };
        match done {
            Ok(()) | Err(Error::NotFound { .. }) => return,
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

fn run(pod: &mut Pod, ip: &str) {
    let status = pod.status.take().unwrap_or_default();
    let ready = PodCondition {
        type_: "Ready".into(),
        status: "True".into(),
        last_transition_time: Some(time::now()),
        ..PodCondition::default()
    };
    let conditions = status.conditions.iter().flatten().cloned().chain([ready]).collect();
    pod.status = Some(PodStatus {
        phase: Some("Running".into()),
        pod_ip: Some(ip.into()),
        pod_ips: Some(vec![PodIP { ip: ip.into() }]),
        conditions: Some(conditions),
        ..status
    });
}
