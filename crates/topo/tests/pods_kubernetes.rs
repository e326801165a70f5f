//! Pods' lives where Kubernetes is particular: policies, hooks, sidecars, graces.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use serde_json::Value;
use testkit::topo::{Bench, User};
use testkit::wait_for;

const SOON: Duration = Duration::from_secs(60);

fn lab() -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    bench.up("dns: false\nclusters: [{name: C0, workers: 1}]\n", &[]);
    bench
}

fn apply(bench: &Bench, pods: &[(&str, &str)]) {
    let documents: String = pods
        .iter()
        .map(|(name, spec)| {
            format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: C0w1, {spec}}}}}\n---\n")
        })
        .collect();
    bench.apply(&documents);
}

/// A shell as the only container, with more of its spec before the script.
fn shell(more: &str, script: &str) -> String {
    format!("containers: [{{name: main, image: busybox, {more}command: [sh, -c, {script:?}]}}]")
}

fn get(bench: &Bench, name: &str) -> Value {
    serde_json::from_str(&bench.run(["get", "pod", name, "-o", "json"]).stdout).unwrap_or(Value::Null)
}

fn until(bench: &Bench, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    wait_for(what, SOON, || {
        last = get(bench, name);
        if condition(&last) { Ok(()) } else { Err(format!("{name}: {:#}", last["status"])) }
    });
    last
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

fn runs(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["state"]["running"].is_object()
}

fn ended(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["terminated"]
}

fn log(bench: &Bench, pod: &str, container: &str, what: &str) {
    wait_for("the log", SOON, || {
        let log = bench.run(["logs", pod, "-c", container]).stdout;
        if log.contains(what) { Ok(()) } else { Err(log) }
    });
}

fn lose_sandbox(bench: &Bench, name: &str) {
    let script = format!("pkill -KILL -f 'topo shim .*/C0-{name}$'");
    bench.ok(["exec", "C0w1", "--", "sh", "-c", &script]);
}

#[test]
fn a_pod_that_is_never_restarted_ends_with_its_sandbox() {
    let bench = lab();
    let once = shell("", "sleep 1000");
    apply(&bench, &[("never", &format!("restartPolicy: Never, {once}")), ("always", &once)]);
    for name in ["never", "always"] {
        until(&bench, name, "it runs", runs);
        lose_sandbox(&bench, name);
    }
    let never = until(&bench, "never", "its end", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(ended(&never)["exitCode"], 137);
    assert_eq!(never["status"]["containerStatuses"][0]["restartCount"], 0);
    until(&bench, "never", "no sandbox", |pod| {
        condition(pod, "PodReadyToStartContainers")["status"] == "False"
    });
    assert_eq!(condition(&get(&bench, "never"), "Ready")["reason"], "PodFailed");
    let always = until(&bench, "always", "it runs again", |pod| {
        runs(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
    });
    assert_eq!(always["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 137);
}

#[test]
fn hooks_keep_nobody_from_the_end() {
    let bench = lab();
    let hook = |kind: &str| {
        shell(&format!("lifecycle: {{{kind}: {{exec: {{command: [sleep, '1000']}}}}}}, "), "sleep 1000")
    };
    let huge = "terminationGracePeriodSeconds: 9223372036854775807, ";
    let trap = shell("", "trap 'exit 0' TERM; while :; do sleep 0.1; done");
    let pods = [
        ("post", format!("terminationGracePeriodSeconds: 1, {}", hook("postStart"))),
        ("pre", format!("{huge}{}", hook("preStop"))),
        ("forever", format!("{huge}{trap}")),
    ];
    apply(&bench, &pods.each_ref().map(|(name, spec)| (*name, spec.as_str())));
    for name in ["post", "pre", "forever"] {
        until(&bench, name, "it runs", runs);
    }
    assert_eq!(condition(&get(&bench, "post"), "Ready")["status"], "False", "its hook has not run");
    // Nobody waits for a thousand seconds.
    bench.ok(["delete", "pod", "post", "forever"]);
    bench.ok(["delete", "pod", "pre", "--wait=false"]);
    until(&bench, "pre", "its end", |pod| pod["metadata"]["deletionTimestamp"].is_string());
    bench.ok(["delete", "pod", "pre", "--force", "--grace-period=0"]);
    wait_for("all sandboxes gone", SOON, || {
        let left = bench.ok(["exec", "C0w1", "--", "ls", "/run/lab/pods"]);
        if left.contains("C0-") { Err(left) } else { Ok(()) }
    });
}

#[test]
fn a_sidecar_is_asked_to_end_when_all_others_are_done() {
    let bench = lab();
    let side = "initContainers: [{name: side, image: busybox, restartPolicy: Always, \
                command: [sh, -c, 'trap \"echo asked; exit 0\" TERM; while :; do sleep 0.1; done']}]";
    let spec = format!("restartPolicy: Never, {side}, {}", shell("", "sleep 2"));
    apply(&bench, &[("job", &spec)]);
    let job = until(&bench, "job", "its end", |pod| pod["status"]["phase"] == "Succeeded");
    let side = &job["status"]["initContainerStatuses"][0];
    assert_eq!((&side["ready"], &side["state"]["terminated"]["exitCode"]), (&false.into(), &0.into()));
    log(&bench, "C0/job", "side", "asked");
}
