//! All controllers in one process, while it leads.

use std::ops::RangeInclusive;
use std::time::Duration;

use api::types::jiff::Timestamp;
use ipnetwork::Ipv4Network;
use runtime::{Health, chain};
use store::allocator::Allocator;
use store::leader::{Candidate, Standing};
use store::{Store, events};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::daemon_set::DaemonSets;
use crate::deployment::Deployments;
use crate::driver::drive;
use crate::endpoint_slice::EndpointSlices;
use crate::garbage::Garbage;
use crate::namespaces::Namespaces;
use crate::nodes::Nodes;
use crate::replica_set::ReplicaSets;
use crate::services::Services;
use crate::stateful_set::StatefulSets;

/// The component's name in `topo status`.
pub const COMPONENT: &str = "controllers";
/// The lease that says whose controllers of a cluster work.
pub const LEASE: &str = "kube-controller-manager";

/// The garbage collector begins later than the others.
const BEFORE_GARBAGE: Duration = Duration::from_secs(1);
/// Old events are looked for so often.
const EXPIRE: Duration = Duration::from_secs(300);

/// What the controllers are told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where services get their addresses from (`--service-cluster-ip-range`).
    pub service_network: Ipv4Network,
    /// Where services get their node ports from (`--service-node-port-range`).
    pub node_port_range: RangeInclusive<u16>,
    /// Where services of type LoadBalancer get their addresses from; none: they wait for somebody else.
    pub load_balancer_pool: Option<Ipv4Network>,
    /// A node that has said nothing for so long is not ready (`--node-monitor-grace-period`).
    pub node_monitor_grace: Duration,
    /// Tells several of a cluster apart; one that comes back under its name goes on at once.
    pub identity: String,
}

impl Options {
    /// Kubernetes' defaults for a service network, under the name of this host.
    #[must_use]
    pub fn new(service_network: Ipv4Network) -> Self {
        Self {
            service_network,
            node_port_range: 30000..=32767,
            load_balancer_pool: None,
            node_monitor_grace: Duration::from_secs(50),
            identity: Candidate::host(),
        }
    }
}

/// Runs all controllers until dropped; `health` hears how it goes.
pub async fn run(options: Options, store: Store, health: Health) {
    let candidate = Candidate::new(&store, LEASE, &options.identity);
    let tell = |standing: &Standing| match standing {
        Standing::Leads => health.set(COMPONENT, false, "reading the cluster"),
        Standing::Waits(other) => health.set(COMPONENT, true, &format!("{other} leads")),
        Standing::Trouble(why) => health.set(COMPONENT, false, why),
    };
    candidate.run(|| lead(options.clone(), store.clone(), health.clone()), tell).await;
}

async fn lead(options: Options, store: Store, health: Health) {
    let cluster = Cluster::new(&store, Clock::default());
    let mut tasks = JoinSet::new();
    start(&cluster, &options, &mut tasks);
    let mut status = cluster.pods.status();
    tasks.spawn(async move {
        loop {
            // etcd is away for all kinds or for none, so one speaks for all.
            let now = status.borrow_and_update().clone();
            match now.error {
                Some(why) => health.set(COMPONENT, false, &why),
                None => health.set(COMPONENT, now.synced, ""),
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    });
    // None of them ends but by a defect; then all begin anew.
    tasks.join_next().await;
}

fn start(cluster: &Cluster, options: &Options, tasks: &mut JoinSet<()>) {
    let store = &cluster.store;
    let allocator = Allocator::new(store, options.service_network, options.node_port_range.clone());
    tasks.spawn(drive(Services::new(cluster, allocator, options.load_balancer_pool), store.clone()));
    tasks.spawn(drive(Deployments::new(cluster), store.clone()));
    tasks.spawn(drive(DaemonSets::new(cluster), store.clone()));
    tasks.spawn(drive(StatefulSets::new(cluster), store.clone()));
    tasks.spawn(drive(ReplicaSets::new(cluster), store.clone()));
    tasks.spawn(drive(EndpointSlices::new(cluster), store.clone()));
    tasks.spawn(drive(Nodes::new(cluster, options.node_monitor_grace), store.clone()));
    tasks.spawn(drive(Namespaces::new(cluster), store.clone()));
    tasks.spawn(expire_events(store.clone()));
    let cluster = cluster.clone();
    tasks.spawn(async move {
        // It follows all kinds, of which a lab that comes up needs nothing yet.
        tokio::time::sleep(BEFORE_GARBAGE).await;
        drive(Garbage::new(&cluster), cluster.store.clone()).await;
    });
}

/// Deletes events that nobody has told again for an hour.
async fn expire_events(store: Store) {
    loop {
        // What cannot be deleted now is deleted the next time.
        if let Err(error) = events::expire(&store, events::TTL, Timestamp::now()).await {
            tracing::debug!(error = chain(&error), "old events stay for now");
        }
        tokio::time::sleep(EXPIRE).await;
    }
}
