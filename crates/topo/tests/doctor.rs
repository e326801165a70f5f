//! `topo doctor` on this kernel: as root, as nobody, without etcd, without namespaces.
#![allow(missing_docs, clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::topo::{Bench, Outcome, User};

const EXE: &str = env!("CARGO_BIN_EXE_topo");

fn doctor(user: User) -> (Outcome, Value) {
    let outcome = Bench::new(EXE, user).run(["doctor", "-o", "json"]);
    let report = parse(&outcome);
    (outcome, report)
}

fn parse(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{outcome:?}: {e}"))
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name}: {report:#}"))
}

/// A script in new mount and network namespaces; `$0` is topo.
fn script(text: &str) -> Outcome {
    let bench = Bench::new(EXE, User::Own);
    let topo = bench.command([""; 0]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "--", "sh", "-euc", text]);
    command.arg(topo.get_program()).env("KNETSIM_STATE_DIR", bench.state());
    Outcome::of(command.output().unwrap(), text.into())
}

/// Whatever the machine lacks, what is said of it must be whole.
fn assert_whole(report: &Value) {
    for check in report["checks"].as_array().unwrap() {
        let well = check["result"] == "ok";
        assert!(["ok", "missing", "limited"].contains(&check["result"].as_str().unwrap()), "{check}");
        assert_eq!(check["cost"].is_null(), well, "{check}");
        assert!(!well || check["fix"].is_null(), "{check}");
        let detail = check["detail"].as_str().unwrap();
        // Said of a check that the catalogue knows, and the probe does not, or never came to.
        assert!(!detail.contains("something before it"), "{check}");
        assert!(!detail.contains("while this was tried"), "{check}");
    }
}

#[test]
fn labs_work_here_as_root() {
    let (outcome, report) = doctor(User::Own);
    assert_eq!((outcome.code, &report["labs"]), (Some(0), &Value::Bool(true)), "{report:#}");
    assert_whole(&report);
    assert_eq!(report["user"]["root"], true);
    for name in ["namespaces", "network namespace", "veth", "bridge", "vxlan", "tcp", "service", "etcd"] {
        assert_eq!(check(&report, name)["result"], "ok", "{report:#}");
        assert_eq!(check(&report, name)["required"], true);
    }
}

#[test]
fn labs_work_here_as_somebody_without_any_privilege() {
    let (outcome, report) = doctor(User::Nobody);
    assert_eq!((outcome.code, &report["labs"]), (Some(0), &Value::Bool(true)), "{report:#}");
    assert_whole(&report);
    assert_eq!(report["user"]["uid"], 65534);
    assert_eq!(report["user"]["userNamespace"], true);
    let fixes = report["checks"].as_array().unwrap().iter().filter_map(|check| check["fix"].as_str());
    assert!(!fixes.into_iter().any(|fix| fix.starts_with("apt-get")), "what takes root says so: {report:#}");
}

#[test]
fn etcd_that_is_missing_is_named_with_its_package() {
    let bench = Bench::new(EXE, User::Own);
    let mut command = bench.command(["doctor"]);
    let output = command.env("PATH", bench.folder()).output().unwrap();
    let outcome = Outcome::of(output, "doctor without etcd".into());
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("\nlabs do not work here: etcd missing\n"), "{outcome:?}");
    assert!(outcome.stdout.contains("\nhint: etcd: apt-get install etcd-server\n"), "{outcome:?}");
}

#[test]
fn an_nft_that_does_not_work_says_nothing_of_the_kernel() {
    for (script, why) in [
        ("sleep 60", "no end within 2 s"),
        ("echo unknown option; exit 1", "unknown option"),
        ("kill -9 $$", "nft does not run"),
    ] {
        let bench = Bench::new(EXE, User::Own);
        let nft = bench.folder().join("nft");
        std::fs::write(&nft, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&nft, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bench.folder().display(), std::env::var("PATH").unwrap());
        let output = bench.command(["doctor", "-o", "json"]).env("PATH", path).output().unwrap();
        let report = parse(&Outcome::of(output, script.into()));
        assert_eq!(report["labs"], true, "{report:#}");
        for name in ["nat", "trace", "service"] {
            assert_eq!(check(&report, name)["result"], "limited", "{report:#}");
            let detail = check(&report, name)["detail"].as_str().unwrap();
            assert!(detail.starts_with("not tried: ") && detail.contains(why), "{detail}");
        }
    }
}

#[test]
fn namespaces_that_are_forbidden_are_reported_with_the_setting() {
    let name = "user.max_net_namespaces";
    // The limit is that of a user namespace made for it, not the machine's.
    let run = |arguments: &str| {
        let inside = format!("echo 0 > /proc/sys/user/max_net_namespaces; exec \"$0\" doctor {arguments}");
        script(&format!("unshare --user --map-root-user sh -euc '{inside}' \"$0\""))
    };
    let outcome = run("-o json");
    let report = parse(&outcome);
    assert_eq!((outcome.code, &report["labs"]), (Some(1), &Value::Bool(false)), "{outcome:?}");
    let found = check(&report, "namespaces");
    assert!(found["detail"].as_str().unwrap().contains(&format!("{name} is 0")), "{found:#}");
    assert_eq!(found["fix"], format!("sysctl -w {name}=15000"));
    assert!(run("").stdout.contains("\nlabs do not work here: namespaces missing\n"));
}

#[test]
fn one_namespace_is_not_enough() {
    // The first is the probe's own; the one within is refused.
    let inside = "echo 1 > /proc/sys/user/max_net_namespaces; exec \"$0\" doctor -o json";
    let outcome = script(&format!("unshare --user --map-root-user sh -euc '{inside}' \"$0\""));
    let report = parse(&outcome);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let found = check(&report, "network namespace");
    assert_eq!(
        (&found["result"], &found["fix"]),
        (&"missing".into(), &"sysctl -w user.max_net_namespaces=15000".into())
    );
}

#[test]
fn the_host_is_as_before() {
    // Mounts that are shared would come back from the probe, were its own not cut off.
    let outcome = script(
        "mount -t tmpfs tmpfs /run
         mount --make-rshared /
         state() {
           ip -o link; ip netns list; nft list ruleset
           cat /proc/self/mountinfo /proc/sys/net/ipv4/ip_forward
           ls /run $KNETSIM_STATE_DIR; ls -d /etc/*knetsim* || true
         }
         state > /run/before 2>&1; touch /run/after; state > /run/before 2>&1
         \"$0\" doctor > /dev/null
         state > /run/after 2>&1
         diff /run/before /run/after",
    );
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""), "{outcome:?}");
}

#[test]
fn the_probe_is_for_doctor_alone() {
    let outcome = Bench::new(EXE, User::Own).run(["probe"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert_eq!(outcome.stderr, "topo: probe: only `topo doctor` starts this\n");
}

#[test]
fn it_is_quick() {
    let bench = Bench::new(EXE, User::Own);
    let times: Vec<Duration> = (0..3)
        .map(|_| {
            let began = Instant::now();
            bench.ok(["doctor"]);
            began.elapsed()
        })
        .collect();
    // A second alone on the machine; other tests run at the same time.
    assert!(times.iter().min().unwrap() < &Duration::from_secs(3), "{times:?}");
}
