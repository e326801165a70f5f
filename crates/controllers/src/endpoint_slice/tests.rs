//! EndpointSlices as a whole, in memory.

use api::types::api::apps::v1::ReplicaSet;
use serde_json::{Value, json};

use super::*;
use crate::fake::World;
use crate::replica_set::ReplicaSets;

fn service(name: &str, selector: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn set(replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web", "tier": "front"}},
                "spec": {"containers": [{"name": "main", "image": "nginx"}]},
            },
        },
    })
}

async fn world() -> World {
    let mut world = World::new();
    world.start(ReplicaSets::new(&world.cluster));
    world.start(EndpointSlices::new(&world.cluster));
    for name in ["n0", "n1", "n2"] {
        world.create::<Node>(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})).await;
    }
    world.start_kubelet();
    world
}

/// The names of the pods that are ready, by the slices.
fn ready(slices: &[EndpointSlice]) -> Names {
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|one| one.conditions.as_ref().unwrap().ready == Some(true));
    let target = ready.map(|one| one.target_ref.clone().unwrap());
    target.map(|target| ObjectName::new("default", &target.name.unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn endpoints_follow_the_pods() {
    let world = world().await;
    world.create::<Service>(service("web", json!({"app": "web", "tier": "front"}))).await;
    world.create::<Service>(service("db", json!({"app": "db"}))).await;
    let web = world.create::<ReplicaSet>(set(250)).await;
    let slices = world.until_all::<EndpointSlice>("all are there", |slices| ready(slices).len() == 250).await;
    assert!(slices.iter().all(|slice| slice.endpoints.len() <= 100));
    assert_eq!(slices.iter().filter(|slice| slice.label(SERVICE) == Some("db")).count(), 1);
    let quiet = world.settled().await;
    assert_eq!(world.settled().await, quiet, "nothing is written when nothing differs");

    world.edit(&web, |web| web.spec.as_mut().unwrap().replicas = Some(3)).await;
    world.until_all::<EndpointSlice>("three are left", |slices| ready(slices).len() == 3).await;
    world.settled().await;
    let pods: Names = world.list::<Pod>().await.iter().map(Meta::key).collect();
    assert_eq!(ready(&world.list().await), pods);
}

#[tokio::test(start_paused = true)]
async fn services_without_a_selector_are_left_alone() {
    let world = world().await;
    let mut by_hand = service("legacy", Value::Null);
    by_hand["spec"]["selector"] = Value::Null;
    world.create::<Service>(by_hand).await;
    let external = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "out", "namespace": "default"},
        "spec": {"type": "ExternalName", "externalName": "example.com", "selector": {"app": "web"}},
    });
    world.create::<Service>(external).await;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "legacy-1", "namespace": "default", "labels": {SERVICE: "legacy"}},
        "endpoints": [{"addresses": ["10.0.0.9"]}], "ports": [],
    });
    let slice = world.create::<EndpointSlice>(slice).await;
    world.settled().await;
    assert_eq!(world.list::<EndpointSlice>().await, [slice]);
}

#[tokio::test(start_paused = true)]
async fn slices_that_were_changed_by_hand_are_repaired() {
    let world = world().await;
    world.create::<Service>(service("web", json!({"app": "web"}))).await;
    world.create::<ReplicaSet>(set(3)).await;
    let slices = world.until_all::<EndpointSlice>("all are there", |slices| ready(slices).len() == 3).await;
    let wrong = |slice: &mut EndpointSlice| slice.endpoints[0].addresses = vec!["1.2.3.4".into()];
    world.store.modify("default", slices[0].name(), wrong).await.unwrap();
    let repaired = |now: &[EndpointSlice]| now[0].endpoints == slices[0].endpoints;
    world.until_all("it is repaired", repaired).await;
    world.store.delete(&world.get(&slices[0]).await).await.unwrap();
    world.until_all::<EndpointSlice>("it is made anew", |slices| ready(slices).len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_that_is_not_there_come_with_it() {
    let world = world().await;
    let gone = world.list::<Node>().await.remove(1);
    world.store.delete(&gone).await.unwrap();
    world.create::<Service>(service("web", json!({"app": "web"}))).await;
    world.create::<ReplicaSet>(set(3)).await;
    let slices = world.until_all::<EndpointSlice>("two are there", |slices| ready(slices).len() == 2).await;
    assert!(slices[0].endpoints.iter().all(|endpoint| endpoint.node_name.as_deref() != Some(gone.name())));
    world.settled().await;
    assert_eq!(ready(&world.list().await).len(), 2);
    world
        .create::<Node>(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": gone.name()}}))
        .await;
    world.until_all::<EndpointSlice>("three are there", |slices| ready(slices).len() == 3).await;
}
