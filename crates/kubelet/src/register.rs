//! Keeps the node's objects true in the store.

use std::time::{Duration, Instant};

use api::time;
use api::types::api::coordination::v1::Lease;
use api::types::api::core::v1::Node;
use ipnetwork::Ipv4Network;
use runtime::{Backoff, Health, chain};
use store::{Error, Store};
use tokio::sync::watch;

use crate::node::{LEASE_NAMESPACE, NodeInfo, differs, lease, node};

/// The component's name in `topo status`.
pub const COMPONENT: &str = "kubelet";
/// Beside the lease, the kubelet writes its status every five minutes even if nothing has changed
/// (kubelet `nodeStatusReportFrequency`).
const STATUS: Duration = Duration::from_secs(300);

/// Registers the node and renews its lease until dropped; `health` hears how that goes.
pub async fn run(
    store: Store,
    info: NodeInfo,
    health: Health,
    mut lease: watch::Receiver<Option<Ipv4Network>>,
) {
    // From the first moment of a lab, while etcd starts, tries are frequent; later ones are rare.
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
    let mut written = None;
    loop {
        let began = Instant::now();
        let subnet = *lease.borrow_and_update();
        match beat(&store, &info, subnet, &mut written).await {
            Ok(()) => {
                health.set_part(COMPONENT, "node", true, "");
                backoff.reset();
                // The network's coming is news for the whole cluster.
                let _ = tokio::time::timeout(info.lease / 4, changed(&mut lease)).await;
            }
            Err(error) => {
                let message = chain(&error);
                tracing::debug!(%message, "not registered");
                health.set_part(COMPONENT, "node", false, &message);
                tokio::time::sleep(backoff.after(began.elapsed())).await;
            }
        }
    }
}

async fn changed(lease: &mut watch::Receiver<Option<Ipv4Network>>) {
    if lease.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// One heartbeat: the Node if it is missing, different or due, then the Lease.
async fn beat(
    store: &Store,
    info: &NodeInfo,
    subnet: Option<Ipv4Network>,
    written: &mut Option<Instant>,
) -> Result<(), Error> {
    let observed: Option<Node> = store.get("", &info.name).await?;
    let mut desired = node(info, subnet, observed.as_ref(), &time::now());
    match &observed {
        None => {
            store.create(&mut desired).await?;
            *written = Some(Instant::now());
        }
        Some(observed) => {
            let due = written.is_none_or(|at| at.elapsed() >= STATUS);
            if due || differs(&desired, observed) {
                store.update(&mut desired).await?;
                *written = Some(Instant::now());
            }
        }
    }
    let observed: Option<Lease> = store.get(LEASE_NAMESPACE, &info.name).await?;
    let mut renewed = lease(info, &desired, observed.as_ref(), &time::micro_now());
    match observed {
        None => store.create(&mut renewed).await,
        Some(_) => store.update(&mut renewed).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::SUBNET;
    use crate::node::tests::info;
    use runtime::ComponentKind;

    async fn lease_of(store: &Store) -> Lease {
        store.get(LEASE_NAMESPACE, "C0w1").await.unwrap().unwrap()
    }

    fn version(
        object: &impl api::types::Metadata<Ty = api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta>,
    ) -> i64 {
        object.metadata().resource_version.as_deref().unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn a_beat_renews_the_lease_and_leaves_an_unchanged_node_alone() {
        let store = Store::memory();
        let mut written = None;
        beat(&store, &info(), SUBNET, &mut written).await.unwrap();
        let node: Node = store.get("", "C0w1").await.unwrap().unwrap();
        let first = lease_of(&store).await;
        beat(&store, &info(), SUBNET, &mut written).await.unwrap();
        let again: Node = store.get("", "C0w1").await.unwrap().unwrap();
        let second = lease_of(&store).await;
        assert_eq!(version(&node), version(&again));
        assert!(version(&second) > version(&first));
        assert!(second.spec.unwrap().renew_time.unwrap().0 >= first.spec.unwrap().renew_time.unwrap().0);
    }

    #[tokio::test]
    async fn a_restarted_agent_takes_its_node_over_and_a_deleted_node_comes_back() {
        let store = Store::memory();
        beat(&store, &info(), SUBNET, &mut None).await.unwrap();
        let mut written = None;
        beat(&store, &info(), SUBNET, &mut written).await.unwrap();
        let node: Node = store.get("", "C0w1").await.unwrap().unwrap();
        store.delete(&node).await.unwrap();
        beat(&store, &info(), SUBNET, &mut written).await.unwrap();
        assert!(store.get::<Node>("", "C0w1").await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn health_turns_ready_with_the_first_beat() {
        let health = Health::default();
        health.announce(COMPONENT, ComponentKind::Builtin, "0");
        let mut board = health.watch();
        let task = tokio::spawn(run(Store::memory(), info(), health, watch::channel(SUBNET).1));
        board.wait_for(runtime::WorkerReport::ready).await.unwrap();
        task.abort();
    }

    #[tokio::test]
    async fn an_absent_etcd_is_told_with_its_address() {
        // Nobody listens on port 1 of loopback.
        let store = Store::etcd(&["http://127.0.0.1:1".into()]).await.unwrap();
        let health = Health::default();
        health.announce(COMPONENT, ComponentKind::Builtin, "0");
        let mut board = health.watch();
        let task = tokio::spawn(run(store, info(), health, watch::channel(SUBNET).1));
        let said = board
            .wait_for(|report| report.components[COMPONENT].message.contains("etcd at http://127.0.0.1:1"));
        tokio::time::timeout(Duration::from_secs(20), said).await.expect("in time").unwrap();
        task.abort();
    }
}
