//! StatefulSets as a whole, in memory.

use serde_json::{Value, json};
use store::Event as Watched;

use super::*;
use crate::fake::World;
use crate::pods;

fn set(replicas: i32, more: Value) -> Value {
    let mut document = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "default"},
        "spec": {
            "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "main", "image": "db:1"}]},
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
    world.start(StatefulSets::new(&world.cluster));
    world.start_kubelet();
    world
}

fn counts(set: &StatefulSet) -> [i32; 4] {
    let status = set.status.clone().unwrap_or_default();
    let number = Option::unwrap_or_default;
    [
        status.replicas,
        number(status.ready_replicas),
        number(status.updated_replicas),
        number(status.current_replicas),
    ]
}

fn image(set: &mut StatefulSet, image: &str) {
    set.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
}

/// Names and images.
async fn images(world: &World) -> Vec<String> {
    let pods = world.list::<Pod>().await;
    let image = |pod: &Pod| pod.spec.clone().unwrap().containers[0].image.clone().unwrap();
    pods.iter().map(|pod| format!("{} {}", pod.name(), image(pod))).collect()
}

/// What comes and goes while `work` is done, until nothing does.
async fn log(world: &World, work: impl Future<Output = ()>) -> Vec<String> {
    let revision = world.store.list_as_of::<Pod>(None).await.unwrap().revision;
    let mut watch = world.store.watch::<Pod>(None, revision).await.unwrap();
    work.await;
    let mut log = Vec::new();
    while let Ok(next) = tokio::time::timeout(std::time::Duration::from_secs(20), watch.next()).await {
        match next.unwrap() {
            Watched::Added(pod) => log.push(format!("+{}", pod.name())),
            Watched::Modified(pod) if pods::is_ready(&pod) && !pod.is_deleting() => {
                log.push(format!("{} ready", pod.name()))
            }
            Watched::Deleted { object, .. } => log.push(format!("-{}", object.name())),
            _ => {}
        }
    }
    log
}

#[tokio::test(start_paused = true)]
async fn pods_come_and_go_in_their_order() {
    let world = world();
    let up = async {
        world.create::<StatefulSet>(set(3, json!({}))).await;
    };
    assert_eq!(log(&world, up).await, ["+db-0", "db-0 ready", "+db-1", "db-1 ready", "+db-2", "db-2 ready"]);
    let db = world.list::<StatefulSet>().await.remove(0);
    assert_eq!(counts(&db), [3; 4]);
    let quiet = world.settled().await;
    assert_eq!(world.settled().await, quiet, "nothing is written when nothing differs");

    let gone = async { world.store.delete(&world.list::<Pod>().await[1]).await.unwrap() };
    assert_eq!(log(&world, gone).await, ["-db-1", "+db-1", "db-1 ready"]);
    let down = async {
        world.edit(&db, |db| db.spec.as_mut().unwrap().replicas = Some(1)).await;
    };
    assert_eq!(log(&world, down).await, ["-db-2", "-db-1"]);
}

#[tokio::test(start_paused = true)]
async fn in_parallel_they_come_at_once() {
    let world = world();
    let up = async {
        world
            .create::<StatefulSet>(set(
                3,
                json!({"podManagementPolicy": "Parallel", "ordinals": {"start": 5}}),
            ))
            .await;
    };
    let log = log(&world, up).await;
    assert_eq!(log[..3], ["+db-5", "+db-6", "+db-7"]);
}

#[tokio::test(start_paused = true)]
async fn many_in_parallel_come_in_bursts() {
    let world = world();
    let many = 1 + i32::try_from(pods::BURST).unwrap();
    let db = world.create::<StatefulSet>(set(many, json!({"podManagementPolicy": "Parallel"}))).await;
    world.until_one("all are there", &db, |set| counts(set) == [many; 4]).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_goes_from_the_last_to_the_first() {
    let world = world();
    let db = world.create::<StatefulSet>(set(3, json!({}))).await;
    world.until_one("all are there", &db, |set| counts(set) == [3; 4]).await;
    let update = async {
        world.edit(&db, |db| image(db, "db:2")).await;
    };
    let expected =
        ["-db-2", "+db-2", "db-2 ready", "-db-1", "+db-1", "db-1 ready", "-db-0", "+db-0", "db-0 ready"];
    assert_eq!(log(&world, update).await, expected);
    let now = world.get(&db).await;
    assert_eq!(counts(&now), [3; 4]);
    let status = now.status.unwrap();
    assert_eq!(status.current_revision, status.update_revision);
    assert_eq!(images(&world).await, ["db-0 db:2", "db-1 db:2", "db-2 db:2"]);
    assert_eq!(world.list::<ControllerRevision>().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_partition_keeps_the_old_ones_even_when_they_are_replaced() {
    let world = world();
    let strategy = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    let db = world.create::<StatefulSet>(set(3, strategy)).await;
    world.until_one("all are there", &db, |set| counts(set)[1] == 3).await;
    world.edit(&db, |db| image(db, "db:2")).await;
    world.until_one("one is new", &db, |set| counts(set) == [3, 3, 1, 2]).await;
    world.settled().await;
    world.store.delete(&world.list::<Pod>().await[0]).await.unwrap();
    world.settled().await;
    assert_eq!(images(&world).await, ["db-0 db:1", "db-1 db:1", "db-2 db:2"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_ready_stops_an_update() {
    let world = world();
    let db = world.create::<StatefulSet>(set(3, json!({}))).await;
    world.until_one("all are there", &db, |set| counts(set) == [3; 4]).await;
    world
        .edit(&db, |db| {
            image(db, "db:2");
            let meta = db.spec.as_mut().unwrap().template.metadata.as_mut().unwrap();
            meta.annotations = Some([("test/never-ready".to_owned(), String::new())].into());
        })
        .await;
    world.until_one("one is new", &db, |set| counts(set) == [3, 2, 1, 2]).await;
    world.settled().await;
    assert_eq!(images(&world).await, ["db-0 db:1", "db-1 db:1", "db-2 db:2"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_failed_is_made_anew() {
    let world = world();
    let db = world.create::<StatefulSet>(set(2, json!({}))).await;
    world.until_one("all are there", &db, |set| counts(set) == [2; 4]).await;
    let fail = |pod: &mut Pod| pod.status.as_mut().unwrap().phase = Some("Failed".into());
    let failed = world.store.modify("default", "db-0", fail).await.unwrap();
    let renewed = |pods: &[Pod]| pods.len() == 2 && pods[0].uid() != failed.uid();
    world.until_all("it is renewed", renewed).await;
}
