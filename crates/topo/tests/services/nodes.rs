//! Workers that fall silent, and come back.

use std::process::Command;

use crate::lab::{Lab, condition, is_ready, name, text};

const LAB: &str = "dns: false\nnodeMonitorGracePeriod: 2s\nclusters: [{name: C0, workers: 3}]\n";

/// Two pods on each worker; they stay a second where nothing is heard of the worker.
const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      containers:
      - name: web
        image: busybox
        command: [topo, echo, --port, '80']
        readinessProbe: {httpGet: {port: 80}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80}]
";

fn node_of(pod: &serde_json::Value) -> String {
    text(&pod["spec"]["nodeName"])
}

fn addresses(pods: &[serde_json::Value]) -> Vec<String> {
    let mut all: Vec<_> = pods.iter().map(|pod| text(&pod["status"]["podIP"])).collect();
    all.sort();
    all
}

/// The node is silent: what was on it is somewhere else, and the service goes there.
fn lost(lab: &Lab, node: &str, there: usize) {
    let unknown = |node: &serde_json::Value| condition(node, "Ready") == "Unknown";
    lab.until("it is not ready", || lab.json(&format!("node {node}")), unknown);
    let row = lab.table(&format!("node {node}"))[1].clone();
    assert_eq!(row[..2], [node, "NotReady"]);
    let elsewhere = |pods: &Vec<serde_json::Value>| {
        pods.len() == 6 && pods.iter().all(|pod| is_ready(pod) && node_of(pod) != node)
    };
    let pods = lab.until("others in its pods' stead", || lab.ready_pods("app=web"), elsewhere);
    lab.until("its endpoints have left", || lab.endpoints("web"), |ready| *ready == addresses(&pods));
    let old = lab.list("pods -l app=web");
    let left: Vec<_> = old.iter().filter(|pod| node_of(pod) == node).collect();
    assert_eq!(left.len(), there, "nobody can say that they have ended");
    assert!(left.iter().all(|pod| !pod["metadata"]["deletionTimestamp"].is_null()), "{left:?}");
    let events = lab.ok("get events");
    assert!(events.contains("NodeNotReady") && events.contains("TaintManagerEviction"), "{events}");
}

/// The node is back: nothing of before is left.
fn back(lab: &Lab, node: &str) {
    let is_well = |node: &serde_json::Value| is_ready(node) && node["spec"]["taints"].is_null();
    lab.until("it is ready", || lab.json(&format!("node {node}")), is_well);
    let done = |pods: &Vec<serde_json::Value>| pods.len() == 6 && pods.iter().all(is_ready);
    let pods = lab.until("what was marked is gone", || lab.list("pods -l app=web"), done);
    lab.until("their endpoints", || lab.endpoints("web"), |ready| *ready == addresses(&pods));
    lab.until(
        "no sandbox is left of them",
        || lab.bench.status()["clusters"][0]["workers"].to_string(),
        |workers| workers.matches("\"podIP\"").count() == 6,
    );
    lab.bench.wait_ready();
}

fn signal(signal: &str, pid: i64) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn what_was_on_a_silent_worker_is_somewhere_else_and_it_comes_back_clean() {
    let lab = Lab::start(LAB);
    lab.apply(WEB);
    lab.rolled_out("web");
    let began: Vec<_> = lab.ready_pods("app=web").iter().map(node_of).collect();
    for node in ["C0w1", "C0w2", "C0w3"] {
        assert_eq!(began.iter().filter(|one| *one == node).count(), 2, "{began:?}");
    }

    // Its agent hangs.
    let agent = lab.agent(0);
    signal("-STOP", agent);
    lost(&lab, "C0w1", 2);
    signal("-CONT", agent);
    back(&lab, "C0w1");

    // A worker that is cut off.
    let there = lab.ready_pods("app=web").iter().filter(|pod| node_of(pod) == "C0w2").count();
    assert!(there > 0, "it has taken some of the first one's");
    lab.ok("link C0w2 C0s0 down");
    lost(&lab, "C0w2", there);
    lab.ok("link C0w2 C0s0 up");
    back(&lab, "C0w2");
}

#[test]
fn an_agent_that_is_killed_is_back_before_anybody_misses_it() {
    let lab = Lab::start("dns: false\nclusters: [{name: C0, workers: 1}]\n");
    lab.apply(&WEB.replace("replicas: 6", "replicas: 2"));
    lab.rolled_out("web");
    let before: Vec<_> = lab.list("pods -l app=web").iter().map(name).collect();
    signal("-KILL", lab.agent(0));
    lab.until(
        "another agent",
        || lab.bench.status()["clusters"][0]["workers"][0].clone(),
        |worker| worker["restarts"] == 1 && worker["ready"] == true,
    );
    assert_eq!(lab.list("pods -l app=web").iter().map(name).collect::<Vec<_>>(), before);
    assert_eq!(lab.endpoints("web").len(), 2);
}
