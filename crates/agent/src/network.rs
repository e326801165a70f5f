//! flannel's daemon on this worker: the real one or ours.

use std::path::Path;

use flannel::real::{Flanneld, VARIABLE};
use ipnetwork::Ipv4Network;
use runtime::{ComponentKind, Health};
use tokio::sync::watch;

use crate::choice::{Decision, Part, decide};
use crate::{Options, flanneld};

const DAEMON: Part = Part {
    program: "flanneld",
    absent: "no flanneld in PATH, nor does KNETSIM_FLANNELD name one",
    key: "flannel",
};

/// The daemon, decided and announced, not yet started.
#[derive(Debug)]
pub(crate) struct Daemon {
    decision: Decision<Flanneld>,
    options: flannel::Options,
}

impl Daemon {
    /// Decides which it is and announces it.
    pub(crate) fn announce(options: &Options, health: &Health) -> Self {
        debug_assert_eq!(VARIABLE, "KNETSIM_FLANNELD");
        let decision =
            decide(options.flannel, DAEMON, Flanneld::find, |_| Flanneld::missing(&options.network));
        let announce =
            |kind, version: &str, why: &str| health.announce_because(flannel::COMPONENT, kind, version, why);
        match &decision {
            Decision::Real(real) => {
                announce(ComponentKind::Real, &real.version, &format!("found {}", real.path.display()));
            }
            Decision::Builtin { why } => announce(ComponentKind::Builtin, env!("CARGO_PKG_VERSION"), why),
            Decision::Impossible { message, hint } => {
                announce(ComponentKind::Real, "", "");
                health.stuck(flannel::COMPONENT, message, hint);
            }
        }
        Self { decision, options: daemon_options(options) }
    }

    /// Runs it until dropped; `lease` holds the worker's share of the pod network once it has one.
    pub(crate) async fn run(self, health: Health, lease: watch::Sender<Option<Ipv4Network>>) {
        match self.decision {
            Decision::Real(real) => flanneld::run(real, self.options, health, lease).await,
            Decision::Builtin { .. } => flannel::run(self.options, health, lease).await,
            // It has been said; the other components go on.
            Decision::Impossible { .. } => std::future::pending().await,
        }
    }
}

/// Where the daemon writes its lease, for the CNI plugin.
pub(crate) fn subnet_file(folder: &Path) -> std::path::PathBuf {
    folder.join("flannel-subnet.env")
}

fn daemon_options(options: &Options) -> flannel::Options {
    flannel::Options {
        node: options.node.clone(),
        etcd: options.etcd.clone(),
        prefix: flannel::PREFIX.into(),
        address: options.address,
        subnet_file: subnet_file(&options.folder),
        // As kube-flannel.yml has it. Else the bridge plugin would do it with iptables, for each pod anew.
        ip_masq: true,
    }
}

/// Where all pods' addresses come from; of the rest of the configuration the daemon is the judge.
pub(crate) fn of_pods(config: &str) -> Result<Ipv4Network, serde_json::Error> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        network: Ipv4Network,
    }
    serde_json::from_str(config).map(|Config { network }| network)
}

/// Writes the worker's share on the board whenever it changes.
pub(crate) async fn tell_pod_cidr(mut lease: watch::Receiver<Option<Ipv4Network>>, health: Health) {
    loop {
        let subnet = *lease.borrow_and_update();
        health.set_pod_cidr(subnet.map(|subnet| subnet.to_string()));
        if lease.changed().await.is_err() {
            // The daemon keeps its end for as long as the agent lives.
            std::future::pending::<()>().await;
        }
    }
}
