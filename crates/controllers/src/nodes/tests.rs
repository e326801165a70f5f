//! Nodes as a whole, in memory.

use api::types::api::apps::v1::ReplicaSet;
use api::types::api::coordination::v1::LeaseSpec;
use api::types::api::core::v1::Service;
use api::types::api::discovery::v1::EndpointSlice;
use api::types::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::endpoint_slice::EndpointSlices;
use crate::fake::World;
use crate::replica_set::ReplicaSets;

/// A node's kubelet: says every ten seconds that it is there, and is ready.
fn beat(world: &World, name: &'static str) -> JoinHandle<()> {
    let (store, clock) = (world.store.clone(), world.cluster.clock.clone());
    tokio::spawn(async move {
        loop {
            let spec = LeaseSpec { renew_time: Some(MicroTime(clock.now())), ..LeaseSpec::default() };
            let metadata = ObjectMeta {
                name: Some(name.into()),
                namespace: Some(LEASES.into()),
                ..ObjectMeta::default()
            };
            if store.create(&mut Lease { metadata, spec: Some(spec.clone()) }).await.is_err() {
                let renew = |lease: &mut Lease| lease.spec = Some(spec.clone());
                store.modify(LEASES, name, renew).await.unwrap();
            }
            let ready = |node: &mut Node| {
                let ready = NodeCondition {
                    type_: "Ready".into(),
                    status: "True".into(),
                    reason: Some("KubeletReady".into()),
                    ..NodeCondition::default()
                };
                let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
                conditions.retain(|one| one.type_ != "Ready" || one.status == "True");
                if conditions.iter().all(|one| one.type_ != "Ready") {
                    conditions.push(ready);
                }
            };
            if store.modify("", name, ready).await.is_err() {
                return;
            }
            sleep(Duration::from_secs(10)).await;
        }
    })
}

struct Lab {
    world: World,
    beats: BTreeMap<&'static str, JoinHandle<()>>,
}

async fn lab() -> Lab {
    let mut world = World::new();
    let mut beats = BTreeMap::new();
    for name in ["n0", "n1", "n2"] {
        world.create::<Node>(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})).await;
        beats.insert(name, beat(&world, name));
    }
    world.until_all::<Node>("all are ready", |nodes| nodes.iter().all(is_ready)).await;
    world.start(Nodes::new(&world.cluster, Duration::from_secs(40)));
    world.start(ReplicaSets::new(&world.cluster));
    world.start(EndpointSlices::new(&world.cluster));
    world.start_kubelet();
    Lab { world, beats }
}

impl Lab {
    fn cut(&mut self, node: &str) {
        self.beats.remove(node).unwrap().abort();
    }

    async fn node(&self, name: &str) -> Node {
        self.world.store.get("", name).await.unwrap().unwrap()
    }

    async fn taints(&self, name: &str) -> String {
        let all: Vec<_> =
            taints(&self.node(name).await).iter().map(|t| format!("{}:{}", t.key, t.effect)).collect();
        all.join(" ").replace("node.kubernetes.io/", "")
    }

    async fn web(&self) -> ReplicaSet {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        });
        self.world.create::<Service>(service).await;
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "main", "image": "nginx"}]},
                },
            },
        });
        let set = self.world.create::<ReplicaSet>(set).await;
        self.ready_endpoints(3).await;
        set
    }

    /// Waits until so many endpoints are ready.
    async fn ready_endpoints(&self, count: usize) {
        let ready = |slices: &[EndpointSlice]| {
            let all = slices.iter().flat_map(|slice| &slice.endpoints);
            all.filter(|one| one.conditions.as_ref().unwrap().ready == Some(true)).count() == count
        };
        self.world.until_all("so many endpoints are ready", ready).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_node_that_is_silent_endpoints_leave_and_then_pods() {
    let mut lab = lab().await;
    lab.web().await;
    let began = Instant::now();
    sleep(Duration::from_secs(200)).await;
    assert_eq!(lab.taints("n1").await, "", "it is heard of");
    lab.cut("n1");
    let cut = Instant::now();
    lab.ready_endpoints(2).await;
    let took = cut.elapsed().as_secs();
    assert!((30..=42).contains(&took), "{took} s");
    assert_eq!(readiness(&lab.node("n1").await.status.unwrap().conditions.unwrap()), "Unknown");
    let both = "unreachable:NoSchedule unreachable:NoExecute";
    assert_eq!(lab.taints("n1").await, both);
    let on = |pods: &[Pod], node: &str| pods.iter().filter(|pod| pods::node_name(pod) == node).count();
    assert_eq!(on(&lab.world.list().await, "n1"), 1, "it is tolerated for five minutes");
    let silent = Instant::now();
    lab.world
        .until_all::<Pod>("its pod is replaced", |pods| {
            pods.iter().any(pods::is_active) && on(pods, "n1") == 0
        })
        .await;
    let took = silent.elapsed().as_secs();
    assert!((295..=310).contains(&took), "{took} s");
    assert!(began.elapsed().as_secs() > 500);

    // It comes back.
    let back = beat(&lab.world, "n1");
    lab.beats.insert("n1", back);
    lab.world.until("its taints go", || lab.taints("n1"), String::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn when_no_node_is_ready_pods_stay() {
    let mut lab = lab().await;
    lab.web().await;
    for node in ["n0", "n1", "n2"] {
        lab.cut(node);
    }
    lab.ready_endpoints(0).await;
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(lab.world.list::<Pod>().await.len(), 3);
    assert_eq!(lab.taints("n1").await, "unreachable:NoSchedule");
    // One comes back: it is the nodes after all.
    let back = beat(&lab.world, "n0");
    lab.beats.insert("n0", back);
    let both = "unreachable:NoSchedule unreachable:NoExecute".to_owned();
    lab.world.until("the others' pods have to go", || lab.taints("n1"), |taints| *taints == both).await;
    lab.world.until("of both", || lab.taints("n2"), |taints| *taints == both).await;
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_that_is_deleted_go() {
    let mut lab = lab().await;
    lab.web().await;
    lab.cut("n2");
    lab.world.store.delete(&lab.node("n2").await).await.unwrap();
    // Its kubelet is gone with it, and so nobody ends its pods; one that waits for its end goes, too.
    let lost = lab.world.list::<Pod>().await.into_iter().find(|pod| pods::node_name(pod) == "n2").unwrap();
    let gone = |pods: &[Pod]| pods.len() >= 3 && pods.iter().all(|pod| pod.uid() != lost.uid());
    lab.world.until_all("they are gone", gone).await;
}

#[tokio::test(start_paused = true)]
async fn a_cordoned_node_is_tainted_until_it_is_not() {
    let lab = lab().await;
    let cordon = |on: bool| move |node: &mut Node| node.spec.get_or_insert_default().unschedulable = Some(on);
    lab.world.store.modify("", "n0", cordon(true)).await.unwrap();
    let tainted = |taints: &String| taints == "unschedulable:NoSchedule";
    lab.world.until("it is tainted", || lab.taints("n0"), tainted).await;
    lab.world.store.modify("", "n0", cordon(false)).await.unwrap();
    lab.world.until("it is not", || lab.taints("n0"), String::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn a_taint_by_hand_drives_pods_away() {
    let lab = lab().await;
    lab.web().await;
    let taint = |node: &mut Node| {
        let taint = Taint { key: "maintenance".into(), effect: "NoExecute".into(), ..Taint::default() };
        node.spec.get_or_insert_default().taints.get_or_insert_default().push(taint);
    };
    let before: Vec<_> = lab.world.list::<Pod>().await.iter().map(|pod| pod.uid().to_owned()).collect();
    lab.world.store.modify("", "n0", taint).await.unwrap();
    let replaced = |pods: &[Pod]| {
        pods.len() == 3 && pods.iter().filter(|pod| before.iter().any(|uid| uid == pod.uid())).count() == 2
    };
    lab.world.until_all("one is replaced", replaced).await;
}
