//! The daemon: holds a lease and keeps the kernel as the leases say.
//!
//! Sources: flannel `main.go`, `pkg/backend/vxlan/vxlan.go` (`RegisterNetwork`: device, lease, address),
//! `pkg/backend/route_network.go`. The real one reads the configuration when it starts; this one follows
//! it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use runtime::{Backoff, Health, chain};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::apply::{Kernel, Netlink};
use crate::config::NetworkConfig;
use crate::error::{Error, Result};
use crate::follow::{Follower, Mirror};
use crate::hold::Holder;
use crate::masquerade::Masquerade;
use crate::plan::Observed;
use crate::store::{Etcd, Registry};
use crate::subnet_env::{Previous, SubnetEnv};

mod network;

/// The component's name in `topo status`.
pub const COMPONENT: &str = "flannel";
/// flannel's `-etcd-prefix` unless it is told otherwise.
pub const PREFIX: &str = "/coreos.com/network";

/// How often the kernel is looked at though nothing has happened (`routeCheckRetries` of
/// `pkg/backend/route_network.go`).
const RESYNC: Duration = Duration::from_secs(10);
/// After a change in etcd, the ones that come right behind it are awaited: workers start together. As long as they go
/// on coming, the next time twice as long, up to this: of a hundred workers each would otherwise wake a hundred times.
const COALESCE: Duration = Duration::from_millis(5);
const COALESCE_MOST: Duration = Duration::from_millis(80);

/// What a daemon is told when it is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The worker's name, for logs.
    pub node: String,
    /// Where the cluster's etcd listens, as `http://10.1.0.1:2379`.
    pub etcd: Vec<String>,
    /// What the network's keys begin with; [`PREFIX`] is flannel's own.
    pub prefix: String,
    /// The worker's underlay address: an interface of the namespace has it.
    pub address: Ipv4Addr,
    /// Where the CNI plugin looks for the lease.
    pub subnet_file: PathBuf,
    /// Whether what leaves the pod network takes on the worker's address.
    pub ip_masq: bool,
}

/// Runs the daemon in the calling thread's network namespace until dropped.
///
/// `health` hears how it goes; `lease` holds the worker's subnet from the moment when pods can be
/// started in it. Nothing is undone at the end, as with the real one: packets find their way while
/// nobody watches, and the next daemon takes over what it finds.
pub async fn run(options: Options, health: Health, lease: watch::Sender<Option<Ipv4Network>>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    let (registry, kernel) = loop {
        match open(&options).await {
            Ok(open) => break open,
            Err(error) => health.set(COMPONENT, false, &chain(&error)),
        }
        sleep(backoff.after(Duration::ZERO)).await;
    };
    Daemon::new(options, registry, kernel, health, lease).run().await;
}

async fn open(options: &Options) -> Result<(Etcd, Netlink)> {
    Ok((Etcd::connect(&options.etcd, &options.prefix).await?, Netlink::open()?))
}

pub(crate) struct Daemon<R: Registry, K: Kernel> {
    options: Options,
    registry: Arc<R>,
    follower: Follower,
    kernel: K,
    health: Health,
    lease: watch::Sender<Option<Ipv4Network>>,
    holder: Holder<R>,
    /// The kernel as it was left; none when it is to be looked at.
    seen: Option<Observed>,
    /// The configuration that was brought about last.
    running: Option<NetworkConfig>,
    /// The rules that were brought about last, if any were wanted.
    masquerade: Option<Option<Masquerade>>,
    /// What was said last.
    told: String,
    /// How long changes that come right behind another are awaited.
    coalesce: Duration,
}

/// What to say of a network that is up.
#[derive(Debug, Default)]
struct Summary {
    message: String,
    /// What keeps it from following changes.
    trouble: Vec<String>,
    /// What went wrong without harm to the rest.
    remarks: Vec<String>,
}

impl<R: Registry, K: Kernel> Daemon<R, K> {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(
        options: Options,
        registry: R,
        kernel: K,
        health: Health,
        lease: watch::Sender<Option<Ipv4Network>>,
    ) -> Self {
        let registry = Arc::new(registry);
        let follower = Follower::start(Arc::clone(&registry));
        Self {
            holder: Holder::new(
                Arc::clone(&registry),
                &options.node,
                options.address,
                options.subnet_file.clone(),
            ),
            options,
            registry,
            follower,
            kernel,
            health,
            lease,
            seen: None,
            running: None,
            masquerade: None,
            told: String::new(),
            coalesce: COALESCE,
        }
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), RESYNC);
        loop {
            let began = Instant::now();
            let mirror = self.follower.mirror.borrow_and_update().clone();
            let outcome = self.reconcile(&mirror).await;
            let pause = match &outcome {
                Ok(_) => {
                    backoff.reset();
                    RESYNC
                }
                Err(_) => {
                    self.seen = None;
                    backoff.after(began.elapsed())
                }
            };
            self.tell(outcome);
            self.pause(pause).await;
        }
    }

    /// Waits for a reason to look again.
    async fn pause(&mut self, at_most: Duration) {
        let names = self.links();
        let renew_at = self.holder.renew_at();
        let began = Instant::now();
        tokio::select! {
            _ = self.follower.mirror.changed() => {
                if self.running.is_some() {
                    let calm = began.elapsed() > COALESCE_MOST;
                    self.coalesce = if calm { COALESCE } else { (self.coalesce * 2).min(COALESCE_MOST) };
                    sleep(self.coalesce).await;
                }
            }
            () = self.kernel.changed(&names) => self.seen = None,
            () = sleep(at_most) => self.seen = None,
            () = at(renew_at) => {}
        }
    }

    /// Writes on the board how it went, and in the log when that is news.
    fn tell(&mut self, outcome: Result<Option<Summary>>) {
        let mut hint = None;
        let (ready, quiet, message) = match outcome {
            Ok(Some(Summary { message, trouble, remarks })) => {
                let (ready, quiet) = (trouble.is_empty(), remarks.is_empty());
                (ready, ready && quiet, [vec![message], trouble, remarks].concat().join("; "))
            }
            // Not even etcd has been heard of yet.
            Ok(None) => {
                let trouble = self.follower.mirror.borrow().trouble.clone();
                (false, true, trouble.unwrap_or_else(|| "waiting for etcd".into()))
            }
            Err(error) => {
                hint = error.hint();
                // That the configuration is about to come is no trouble.
                (false, matches!(error, Error::NoConfig { .. }), chain(&error))
            }
        };
        if self.told == message {
            return;
        }
        if quiet {
            tracing::info!(node = self.options.node, "{message}");
        } else {
            tracing::warn!(node = self.options.node, "{message}");
        }
        match hint {
            Some(hint) => self.health.stuck(COMPONENT, &message, hint),
            None => self.health.set(COMPONENT, ready, &message),
        }
        self.told = message;
    }

    /// Brings everything to what etcd says; nothing before etcd has said something.
    async fn reconcile(&mut self, mirror: &Mirror) -> Result<Option<Summary>> {
        if mirror.listed == 0 {
            return Ok(None);
        }
        let mut summary = Summary::default();
        summary.trouble.extend(mirror.trouble.clone());
        let config = self.config(mirror, &mut summary)?;
        let (external, wanted) = self.device(&config, mirror).await?;
        let attributes = network::attributes(self.options.address, wanted.as_ref());
        let (subnet, remark) = self.holder.hold(&config, &attributes, mirror).await?;
        summary.remarks.extend(remark);
        let peers = self.entries(&config, wanted.as_ref(), subnet, mirror, &mut summary).await?;
        self.masquerade(&config, subnet)?;
        let env = SubnetEnv {
            network: config.network,
            subnet,
            mtu: wanted.map_or(external.mtu, |device| device.mtu),
            ip_masq: self.options.ip_masq,
        };
        env.write(&self.options.subnet_file)?;
        let s = if peers.len() == 1 { "" } else { "s" };
        summary.message = format!("{subnet}, {}, {} peer{s}", config.backend.name(), peers.len());
        self.running = Some(config);
        self.lease.send_if_modified(|lease| lease.replace(subnet) != Some(subnet));
        Ok(Some(summary))
    }

    /// The configuration that etcd has; if that is none, the one that runs, and a word about it.
    fn config(&self, mirror: &Mirror, summary: &mut Summary) -> Result<NetworkConfig> {
        let config = match &mirror.config {
            Some(json) => NetworkConfig::parse(json).map_err(Error::from),
            None => Err(Error::NoConfig { key: self.registry.full("config") }),
        };
        match (config, &self.running) {
            (Err(error), Some(running)) => {
                summary.trouble.push(chain(&error));
                Ok(running.clone())
            }
            (config, _) => config,
        }
    }

    fn masquerade(&mut self, config: &NetworkConfig, subnet: Ipv4Network) -> Result<()> {
        let wanted = self.options.ip_masq.then_some(Masquerade { network: config.network, subnet });
        if self.masquerade.as_ref() == Some(&wanted) {
            return Ok(());
        }
        // Nobody masquerades unless told; only a daemon that was can have left rules.
        if wanted.is_some() || Previous::read(&self.options.subnet_file).ip_masq {
            self.kernel.masquerade(wanted.as_ref())?;
        }
        self.masquerade = Some(wanted);
        Ok(())
    }
}

/// Ends at a time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
