//! Garbage collection as a whole, in memory.

use api::types::api::apps::v1::{Deployment, ReplicaSet};
use api::types::api::core::v1::{ConfigMap, Pod, Service};
use api::types::api::discovery::v1::EndpointSlice;
use api::types::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use serde_json::json;
use store::registry;

use super::*;
use crate::deployment::Deployments;
use crate::endpoint_slice::EndpointSlices;
use crate::fake::World;
use crate::meta::Meta;
use crate::replica_set::ReplicaSets;

async fn world() -> (World, Deployment) {
    let mut world = World::new();
    world.start(Deployments::new(&world.cluster));
    world.start(ReplicaSets::new(&world.cluster));
    world.start(EndpointSlices::new(&world.cluster));
    world.start(Garbage::new(&world.cluster));
    world.start_kubelet();
    let web = world
        .create::<Deployment>(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "main", "image": "nginx"}]},
                },
            },
        }))
        .await;
    world.until_all::<Pod>("its pods are there", |pods| pods.len() == 3).await;
    world.settled().await;
    (world, web)
}

async fn delete(world: &World, web: &Deployment, propagation: &str) {
    let options = DeleteOptions { propagation_policy: Some(propagation.into()), ..DeleteOptions::default() };
    registry::delete::<Deployment>(&world.store, "default", web.name(), &options).await.unwrap();
}

async fn left(world: &World) -> [usize; 3] {
    let (deployments, sets) = (world.list::<Deployment>().await, world.list::<ReplicaSet>().await);
    [deployments.len(), sets.len(), world.list::<Pod>().await.len()]
}

#[tokio::test(start_paused = true)]
async fn in_the_background_all_below_go_after_it() {
    let (world, web) = world().await;
    delete(&world, &web, "Background").await;
    assert_eq!(left(&world).await[0], 0);
    world.until("all are gone", || left(&world), |left| *left == [0; 3]).await;
}

#[tokio::test(start_paused = true)]
async fn in_the_foreground_it_goes_last() {
    let (world, web) = world().await;
    let list = world.store.list_as_of::<Deployment>(None).await.unwrap();
    let mut watch = world.store.watch::<Deployment>(None, list.revision).await.unwrap();
    delete(&world, &web, "Foreground").await;
    loop {
        if let store::Event::Deleted { .. } = watch.next().await.unwrap() {
            break;
        }
    }
    assert_eq!(left(&world).await, [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn orphans_stay_and_belong_to_nobody() {
    let (world, web) = world().await;
    delete(&world, &web, "Orphan").await;
    world.until("it is gone", || left(&world), |left| *left == [0, 1, 3]).await;
    world.settled().await;
    assert_eq!(left(&world).await, [0, 1, 3]);
    assert_eq!(world.list::<ReplicaSet>().await[0].metadata.owner_references, None);

    // One that comes back adopts what it finds.
    let mut again = serde_json::to_value(&web).unwrap();
    again["metadata"] = json!({"name": "web", "namespace": "default"});
    again.as_object_mut().unwrap().remove("status");
    let again = world.create::<Deployment>(again).await;
    let adopted = |sets: &[ReplicaSet]| sets.len() == 1 && sets[0].is_controlled_by(again.uid());
    world.until_all("it is adopted", adopted).await;
    assert_eq!(left(&world).await, [1, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn slices_go_with_their_service() {
    let (world, _) = world().await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    let service = world.create::<Service>(service).await;
    world.until_all::<EndpointSlice>("there is one", |slices| slices.len() == 1).await;
    world.store.delete(&service).await.unwrap();
    world.until_all::<EndpointSlice>("there is none", <[_]>::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn objects_without_a_type_belong_to_others_too() {
    let (world, _) = world().await;
    let owner =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}});
    let owner = world.create::<ConfigMap>(owner).await;
    let site = |name: &str, owner: &ConfigMap| {
        let reference =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner.name(), "uid": owner.uid()});
        json!({"apiVersion": "skupper.io/v2alpha1", "kind": "Site", "metadata": {
            "name": name, "namespace": "default", "ownerReferences": [reference],
        }})
    };
    registry::create_raw(&world.store, &api::kinds::SITES, &site("kept", &owner)).await.unwrap();
    let stranger = ConfigMap {
        metadata: api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            uid: Some("another".into()),
            ..owner.metadata.clone()
        },
        ..owner.clone()
    };
    registry::create_raw(&world.store, &api::kinds::SITES, &site("lost", &stranger)).await.unwrap();
    let sites = || async { world.store.list_raw(&api::kinds::SITES, None).await.unwrap().items.len() };
    world.until("one is left", sites, |count| *count == 1).await;
    world.settled().await;
    assert_eq!(sites().await, 1);
    world.store.delete(&owner).await.unwrap();
    world.until("none is left", sites, |count| *count == 0).await;
}
