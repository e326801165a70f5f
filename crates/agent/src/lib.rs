//! One worker's process: composes the components that a node runs, and tells the supervisor how they are.
//!
//! A component is announced on the [`Health`] board, then started as a task of its own; it writes on the
//! board, and this module sends every change on. The agent is ready when all of its components are.

use std::net::Ipv4Addr;

use kubelet::{MachineInfo, NodeInfo};
use runtime::{ComponentKind, Health, Notifier};
use store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// What an agent is told when it is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The worker, as `C0w1`.
    pub node: String,
    /// Its underlay address.
    pub address: Ipv4Addr,
    /// Where the cluster's etcd listens, as `http://10.1.0.1:2379`.
    pub etcd: Vec<String>,
}

/// What can keep an agent from running.
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

/// Runs a worker's components until the process is told to end.
///
/// # Errors
/// When it cannot begin. Later trouble is told on the board, not here: etcd away is no reason to end.
pub async fn run(options: Options) -> Result<(), Error> {
    let system = |what| move |source| Error::System { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for signals"))?;
    let notifier = Notifier::from_env().map_err(system("open the notification socket"))?;
    let health = Health::default();
    let store = Store::etcd(&options.etcd).await?;
    let info = NodeInfo {
        name: options.node,
        address: options.address,
        version: env!("CARGO_PKG_VERSION").into(),
        machine: MachineInfo::read(),
    };
    health.announce(kubelet::COMPONENT, ComponentKind::Builtin, &info.version);
    let mut tasks = JoinSet::new();
    tasks.spawn(kubelet::run(store, info, health.clone()));
    tasks.spawn(tell(health, notifier));
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        // A component ends only by a defect; the supervisor starts the agent anew.
        _ = tasks.join_next() => Err(Error::System {
            what: "a component has ended",
            source: std::io::ErrorKind::Other.into(),
        }),
    }
}

/// Passes every change of the board on to the supervisor.
async fn tell(health: Health, notifier: Option<Notifier>) {
    let mut board = health.watch();
    loop {
        let report = board.borrow_and_update().clone();
        let ready = report.ready();
        tracing::info!(ready, ?report, "status");
        if let Some(notifier) = &notifier
            && let Err(error) = notifier.report(&report)
        {
            tracing::warn!(%error, "the supervisor did not take a report");
        }
        if board.changed().await.is_err() {
            return;
        }
    }
}
