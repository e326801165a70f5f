//! How fast a cluster's control plane is, on a real etcd on this machine: `cargo bench -p controllers`.
//!
//! Prints how long 1,000 pods of one Deployment take to be made, placed and ready (their kubelets say so at
//! once); the same for 5,000 pods in 50 Deployments, with the memory that it takes, how long a new version of
//! all takes, and how soon another control plane works on it; and how many changes of pods a second get into the
//! EndpointSlices of 1,000 services with 100 endpoints each.

// clippy.toml allows it in tests, but does not see that this is much like one.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[allow(dead_code, unreachable_pub)]
#[path = "../tests/cluster/lab.rs"]
mod lab;
#[allow(dead_code, unreachable_pub)]
#[path = "../../store/tests/store/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::types::api::core::v1::{Pod, Service};
use api::types::api::discovery::v1::EndpointSlice;
use lab::{Lab, nginx, until};
use serde_json::{Value, json};
use server::{Etcd, alone};
use store::{Object, Reflector, Store, new_uid};
use tokio::task::JoinSet;

/// As many writes are under way at a time.
const WRITERS: usize = 64;

fn main() {
    // `cargo test --benches` only wants to see that it runs.
    let short = std::env::args().any(|argument| argument == "--test");
    let (pods, services, changes) = if short { (20, 5, 50) } else { (1000, 1000, 20_000) };
    alone(async move {
        let etcd = Etcd::single().await;
        rollout(etcd.store().await, pods).await;
    });
    let (deployments, each) = if short { (2, 10) } else { (50, 100) };
    alone(async move {
        let etcd = Etcd::single().await;
        many(etcd.store().await, deployments, each).await;
    });
    alone(async move {
        let etcd = Etcd::single().await;
        endpoints(etcd.store().await, services, changes).await;
    });
}

async fn rollout(store: Store, pods: usize) {
    let lab = Lab::start(store.clone(), 10).await;
    lab.create(nginx(1)).await;
    lab.rolled_out("nginx-deployment").await;
    let all = Reflector::<Pod>::start(&store, None);
    all.wait_synced().await;
    let began = Instant::now();
    lab.scale("nginx-deployment", pods).await;
    let placed = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let count = || async { all.snapshot().values().filter(|pod| placed(pod)).count() };
    until("all are placed", count, |count| *count == pods).await;
    let after = began.elapsed();
    lab.rolled_out("nginx-deployment").await;
    println!("{pods} pods: placed after {after:.2?}, all available after {:.2?}", began.elapsed());
}

/// A Deployment of that name and number of pods.
fn deployment(name: &str, replicas: usize) -> Value {
    let mut document = nginx(replicas);
    document["metadata"]["name"] = name.into();
    document["spec"]["selector"]["matchLabels"]["app"] = name.into();
    document["spec"]["template"]["metadata"]["labels"]["app"] = name.into();
    document
}

/// Private memory of this process in MiB (`smaps_rollup`).
fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let private = text.lines().filter(|line| line.starts_with("Private_"));
    private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok()).sum::<usize>() / 1024
}

async fn many(store: Store, deployments: usize, each: usize) {
    let mut lab = Lab::start(store.clone(), deployments).await;
    lab.create(nginx(1)).await;
    lab.rolled_out("nginx-deployment").await;
    let names: Vec<String> = (0..deployments).map(|number| format!("web-{number}")).collect();
    let (pods, before, began) = (deployments * each, memory(), Instant::now());
    for name in &names {
        lab.create(deployment(name, each)).await;
    }
    for name in &names {
        lab.rolled_out(name).await;
    }
    println!("{pods} pods of {deployments} deployments: all available after {:.2?}", began.elapsed());
    println!("memory: {before} MiB before, {} MiB with them (control plane and all kubelets)", memory());
    let began = Instant::now();
    for name in &names {
        let image = |document: &mut Value| {
            document["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:1.16.1".into();
        };
        lab.edit(name, image).await;
    }
    for name in &names {
        lab.rolled_out(name).await;
    }
    println!("another version of all of them: {:.2?}; memory {} MiB", began.elapsed(), memory());
    lab.stop();
    lab.scale(&names[0], each + 1).await;
    let began = Instant::now();
    lab.go();
    lab.rolled_out(&names[0]).await;
    println!("a control plane that begins with them: at work after {:.2?}", began.elapsed());
}

/// Stores many objects, some at a time.
async fn store_all<K: Object + Send + 'static>(store: &Store, objects: impl Iterator<Item = K>) {
    let mut tasks = JoinSet::new();
    for mut object in objects {
        if tasks.len() >= WRITERS {
            tasks.join_next().await;
        }
        let store = store.clone();
        tasks.spawn(async move { store.create(&mut object).await.unwrap() });
    }
    tasks.join_all().await;
}

fn service(number: usize) -> Service {
    let metadata = json!({"name": format!("s{number}"), "namespace": "default", "uid": new_uid()});
    let spec = json!({
        "clusterIP": format!("100.64.{}.{}", 1 + number / 250, 1 + number % 250),
        "type": "ClusterIP", "selector": {"app": format!("s{number}")},
        "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
    });
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn pod(service: usize, number: usize) -> Pod {
    let id = u32::try_from(service * 100 + number).unwrap();
    let ip = std::net::Ipv4Addr::from(0x0b0a_0000 + id).to_string();
    let pod = json!({
        "metadata": {
            "name": format!("s{service}-{number}"), "namespace": "default", "uid": new_uid(),
            "labels": {"app": format!("s{service}")},
        },
        "spec": {"nodeName": format!("C0w{}", number % 10), "containers": [{"name": "main", "image": "nginx"}]},
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    serde_json::from_value(pod).unwrap()
}

async fn endpoints(store: Store, services: usize, changes: usize) {
    store_all(&store, (0..services).map(service)).await;
    store_all(&store, (0..services).flat_map(|service| (0..100).map(move |n| pod(service, n)))).await;
    let lab = Lab::start(store.clone(), 10).await;
    let slices = Reflector::<EndpointSlice>::start(&store, None);
    let count = || async { slices.snapshot().values().map(|slice| slice.endpoints.len()).sum::<usize>() };
    let began = Instant::now();
    until("all endpoints are there", count, |count| *count == services * 100).await;
    println!("{} endpoints of {services} services: all there after {:.2?}", services * 100, began.elapsed());

    let began = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let (store, next) = (store.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= changes {
                    return;
                }
                // Each change of another service, and of each pod as often.
                let name = format!("s{}-{}", number % services, number / services % 100);
                let turn = |pod: &mut Pod| {
                    let ready = &mut pod.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status;
                    *ready = if ready == "True" { "False" } else { "True" }.into();
                };
                store.modify("default", &name, turn).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let written = began.elapsed();
    let wanted = ready_pods(&store).await;
    let is_right = || async { ready_endpoints(&slices) == wanted };
    until("all endpoints are as their pods", is_right, |right| *right).await;
    let shown = began.elapsed();
    let rate = |time: Duration| changes as f64 / time.as_secs_f64();
    println!(
        "{changes} changes: written {:.0} a second, all in the slices {:.2?} after the last ({:.0} a second)",
        rate(written),
        shown.saturating_sub(written),
        rate(shown),
    );
    drop(lab);
}

async fn ready_pods(store: &Store) -> BTreeMap<String, bool> {
    let ready = |pod: &Pod| pod.status.as_ref().unwrap().conditions.as_ref().unwrap()[0].status == "True";
    let pods: Vec<Pod> = store.list(None).await.unwrap();
    pods.iter().map(|pod| (pod.metadata.name.clone().unwrap(), ready(pod))).collect()
}

fn ready_endpoints(slices: &Reflector<EndpointSlice>) -> BTreeMap<String, bool> {
    let snapshot = slices.snapshot();
    let all = snapshot.values().flat_map(|slice| &slice.endpoints);
    all.map(|one| {
        let name = one.target_ref.as_ref().unwrap().name.clone().unwrap();
        (name, one.conditions.as_ref().unwrap().ready == Some(true))
    })
    .collect()
}
