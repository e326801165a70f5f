//! DaemonSets as a whole, in memory.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use store::Event as Watched;

use super::*;
use crate::fake::World;

fn set(strategy: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}}, "updateStrategy": strategy,
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "main", "image": "agent:1"}]},
            },
        },
    })
}

async fn node(world: &World, name: &str, spec: Value) -> Node {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec});
    world.create::<Node>(node).await
}

/// The pods are put where they want to be.
async fn world() -> World {
    let mut world = World::new();
    world.start(DaemonSets::new(&world.cluster));
    for name in ["n0", "n1", "n2"] {
        node(&world, name, json!({})).await;
    }
    world.start_kubelet();
    world
}

fn counts(set: &DaemonSet) -> [i32; 4] {
    let status = set.status.clone().unwrap_or_default();
    let number = Option::unwrap_or_default;
    [
        status.desired_number_scheduled,
        status.number_ready,
        number(status.updated_number_scheduled),
        number(status.number_available),
    ]
}

async fn nodes(world: &World) -> Vec<String> {
    let mut nodes: Vec<_> =
        world.list::<Pod>().await.iter().map(|pod| pods::node_name(pod).to_owned()).collect();
    nodes.sort();
    nodes
}

#[tokio::test(start_paused = true)]
async fn each_node_has_one_and_new_ones_get_one() {
    let world = world().await;
    let agent = world.create::<DaemonSet>(set(Value::Null)).await;
    world.until_one("all are there", &agent, |set| counts(set) == [3; 4]).await;
    assert_eq!(nodes(&world).await, ["n0", "n1", "n2"]);
    let quiet = world.settled().await;
    assert_eq!(world.settled().await, quiet, "nothing is written when nothing differs");

    node(&world, "n3", json!({})).await;
    node(&world, "n4", json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]})).await;
    world.until_one("the new one has one", &agent, |set| counts(set) == [4; 4]).await;
    assert_eq!(nodes(&world).await, ["n0", "n1", "n2", "n3"]);

    let pod = world.list::<Pod>().await.remove(0);
    world.store.delete(&pod).await.unwrap();
    let another = |pods: &[Pod]| pods.len() == 4 && pods.iter().all(|one| one.uid() != pod.uid());
    world.until_all("there is another one", another).await;

    let gone = world.list::<Node>().await.into_iter().find(|node| node.name() == "n3").unwrap();
    world.store.delete(&gone).await.unwrap();
    world.until_one("it goes with its node", &agent, |set| counts(set) == [3; 4]).await;
    world.until("none is left there", || nodes(&world), |nodes| *nodes == ["n0", "n1", "n2"]).await;
}

/// The fewest that were ready at any moment, and the most that were there.
async fn watch(world: &World, of: &DaemonSet) -> (usize, usize) {
    let list = world.store.list_as_of::<Pod>(None).await.unwrap();
    let mut all: BTreeMap<_, _> = list.items.into_iter().map(|pod| (pod.name().to_owned(), pod)).collect();
    let mut watch = world.store.watch::<Pod>(None, list.revision).await.unwrap();
    let (mut least, mut most) = (usize::MAX, 0);
    while let Ok(next) = tokio::time::timeout(std::time::Duration::from_secs(20), watch.next()).await {
        match next.unwrap() {
            Watched::Added(pod) | Watched::Modified(pod) => drop(all.insert(pod.name().into(), pod)),
            Watched::Deleted { object, .. } => drop(all.remove(object.name())),
            Watched::Bookmark(_) => {}
        }
        let active = all.values().filter(|pod| pods::is_active(pod));
        most = most.max(active.clone().count());
        least = least.min(active.filter(|pod| pods::is_ready(pod)).count());
    }
    assert_eq!(counts(&world.get(of).await), [3; 4]);
    (least, most)
}

#[tokio::test(start_paused = true)]
async fn an_update_goes_from_node_to_node() {
    let rolling = |surge: i32, unavailable: i32| json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
    for (strategy, bounds) in [(Value::Null, (2, 3)), (rolling(0, 2), (1, 3)), (rolling(1, 0), (3, 4))] {
        let world = world().await;
        let agent = world.create::<DaemonSet>(set(strategy.clone())).await;
        world.until_one("all are there", &agent, |set| counts(set) == [3; 4]).await;
        world.settled().await;
        let edit = async {
            let image = |set: &mut DaemonSet| {
                set.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image =
                    Some("agent:2".into());
            };
            world.edit(&agent, image).await;
        };
        let (seen, ()) = tokio::join!(watch(&world, &agent), edit);
        assert_eq!(seen, bounds, "{strategy}");
        let images: BTreeSet<_> = world
            .list::<Pod>()
            .await
            .iter()
            .map(|pod| pod.spec.clone().unwrap().containers[0].image.clone())
            .collect();
        assert_eq!(images, [Some("agent:2".to_owned())].into());
        assert_eq!(world.list::<ControllerRevision>().await.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn on_delete_waits_for_the_user() {
    let world = world().await;
    let agent = world.create::<DaemonSet>(set(json!({"type": "OnDelete"}))).await;
    world.until_one("all are there", &agent, |set| counts(set) == [3; 4]).await;
    let image = |set: &mut DaemonSet| {
        set.spec.as_mut().unwrap().template.spec.as_mut().unwrap().containers[0].image =
            Some("agent:2".into());
    };
    world.edit(&agent, image).await;
    world.until_one("none is new", &agent, |set| counts(set) == [3, 3, 0, 3]).await;
    world.settled().await;
    let pod = world.list::<Pod>().await.remove(0);
    world.store.delete(&pod).await.unwrap();
    world.until_one("one is new", &agent, |set| counts(set) == [3, 3, 1, 3]).await;
}
