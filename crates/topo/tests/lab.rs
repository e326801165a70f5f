//! Labs as their users meet them: started, looked at, entered and ended, as root and as nobody.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::Duration;

use testkit::topo::{Bench, User};
use testkit::wait_for;

const ONE_CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/one-cluster.yaml");

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own)
}

/// What the chapter on ingress begins with.
fn an_ingress_by_hand(bench: &Bench) {
    let curl = |node: &str, url: &str| bench.ok(["exec", node, "--", "curl", "-sS", "--retry", "9", url]);
    let mut answers: Vec<_> = (0..4).map(|_| curl("C0w1", "localhost:8001/svc1")).collect();
    assert_ne!(answers[0], answers[1], "in turn");
    assert_eq!(answers[..2], answers[2..], "in turn");
    answers.sort();
    assert_eq!(answers, ["S1-W2\n", "S1-W2\n", "S1-W3\n", "S1-W3\n"]);
    let answer = curl("C0e1", "10.0.0.3:8001/svc2");
    assert!(["S2-W2\n", "S2-W3\n"].contains(&answer.as_str()), "{answer}");
    let made = ["ingress", "create", "C0w2", "g2", "--port", "8002", "--path", "/a=100.64.11.1:8000"];
    assert_eq!(bench.ok(made), "nodeingress/g2 created: C0w2 port 8002\n");
    assert!(curl("C0e1", "10.0.0.4:8002/a/b").starts_with("S1-"));
    let taken = bench.run(["ingress", "create", "C0w2", "g3", "--port", "8002", "--path", "/=1.2.3.4:5"]);
    assert_eq!(taken.code, Some(1), "{taken:?}");
    assert!(taken.stderr.contains("port 8002 is that of NodeIngress g2"), "{taken:?}");
    bench.ok(["ingress", "delete", "C0w2", "g3"]);
    let shown = bench.ok(["ingress", "show"]);
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..7], ["C0w1", "8001", "*", "/svc1", "100.64.11.1:8000", "2/2", "ok"], "{shown}");
    assert_eq!(rows.len(), 4, "{shown}");
    let elsewhere = bench.run(["ingress", "delete", "C0w1", "g2"]);
    assert_eq!(
        (elsewhere.code, elsewhere.stderr.contains("it is on C0w2")),
        (Some(1), true),
        "{elsewhere:?}"
    );
    bench.ok(["ingress", "delete", "C0w2", "g2"]);
    wait_for("nobody on the port", Duration::from_secs(30), || {
        let asked = bench.run(["exec", "C0e1", "--", "curl", "-s", "10.0.0.4:8002/a"]);
        if asked.code == Some(7) { Ok(()) } else { Err(format!("{asked:?}")) }
    });
    let log = bench.ok(["logs", "C0w1", "ingress"]);
    let line: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!((&line["route"], &line["status"]), (&"NodeIngress grp1".into(), &200.into()));
}

/// What everybody must be able to do.
fn the_lab_of_the_course(bench: &Bench) {
    let said = bench.ok(["up"]);
    // 12 that are declared, and those of DNS, which a slow machine does not wait for.
    let pods = said.lines().find_map(|line| {
        let rest = line.strip_prefix("lab knetsim: 2 clusters, 6 workers and ")?;
        rest.split_once(" pods ready in ")?.0.parse::<u32>().ok()
    });
    assert!(pods.is_some_and(|pods| (12..=16).contains(&pods)), "{said}");
    let status = bench.status();
    assert_eq!(status["lab"], "knetsim");
    assert_eq!(status["ready"], true);
    assert!(status["startedIn"].as_f64().unwrap() > 0.0);
    let worker = &status["clusters"][0]["workers"][0];
    assert_eq!(worker["name"], "C0w1");
    assert_eq!(worker["addresses"][0], "10.0.0.3");
    assert_eq!(worker["components"]["kubelet"]["kind"], "builtin");
    assert_eq!(worker["components"]["kubelet"]["ready"], true);
    assert_eq!(status["clusters"][1]["etcd"][0]["address"], "10.2.0.1");
    let pid = worker["pid"].as_i64().unwrap();
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command.replace('\0', " ").starts_with("topo agent --cluster C0 --node C0w1"), "{command}");

    for target in ["10.0.0.5", "10.0.0.8", "C1w3"] {
        bench.ok(["exec", "C0w1", "--", "ping", "-c1", "-W5", target]);
    }
    let addresses = bench.ok(["exec", "C0e1", "--", "ip", "-o", "-4", "addr"]);
    assert!(addresses.contains("C0e1-eth0    inet 10.1.0.1/8 brd 10.255.255.255"), "{addresses}");
    let routes = bench.ok(["exec", "C0w1", "ip", "route"]);
    assert!(routes.contains("default dev C0w1-eth0 scope link"), "{routes}");
    assert_eq!(bench.ok(["exec", "C0w2", "--", "hostname"]), "C0w2\n");
    assert_eq!(bench.ok(["exec", "C0w1", "cat", "/proc/sys/net/ipv4/ip_forward"]), "1\n");
    let links = bench.ok(["exec", "C0w1", "ls", "/sys/class/net"]);
    for link in ["C0w1-eth0", "cni0", "flannel.100", "lo"] {
        assert!(links.lines().any(|line| line == link), "{links}");
    }
    let switch = bench.ok(["exec", "C0s0", "ip", "-o", "link", "show", "master", "C0s0"]);
    assert_eq!(switch.lines().count(), 5, "{switch}");
    let everyone = bench.ok(["pingall"]);
    assert!(everyone.ends_with("*** Results: 0% dropped (56/56 received)\n"), "{everyone}");
    an_ingress_by_hand(bench);
    tcpdump_sees_packets(bench);
    ip_netns_works(bench);

    assert!(bench.ok(["list"]).contains("running"));
    assert_eq!(bench.ok(["down"]), "lab knetsim ended\n");
    assert_eq!(std::fs::read_dir(bench.state()).unwrap().count(), 0, "nothing is left in the state folder");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "no process is left");
}

fn tcpdump_sees_packets(bench: &Bench) {
    let mut tcpdump = bench
        .command(["exec", "C0w1", "--", "tcpdump", "-c1", "-lni", "C0w1-eth0", "icmp"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("a captured packet", Duration::from_secs(20), || {
        bench.ok(["exec", "C0w1", "--", "ping", "-c1", "-W5", "C0w2"]);
        tcpdump.try_wait().unwrap().ok_or_else(|| "tcpdump still waits".to_owned())
    });
    let mut captured = String::new();
    tcpdump.stdout.take().unwrap().read_to_string(&mut captured).unwrap();
    assert!(captured.contains("ICMP echo"), "{captured}");
}

fn ip_netns_works(bench: &Bench) {
    let mut shell = bench
        .command(["shell", "--ns"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(shell.stdin.take().unwrap(), "ip netns exec C0w3 ip -o addr show C0w3-eth0").unwrap();
    let seen = shell.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&seen.stdout).contains("inet 10.0.0.5/8"), "{seen:?}");
}

#[test]
fn the_lab_of_the_course_as_whoever_runs_the_tests() {
    the_lab_of_the_course(&bench());
}

#[test]
fn the_lab_of_the_course_without_any_privilege() {
    the_lab_of_the_course(&Bench::new(env!("CARGO_BIN_EXE_topo"), User::Nobody));
}

#[test]
fn nodes_are_registered_as_kubernetes_registers_them() {
    let bench = bench();
    bench.ok(["up", "-q"]);
    let etcdctl = |args: &[&str]| {
        let mut all = vec!["exec", "C1e1", "--", "env", "ETCDCTL_API=3", "etcdctl"];
        all.extend(args);
        bench.ok(all)
    };
    let keys = etcdctl(&["get", "--prefix", "/registry", "--keys-only"]);
    let kinds = ["/registry/leases/kube-node-lease/", "/registry/minions/", "/registry/namespaces/"];
    let keys = keys.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind)));
    let wanted = [
        "/registry/leases/kube-node-lease/C1w1",
        "/registry/leases/kube-node-lease/C1w2",
        "/registry/leases/kube-node-lease/C1w3",
        "/registry/minions/C1w1",
        "/registry/minions/C1w2",
        "/registry/minions/C1w3",
        "/registry/namespaces/default",
        "/registry/namespaces/kube-node-lease",
        "/registry/namespaces/kube-public",
        "/registry/namespaces/kube-system",
    ];
    assert_eq!(keys.collect::<Vec<_>>(), wanted);
    let node = etcdctl(&["get", "--print-value-only", "/registry/minions/C1w2"]);
    let node: serde_json::Value = serde_json::from_str(&node).unwrap();
    assert_eq!(node["kind"], "Node");
    assert_eq!(node["status"]["addresses"][0]["address"], "10.0.0.9");
}

#[test]
fn exec_passes_status_and_output_through() {
    let bench = bench();
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
    let outcome = bench.run(["exec", "C0w1", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (Some(7), "out\n", "err\n"));
    let outcome = bench.run(["exec", "C0w1", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(outcome.code, Some(137));
    let outcome = bench.run(["exec", "C0w1", "no-such-command"]);
    let said = "topo: exec: no-such-command: command not found\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(127), said));
    assert_eq!(bench.run(["exec", "C0w1", "/etc/passwd"]).code, Some(126));
    let outcome = bench.run(["exec", "C0w9", "true"]);
    let said = "topo: there is no node C0w9\nhint: did you mean C0w1?\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(2), said));
}

#[test]
fn exec_passes_input_signals_and_the_terminal_through() {
    let bench = bench();
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
    // Binary data in and out, more than a pipe holds.
    let mut cat = bench.command(["exec", "C0w1", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let sent = data.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let mut received = Vec::new();
    output.read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(cat.wait().unwrap().success());
    assert!(received == data, "{} bytes of {}", received.len(), data.len());

    // A signal for topo is one for the command, which may do with it what it likes.
    let script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do read x; done";
    let mut child = bench.command(["exec", "C0w1", "--", "sh", "-c", script]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "got it");
    assert_eq!(child.wait().unwrap().code(), Some(9));

    // A terminal stays one.
    let typed = format!("{} exec C0w1 -- tty", bench.folder().join("topo").display());
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &typed, "/dev/null"]).env("KNETSIM_STATE_DIR", bench.state()).stdin(Stdio::null());
    let seen = String::from_utf8_lossy(&script.output().unwrap().stdout).into_owned();
    assert!(seen.starts_with("/dev/"), "{seen}");
}

#[test]
fn commands_inside_a_lab_find_it() {
    let bench = bench();
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
    let topo = bench.folder().join("topo").display().to_string();
    assert!(bench.ok(["exec", "C0w1", "--", &topo, "status"]).contains("C0w2"));
    assert_eq!(bench.ok(["exec", "C0w1", "--", &topo, "exec", "C0w2", "hostname"]), "C0w2\n");
}

#[test]
fn several_labs_run_side_by_side() {
    let bench = bench();
    for name in ["one", "two"] {
        bench.ok(["--lab", name, "up", "-q", "-f", ONE_CLUSTER]);
    }
    // The same addresses, and no way from one to the other.
    for name in ["one", "two"] {
        bench.ok(["--lab", name, "exec", "C0w1", "--", "ping", "-c1", "-W5", "10.0.0.4"]);
    }
    bench.ok(["--lab", "one", "link", "C0w2", "C0s0", "down"]);
    assert_eq!(bench.run(["--lab", "one", "pingall"]).code, Some(1));
    assert_eq!(bench.run(["--lab", "two", "pingall"]).code, Some(0));
    let list: serde_json::Value = serde_json::from_str(&bench.ok(["list", "-o", "json"])).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 2);
    let outcome = bench.run(["status"]);
    let said = "topo: no lab knetsim is running\nhint: start it with `topo up`\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(2), said));
    assert_eq!(bench.ok(["down", "--all"]), "lab one ended\nlab two ended\n");
    assert_eq!(bench.ok(["list"]), "no labs; `topo up` starts one\n");
}

#[test]
fn a_hundred_workers_reach_each_other() {
    let bench = bench();
    let said =
        bench.ok(["up", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/hundred-workers.yaml")]);
    assert!(said.contains("C0w1 … C0w100"), "{said}");
    let said = bench.ok(["pingall", "--timeout", "10"]);
    assert!(
        said.ends_with("*** Results: 0% dropped (10100/10100 received)\n"),
        "{}",
        &said[said.len() - 100..]
    );
    assert_eq!(bench.ok(["down"]), "lab knetsim ended\n");
}

#[test]
fn three_etcd_members_outlive_one() {
    let bench = bench();
    let file = bench.folder().join("lab.yaml");
    std::fs::write(&file, "clusters: [{name: C0, etcd: 3, workers: 1}]\n").unwrap();
    bench.ok(["up", "-q", "-f", file.to_str().unwrap()]);
    assert_eq!(bench.status()["clusters"][0]["etcd"].as_array().unwrap().len(), 3);
    bench.ok(["link", "C0e2", "C0s0", "down"]);
    let put = "etcdctl --endpoints http://10.1.0.1:2379 put a b";
    wait_for("a write with two of three", Duration::from_secs(30), || {
        let outcome = bench.run(["exec", "C0e1", "--", "env", "ETCDCTL_API=3", "sh", "-c", put]);
        if outcome.code == Some(0) { Ok(()) } else { Err(format!("{outcome:?}")) }
    });
}

#[test]
fn what_is_kept_is_there_again() {
    let bench = bench();
    let elsewhere = format!("--keep={}", bench.folder().join("kept").display());
    for keep in ["--keep", &elsewhere] {
        let etcdctl = ["exec", "C0e1", "--", "env", "ETCDCTL_API=3", "etcdctl"];
        bench.ok(["up", "-q", "-f", ONE_CLUSTER, keep]);
        bench.ok(etcdctl.iter().chain(&["put", "a", "kept"]));
        bench.ok(["down"]);
        bench.ok(["up", "-q", "-f", ONE_CLUSTER, keep]);
        let value = bench.ok(etcdctl.iter().chain(&["get", "--print-value-only", "a"]));
        assert_eq!(value, "kept\n");
        bench.ok(["down"]);
    }
}

#[test]
fn the_prompt_speaks_as_mininet_does() {
    let bench = bench();
    bench.ok(["up", "-q"]);
    let script = "# a comment
nodes
net
C0w1 hostname
C0w1 ping -c1 -W5 C0w2 | grep -c 'bytes from'
link C0w1 C0s0 down
pingall
link C0w1 C0s0 up
C0s0 echo $((6 * 7))
bogus
lnks
logs 'C0
exit
nodes
";
    let mut shell = bench.command(["shell"]);
    let shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut shell = shell.unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err, code) = (text(&output.stdout), text(&output.stderr), output.status.code());
    insta::assert_snapshot!(format!("{out}--- stderr, status {code:?}\n{err}"));
}

#[test]
fn logs_are_found_by_node_and_component() {
    let bench = bench();
    bench.ok(["up", "-q"]);
    assert!(bench.ok(["logs", "C0w1", "agent"]).contains(" kubelet is ready\n"));
    assert!(bench.ok(["logs", "C0w1"]).contains(" kubelet is ready\n"));
    let outcome = bench.run(["logs", "C0w1", "agnt"]);
    let said = "topo: logs: there is no agnt in C0w1\nhint: did you mean agent?\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(2), said));
    // Who leaves the cluster out means a pod, perhaps.
    for (args, said) in [
        (
            vec!["exec", "c4", "true"],
            "topo: there is no node c4\nhint: did you mean the pod C0/c4 or C1/c4?\n",
        ),
        (
            vec!["dns", "trace", "ic0", "x"],
            "topo: there is no node ic0\nhint: did you mean the pod C0/ic0?\n",
        ),
        (
            vec!["get", "deployment,podz"],
            "topo: get: the server doesn't have a resource type \"podz\"\nhint: did you mean pods?\n",
        ),
    ] {
        let outcome = bench.run(args);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(2), said));
    }
    let mut follow = bench.command(["logs", "-f", "C0e1"]).stdout(Stdio::null()).spawn().unwrap();
    bench.ok(["down"]);
    // It ends with the lab.
    assert!(follow.wait().unwrap().success());
}

#[test]
fn files_are_checked_before_anything_is_started() {
    let bench = bench();
    let file = bench.folder().join("lab.yaml");
    std::fs::write(&file, "clusters:\n  - name: C0\n    wrkers: 3\n").unwrap();
    let name = file.to_str().unwrap();
    for args in
        [vec!["up", "--check", "-f", name], vec!["up", "-f", name], vec!["topology", "print", "-f", name]]
    {
        let outcome = bench.run(args);
        assert_eq!(outcome.code, Some(2));
        let said = format!("topo: {name}:3:5: unknown field `wrkers`, expected one of name, ");
        assert!(outcome.stderr.starts_with(&said), "{outcome:?}");
        assert!(outcome.stderr.ends_with("\n  hint: did you mean workers?\n"), "{outcome:?}");
    }
    assert_eq!(std::fs::read_dir(bench.state()).unwrap().count(), 0);
    assert_eq!(bench.ok(["up", "--check"]), "ok: 2 clusters, 6 workers, 2 etcd nodes\n");
    assert_eq!(std::fs::read_dir(bench.state()).unwrap().count(), 0);
    let printed = bench.ok(["topology", "print"]);
    std::fs::write(&file, &printed).unwrap();
    assert_eq!(bench.ok(["topology", "print", "-f", name]), printed);
}

#[test]
fn who_leaves_a_verb_out_or_types_one_of_kubectls_is_told_more() {
    let bench = bench();
    let said = |args: &[&str], variable: &str| {
        let output = bench.command(args).env("KNETSIM_LAB", variable).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (args, variable) in [(&["dns"][..], ""), (&["dns"], "x"), (&["--lab", "x", "dns"], "")] {
        let help = said(args, variable);
        assert!(help.starts_with("Names of a cluster") && help.contains("Usage: topo dns "), "{help}");
        assert!(!help.contains("serve"), "{help}");
    }
    assert!(said(&["exec"], "x").contains("Usage: topo exec <NODE> <COMMAND>...\n"));
    assert!(said(&["edit", "pod/x"], "").starts_with("topo: edit is not here: `topo patch"));
    assert!(said(&["skupper", "edit"], "").starts_with("error: unrecognized subcommand 'edit'"));
    assert!(said(&["list"], "a/b").starts_with("topo: KNETSIM_LAB: \"a/b\" is no name for a lab"));
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definition() {
    let bench = bench();
    for shell in ["bash", "zsh", "fish"] {
        let text = bench.ok(["completions", shell]);
        assert!(text.contains("pingall") && !text.contains("delay-line"), "{shell}");
    }
    assert!(bench.ok(["man"]).contains(".TH topo 1"));
    let folder = bench.folder().join("man");
    bench.ok(["man", folder.to_str().unwrap()]);
    assert!(folder.join("topo-up.1").exists());
    assert!(!folder.join("topo-agent.1").exists(), "what is not for people has no page");
}
