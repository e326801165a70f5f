//! The pods of a node: a worker for each, as long as there is anything of it.
//!
//! The worker of a pod is told of every change of the object, and that it is gone; it ends when nothing
//! of the pod is left. Two pods of one name, the later made when the earlier was deleted, have one worker
//! after the other.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::types::api::core::v1::Pod;
use cni::{Cached, Cni, ProcessExec};
use cri::{Runtime, Sandbox, SandboxSpec};
use futures_util::future::join_all;
use images::Table;
use ipnetwork::Ipv4Network;
use runtime::{Backoff, Health, chain};
use store::events::Recorder;
use store::{ObjectName, Reflector, Store};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::network;
use crate::worker::Worker;

/// So many plugins run at a time: more only get into each other's way, at the kernel's one lock for links.
pub(crate) const PLUGINS_AT_A_TIME: u32 = 4;

/// What the kubelet is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster, as `C0`.
    pub cluster: String,
    /// The node, as `C0w1`.
    pub node: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Where sandboxes and logs are.
    pub runtime: cri::Options,
    /// Where CNI plugins are looked for.
    pub plugin_path: Vec<PathBuf>,
    /// Where the network's configuration is, as `/etc/cni/net.d`.
    pub net_dir: PathBuf,
    /// Where CNI remembers attachments, as `/var/lib/cni`.
    pub cache_dir: PathBuf,
    /// What is run for images.
    pub images: Table,
    /// The cluster's DNS; none if there is none.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain, as `cluster.local`.
    pub zone: String,
    /// The node's share of the pod network; none until it has one.
    pub lease: watch::Receiver<Option<Ipv4Network>>,
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    /// The node's address.
    pub(crate) address: String,
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
    pub(crate) cni: Cni<ProcessExec>,
    pub(crate) recorder: Recorder,
    pub(crate) plugins: Semaphore,
}

/// Runs the node's pods until dropped; they stay when it is. `health` hears of what concerns all of them.
pub async fn run(store: Store, options: Options, health: Health) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        let Err(error) = live(&store, &options, &health).await;
        health.set_part(crate::COMPONENT, "pods", false, &chain(&error));
        tokio::time::sleep(backoff.after(Duration::ZERO)).await;
    }
}

async fn live(
    store: &Store,
    options: &Options,
    health: &Health,
) -> Result<std::convert::Infallible, cri::Error> {
    let node = options.node.clone();
    let mine = move |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&node);
    // Most pods of a large cluster are other nodes'.
    let pods = Reflector::start_mentioning(store, None, &format!("\"{}\"", options.node), mine);
    let shared = Arc::new(Shared {
        runtime: Runtime::new(options.runtime.clone())?,
        cni: Cni::new(
            ProcessExec::new(),
            options.plugin_path.clone(),
            options.cache_dir.clone(),
            cni::TIME_LIMIT,
        ),
        recorder: Recorder::new(store, "kubelet", &options.node),
        plugins: Semaphore::new(PLUGINS_AT_A_TIME as usize),
        address: options.address.to_string(),
        options: options.clone(),
        store: store.clone(),
    });
    let (alive, dead) = shared.runtime.adopt(&options.node).await?;
    // What is not wanted any more is only known when the objects are.
    pods.wait_synced().await;
    // Before any pod is attached anew, whose attachment nobody would know here.
    let known = alive.iter().map(Sandbox::spec).chain(&dead).map(|spec| spec.id.clone()).collect();
    let strays = network::strays(&shared, &known).unwrap_or_else(|error| {
        tracing::warn!(error = %chain(&error), "attachments without a sandbox");
        Vec::new()
    });
    let mut workers = Workers { shared: shared.clone(), all: BTreeMap::new(), tasks: JoinSet::new() };
    for sandbox in alive {
        let name = ObjectName::new(&sandbox.spec().namespace, &sandbox.spec().pod);
        workers.start(name.clone(), pods.get(&name.namespace, &name.name), Some(sandbox));
    }
    workers.tasks.spawn(tidy(shared, dead, strays));
    health.set_part(crate::COMPONENT, "pods", true, "");
    let mut changed = pods.subscribe();
    loop {
        changed.mark_unchanged();
        workers.follow(&pods.snapshot());
        tokio::select! {
            // The sender lives as long as the reflector, which is held here.
            _ = changed.changed() => {}
            Some(ended) = workers.tasks.join_next() => {
                if let Ok(Some(name)) = ended {
                    workers.all.remove(&name);
                }
            }
        }
    }
}

/// Gives back what sandboxes held that have ended while nobody looked, and whatever else is remembered of
/// pods that are no more, however often that takes.
async fn tidy(
    shared: Arc<Shared>,
    mut dead: Vec<SandboxSpec>,
    mut strays: Vec<Cached>,
) -> Option<ObjectName> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let settled = dead.into_iter().map(|spec| async {
            let outcome = network::settle(&shared, &spec).await;
            outcome.inspect_err(|e| complain(&spec.id, e)).is_err().then_some(spec)
        });
        let detached = strays.into_iter().map(|stray| async {
            let outcome = network::detach_stray(&shared, &stray).await;
            outcome.inspect_err(|e| complain(&stray.attachment.container_id, e)).is_err().then_some(stray)
        });
        let left = tokio::join!(join_all(settled), join_all(detached));
        dead = left.0.into_iter().flatten().collect();
        strays = left.1.into_iter().flatten().collect();
        if dead.is_empty() && strays.is_empty() {
            break;
        }
        tokio::time::sleep(backoff.after(Duration::ZERO)).await;
    }
    if let Err(error) = network::collect(&shared).await {
        tracing::warn!(error = %chain(&error), "what plugins remember of former pods");
    }
    None
}

fn complain(id: &str, error: &network::Error) {
    tracing::warn!(sandbox = id, error = %chain(error), "the network of a dead sandbox");
}

struct Workers {
    shared: Arc<Shared>,
    all: BTreeMap<ObjectName, watch::Sender<Option<Arc<Pod>>>>,
    tasks: JoinSet<Option<ObjectName>>,
}

impl Workers {
    /// Tells every worker how its pod is, and starts those that are missing.
    fn follow(&mut self, pods: &BTreeMap<ObjectName, Arc<Pod>>) {
        for (name, worker) in &self.all {
            let pod = pods.get(name);
            worker.send_if_modified(|told| {
                let same = match (told.as_ref(), pod) {
                    (Some(told), Some(pod)) => Arc::ptr_eq(told, pod),
                    (told, pod) => told.is_none() && pod.is_none(),
                };
                if !same {
                    *told = pod.cloned();
                }
                !same
            });
        }
        for (name, pod) in pods {
            if !self.all.contains_key(name) {
                self.start(name.clone(), Some(pod.clone()), None);
            }
        }
    }

    fn start(&mut self, name: ObjectName, pod: Option<Arc<Pod>>, sandbox: Option<Sandbox>) {
        let (sender, receiver) = watch::channel(pod);
        self.all.insert(name.clone(), sender);
        let worker = Worker::new(self.shared.clone(), receiver);
        self.tasks.spawn(async move {
            worker.run(sandbox).await;
            Some(name)
        });
    }
}
