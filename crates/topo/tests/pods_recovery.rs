//! What pods hold is kept, and given back, whatever ends between.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/pods.rs"]
mod support;

use std::fs;

use testkit::topo::{Bench, User};
use testkit::wait_for;

use support::{SOON, agent, get, gone, idle, is_ready, kill, main_container, ping, plugin, ready, sh, until};

const LAB: &str = "dns: false\nclusters: [{name: C0, workers: 2}]\n";

fn lab(env: &[(&str, &str)], bench: Bench) -> Bench {
    bench.up(LAB, env);
    bench
}

/// Kills the agent of the first worker, does something, and waits for the next agent.
fn without_agent(bench: &Bench, meanwhile: impl FnOnce()) {
    let killed = agent(bench);
    kill("-KILL", killed);
    meanwhile();
    wait_for("another agent", SOON, || {
        let worker = &bench.status()["clusters"][0]["workers"][0];
        let back = worker["ready"] == true && worker["pid"].as_i64() != Some(killed);
        if back { Ok(()) } else { Err(worker.to_string()) }
    });
}

/// The addresses that host-local has given out on the first worker.
fn reserved(bench: &Bench) -> Vec<String> {
    let listed = sh(bench, "C0w1", "ls /run/lab/C0w1/cni/networks/cbr0 | grep '^[0-9]'; true");
    listed.lines().map(str::to_owned).collect()
}

fn until_reserved(bench: &Bench, wanted: &[&str]) {
    wait_for("the addresses of the pods alone", SOON, || {
        let left = reserved(bench);
        if left == wanted { Ok(()) } else { Err(format!("{left:?} and not {wanted:?}")) }
    });
}

#[test]
fn a_network_is_given_back_by_the_agent_after_the_one_that_began() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    let (broken, tried) = (bench.folder().join("broken"), bench.folder().join("tried"));
    let script = format!(
        "if [ $CNI_COMMAND = DEL ] && [ -e {} ]; then touch {}; exit 1; fi",
        broken.display(),
        tried.display()
    );
    let path = plugin(&bench, &script);
    let bench = lab(&[("KNETSIM_CNI_PATH", &path)], bench);
    bench.apply(&(idle("c1", "C0w1") + &idle("c2", "C0w1")));
    let kept = ready(&bench, "c2");
    ready(&bench, "c1");
    fs::write(&broken, "").unwrap();
    bench.ok(["delete", "pod", "c1", "--force", "--grace-period=0"]);
    wait_for("a DEL", SOON, || if tried.exists() { Ok(()) } else { Err("none".to_owned()) });
    // Its sandbox is gone by then; the next agent fails, too, at first.
    wait_for("the sandbox gone", SOON, || {
        let left = sh(&bench, "C0w1", "ls /run/netns");
        if left.contains("C0-c1") { Err(left) } else { Ok(()) }
    });
    without_agent(&bench, || fs::remove_file(&tried).unwrap());
    wait_for("another DEL", SOON, || if tried.exists() { Ok(()) } else { Err("none".to_owned()) });
    assert_eq!(reserved(&bench).len(), 2);
    fs::remove_file(&broken).unwrap();
    until_reserved(&bench, &[&kept]);
    wait_for("nothing left", SOON, || {
        let left = sh(&bench, "C0w1", "ls -A /run/lab/pods; ls /run/lab/C0w1/cni/cache/results");
        if left.lines().count() == 2 { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_pod_whose_sandbox_died_unseen_keeps_its_new_address() {
    let bench = lab(&[], Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own));
    bench.apply(&idle("c1", "C0w1"));
    ready(&bench, "c1");
    let before = main_container(&get(&bench, "c1"))["containerID"].clone();
    without_agent(&bench, || drop(sh(&bench, "C0w2", "pkill -KILL -f 'topo shim .*/C0-c1$'")));
    let pod = until(&bench, "c1", "another sandbox", |pod| {
        is_ready(pod) && main_container(pod)["containerID"] != before
    });
    let address = pod["status"]["podIP"].as_str().unwrap();
    until_reserved(&bench, &[address]);
    ping(&bench, "C0w2", address);
}

#[test]
fn another_network_is_for_new_pods_and_cuts_nobody_off() {
    let bench = lab(&[], Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own));
    bench.apply(&idle("c1", "C0w1"));
    let address = ready(&bench, "c1");
    let before = main_container(&get(&bench, "c1"))["containerID"].clone();
    let conflist = r#"{"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "bridge", "bridge": "br9",
        "isGateway": true, "ipam": {"type": "host-local", "subnet": "10.99.0.0/24",
        "dataDir": "/run/lab/C0w1/cni/networks"}}]}"#;
    let file = "/run/lab/C0w1/cni/net.d/00-other.conflist";
    without_agent(&bench, || drop(sh(&bench, "C0w1", &format!("echo '{conflist}' > {file}"))));
    bench.apply(&idle("c2", "C0w1"));
    assert!(ready(&bench, "c2").starts_with("10.99.0."));
    let pod = get(&bench, "c1");
    assert!(is_ready(&pod), "{pod:#}");
    assert_eq!(pod["status"]["podIP"], address);
    assert_eq!(main_container(&pod)["containerID"], before);
    ping(&bench, "C0w2", &address);
    for name in ["c1", "c2"] {
        bench.ok(["delete", "pod", name, "--grace-period=1"]);
        gone(&bench, name);
    }
    until_reserved(&bench, &[]);
    let left = sh(&bench, "C0w1", "ls /run/lab/C0w1/cni/networks/other | grep '^[0-9]'; true");
    assert_eq!(left, "");
}

#[test]
fn a_pod_may_have_the_longest_name() {
    let bench = lab(&[], Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own));
    let name = "x".repeat(253);
    bench.apply(&idle(&name, "C0w1"));
    let address = ready(&bench, &name);
    ping(&bench, "C0w2", &address);
    bench.ok(["logs", &format!("C0/{name}")]);
    bench.ok(["delete", "pod", &name, "--grace-period=1"]);
    gone(&bench, &name);
    until_reserved(&bench, &[]);
}
