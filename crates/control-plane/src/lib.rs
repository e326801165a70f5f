//! One cluster's process beside etcd: composes what Kubernetes calls the control plane, and tells the
//! supervisor how its parts are.
//!
//! - flannel's network configuration, which every worker's daemon waits for;
//! - `namespaces`: those that every cluster has;
//! - `manifests`: what the topology file declares ([`check`] finds what is wrong with it beforehand);
//! - controllers and scheduler;
//! - `dns`: the cluster's DNS, a Deployment;
//! - `classes`: those of Ingresses and Gateways that every cluster has;
//! - `pods`: whether those of them that are pods have become ready;
//! - `ingresses`: whether the ingresses by hand among them are served.
//!
//! A cluster with several etcd members has one of these beside each; controllers and scheduler of one of them
//! work, by leases. All else is done by the first one, once: the others stand by.

mod addons;
mod classes;
mod ingresses;
mod manifest;
mod manifests;
mod namespaces;
mod pods;
mod stamp;

use std::path::PathBuf;
use std::time::Duration;

use flannel::PublishOptions;
use ipnetwork::Ipv4Network;
use runtime::{ComponentKind, Health, Notifier};
use store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use crate::manifest::{Manifest, check};
use crate::manifests::Declared;

/// What a control plane is told when it is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster, as `C0`.
    pub cluster: String,
    /// What it is called among several of the cluster, as `C0e1`.
    pub identity: String,
    /// Whether it is one more, which does not bring the cluster about.
    pub standby: bool,
    /// A node that has been silent for so long is not ready.
    pub node_monitor_grace: Duration,
    /// Where its etcd listens, as `http://10.1.0.1:2379`.
    pub etcd: Vec<String>,
    /// A folder of its own, which goes with the lab and outlives the process.
    pub folder: PathBuf,
    /// flannel's network configuration, JSON.
    pub network: String,
    /// Where services get their addresses from.
    pub service_network: Ipv4Network,
    /// Where services of type LoadBalancer get theirs from.
    pub load_balancer_pool: Option<Ipv4Network>,
    /// Files with what is to be in the cluster from its begin, in their order.
    pub manifests: Vec<PathBuf>,
    /// Whether the cluster has a DNS service.
    pub dns: bool,
}

/// What can keep a control plane from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's store cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The system refused something that every process needs.
    #[error("{what}")]
    System {
        /// What.
        what: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

/// Runs a cluster's components until the process is told to end.
///
/// # Errors
/// When it cannot begin. Later trouble is told on the board, not here: etcd away is no reason to end.
pub async fn run(options: Options) -> Result<(), Error> {
    let system = |what| move |source| Error::System { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for signals"))?;
    let notifier = Notifier::from_env().map_err(system("open the notification socket"))?;
    let health = Health::default();
    let store = Store::etcd(&options.etcd).await?;
    let mut tasks = JoinSet::new();
    announce(&health, &[controllers::COMPONENT, scheduler::COMPONENT]);
    let controllers = controllers::Options {
        node_monitor_grace: options.node_monitor_grace,
        identity: options.identity.clone(),
        load_balancer_pool: options.load_balancer_pool,
        ..controllers::Options::new(options.service_network)
    };
    tasks.spawn(controllers::run(controllers, store.clone(), health.clone()));
    let (identity, scheduled) = (options.identity.clone(), store.clone());
    let board = health.clone();
    tasks.spawn(async move { scheduler::run(&identity, scheduled, board).await });
    if !options.standby {
        bring_about(&options, &store, &health, &mut tasks);
    }
    tasks.spawn(runtime::notify::follow(health, notifier));
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        // A component ends only by a defect; the supervisor starts the process anew.
        _ = tasks.join_next() => Err(Error::System {
            what: "a component has ended",
            source: std::io::ErrorKind::Other.into(),
        }),
    }
}

fn announce(health: &Health, names: &[&'static str]) {
    for name in names {
        health.announce(name, ComponentKind::Builtin, env!("CARGO_PKG_VERSION"));
    }
}

/// Starts what makes a cluster out of an empty etcd.
fn bring_about(options: &Options, store: &Store, health: &Health, tasks: &mut JoinSet<()>) {
    let mut declared = Declared::read(&options.manifests);
    if options.dns {
        declared.add(addons::dns(&options.etcd, options.service_network, &options.network));
        announce(health, &[addons::COMPONENT]);
        tasks.spawn(addons::watch_dns(store.clone(), health.clone()));
    }
    announce(health, &[flannel::CONFIG_COMPONENT, namespaces::COMPONENT, manifests::COMPONENT]);
    let (made, namespaces_made) = watch::channel(false);
    let (done, manifests_applied) = watch::channel(false);
    let folder = |marker: &str| options.folder.join(marker);
    tasks.spawn(flannel::publish(publish_options(options), health.clone()));
    tasks.spawn(namespaces::run(store.clone(), health.clone(), made));
    tasks.spawn(classes::run(store.clone(), folder("classes.made"), manifests_applied.clone()));
    let ingresses = declared.ingresses();
    if !ingresses.is_empty() {
        announce(health, &[ingresses::COMPONENT]);
        let (ready, applied) = (folder("ingresses.ready"), manifests_applied.clone());
        tasks.spawn(ingresses::run(store.clone(), ingresses, ready, applied, health.clone()));
    }
    let pods = declared.pods();
    if !pods.is_empty() {
        announce(health, &[pods::COMPONENT]);
        let ready = folder("pods.ready");
        tasks.spawn(pods::run(store.clone(), pods, ready, manifests_applied, health.clone()));
    }
    let applied = folder("manifests.applied");
    tasks.spawn(manifests::run(store.clone(), declared, applied, namespaces_made, health.clone(), done));
}

fn publish_options(options: &Options) -> PublishOptions {
    PublishOptions {
        etcd: options.etcd.clone(),
        prefix: flannel::PREFIX.into(),
        config: options.network.clone(),
        marker: options.folder.join("flannel-config.published"),
    }
}
