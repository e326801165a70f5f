//! The scheduler as a whole, in memory.

use std::future::Future;
use std::time::Duration;

use api::admit::{self, Stamp};
use api::types::api::core::v1::{Event, Node, Pod, PodCondition};
use api::{Rules, time};
use runtime::ComponentKind;
use serde_json::{Value, json};
use store::new_uid;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;

/// Time is paused.
const LIMIT: Duration = Duration::from_secs(600);

async fn create<K: Rules>(store: &Store, document: Value) -> K {
    let mut object: K = admit::create(&document, &Stamp { uid: new_uid(), now: time::now() }).unwrap();
    store.create(&mut object).await.unwrap();
    object
}

async fn node(store: &Store, name: &str, cpu: &str) -> Node {
    let document = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
    });
    create(store, document).await
}

async fn pod(store: &Store, name: &str, fields: Value) -> Pod {
    let mut document = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    });
    for (key, value) in fields.as_object().unwrap() {
        document["spec"][key] = value.clone();
    }
    create(store, document).await
}

fn asks(cpu: &str) -> Value {
    json!({"containers": [{"name": "main", "image": "nginx", "resources": {"requests": {"cpu": cpu}}}]})
}

fn start(store: &Store, identity: &'static str) -> JoinHandle<()> {
    let health = Health::default();
    health.announce(COMPONENT, ComponentKind::Builtin, "0");
    tokio::spawn(run(identity, store.clone(), health))
}

async fn until<T, F: Future<Output = T>>(
    what: &str,
    mut look: impl FnMut() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T
where
    T: std::fmt::Debug,
{
    let began = Instant::now();
    loop {
        let now = look().await;
        if wanted(&now) {
            return now;
        }
        assert!(began.elapsed() < LIMIT, "{what}: in the end it is {now:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn look(store: &Store, name: &str) -> Pod {
    store.get("default", name).await.unwrap().unwrap()
}

fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().node_name.as_deref().unwrap_or_default()
}

async fn placed(store: &Store, name: &str) -> Pod {
    until("it has a node", || look(store, name), |pod| !node_name(pod).is_empty()).await
}

fn condition(pod: &Pod) -> Option<PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|one| one.type_ == "PodScheduled").cloned()
}

async fn refused(store: &Store, name: &str) -> String {
    let unplaced = |pod: &Pod| condition(pod).is_some_and(|one| one.status == "False");
    let pod = until("it is refused", || look(store, name), unplaced).await;
    condition(&pod).unwrap().message.unwrap()
}

async fn events(store: &Store, name: &str) -> Vec<String> {
    let all = store.list::<Event>(None).await.unwrap();
    let of = all.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
    of.map(|event| format!("{} {} {}", event.type_.unwrap(), event.reason.unwrap(), event.message.unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_a_node_and_an_event_says_so() {
    let store = Store::memory();
    let _task = start(&store, "a");
    node(&store, "n1", "4").await;
    pod(&store, "web", json!({})).await;
    let web = placed(&store, "web").await;
    assert_eq!(node_name(&web), "n1");
    assert_eq!(condition(&web).unwrap().status, "True");
    let expected = vec!["Normal Scheduled Successfully assigned default/web to n1".to_owned()];
    until("the event is told", || events(&store, "web"), |told| *told == expected).await;
}

#[tokio::test(start_paused = true)]
async fn what_fits_nowhere_is_told_and_tried_again_when_something_changes() {
    let store = Store::memory();
    let _task = start(&store, "a");
    pod(&store, "large", asks("3")).await;
    assert_eq!(refused(&store, "large").await, "no nodes available to schedule pods");
    let n1 = node(&store, "n1", "2").await;
    let message = "0/1 nodes are available: 1 Insufficient cpu.";
    let told = |pod: &Pod| condition(pod).unwrap().message.as_deref() == Some(message);
    let large = until("there is a node", || look(&store, "large"), told).await;
    assert_eq!(condition(&large).unwrap().reason.as_deref(), Some("Unschedulable"));
    let line = format!("Warning FailedScheduling {message}");
    until("an event tells it", || events(&store, "large"), |told| told.contains(&line)).await;

    // A heartbeat helps nobody, so nothing is written.
    let heartbeat = |node: &mut Node| node.status.as_mut().unwrap().phase = Some("beat".into());
    store.modify("", "n1", heartbeat).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(look(&store, "large").await.metadata.resource_version, large.metadata.resource_version);

    // A larger node helps.
    node(&store, "n2", "4").await;
    assert_eq!(node_name(&placed(&store, "large").await), "n2");

    // That a pod goes helps.
    pod(&store, "second", asks("3")).await;
    refused(&store, "second").await;
    store.delete(&look(&store, "large").await).await.unwrap();
    assert_eq!(node_name(&placed(&store, "second").await), "n2");
    assert_eq!(n1.metadata.name.as_deref(), Some("n1"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_for_company_is_placed_with_it() {
    let store = Store::memory();
    let _task = start(&store, "a");
    node(&store, "n1", "4").await;
    let term =
        json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"});
    let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    pod(&store, "web", json!({"affinity": affinity})).await;
    refused(&store, "web").await;
    let db = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "db", "namespace": "default", "labels": {"app": "db"}},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    });
    create::<Pod>(&store, db).await;
    placed(&store, "web").await;
}

#[tokio::test(start_paused = true)]
async fn others_pods_are_left_alone() {
    let store = Store::memory();
    let _task = start(&store, "a");
    node(&store, "n1", "4").await;
    pod(&store, "named", json!({"nodeName": "n9"})).await;
    pod(&store, "other", json!({"schedulerName": "mine"})).await;
    pod(&store, "gated", json!({"schedulingGates": [{"name": "wait"}]})).await;
    pod(&store, "web", json!({})).await;
    placed(&store, "web").await;
    assert_eq!(refused(&store, "gated").await, "Scheduling is blocked due to non-empty scheduling gates");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(node_name(&look(&store, "named").await), "n9");
    assert_eq!(condition(&look(&store, "named").await), None);
    assert_eq!(node_name(&look(&store, "other").await), "");
    store
        .modify("default", "gated", |pod: &mut Pod| pod.spec.as_mut().unwrap().scheduling_gates = None)
        .await
        .unwrap();
    placed(&store, "gated").await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_pods_are_placed_and_none_too_many_on_a_node() {
    let store = Store::memory();
    let _task = start(&store, "a");
    for number in 0..10 {
        node(&store, &format!("n{number}"), "4").await;
    }
    for number in 0..1101 {
        pod(&store, &format!("p{number}"), json!({})).await;
    }
    let count = |pods: &Vec<Pod>| pods.iter().filter(|pod| !node_name(pod).is_empty()).count();
    let list = || async { store.list::<Pod>(None).await.unwrap() };
    let pods = until("all but one are placed", list, |pods| count(pods) == 1100).await;
    for number in 0..10 {
        let name = format!("n{number}");
        assert_eq!(pods.iter().filter(|pod| node_name(pod) == name).count(), 110, "{name}");
    }
    let last = pods.iter().find(|pod| node_name(pod).is_empty()).unwrap();
    let message = refused(&store, last.metadata.name.as_deref().unwrap()).await;
    assert_eq!(message, "0/10 nodes are available: 10 Too many pods.");
}

#[tokio::test(start_paused = true)]
async fn of_two_schedulers_one_works_and_the_other_takes_over() {
    let store = Store::memory();
    let first = start(&store, "a");
    node(&store, "n1", "4").await;
    sleep(Duration::from_secs(1)).await;
    let _second = start(&store, "b");
    pod(&store, "web", json!({})).await;
    placed(&store, "web").await;
    first.abort();
    pod(&store, "api", json!({})).await;
    placed(&store, "api").await;
    let told = until("the events are told", || events(&store, "api"), |told| !told.is_empty()).await;
    assert_eq!(told.len(), 1);
}
