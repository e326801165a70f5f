//! The API server's manners, on the twin in memory.

use api::kinds::{CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, SERVICES};
use api::types::api::core::v1::{ConfigMap, Namespace, Pod};
use api::types::apimachinery::pkg::apis::meta::v1::{Preconditions, Time};
use serde_json::json;

use super::delete::{Step, plan};
use super::*;
use crate::allocator::Allocator;

fn pod(name: &str, node: Option<&str>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    });
    if let Some(node) = node {
        pod["spec"]["nodeName"] = node.into();
    }
    pod
}

fn config(name: &str, namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}})
}

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() }
}

fn policy(policy: Propagation) -> DeleteOptions {
    DeleteOptions { propagation_policy: Some(policy.word().into()), ..DeleteOptions::default() }
}

#[tokio::test]
async fn a_new_object_has_everything_that_the_api_server_gives_it() {
    let store = Store::memory();
    let created = create_raw(&store, &PODS, &pod("c1", None)).await.unwrap();
    assert_eq!(created["metadata"]["uid"].as_str().unwrap().len(), 36);
    assert!(created["metadata"]["creationTimestamp"].is_string());
    assert_eq!(created["spec"]["terminationGracePeriodSeconds"], 30);
    assert_eq!(created["status"]["phase"], "Pending");
    assert_eq!(store.get_raw(&PODS, "default", "c1").await.unwrap(), Some(created));

    let again = create_raw(&store, &PODS, &pod("c1", None)).await.unwrap_err();
    assert_eq!((again.code(), again.to_string().as_str()), (409, "pods \"c1\" already exists"));
    let mut document = pod("", None);
    document["metadata"] = json!({"generateName": "web-", "namespace": "default"});
    let [one, other] = [(); 2].map(|()| document.clone());
    let one = create_raw(&store, &PODS, &one).await.unwrap();
    let other = create_raw(&store, &PODS, &other).await.unwrap();
    assert_ne!(names(&one), names(&other));
    document["spec"]["containers"][0]["imge"] = "nginx".into();
    let error = create_raw(&store, &PODS, &document).await.unwrap_err();
    assert!(error.to_string().contains("unknown field \"spec.containers[0].imge\""), "{error}");
}

#[tokio::test]
async fn a_namespace_has_to_be_there() {
    let store = Store::memory();
    let error = create_raw(&store, &CONFIG_MAPS, &config("a", "east")).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (404, "namespaces \"east\" not found"));
    assert!(create_raw(&store, &CONFIG_MAPS, &config("a", "default")).await.is_ok());
    let error = delete::run(&store, &NAMESPACES, "", "default", &DeleteOptions::default()).await.unwrap_err();
    let said = "namespaces \"default\" is forbidden: this namespace may not be deleted";
    assert_eq!((error.code(), error.to_string().as_str()), (403, said));
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_empty() {
    let store = Store::memory();
    let east = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "east"}});
    create_raw(&store, &NAMESPACES, &east).await.unwrap();
    create_raw(&store, &CONFIG_MAPS, &config("a", "east")).await.unwrap();
    let mut running = pod("c1", Some("C0w1"));
    running["metadata"]["namespace"] = "east".into();
    create_raw(&store, &PODS, &running).await.unwrap();
    assert!(!empty_namespace(&store, "east").await.unwrap(), "it is not being deleted");

    let deleted = delete::<Namespace>(&store, "", "east", &DeleteOptions::default()).await.unwrap();
    assert_eq!(deleted.object()["status"]["phase"], "Terminating");
    assert!(!deleted.is_gone());
    let error = create_raw(&store, &CONFIG_MAPS, &config("b", "east")).await.unwrap_err();
    let said = "configmaps \"b\" is forbidden: unable to create new content in namespace east because it is \
                being terminated";
    assert_eq!(error.to_string(), said);

    assert!(!empty_namespace(&store, "east").await.unwrap(), "the pod is ending");
    assert_eq!(store.list::<ConfigMap>(None).await.unwrap(), []);
    let pod: Pod = store.get("east", "c1").await.unwrap().unwrap();
    delete_now(&store, &pod).await.unwrap();
    assert!(empty_namespace(&store, "east").await.unwrap());
    assert_eq!(store.get::<Namespace>("", "east").await.unwrap(), None);
}

#[tokio::test]
async fn a_running_pod_is_marked_and_removed_by_its_kubelet() {
    let store = Store::memory();
    create_raw(&store, &PODS, &pod("c1", Some("C0w1"))).await.unwrap();
    let deleted = delete::<Pod>(&store, "default", "c1", &DeleteOptions::default()).await.unwrap();
    assert!(!deleted.is_gone());
    let marked: Pod = store.get("default", "c1").await.unwrap().unwrap();
    assert_eq!(marked.metadata.deletion_grace_period_seconds, Some(30));
    let again = delete::<Pod>(&store, "default", "c1", &DeleteOptions::default()).await.unwrap();
    assert_eq!(again.object(), deleted.object(), "nothing is written twice");

    let mut other = marked.clone();
    other.metadata.uid = Some("other".into());
    delete_now(&store, &other).await.unwrap();
    assert!(store.get::<Pod>("default", "c1").await.unwrap().is_some(), "another one is left alone");
    delete_now(&store, &marked).await.unwrap();
    delete_now(&store, &marked).await.unwrap();
    assert_eq!(store.get::<Pod>("default", "c1").await.unwrap(), None);
    let gone = delete::<Pod>(&store, "default", "c1", &DeleteOptions::default()).await.unwrap_err();
    assert!(gone.is_not_found());
}

#[tokio::test]
async fn the_last_finalizer_takes_the_object_with_it() {
    let store = Store::memory();
    let mut document = config("a", "default");
    document["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    create_raw(&store, &CONFIG_MAPS, &document).await.unwrap();
    assert!(!delete::<ConfigMap>(&store, "default", "a", &DeleteOptions::default()).await.unwrap().is_gone());
    let drop_one = |map: &mut ConfigMap| {
        map.metadata.finalizers.as_mut().unwrap().pop();
    };
    modify(&store, "default", "a", drop_one).await.unwrap();
    assert!(store.get::<ConfigMap>("default", "a").await.unwrap().is_some());
    modify(&store, "default", "a", drop_one).await.unwrap();
    assert_eq!(store.get::<ConfigMap>("default", "a").await.unwrap(), None);

    create_raw(&store, &CONFIG_MAPS, &document).await.unwrap();
    delete::<ConfigMap>(&store, "default", "a", &DeleteOptions::default()).await.unwrap();
    let unheld = config("a", "default");
    update_raw(&store, &CONFIG_MAPS, &unheld).await.unwrap();
    assert_eq!(store.get::<ConfigMap>("default", "a").await.unwrap(), None, "an update does the same");
}

#[tokio::test]
async fn an_update_writes_only_what_changes_and_overwrites_nobody() {
    let store = Store::memory();
    let created = create_raw(&store, &CONFIG_MAPS, &config("a", "default")).await.unwrap();
    let same = update_raw(&store, &CONFIG_MAPS, &config("a", "default")).await.unwrap();
    assert_eq!(same, created);
    let mut changed = created.clone();
    changed["data"] = json!({"key": "1"});
    let changed = update_raw(&store, &CONFIG_MAPS, &changed).await.unwrap();
    assert_ne!(version(&changed), version(&created));
    let mut stale = created;
    stale["data"] = json!({"key": "2"});
    let error = update_raw(&store, &CONFIG_MAPS, &stale).await.unwrap_err();
    assert_eq!((error.reason(), error.code()), ("Conflict", 409));
    assert_eq!(store.get_raw(&CONFIG_MAPS, "default", "a").await.unwrap(), Some(changed));
    let missing = update_raw(&store, &CONFIG_MAPS, &config("b", "default")).await.unwrap_err();
    assert!(missing.is_not_found());
}

#[tokio::test]
async fn a_patch_is_made_anew_when_someone_else_was_faster() {
    let store = Store::memory();
    create_raw(&store, &CONFIG_MAPS, &config("a", "default")).await.unwrap();
    let mut tries = 0;
    let (other, patched) = {
        let rival = store.clone();
        let mut rival_done = None;
        let patched = patch_raw(&store, &CONFIG_MAPS, "default", "a", |old| {
            tries += 1;
            if tries == 1 {
                let mut other = old.clone();
                other["data"] = json!({"rival": "1"});
                // The twin in memory is never pending.
                rival_done = futures_now(rival.update_raw(&CONFIG_MAPS, &mut other));
            }
            let mut new = old.clone();
            new["data"]["mine"] = "1".into();
            Ok(new)
        })
        .await
        .unwrap();
        (rival_done, patched)
    };
    other.unwrap().unwrap();
    assert_eq!(patched.new["data"], json!({"rival": "1", "mine": "1"}));
    assert_eq!(tries, 2);
}

/// Polls a future once.
fn futures_now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn what_was_meant_is_made_sure_of() {
    let store = Store::memory();
    let created = create_raw(&store, &CONFIG_MAPS, &config("a", "default")).await.unwrap();
    let uid = created["metadata"]["uid"].as_str().unwrap();
    let mut options = DeleteOptions {
        preconditions: Some(Preconditions { uid: Some("x".into()), resource_version: None }),
        ..DeleteOptions::default()
    };
    let error = delete::<ConfigMap>(&store, "default", "a", &options).await.unwrap_err();
    let said = format!(
        "Operation cannot be fulfilled on configmaps \"a\": Precondition failed: UID in precondition: x, UID in \
         object meta: {uid}"
    );
    assert_eq!((error.code(), error.to_string()), (409, said));
    options.preconditions.as_mut().unwrap().uid = Some(uid.into());
    assert!(delete::<ConfigMap>(&store, "default", "a", &options).await.unwrap().is_gone());
    options = DeleteOptions { propagation_policy: Some("Now".into()), ..DeleteOptions::default() };
    let error = delete::<ConfigMap>(&store, "default", "a", &options).await.unwrap_err();
    assert_eq!(error.code(), 400);
}

fn seconds(at: i64) -> Time {
    Time(api::types::jiff::Timestamp::from_second(at).unwrap())
}

/// What of the metadata a deletion has written; nothing where it removes, or leaves alone.
fn planned(info: &KindInfo, object: &Value, options: &DeleteOptions) -> String {
    match plan(info, object, options, &seconds(1000)) {
        Step::Nothing => "nothing".into(),
        Step::Remove => "remove".into(),
        Step::Mark(marked) => {
            let meta = &marked["metadata"];
            let show = |field: &str| meta.get(field).map_or("-".into(), ToString::to_string);
            ["deletionTimestamp", "deletionGracePeriodSeconds", "finalizers", "generation"]
                .map(show)
                .join(" ")
        }
    }
}

#[test]
fn grace_and_finalizers_decide_what_a_deletion_does() {
    let none = DeleteOptions::default();
    let running = json!({"metadata": {}, "spec": {"nodeName": "C0w1", "terminationGracePeriodSeconds": 30}});
    let with = |pointer: &str, value: Value| {
        let mut object = running.clone();
        object[pointer.split('/').next().unwrap()][pointer.split('/').nth(1).unwrap()] = value;
        object
    };
    let ending = {
        let mut object = running.clone();
        object["metadata"] =
            json!({"deletionTimestamp": "1970-01-01T00:17:10Z", "deletionGracePeriodSeconds": 30});
        object
    };
    let held = with("metadata/finalizers", json!(["a/b"]));
    let deployment = json!({"metadata": {"generation": 3}});
    let table = [
        (&PODS, running.clone(), none.clone(), r#""1970-01-01T00:17:10Z" 30 - -"#),
        (&PODS, running.clone(), grace(5), r#""1970-01-01T00:16:45Z" 5 - -"#),
        (&PODS, running.clone(), grace(-1), r#""1970-01-01T00:16:41Z" 1 - -"#),
        (&PODS, running.clone(), grace(0), "remove"),
        (&PODS, with("spec/nodeName", "".into()), none.clone(), "remove"),
        (&PODS, with("status/phase", "Succeeded".into()), none.clone(), "remove"),
        (&PODS, ending.clone(), none.clone(), "nothing"),
        (&PODS, ending.clone(), grace(60), "nothing"),
        (&PODS, ending.clone(), grace(10), r#""1970-01-01T00:16:50Z" 10 - -"#),
        (&PODS, ending.clone(), grace(0), "remove"),
        (&PODS, held.clone(), none.clone(), r#""1970-01-01T00:17:10Z" 30 ["a/b"] -"#),
        (&PODS, held.clone(), grace(0), r#""1970-01-01T00:16:40Z" 0 ["a/b"] -"#),
        (&DEPLOYMENTS, deployment.clone(), none.clone(), "remove"),
        (&DEPLOYMENTS, deployment.clone(), grace(9), "remove"),
        (&DEPLOYMENTS, deployment.clone(), policy(Propagation::Background), "remove"),
        (
            &DEPLOYMENTS,
            deployment.clone(),
            policy(Propagation::Foreground),
            r#""1970-01-01T00:16:40Z" 0 ["foregroundDeletion"] 4"#,
        ),
        (&DEPLOYMENTS, deployment, policy(Propagation::Orphan), r#""1970-01-01T00:16:40Z" 0 ["orphan"] 4"#),
        (
            &PODS,
            with("metadata/finalizers", json!(["orphan", "a/b"])),
            policy(Propagation::Foreground),
            r#""1970-01-01T00:17:10Z" 30 ["a/b","foregroundDeletion"] -"#,
        ),
        (
            &NAMESPACES,
            json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}}),
            none,
            r#""1970-01-01T00:16:40Z" 0 - -"#,
        ),
    ];
    for (info, object, options, expected) in table {
        assert_eq!(planned(info, &object, &options), expected, "{} {object} {options:?}", info.kind);
    }
}

#[test]
fn a_held_pod_whose_time_is_up_is_not_marked_again_and_again() {
    let options = grace(0);
    let mut object = json!({"metadata": {"finalizers": ["a/b"]}, "spec": {"nodeName": "C0w1"}});
    let Step::Mark(marked) = plan(&PODS, &object, &options, &seconds(1000)) else { panic!() };
    object = marked;
    assert_eq!(plan(&PODS, &object, &options, &seconds(2000)), Step::Nothing);
    object["metadata"]["finalizers"] = json!([]);
    assert_eq!(plan(&PODS, &object, &options, &seconds(2000)), Step::Remove);
}

#[tokio::test]
async fn a_service_has_its_address_when_it_is_stored() {
    let store = Store::memory();
    let service = |name: &str, ip: Option<&str>, port: u16| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": {"clusterIP": ip, "type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}})
    };
    let early = create_raw(&store, &SERVICES, &service("early", None, 30001)).await.unwrap();
    assert_eq!(early["spec"].get("clusterIP"), None, "the control plane has not published its ranges");
    let allocator = Allocator::new(&store, "100.64.0.0/16".parse().unwrap(), 30000..=32767);
    allocator.publish().await.unwrap();
    let web = create_raw(&store, &SERVICES, &service("web", Some("100.64.0.10"), 30002)).await.unwrap();
    assert_eq!(web["spec"]["clusterIPs"], json!(["100.64.0.10"]));
    let error = create_raw(&store, &SERVICES, &service("api", Some("100.64.0.10"), 30003)).await.unwrap_err();
    let said = "The Service \"api\" is invalid: spec.clusterIPs: Invalid value: [\"100.64.0.10\"]: failed to \
                allocate IP 100.64.0.10: provided IP is already allocated";
    assert_eq!((error.code(), error.to_string().as_str()), (422, said));

    let moved = patch_raw(&store, &SERVICES, "default", "web", |old| {
        let mut new = old.clone();
        new["spec"]["ports"][0]["nodePort"] = 30004.into();
        Ok(new)
    });
    assert_eq!(moved.await.unwrap().new["spec"]["ports"][0]["nodePort"], 30004);
    assert_eq!(allocator.taken_ports().await.unwrap(), [30004].into());
    delete::run(&store, &SERVICES, "default", "web", &DeleteOptions::default()).await.unwrap();
    assert!(allocator.taken_ports().await.unwrap().is_empty());
    create_raw(&store, &SERVICES, &service("api", Some("100.64.0.10"), 30003)).await.unwrap();
}
