//! One worker's process: composes the components that a node runs, and tells the supervisor how they are.
//!
//! A component is announced on the [`Health`] board, then started as a task of its own; it writes on the
//! board, and this module sends every change on. The agent is ready when all of its components are.
//!
//! - kubelet: the node's objects, its pods;
//! - kube-proxy: services, in the kernel's nftables;
//! - ingress: nginx, as Ingresses, Gateways and ingresses by hand want it;
//! - flannel: the daemon, the real one as a child (`flanneld`) or ours as a task (`network` decides);
//! - skupper, on the cluster's first worker: sites and their routers (`sites` decides which program);
//! - flannel's CNI plugin, and the configuration through which a runtime finds it (`plugins`).

mod choice;
mod flanneld;
mod network;
mod plugins;
mod pods;
mod sites;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use kubelet::{MachineInfo, NodeInfo};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use runtime::{ComponentKind, Health, Notifier};
use store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use topology::Choice;

use crate::network::Daemon;
pub use crate::plugins::CniFiles;
use crate::plugins::Plugin;

/// What an agent is told when it is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster, as `C0`.
    pub cluster: String,
    /// The worker, as `C0w1`.
    pub node: String,
    /// Its underlay address.
    pub address: Ipv4Addr,
    /// Where the cluster's etcd listens, as `http://10.1.0.1:2379`.
    pub etcd: Vec<String>,
    /// The worker's own folder; it outlives the agent.
    pub folder: PathBuf,
    /// flannel's network configuration, JSON, as the topology file has it. The daemon goes by what etcd has.
    pub network: String,
    /// Where the services' addresses come from.
    pub service_network: Ipv4Network,
    /// Who is flannel's daemon.
    pub flannel: Choice,
    /// Who is flannel's CNI plugin.
    pub flannel_plugin: Choice,
    /// Whether the cluster's sites are here, and then who is their router.
    pub router: Option<Choice>,
    /// A table of images beside the one that is built in.
    pub images: PathBuf,
    /// Whether the cluster has a DNS service.
    pub dns: bool,
    /// When the node has been silent for so long, the control plane takes it for dead.
    pub node_monitor_grace: Duration,
    /// Where the logs of the cluster's pods go.
    pub logs: PathBuf,
    /// Where nginx writes a line for each request.
    pub access_log: PathBuf,
}

/// What can keep an agent from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's store cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The pod network's configuration is wrong.
    #[error("the pod network's configuration")]
    Network(#[from] serde_json::Error),
    /// The table of images is wrong.
    #[error(transparent)]
    Images(#[from] images::TableError),
    /// There is one already.
    #[error("another agent runs for {node} (its lock is {})", lock.display())]
    Second {
        /// The node.
        node: String,
        /// The lock that the other holds.
        lock: PathBuf,
    },
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

/// Takes the worker's lock: two agents of one node would make every pod twice. The kernel drops it with its
/// holder, so that a killed agent's successor need not wait.
fn alone(options: &Options) -> Result<Flock<File>, Error> {
    let lock = options.folder.join("agent.lock");
    let system = |source| Error::System { what: "lock the worker's folder", source };
    std::fs::create_dir_all(&options.folder).map_err(system)?;
    let file = File::create(&lock).map_err(system)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => Error::Second { node: options.node.clone(), lock },
        other => system(other.into()),
    })
}

/// Runs a worker's components until the process is told to end. To be called on the process's first
/// thread: children end with the thread that started them.
///
/// # Errors
/// When it cannot begin. Later trouble is told on the board, not here: etcd away is no reason to end.
pub async fn run(options: Options) -> Result<(), Error> {
    let system = |what| move |source| Error::System { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for signals"))?;
    let notifier = Notifier::from_env().map_err(system("open the notification socket"))?;
    let _alone = alone(&options)?;
    let health = Health::default();
    let store = Store::etcd(&options.etcd).await?;
    let info = NodeInfo {
        name: options.node.clone(),
        address: options.address,
        version: env!("CARGO_PKG_VERSION").into(),
        machine: MachineInfo::read(),
        lease: kubelet::node::lease_within(options.node_monitor_grace),
    };
    health.announce(kubelet::COMPONENT, ComponentKind::Builtin, &info.version);
    health.announce(kubeproxy::COMPONENT, ComponentKind::Builtin, env!("CARGO_PKG_VERSION"));
    health.announce(ingress::COMPONENT, ComponentKind::Real, "");
    let daemon = Daemon::announce(&options, &health);
    let files = CniFiles::of(&options.folder, |name| std::env::var_os(name));
    let plugin = Plugin::announce(&options, &files, &health);
    let sites = sites::Sites::announce(&options, &health);
    let (lease, pod_cidr) = watch::channel(None);

    let mut tasks = JoinSet::new();
    tasks.spawn(plugin.run(health.clone()));
    tasks.spawn(daemon.run(health.clone(), lease));
    tasks.spawn(network::tell_pod_cidr(pod_cidr.clone(), health.clone()));
    tasks.spawn(kubelet::register::run(store.clone(), info, health.clone(), pod_cidr.clone()));
    let pods = pods::options(&options, files, pod_cidr)?;
    tasks.spawn(kubelet::pods::run(store.clone(), pods, health.clone()));
    let proxy = kubeproxy::Options::new(
        &options.node,
        options.address.into(),
        network::of_pods(&options.network)?.into(),
        options.service_network.into(),
    );
    tasks.spawn(kubeproxy::run(proxy, store.clone(), health.clone()));
    tasks.spawn(ingress::run(ingress_options(&options), store.clone(), health.clone()));
    if let Some(sites) = sites {
        tasks.spawn(sites.run(store, health.clone()));
    }
    tasks.spawn(runtime::notify::follow(health, notifier));
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        // A component ends only by a defect; the supervisor starts the agent anew.
        _ = tasks.join_next() => Err(Error::System {
            what: "a component has ended",
            source: std::io::ErrorKind::Other.into(),
        }),
    }
}

fn ingress_options(options: &Options) -> ingress::Options {
    let mut settings = ingress::Settings::new(&options.node);
    settings.resolver =
        topology::dns_address(options.service_network).filter(|_| options.dns).map(IpAddr::from);
    let folder = options.folder.join("ingress");
    let access_log = Some(options.access_log.clone());
    ingress::Options { access_log, ..ingress::Options::new(settings, options.address.into(), folder) }
}
