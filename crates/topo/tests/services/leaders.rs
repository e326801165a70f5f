//! Control planes that end, hang, and take each other's place.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, name, text};

fn web(replicas: usize, version: &str) -> String {
    format!(
        "\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 1}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: web, image: pause, env: [{{name: VERSION, value: '{version}'}}]}}]
"
    )
}

fn signal(signal: &str, pid: i64) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn holder(lab: &Lab, lease: &str) -> String {
    text(&lab.json(&format!("lease {lease} -n kube-system"))["spec"]["holderIdentity"])
}

/// The control planes of the cluster, by node.
fn planes(lab: &Lab) -> Vec<Value> {
    let cluster = lab.bench.status()["clusters"][0].clone();
    let standby = cluster["standby"].as_array().cloned().unwrap_or_default();
    [cluster["controlPlane"].clone()].into_iter().chain(standby).collect()
}

/// Those whose controllers work: the others say who does.
fn leaders(lab: &Lab) -> Vec<String> {
    let works = |plane: &&Value| {
        let said = &plane["components"]["controllers"];
        said["ready"] == true && !text(&said["message"]).ends_with(" leads")
    };
    planes(lab).iter().filter(works).map(|plane| text(&plane["node"])).collect()
}

/// Pods that are there to stay, by their names.
fn pods(lab: &Lab) -> BTreeSet<String> {
    let pods = lab.list("pods -l app=web");
    pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).map(name).collect()
}

#[test]
fn of_three_control_planes_one_works_and_another_when_it_hangs() {
    let lab = Lab::start("dns: false\nclusters: [{name: C0, etcd: 3, workers: 1}]\n");
    let leader = holder(&lab, "kube-controller-manager");
    lab.until("one works", || leaders(&lab), |leaders| *leaders == [leader.clone()]);
    lab.apply(&web(3, "one"));
    lab.rolled_out("web");
    let plane = planes(&lab).into_iter().find(|plane| plane["node"] == leader.as_str()).unwrap();
    let (pid, before) = (plane["pid"].as_i64().unwrap(), pods(&lab));
    signal("-STOP", pid);
    let next = lab.until("another leads", || holder(&lab, "kube-controller-manager"), |now| *now != leader);
    let lease = lab.json("lease kube-controller-manager -n kube-system");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    // The scheduler was perhaps the same one's.
    lab.until("another schedules", || holder(&lab, "kube-scheduler"), |now| *now != leader);
    lab.apply(&web(5, "one"));
    lab.rolled_out("web");
    assert!(pods(&lab).is_superset(&before), "those who were there stay");
    assert_eq!(pods(&lab).len(), 5);

    // The first one wakes up, and sees that it is one no more.
    signal("-CONT", pid);
    lab.until("one works", || leaders(&lab), |leaders| *leaders == [next.clone()]);
    lab.bench.wait_ready();
    lab.ok("scale deploy/web --replicas=4");
    lab.rolled_out("web");
    assert_eq!(pods(&lab).len(), 4);
    assert_eq!(holder(&lab, "kube-controller-manager"), next);
}

#[test]
fn a_control_plane_that_is_killed_in_a_rollout_goes_on_and_doubles_nothing() {
    let lab = Lab::start("dns: false\nclusters: [{name: C0, workers: 2}]\n");
    lab.apply(&web(8, "one"));
    lab.rolled_out("web");
    let first = pods(&lab);
    lab.apply(&web(8, "two"));
    for kill in 1..=3 {
        let half = |pods: &BTreeSet<String>| pods.difference(&first).count() >= 2 * kill;
        lab.until("it goes on", || pods(&lab), half);
        let plane = &planes(&lab)[0];
        signal("-KILL", plane["pid"].as_i64().unwrap());
        assert!(pods(&lab).len() <= 9, "8 and one more");
        let back = |plane: &Value| plane["restarts"] == kill && plane["ready"] == true;
        lab.until("another one", || planes(&lab)[0].clone(), back);
    }
    lab.rolled_out("web");
    let last = lab.until("eight others", || pods(&lab), |pods| pods.len() == 8 && pods.is_disjoint(&first));
    let sets = lab.list("rs -l app=web");
    let mut sizes: Vec<_> = sets.iter().map(|set| set["spec"]["replicas"].as_i64().unwrap()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 8]);
    lab.until(
        "nothing else",
        || lab.list("pods").iter().map(name).collect::<BTreeSet<_>>(),
        |all| *all == last,
    );
}
