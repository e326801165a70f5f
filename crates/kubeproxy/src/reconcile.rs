//! The loop of a worker.
//!
//! ```text
//! reflectors ── what has changed ── plans of that ── one transaction
//!                     ▲                                   │
//!                     └── a millisecond ◄─────────────────┘
//! ```
//!
//! Changes that come while a transaction is under way are taken together in the next. From time to time the table itself
//! is looked at, if anybody has changed any rule.

use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use nft::ruleset::Family;
use runtime::{Backoff, Health, chain};
use store::Store;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::announce::{self, Claims};
use crate::apply::{Kernel, Netlink};
use crate::chains::Networks;
use crate::error::Result;
use crate::events;
use crate::inputs::Inputs;
use crate::plan::Worker;
use crate::proxy::{Done, Proxy};
use crate::state::{Source, State};

/// The component's name in `topo status`.
pub const COMPONENT: &str = "kube-proxy";

/// Between two transactions, so that a burst becomes few of them.
const PAUSE: Duration = Duration::from_millis(1);
/// Between two messages to the board.
const TELL: Duration = Duration::from_secs(1);

/// What a worker's proxy is told when it is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The worker's name.
    pub node: String,
    /// Its own address.
    pub node_address: IpAddr,
    /// The network of all pods: clients outside of it are masqueraded.
    pub cluster_cidr: IpNetwork,
    /// The network of all services: what has no service there is dropped.
    pub service_network: IpNetwork,
    /// How often the table is looked at.
    pub resync: Duration,
}

impl Options {
    /// With the table looked at every ten seconds.
    #[must_use]
    pub fn new(
        node: &str,
        node_address: IpAddr,
        cluster_cidr: IpNetwork,
        service_network: IpNetwork,
    ) -> Self {
        let resync = Duration::from_secs(10);
        Self { node: node.into(), node_address, cluster_cidr, service_network, resync }
    }
}

/// Runs a worker's proxy in the calling thread's network namespace until dropped.
///
/// `health` hears how it goes. Nothing is undone at the end: connections find their way while nobody watches, and the
/// next one takes over what it finds.
pub async fn run(options: Options, store: Store, health: Health) {
    let family = Family::of(options.service_network.ip());
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    let kernel = loop {
        match Netlink::open(family, &options.node) {
            Ok(kernel) => break kernel,
            Err(error) => health.set(COMPONENT, false, &chain(&error)),
        }
        sleep(backoff.after(Duration::ZERO)).await;
    };
    let (claims, wanted) = watch::channel(None);
    let announced = announce::run(options.node.clone(), options.node_address, store.clone(), wanted);
    tokio::join!(Runner::new(options, kernel, store, health, claims).run(), announced);
}

pub(crate) struct Runner<K> {
    options: Options,
    store: Store,
    health: Health,
    inputs: Inputs,
    proxy: Proxy<K>,
    backoff: Backoff,
    /// What went wrong last, and was not put right since.
    failed: Option<String>,
    told: (Option<Instant>, String),
    /// What this worker may have to announce, once that is known.
    claims: watch::Sender<Option<Claims>>,
}

impl<K: Kernel> Runner<K> {
    pub(crate) fn new(
        options: Options,
        kernel: K,
        store: Store,
        health: Health,
        claims: watch::Sender<Option<Claims>>,
    ) -> Self {
        let networks = Networks { pods: options.cluster_cidr, services: options.service_network };
        let worker = Worker { node: options.node.clone(), zone: None, family: networks.family() };
        Self {
            inputs: Inputs::start(&store, worker),
            proxy: Proxy::new(kernel, State::new(networks), options.node_address),
            options,
            store,
            health,
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(10)),
            failed: None,
            told: (None, String::new()),
            claims,
        }
    }

    /// Never ends.
    pub(crate) async fn run(mut self) {
        self.first().await;
        let mut resync = Instant::now() + self.options.resync;
        let mut begin = true;
        loop {
            let done = if begin { self.load() } else { self.sync() };
            // What is announced is served by now.
            if done.is_ok()
                && let Some(claims) = self.inputs.claims()
            {
                // Whoever waits for them is woken only by others.
                self.claims.send_if_modified(|before| {
                    let others = before.as_ref() != Some(&claims);
                    *before = Some(claims);
                    others
                });
            }
            let retry = match self.note(done).await {
                true => {
                    if std::mem::replace(&mut begin, false) {
                        // Listings and the first batch took several times what stays.
                        net::process::give_back_memory();
                    }
                    None
                }
                false => Some(Instant::now() + self.backoff.after(Duration::ZERO)),
            };
            sleep(PAUSE).await;
            self.wait(&mut resync, retry).await;
        }
    }

    /// Waits until everything was read once, and says meanwhile why it was not.
    async fn first(&mut self) {
        loop {
            let trouble = self.inputs.trouble().unwrap_or_else(|| "waiting for etcd".into());
            self.health.set(COMPONENT, false, &trouble);
            if tokio::time::timeout(TELL, self.inputs.synced()).await.is_ok() {
                return;
            }
        }
    }

    /// Waits for a reason to look again.
    async fn wait(&mut self, resync: &mut Instant, retry: Option<Instant>) {
        loop {
            let tell = self.tell();
            tokio::select! {
                () = self.inputs.changed() => return,
                () = sleep_until(*resync) => {
                    *resync = Instant::now() + self.options.resync;
                    let done = self.proxy.resync();
                    if !self.note(done).await {
                        return;
                    }
                }
                () = at(retry) => return,
                // A message that was held back.
                () = at(tell) => {}
            }
        }
    }

    /// The first sync: what is in the table stays.
    fn load(&mut self) -> Result<Done> {
        let known: Vec<_> =
            self.inputs.virtual_ips().map(|vip| self.proxy.last_known(vip)).collect::<Result<_>>()?;
        known.into_iter().for_each(|pods| self.inputs.remember(pods));
        self.inputs.all_dirty();
        let plans: Vec<_> =
            self.inputs.plans().into_iter().filter_map(|(source, plan)| Some((source, plan?))).collect();
        let warnings: Vec<_> = plans.iter().flat_map(|(_, plan)| plan.warnings.clone()).collect();
        let sources: Vec<_> = plans.iter().map(|(source, _)| source.clone()).collect();
        let done = self.proxy.load(plans);
        self.warn(warnings, &sources);
        done.map(|done| {
            tracing::info!(node = self.options.node, ops = done.ops, "took over the table");
            Done { repaired: None, ..done }
        })
    }

    fn sync(&mut self) -> Result<Done> {
        if self.failed.is_some() {
            // What could not be done is found by looking at the table.
            let plans = self.inputs.plans();
            self.proxy.adopt(plans);
            return self.proxy.resync().map(|done| Done { repaired: None, ..done });
        }
        let plans = self.inputs.plans();
        let warnings: Vec<_> =
            plans.iter().flat_map(|(_, plan)| plan.iter().flat_map(|p| p.warnings.clone())).collect();
        let sources: Vec<_> = plans.iter().map(|(source, _)| source.clone()).collect();
        let done = self.proxy.change(plans);
        self.warn(warnings, &sources);
        done
    }

    fn warn(&self, warnings: Vec<String>, sources: &[Source]) {
        let conflicts = sources.iter().flat_map(|source| self.proxy.state().conflicts(source));
        for warning in warnings.into_iter().chain(conflicts) {
            tracing::warn!(node = self.options.node, "{warning}");
        }
    }

    /// Takes note of how a sync went; says whether it went well.
    async fn note(&mut self, done: Result<Done>) -> bool {
        match done {
            Ok(done) => {
                if let Some(repaired) = done.repaired {
                    tracing::warn!(
                        node = self.options.node,
                        "somebody changed the table: {repaired}; put right"
                    );
                    events::repaired(&self.store, &self.options.node, &repaired).await;
                }
                self.backoff.reset();
                self.failed = None;
                true
            }
            Err(error) => {
                let message = chain(&error);
                if self.failed.as_ref() != Some(&message) {
                    tracing::warn!(node = self.options.node, "{message}");
                }
                self.failed = Some(message);
                false
            }
        }
    }

    /// Writes on the board how it is, but not too often; says when to do it if it is too early.
    fn tell(&mut self) -> Option<Instant> {
        let count = self.proxy.state().len();
        let s = if count == 1 { "" } else { "s" };
        let mut message = format!("{count} service{s}");
        let troubles = [self.failed.clone(), self.inputs.trouble()];
        let ready = troubles.iter().all(Option::is_none);
        for trouble in troubles.into_iter().flatten() {
            message = format!("{message}; {trouble}");
        }
        if self.told.1 == message {
            return None;
        }
        let now = Instant::now();
        if let Some(at) = self.told.0.map(|told| told + TELL).filter(|at| *at > now) {
            return Some(at);
        }
        self.health.set(COMPONENT, ready, &message);
        self.told = (Some(now), message);
        None
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
