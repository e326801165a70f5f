//! ReplicaSets as a whole, in memory.

use api::types::api::apps::v1::ReplicaSet;
use api::types::api::core::v1::{Event, Pod};
use serde_json::{Value, json};

use super::*;
use crate::fake::World;

fn set(name: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "nginx"}]},
            },
        },
    })
}

fn world() -> World {
    let mut world = World::new();
    world.start(ReplicaSets::new(&world.cluster));
    world.start_kubelet();
    world
}

fn counts(set: &ReplicaSet) -> [i32; 4] {
    let status = set.status.clone().unwrap_or_default();
    let zero = Option::unwrap_or_default;
    [
        status.replicas,
        zero(status.fully_labeled_replicas),
        zero(status.ready_replicas),
        zero(status.available_replicas),
    ]
}

async fn events(world: &World) -> Vec<String> {
    let line = |event: Event| format!("{} {}", event.reason.unwrap(), event.message.unwrap());
    world.list::<Event>().await.into_iter().map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn a_set_has_as_many_pods_as_it_wants() {
    let world = world();
    let web = world.create::<ReplicaSet>(set("web", 3)).await;
    let web = world.until_one("all are available", &web, |set| counts(set) == [3; 4]).await;
    assert_eq!(web.status.as_ref().unwrap().observed_generation, Some(1));
    let pods = world.list::<Pod>().await;
    assert_eq!(pods.len(), 3);
    for pod in &pods {
        assert!(pod.name().starts_with("web-") && pod.name().len() == "web-".len() + 5, "{}", pod.name());
        assert_eq!(pod.metadata.owner_references, Some(vec![controller_reference(&web)]));
        assert_eq!(pod.label("app"), Some("web"));
        assert_eq!(pod.spec.as_ref().unwrap().restart_policy.as_deref(), Some("Always"), "defaults are set");
    }
    world.store.delete(&pods[0]).await.unwrap();
    let others = |all: &[Pod]| all.len() == 3 && all.iter().all(|pod| pod.uid() != pods[0].uid());
    world.until_all("there is another one", others).await;

    world.edit(&web, |web| web.spec.as_mut().unwrap().replicas = Some(1)).await;
    world.until_one("one is left", &web, |set| counts(set) == [1; 4]).await;
    assert_eq!(world.list::<Pod>().await.len(), 1);
    let told = events(&world).await;
    assert_eq!(told.iter().filter(|line| line.starts_with("SuccessfulCreate Created pod: web-")).count(), 4);
    assert_eq!(told.iter().filter(|line| line.starts_with("SuccessfulDelete Deleted pod: web-")).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_pods_are_made_and_not_one_more() {
    let world = world();
    let web = world.create::<ReplicaSet>(set("web", 1000)).await;
    world.until_one("all are available", &web, |set| counts(set) == [1000; 4]).await;
    let quiet = world.settled().await;
    assert_eq!(world.list::<Pod>().await.len(), 1000);
    assert_eq!(world.settled().await, quiet, "nothing is written when nothing differs");
}

#[tokio::test(start_paused = true)]
async fn orphans_are_adopted_and_strangers_let_go() {
    let world = world();
    let orphan = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "by-hand", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    });
    let orphan = world.create::<Pod>(orphan).await;
    let web = world.create::<ReplicaSet>(set("web", 2)).await;
    world.until_one("all are available", &web, |set| counts(set) == [2; 4]).await;
    assert!(world.get(&orphan).await.is_controlled_by(web.uid()));
    assert_eq!(world.list::<Pod>().await.len(), 2);

    // A user takes a pod out of a set by its label, to look at it in peace.
    let label = |pod: &mut Pod| pod.metadata.labels = Some([("app".to_owned(), "debug".to_owned())].into());
    world.edit(&orphan, label).await;
    world.until_all::<Pod>("there is another one", |pods| pods.len() == 3).await;
    world.settled().await;
    assert_eq!(world.get(&orphan).await.metadata.owner_references, None);
    assert_eq!(counts(&world.get(&web).await), [2; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_template_that_is_refused_is_told_in_status_and_events() {
    let world = world();
    let mut broken = world.create::<ReplicaSet>(set("web", 5)).await;
    world.until_one("all are available", &broken, |set| counts(set) == [5; 4]).await;
    // Past validation, as by a store that was edited by hand.
    broken = world
        .store
        .modify("default", "web", |set: &mut ReplicaSet| {
            let spec = set.spec.as_mut().unwrap();
            spec.replicas = Some(7);
            spec.template.as_mut().unwrap().spec.as_mut().unwrap().containers[0].name = "No Name".into();
        })
        .await
        .unwrap();
    let failing = |set: &ReplicaSet| set.status.as_ref().unwrap().conditions.is_some();
    let failed = world.until_one("it fails", &broken, failing).await;
    let condition = failed.status.unwrap().conditions.unwrap().remove(0);
    assert_eq!(condition.reason.as_deref(), Some("FailedCreate"));
    assert!(condition.message.unwrap().contains("spec.containers[0].name: Invalid value: \"No Name\""));
    let told = |all: &Vec<String>| {
        all.iter().any(|line| line.starts_with("FailedCreate Error creating: Pod \"web-"))
    };
    world.until("an event tells it", || events(&world), told).await;

    let content = |set: &mut ReplicaSet| set.spec.as_mut().unwrap().replicas = Some(5);
    world.store.modify("default", "web", content).await.unwrap();
    world.until_one("it is well", &broken, |set| !failing(set)).await;
}

#[tokio::test(start_paused = true)]
async fn pods_are_available_after_they_have_been_ready_long_enough() {
    let world = world();
    let mut document = set("web", 2);
    document["spec"]["minReadySeconds"] = 30.into();
    let web = world.create::<ReplicaSet>(document).await;
    let began = world.cluster.clock.now();
    world.until_one("all are ready", &web, |set| counts(set) == [2, 2, 2, 0]).await;
    world.until_one("all are available", &web, |set| counts(set) == [2; 4]).await;
    let took = world.cluster.clock.now().duration_since(began).as_secs();
    assert!((28..40).contains(&took), "{took} s");
}
