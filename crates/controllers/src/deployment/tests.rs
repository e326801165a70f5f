//! Deployments as a whole, in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use api::types::api::core::v1::Event;
use serde_json::{Value, json};
use store::{Event as Watched, registry};

use super::*;
use crate::fake::World;
use crate::replica_set::ReplicaSets;

fn deployment(replicas: i32, more: Value) -> Value {
    let mut document = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "annotations": {"team": "red"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "web:1"}]},
            },
        },
    });
    for (key, value) in more.as_object().unwrap() {
        document["spec"][key] = value.clone();
    }
    document
}

fn world() -> World {
    let mut world = World::new();
    world.start(Deployments::new(&world.cluster));
    world.start(ReplicaSets::new(&world.cluster));
    world.start_kubelet();
    world
}

fn condition(deployment: &Deployment, kind: &str) -> String {
    let all = deployment.status.as_ref().and_then(|status| status.conditions.as_ref());
    let one = all.into_iter().flatten().find(|one| one.type_ == kind);
    one.map(|one| format!("{} {}", one.status, one.reason.as_deref().unwrap())).unwrap_or_default()
}

fn message(deployment: &Deployment, kind: &str) -> String {
    let all = deployment.status.as_ref().and_then(|status| status.conditions.as_ref());
    all.into_iter()
        .flatten()
        .find(|one| one.type_ == kind)
        .and_then(|one| one.message.clone())
        .unwrap_or_default()
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    deployment.status.as_ref().is_some_and(|status| {
        status::is_complete(deployment, status)
            && condition(deployment, "Progressing") == "True NewReplicaSetAvailable"
    })
}

fn image(deployment: &mut Deployment, image: &str) {
    deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image =
        Some(image.into());
}

async fn rolled_out(world: &World, of: &Deployment) -> Deployment {
    world.until_one("it is rolled out", of, is_rolled_out).await
}

/// Revision and replicas of each ReplicaSet, by revision.
async fn sets(world: &World) -> BTreeMap<i64, i32> {
    world.list::<ReplicaSet>().await.iter().map(|set| (sets::revision(set), spec_replicas(set))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_deployment_rolls_out_and_says_so() {
    let world = world();
    let web = world.create::<Deployment>(deployment(3, json!({}))).await;
    let web = rolled_out(&world, &web).await;
    let status = web.status.clone().unwrap();
    assert_eq!(
        (status.replicas, status.ready_replicas, status.unavailable_replicas),
        (Some(3), Some(3), None)
    );
    assert_eq!(web.annotation(REVISION), Some("1"));
    assert_eq!(condition(&web, "Available"), "True MinimumReplicasAvailable");
    let set = world.list::<ReplicaSet>().await.remove(0);
    let hash = set.label("pod-template-hash").unwrap();
    assert_eq!(set.name(), format!("web-{hash}"));
    assert_eq!(
        message(&web, "Progressing"),
        format!("ReplicaSet \"web-{hash}\" has successfully progressed.")
    );
    assert_eq!(set.annotation("team"), Some("red"));
    assert!(world.list::<Pod>().await.iter().all(|pod| pod.label("pod-template-hash") == Some(hash)));
    let told = |events: &[Event]| {
        let message = format!("Scaled up replica set web-{hash} from 0 to 3");
        events.iter().any(|event| event.message.as_deref() == Some(message.as_str()))
    };
    world.until_all("an event tells it", told).await;
    let quiet = world.settled().await;
    assert_eq!(world.settled().await, quiet, "nothing is written when nothing differs");
}

/// Follows every change of pods, as it was made.
async fn watch_bounds(world: &World, of: &Deployment) -> (usize, usize) {
    let list = world.store.list_as_of::<Pod>(None).await.unwrap();
    let mut pods: BTreeMap<String, Pod> =
        list.items.into_iter().map(|pod| (pod.name().to_owned(), pod)).collect();
    let mut watch = world.store.watch::<Pod>(None, list.revision).await.unwrap();
    let (mut most, mut least) = (0, usize::MAX);
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
        match next {
            Ok(Ok(Watched::Added(pod) | Watched::Modified(pod))) => drop(pods.insert(pod.name().into(), pod)),
            Ok(Ok(Watched::Deleted { object, .. })) => drop(pods.remove(object.name())),
            Ok(Ok(Watched::Bookmark(_))) => {}
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => {
                assert!(is_rolled_out(&world.get(of).await));
                return (most, least);
            }
        }
        let active = pods.values().filter(|pod| pods::is_active(pod));
        most = most.max(active.clone().count());
        least = least.min(active.filter(|pod| pods::is_ready(pod)).count());
    }
}

#[tokio::test(start_paused = true)]
async fn a_rolling_update_stays_within_its_bounds() {
    for (surge, unavailable, most, least) in
        [("25%", "25%", 13, 8), ("1", "0", 11, 10), ("0", "3", 10, 7), ("100%", "0", 20, 10)]
    {
        let world = world();
        let int = |text: &str| text.parse::<i32>().map_or_else(|_| json!(text), |number| json!(number));
        let rolling = json!({"maxSurge": int(surge), "maxUnavailable": int(unavailable)});
        let strategy = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
        let web = world.create::<Deployment>(deployment(10, strategy)).await;
        rolled_out(&world, &web).await;
        let before = world.settled().await;
        let edit = async {
            world.edit(&web, |web| image(web, "web:2")).await;
        };
        let (bounds, ()) = tokio::join!(watch_bounds(&world, &web), edit);
        assert!(world.settled().await > before);
        assert!(bounds.0 <= most && bounds.1 >= least, "{surge} {unavailable}: {bounds:?}");
        assert_eq!(bounds.0 > 10, surge != "0", "it makes use of what it may: {bounds:?}");
        assert_eq!(sets(&world).await, [(1, 0), (2, 10)].into());
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_that_does_not_become_ready_leaves_the_old_pods_alone_until_it_is_taken_back() {
    let world = world();
    let web = world.create::<Deployment>(deployment(4, json!({"progressDeadlineSeconds": 60}))).await;
    rolled_out(&world, &web).await;
    world
        .edit(&web, |web| {
            image(web, "web:broken");
            let meta = web.spec.as_mut().unwrap().template.metadata.as_mut().unwrap();
            meta.annotations = Some([("test/never-ready".to_owned(), String::new())].into());
        })
        .await;
    let late = |web: &Deployment| condition(web, "Progressing") == "False ProgressDeadlineExceeded";
    let stuck = world.until_one("the time is over", &web, late).await;
    assert_eq!(condition(&stuck, "Available"), "True MinimumReplicasAvailable");
    assert_eq!(sets(&world).await, [(1, 3), (2, 2)].into());
    assert_eq!(stuck.status.as_ref().unwrap().available_replicas, Some(3));

    // As `topo rollout undo` does.
    let old = world.list::<ReplicaSet>().await.into_iter().find(|set| sets::revision(set) == 1).unwrap();
    let mut template = old.spec.unwrap().template.unwrap();
    template.metadata.as_mut().unwrap().labels.as_mut().unwrap().remove("pod-template-hash");
    let undone = world.edit(&web, |web| web.spec.as_mut().unwrap().template = template.clone()).await;
    let web = rolled_out(&world, &undone).await;
    world.settled().await;
    assert_eq!(sets(&world).await, [(2, 0), (3, 4)].into(), "the old revision is the newest now");
    assert_eq!(world.get(&web).await.annotation(REVISION), Some("3"));
    let set = world.list::<ReplicaSet>().await.into_iter().find(|set| sets::revision(set) == 3).unwrap();
    assert_eq!(set.annotation("deployment.kubernetes.io/revision-history"), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn recreate_ends_all_before_it_begins() {
    let world = world();
    let web = world.create::<Deployment>(deployment(3, json!({"strategy": {"type": "Recreate"}}))).await;
    rolled_out(&world, &web).await;
    let edit = async {
        world.edit(&web, |web| image(web, "web:2")).await;
    };
    let (bounds, ()) = tokio::join!(watch_bounds(&world, &web), edit);
    assert_eq!(bounds, (3, 0));
    assert_eq!(sets(&world).await, [(1, 0), (2, 3)].into());
}

#[tokio::test(start_paused = true)]
async fn a_paused_one_waits_and_is_scaled_all_the_same() {
    let world = world();
    let web = world.create::<Deployment>(deployment(2, json!({}))).await;
    rolled_out(&world, &web).await;
    world
        .edit(&web, |web| {
            web.spec.as_mut().unwrap().paused = Some(true);
            image(web, "web:2");
        })
        .await;
    let paused = |web: &Deployment| condition(web, "Progressing") == "Unknown DeploymentPaused";
    world.until_one("it is paused", &web, paused).await;
    world.edit(&web, |web| web.spec.as_mut().unwrap().replicas = Some(5)).await;
    let scaled = |web: &Deployment| web.status.as_ref().unwrap().available_replicas == Some(5);
    world.until_one("it is scaled", &web, scaled).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(sets(&world).await, [(1, 5)].into());
    world.edit(&web, |web| web.spec.as_mut().unwrap().paused = None).await;
    rolled_out(&world, &web).await;
    world.settled().await;
    assert_eq!(sets(&world).await, [(1, 0), (2, 5)].into());
}

#[tokio::test(start_paused = true)]
async fn old_revisions_are_forgotten_and_a_restart_is_a_revision() {
    let world = world();
    let web = world.create::<Deployment>(deployment(1, json!({"revisionHistoryLimit": 2}))).await;
    for number in 2..7 {
        rolled_out(&world, &web).await;
        let at = format!("2026-01-0{number}T00:00:00Z");
        // As `topo rollout restart` does.
        let restart = |web: &mut Deployment| {
            let meta = web.spec.as_mut().unwrap().template.metadata.as_mut().unwrap();
            meta.annotations = Some([("kubectl.kubernetes.io/restartedAt".to_owned(), at.clone())].into());
        };
        world.edit(&web, restart).await;
    }
    let last = |web: &Deployment| is_rolled_out(web) && web.annotation(REVISION) == Some("6");
    world.until_one("it is rolled out", &web, last).await;
    world.settled().await;
    assert_eq!(sets(&world).await, [(4, 0), (5, 0), (6, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_scaled_in_the_middle_of_an_update_keeps_its_proportions() {
    let world = world();
    let rolling = json!({"maxSurge": 3, "maxUnavailable": 2});
    let strategy = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
    let web = world.create::<Deployment>(deployment(10, strategy)).await;
    rolled_out(&world, &web).await;
    let broken = |web: &mut Deployment| {
        let meta = web.spec.as_mut().unwrap().template.metadata.as_mut().unwrap();
        meta.annotations = Some([("test/never-ready".to_owned(), String::new())].into());
    };
    world.edit(&web, broken).await;
    world.settled().await;
    assert_eq!(sets(&world).await, [(1, 8), (2, 5)].into());
    world.edit(&web, |web| web.spec.as_mut().unwrap().replicas = Some(15)).await;
    world.settled().await;
    // The example of Kubernetes' documentation ("Proportional scaling").
    assert_eq!(sets(&world).await, [(1, 11), (2, 7)].into());
}

#[tokio::test(start_paused = true)]
async fn a_set_of_the_same_name_is_no_obstacle() {
    let world = world();
    let web = world.create::<Deployment>(deployment(1, json!({}))).await;
    rolled_out(&world, &web).await;
    let taken = world.list::<ReplicaSet>().await.remove(0).name().to_owned();
    registry::delete::<Deployment>(&world.store, "default", "web", &Default::default()).await.unwrap();
    // Without a garbage collector the set stays, and belongs to the old one.
    let web = world.create::<Deployment>(deployment(1, json!({}))).await;
    let web = rolled_out(&world, &web).await;
    assert_eq!(web.status.as_ref().unwrap().collision_count, Some(1));
    let names: Vec<_> = world.list::<ReplicaSet>().await.iter().map(|set| set.name().to_owned()).collect();
    assert!(names.len() == 2 && names.contains(&taken), "{names:?}");
}
