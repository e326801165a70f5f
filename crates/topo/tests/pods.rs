//! Pods: made, reached, restarted, adopted, ended, with everything that can go wrong on the way.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/pods.rs"]
mod support;

use std::collections::BTreeMap;
use std::process::{Child, Stdio};

use serde_json::Value;
use testkit::topo::{Bench, User};
use testkit::wait_for;

use support::{
    SOON, agent, get, gone, idle, is_ready, kill, main_container, ping, plugin, pod, ready, sh, until,
};

const LAB: &str = "dns: false\nclusters: [{name: C0, workers: 2}]\n";

fn lab_as(user: User, topology: &str) -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), user);
    bench.up(topology, &[]);
    bench
}

fn lab() -> Bench {
    lab_as(User::Own, LAB)
}

fn waits_for(pod: &Value, reason: &str) -> bool {
    main_container(pod)["state"]["waiting"]["reason"] == reason
}

/// Everything that pods leave in a lab.
fn traces(bench: &Bench) -> String {
    sh(
        bench,
        "C0w1",
        "ls /run/netns /run/lab/pods /etc/netns; ls /run/lab/*/cni/cache/results /run/lab/*/cni/networks/* \
         /run/lab/*/cni/flannel | grep -v last_reserved; ls /sys/class/net",
    )
}

/// A ping that goes on, ten times a second.
struct Ping(Child);

impl Ping {
    fn start(bench: &Bench, pod: &str, address: &str) -> Self {
        let mut command = bench.command(["exec", pod, "--", "ping", "-i", "0.1", "-W", "2", address]);
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Ends it; gives how many were sent and how many answered.
    fn stop(self) -> (u32, u32) {
        kill("-INT", i64::from(self.0.id()));
        let output = self.0.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text
            .lines()
            .find(|line| line.contains("packets transmitted"))
            .unwrap_or_else(|| panic!("{text}"));
        let numbers: Vec<u32> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        (numbers[0], numbers[1])
    }
}

fn across_workers(bench: &Bench) {
    bench.apply(&(idle("c1", "C0w1") + &idle("c2", "C0w2") + &idle("c3", "C0w2")));
    let addresses = ["c1", "c2", "c3"].map(|name| ready(bench, name));
    for from in ["C0/c1", "C0/default/c2", "C0/c3", "C0w1", "C0w2"] {
        for to in &addresses {
            ping(bench, from, to);
        }
    }
    assert_eq!(bench.ok(["exec", "C0/c1", "--", "hostname"]), "c1\n");
    assert!(
        bench.ok(["exec", "C0/c1", "--", "cat", "/etc/hosts"]).contains(&format!("{}\tc1", addresses[0]))
    );
    // For those who type what the books say.
    let seen = sh(
        bench,
        "C0w1",
        "ip netns exec C0-c2 ip -4 -br addr show dev eth0; ip netns exec C0-c2 cat /etc/hosts",
    );
    assert!(seen.contains(&addresses[1]) && seen.contains("\tc2"), "{seen}");
}

#[test]
fn pods_reach_each_other_across_workers() {
    across_workers(&lab());
}

#[test]
fn pods_run_without_privileges() {
    let bench = lab_as(User::Nobody, LAB);
    across_workers(&bench);
    bench.ok(["pod", "delete", "C0w1", "c1"]);
}

#[test]
fn a_pod_by_hand_comes_and_goes_and_its_address_is_free_again() {
    let bench = lab();
    // The bridge comes with the first pod, and stays.
    bench.ok(["pod", "create", "C0w1", "c9"]);
    bench.ok(["pod", "delete", "C0w1", "c9"]);
    let before = traces(&bench);
    let told = bench.ok(["pod", "create", "C0w1", "c10"]);
    let address = told.trim().rsplit(' ').next().unwrap().to_owned();
    ping(&bench, "C0w2", &address);
    let again = bench.run(["pod", "create", "C0w1", "c10"]);
    assert_ne!(again.code, Some(0));
    assert!(again.stderr.contains("pods \"c10\" already exists"), "{again:?}");
    let elsewhere = bench.run(["pod", "delete", "C0w2", "c10"]);
    assert!(elsewhere.stderr.contains("hint: it is on C0w1"), "{elsewhere:?}");
    bench.ok(["pod", "create", "C0w1", "c11", "--", "sh", "-c", "echo hello; exec sleep 1000"]);
    wait_for("the log", SOON, || {
        let log = bench.ok(["logs", "C0/c11"]);
        if log == "hello\n" { Ok(()) } else { Err(log) }
    });
    bench.ok(["pod", "delete", "C0w1", "c10"]);
    bench.ok(["pod", "delete", "C0w1", "c11"]);
    let reserved = sh(&bench, "C0w1", "ls /run/lab/C0w1/cni/networks/cbr0");
    assert!(!reserved.contains(&address), "{reserved}");
    wait_for("nothing left", SOON, || {
        let now = traces(&bench);
        if now == before { Ok(()) } else { Err(now) }
    });
    let unknown = bench.run(["exec", "C0/c10", "--", "true"]);
    assert!(unknown.stderr.contains("there is no pod C0/c10"), "{unknown:?}");
}

#[test]
fn containers_are_restarted_by_their_policy() {
    let bench = lab();
    let command =
        |script: &str| format!("containers: [{{name: main, image: busybox, command: [sh, -c, {script:?}]}}]");
    let policy = |policy: &str, script: &str| format!("restartPolicy: {policy}, {}", command(script));
    bench.apply(
        &[
            pod("crash", "C0w1", &command("echo run; exit 3")),
            pod("failed", "C0w1", &policy("Never", "exit 4")),
            pod("done", "C0w2", &policy("OnFailure", "exit 0")),
            pod(
                "init",
                "C0w2",
                "initContainers: [{name: first, image: busybox, command: [sh, -c, 'echo before']}], \
                 containers: [{name: main, image: busybox, command: [sleep, '1000']}, \
                 {name: other, image: busybox, command: [sleep, '1000']}]",
            ),
            pod("image", "C0w2", "containers: [{name: main, image: example.org/no/such:1}]"),
            pod("command", "C0w2", "containers: [{name: main, image: busybox, command: [no-such]}]"),
        ]
        .concat(),
    );
    let crash = until(&bench, "crash", "a back-off", |pod| waits_for(pod, "CrashLoopBackOff"));
    assert_eq!(main_container(&crash)["restartCount"], 1);
    assert_eq!(main_container(&crash)["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(bench.ok(["logs", "C0/crash", "--previous"]), "run\n");
    let failed = until(&bench, "failed", "its end", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(main_container(&failed)["state"]["terminated"]["exitCode"], 4);
    until(&bench, "done", "its end", |pod| pod["status"]["phase"] == "Succeeded");
    ready(&bench, "init");
    assert_eq!(bench.ok(["logs", "C0/init", "-c", "first"]), "before\n");
    let image = until(&bench, "image", "an error", |pod| waits_for(pod, "ErrImagePull"));
    let message = main_container(&image)["state"]["waiting"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("images: {such:"), "{message}");
    until(&bench, "command", "an error", |pod| {
        let waiting = &main_container(pod)["state"]["waiting"];
        waiting["message"] == "exec: \"no-such\": executable file not found in $PATH"
    });
    // What has ended holds no address.
    wait_for("the sandboxes gone", SOON, || {
        let left = sh(&bench, "C0w1", "ls /run/netns");
        if left.contains("failed") || left.contains("done") { Err(left) } else { Ok(()) }
    });
}

#[test]
fn probes_decide_on_readiness_and_restarts() {
    let bench = lab();
    let probe = "httpGet: {path: /, port: web}, periodSeconds: 1";
    bench.apply(&[
            pod(
                "web",
                "C0w1",
                &format!(
                    "containers: [{{name: main, image: busybox, command: [topo, echo, hi], \
                     ports: [{{name: web, containerPort: 8000}}], readinessProbe: {{{probe}}}}}]"
                ),
            ),
            pod(
                "unready",
                "C0w1",
                "containers: [{name: main, image: netshoot, readinessProbe: {tcpSocket: {port: 9}, periodSeconds: 1}}]",
            ),
            pod(
                "sick",
                "C0w2",
                "containers: [{name: main, image: netshoot, livenessProbe: {exec: {command: [test, -e, /run/lock]}, \
                 periodSeconds: 1, failureThreshold: 1}}]",
            ),
        ]
        .concat(),
    );
    let address = ready(&bench, "web");
    assert_eq!(bench.ok(["exec", "C0w2", "--", "curl", "-s", &format!("http://{address}:8000")]), "hi\n");
    let unready = until(&bench, "unready", "it running", |pod| pod["status"]["phase"] == "Running");
    assert!(!is_ready(&unready));
    ready(&bench, "sick");
    bench.ok(["exec", "C0/sick", "--", "rmdir", "/run/lock"]);
    until(&bench, "sick", "a restart", |pod| main_container(pod)["restartCount"].as_u64() >= Some(1));
    let wanted =
        ["Liveness probe failed", "failed liveness probe, will be restarted", "Readiness probe failed"];
    wait_for("the events", SOON, || {
        let events = bench.ok(["get", "events"]);
        if wanted.iter().all(|said| events.contains(said)) { Ok(()) } else { Err(events) }
    });
}

#[test]
fn deletion_waits_for_the_containers_and_no_longer_than_their_grace() {
    let bench = lab();
    let stubborn = "trap '' TERM; while :; do sleep 0.1; done";
    let polite = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done";
    let run = |script: &str, grace: u32| {
        format!(
            "terminationGracePeriodSeconds: {grace}, \
             containers: [{{name: main, image: busybox, command: [sh, -c, {script:?}]}}]"
        )
    };
    bench.apply(&(pod("stubborn", "C0w1", &run(stubborn, 2)) + &pod("polite", "C0w2", &run(polite, 1000))));
    ready(&bench, "stubborn");
    ready(&bench, "polite");
    bench.ok(["delete", "pod", "polite", "stubborn"]);
    gone(&bench, "polite");
    gone(&bench, "stubborn");
    // By force: the object goes at once, what it stands for soon after.
    bench.apply(&pod("stubborn", "C0w1", &run(stubborn, 1000)));
    ready(&bench, "stubborn");
    bench.ok(["delete", "pod", "stubborn", "--force", "--grace-period=0"]);
    bench.apply(&idle("stubborn", "C0w1"));
    ready(&bench, "stubborn");
}

#[test]
fn a_killed_agent_adopts_its_pods_and_no_packet_is_lost() {
    let bench = lab();
    bench.apply(&(idle("c1", "C0w1") + &idle("c2", "C0w2") + &idle("c3", "C0w1")));
    let address = ready(&bench, "c1");
    ready(&bench, "c2");
    ready(&bench, "c3");
    let before = get(&bench, "c1");
    let ping = Ping::start(&bench, "C0/c2", &address);
    let killed = agent(&bench);
    kill("-KILL", killed);
    // While it is away, one of its pods is deleted, and another ends.
    bench.ok(["delete", "pod", "c3", "--wait=false"]);
    wait_for("another agent", SOON, || {
        let status = bench.status();
        let worker = &status["clusters"][0]["workers"][0];
        let back = worker["ready"] == true && worker["pid"].as_i64() != Some(killed);
        if back { Ok(()) } else { Err(worker.to_string()) }
    });
    gone(&bench, "c3");
    kill("-KILL", bench.status()["clusters"][0]["etcd"][0]["pid"].as_i64().unwrap());
    wait_for("etcd restarted", SOON, || {
        let etcd = &bench.status()["clusters"][0]["etcd"][0];
        if etcd["ready"] == true && etcd["restarts"] == 1 { Ok(()) } else { Err(etcd.to_string()) }
    });
    let told = bench.ok(["pod", "create", "C0w1", "c4"]);
    assert!(!told.is_empty());
    let after = get(&bench, "c1");
    assert_eq!(main_container(&after)["containerID"], main_container(&before)["containerID"]);
    assert_eq!(main_container(&after)["restartCount"], 0);
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
    let (sent, answered) = ping.stop();
    // The last may be on its way when it is stopped.
    assert!(sent - answered <= 1, "{sent} sent, {answered} answered");
    assert!(sent > 3, "{sent}");
    // Still its pod: it can be deleted.
    bench.ok(["pod", "delete", "C0w1", "c1"]);
}

#[test]
fn a_killed_sandbox_is_made_anew() {
    let bench = lab();
    bench.apply(&idle("c1", "C0w1"));
    ready(&bench, "c1");
    sh(&bench, "C0w1", "pkill -KILL -f 'topo shim .*/C0-c1$'");
    until(&bench, "c1", "another sandbox", |pod| {
        is_ready(pod) && main_container(pod)["restartCount"].as_u64() == Some(1)
    });
    assert!(bench.ok(["get", "events"]).contains("Pod sandbox changed, it will be killed and re-created."));
    bench.ok(["pod", "delete", "C0w1", "c1"]);
}

#[test]
fn a_second_agent_of_a_node_refuses() {
    let bench = lab();
    let args = "agent --cluster C0 --node C0w1 --address 10.0.0.3 --etcd http://10.1.0.1:2379 --folder /run/lab/C0w1 \
                --network {} --service-network 100.64.0.0/16 --flannel builtin --flannel-plugin builtin \
                --images /run/lab/images.yaml --logs /run/logs --access-log /run/logs/ingress.log";
    let exe = bench.folder().join("topo");
    let mut words = vec!["exec", "C0w1", "--", exe.to_str().unwrap()];
    words.extend(args.split_whitespace());
    let refused = bench.run(words);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("another agent runs for C0w1"), "{refused:?}");
}

#[test]
fn a_plugin_that_fails_shows_in_the_status_and_is_tried_again() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    let broken = "[ $CNI_COMMAND = ADD ] || exec true\n";
    let path = plugin(&bench, &format!("{broken}echo out of order; exit 7"));
    bench.up(LAB, &[("KNETSIM_CNI_PATH", &path)]);
    bench.apply(&idle("c1", "C0w1"));
    let trouble = |said: &str| {
        let said = said.to_owned();
        move |pod: &Value| {
            let message = main_container(pod)["state"]["waiting"]["message"].as_str().unwrap_or_default();
            message.contains(&said)
        }
    };
    until(&bench, "c1", "exit without JSON", trouble("out of order"));
    plugin(
        &bench,
        &format!("{broken}echo '{{\"cniVersion\": \"0.3.1\", \"code\": 11, \"msg\": \"busy\"}}'; exit 1"),
    );
    until(&bench, "c1", "an error of its own", trouble("busy"));
    plugin(&bench, &format!("{broken}echo rubbish; exit 0"));
    until(&bench, "c1", "rubbish", trouble("rubbish"));
    assert!(bench.ok(["get", "events"]).contains("FailedCreatePodSandBox"));
    // One that hangs keeps nobody from deleting the pod.
    let hung = bench.folder().join("hung");
    let hangs =
        format!("{broken}if [ $CNI_COMMAND = ADD ]; then touch {}; exec sleep 1000; fi", hung.display());
    plugin(&bench, &hangs);
    wait_for("the plugin hanging", SOON, || if hung.exists() { Ok(()) } else { Err("not yet".to_owned()) });
    bench.ok(["delete", "pod", "c1"]);
    gone(&bench, "c1");
    plugin(&bench, "");
    bench.apply(&idle("c1", "C0w1"));
    ready(&bench, "c1");
}

#[test]
fn a_pool_that_is_exhausted_says_so_and_has_room_again() {
    let topology = "podNetwork: {Network: 11.0.0.0/16, SubnetLen: 30, Backend: {Type: vxlan, VNI: 100}}\n";
    let bench = lab_as(User::Own, &format!("{topology}{LAB}"));
    bench.apply(&idle("c1", "C0w1"));
    ready(&bench, "c1");
    bench.apply(&idle("c2", "C0w1"));
    until(&bench, "c2", "no address", |pod| {
        let message = main_container(pod)["state"]["waiting"]["message"].as_str().unwrap_or_default();
        message.contains("no IP addresses available")
    });
    bench.ok(["pod", "delete", "C0w1", "c1"]);
    ready(&bench, "c2");
}

#[test]
fn five_hundred_pods_come_and_go_through_random_failures_and_nothing_leaks() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    // One call of four goes wrong, ADD and DEL alike, before or after the real plugin has done its work.
    let real = "R=$(dirname $(ls /opt/cni/bin/bridge /usr/lib/cni/bridge /usr/libexec/cni/bridge 2>/dev/null | head -1))";
    let path = plugin(
        &bench,
        &format!(
            "case $((RANDOM % 12)) in 0) exit 3;; 1) [ $CNI_COMMAND = DEL ] || {{ echo nonsense; exit 0; }};; 2) {real}; $R/bridge > /dev/null; exit 1;; esac"
        ),
    );
    bench.up(LAB, &[("KNETSIM_CNI_PATH", &path)]);
    // The bridges come with the first pods, and stay.
    bench.apply(&(idle("first", "C0w1") + &idle("second", "C0w2")));
    ready(&bench, "first");
    ready(&bench, "second");
    bench.ok(["delete", "pod", "--all"]);
    gone(&bench, "first");
    gone(&bench, "second");
    let before = traces(&bench);
    for round in 0..5 {
        let names: Vec<String> = (0..100).map(|i| format!("p{round}-{i}")).collect();
        let manifest: String =
            names.iter().enumerate().map(|(i, name)| idle(name, ["C0w1", "C0w2"][i % 2])).collect();
        bench.apply(&manifest);
        wait_for("all pods ready", SOON * 5, || {
            let pods: Value = serde_json::from_str(&bench.ok(["get", "pods", "-o", "json"])).unwrap();
            let states: BTreeMap<_, _> = pods["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pod| (pod["metadata"]["name"].to_string(), is_ready(pod)))
                .collect();
            let missing: Vec<_> = states.iter().filter(|(_, ready)| !**ready).map(|(name, _)| name).collect();
            if states.len() == 100 && missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
        });
        bench.ok(["delete", "pod", "--all", "--grace-period=1"]);
        wait_for("all pods gone", SOON * 2, || {
            let left = bench.run(["get", "pods", "-o", "name"]).stdout;
            if left.trim().is_empty() { Ok(()) } else { Err(left) }
        });
    }
    wait_for("nothing left", SOON, || {
        let now = traces(&bench);
        if now == before { Ok(()) } else { Err(format!("before:\n{before}\nnow:\n{now}")) }
    });
}
