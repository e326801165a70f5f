//! How pods are, in a word.

use serde_json::{Value, json};

use crate::printers::tests::now;
use crate::printers::{Options, table};

/// A pod with that status.
fn pod(name: &str, spec: &Value, status: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "creationTimestamp": "2026-11-01T10:00:00Z"},
        "spec": spec, "status": status,
    })
}

fn status(name: &str, ready: bool, state: Value) -> Value {
    json!({"name": name, "ready": ready, "restartCount": 0, "image": "", "imageID": "", "state": state})
}

fn running() -> Value {
    json!({"running": {"startedAt": "2026-11-01T10:00:01Z"}})
}

fn waiting(reason: &str) -> Value {
    json!({"waiting": {"reason": reason}})
}

fn ended(code: i32, reason: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason}})
}

fn phase(phase: &str, containers: Vec<Value>) -> Value {
    json!({"phase": phase, "containerStatuses": containers})
}

fn one() -> Value {
    json!({"nodeName": "C0w1", "containers": [{"name": "c"}]})
}

/// Pods of one container.
fn of_one() -> Vec<Value> {
    let single = |name, of, state| pod(name, &one(), phase(of, vec![status("c", false, state)]));
    let mut well = phase("Running", vec![status("c", true, running())]);
    well["podIP"] = "11.10.0.2".into();
    well["podIPs"] = json!([{"ip": "11.10.0.2"}]);
    let mut crashing = phase("Running", vec![status("c", false, waiting("CrashLoopBackOff"))]);
    crashing["containerStatuses"][0]["restartCount"] = 4.into();
    crashing["containerStatuses"][0]["lastState"] =
        json!({"terminated": {"exitCode": 1, "finishedAt": "2026-11-01T10:08:55Z"}});
    let killed = json!({"terminated": {"exitCode": 137, "signal": 9}});
    vec![
        pod("new", &one(), json!({})),
        pod("pending", &one(), json!({"phase": "Pending"})),
        single("creating", "Pending", waiting("ContainerCreating")),
        single("no-image", "Pending", waiting("ErrImagePull")),
        pod("running", &one(), well),
        pod("crashing", &one(), crashing),
        single("completed", "Succeeded", ended(0, "Completed")),
        single("error", "Failed", ended(1, "Error")),
        single("exit-code", "Failed", ended(3, "")),
        single("signal", "Failed", killed),
        pod("evicted", &one(), json!({"phase": "Failed", "reason": "Evicted"})),
    ]
}

/// Pods that are being deleted.
fn ending() -> Vec<Value> {
    let well = || phase("Running", vec![status("c", true, running())]);
    let done = || phase("Succeeded", vec![status("c", false, ended(0, "Completed"))]);
    let lost = json!({"phase": "Running", "reason": "NodeLost"});
    let mut pods =
        vec![pod("terminating", &one(), well()), pod("lost", &one(), lost), pod("done", &one(), done())];
    for pod in &mut pods {
        pod["metadata"]["deletionTimestamp"] = "2026-11-01T10:10:10Z".into();
    }
    pods
}

/// Pods of several containers.
fn of_several() -> Vec<Value> {
    let two = json!({"containers": [{"name": "c"}, {"name": "d"}]});
    let half =
        || phase("Running", vec![status("c", true, running()), status("d", false, ended(0, "Completed"))]);
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let mut half_ready = half();
    half_ready["conditions"] = ready.clone();
    let sidecar = json!({
        "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}],
        "containers": [{"name": "c"}],
    });
    let mut first = status("s", true, running());
    first["started"] = true.into();
    let mut with_sidecar = phase("Running", vec![status("c", true, running())]);
    with_sidecar["initContainerStatuses"] = json!([first, status("i", false, ended(0, "Completed"))]);
    let gates = json!({
        "containers": [{"name": "c"}],
        "readinessGates": [{"conditionType": "a/b"}, {"conditionType": "Ready"}],
    });
    let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    let nominated = json!({"phase": "Running", "conditions": ready, "nominatedNodeName": "C0w2"});
    vec![
        pod("half", &two, half_ready),
        pod("half-not-ready", &two, half()),
        pod("sidecar", &sidecar, with_sidecar),
        pod("gated", &one(), json!({"phase": "Pending", "conditions": gated})),
        pod("gates", &gates, nominated),
    ]
}

/// Pods whose first containers have not all ended.
fn initializing() -> Vec<Value> {
    let init = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "c"}]});
    let of = |name, states: Vec<Value>| {
        pod(name, &init, json!({"phase": "Pending", "initContainerStatuses": states}))
    };
    let second = status("j", false, waiting("PodInitializing"));
    vec![
        of("init-0", vec![status("i", false, running()), second]),
        of("init-1", vec![status("i", false, ended(0, "Completed")), status("j", false, running())]),
        of("init-error", vec![status("i", false, ended(1, "Error"))]),
        of("init-code", vec![status("i", false, ended(2, ""))]),
        of("init-crash", vec![status("i", false, waiting("CrashLoopBackOff"))]),
    ]
}

#[test]
fn how_pods_are_in_a_word() {
    let pods = [of_one(), ending(), of_several(), initializing()].concat();
    let shown =
        |wide| table(&api::kinds::PODS, &pods, &Options { wide, ..Options::default() }, &now()).text();
    insta::assert_snapshot!(shown(true));
    assert!(shown(false).lines().all(|line| !line.contains("C0w1")));
}
