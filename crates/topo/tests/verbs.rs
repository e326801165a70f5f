//! kubectl's smaller verbs, in a lab of one worker.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use testkit::topo::{Bench, Outcome, User};
use testkit::wait_for;

const LIMIT: Duration = Duration::from_secs(90);

fn words(bench: &Bench, words: &[&str]) -> Outcome {
    bench.run(words)
}

fn topo(bench: &Bench, line: &str) -> Outcome {
    bench.run(line.split_whitespace())
}

fn pods_run_and_print(bench: &Bench) {
    let run = "run web --image=busybox --labels=app=web --port=80 --env=A=1 --command -- sh -c";
    let mut run: Vec<&str> = run.split(' ').collect();
    run.push("echo one; echo two; echo $A; exec sleep 1000");
    assert_eq!(words(bench, &run).ok(), "pod/web created\n");
    assert_eq!(
        topo(bench, "run other --image=netshoot -l app=web --restart=Never --expose --port 81").ok(),
        "service/other created\npod/other created\n"
    );
    topo(bench, "wait pod/web pod/other --for=condition=Ready --timeout=90s").ok();
    wait_for("the pod has printed", LIMIT, || {
        let said = topo(bench, "logs -l app=web --tail 2").stdout;
        if said == "two\n1\n" { Ok(()) } else { Err(said) }
    });
    assert_eq!(
        topo(bench, "logs -l app=web --prefix").ok(),
        "[pod/web/web] one\n[pod/web/web] two\n[pod/web/web] 1\n"
    );
    assert_eq!(topo(bench, "logs web --tail=1").ok(), "1\n");
    assert!(topo(bench, "logs -l app=none").stderr.contains("No resources found in default namespace."));
    let refused = topo(bench, "run -it shell --rm --image=busybox");
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("run: --rm is not there")
            && refused.stderr.contains("`topo exec C0/shell -- sh`"),
        "{refused:?}"
    );
    assert_eq!(topo(bench, "get pod shell").code, Some(1));
}

fn objects_are_patched(bench: &Bench) {
    topo(bench, "create deployment web --image=busybox --replicas=0").ok();
    let patch = |args: &[&str]| {
        let outcome = words(bench, &[&["patch"][..], args].concat());
        outcome.stdout + &outcome.stderr
    };
    let image = r#"{"spec": {"template": {"spec": {"containers": [{"name": "busybox", "env": [{"name": "A", "value": "1"}]}]}}}}"#;
    assert_eq!(patch(&["deploy", "web", "-p", image]), "deployment.apps/web patched\n");
    assert_eq!(patch(&["deploy/web", "-p", image]), "deployment.apps/web patched (no change)\n");
    let kept = topo(bench, "get deploy web -o jsonpath={.spec.template.spec.containers[0].image}").ok();
    assert_eq!(kept, "busybox");
    let merge = r#"{"metadata": {"labels": {"tier": "front"}}}"#;
    assert_eq!(patch(&["deploy", "web", "--type=merge", "-p", merge]), "deployment.apps/web patched\n");
    let json = r#"[{"op": "remove", "path": "/metadata/labels/tier"}]"#;
    assert_eq!(patch(&["deploy", "web", "--type=json", "-p", json]), "deployment.apps/web patched\n");
    let file = bench.folder().join("patch.yaml");
    std::fs::write(&file, "spec:\n  unschedulable: true\n").unwrap();
    assert_eq!(patch(&["node", "C0w1", "--patch-file", file.to_str().unwrap()]), "node/C0w1 patched\n");
    assert!(topo(bench, "get node C0w1").ok().contains("Ready,SchedulingDisabled"));
    let wrong = patch(&[
        "deploy",
        "web",
        "-p",
        r#"{"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}"#,
    ]);
    assert_eq!(wrong, "topo: patch: map: {\"image\":\"x\"} does not contain declared merge key: name\n");
    assert!(patch(&["deploy", "web", "--type=what", "-p", "{}"]).contains("--type must be one of"));
}

fn nodes_are_tainted(bench: &Bench) {
    assert_eq!(topo(bench, "uncordon C0w1").ok(), "node/C0w1 uncordoned\n");
    assert_eq!(topo(bench, "taint nodes C0w1 only=db:NoSchedule").ok(), "node/C0w1 tainted\n");
    topo(bench, "run late --image=netshoot").ok();
    wait_for("the taint keeps pods off", LIMIT, || {
        let said = topo(bench, "describe pod la").stdout;
        if said.contains("untolerated taint {only: db}") { Ok(()) } else { Err(said) }
    });
    let twice = topo(bench, "taint nodes C0w1 only=web:NoSchedule");
    assert!(
        twice.stderr.contains("already has only taint(s) with same effect(s) and --overwrite is false"),
        "{twice:?}"
    );
    assert_eq!(topo(bench, "taint node C0w1 only=web:NoSchedule --overwrite").ok(), "node/C0w1 modified\n");
    assert_eq!(topo(bench, "taint nodes --all only-").ok(), "node/C0w1 untainted\n");
    topo(bench, "wait pod/late --for=condition=Ready --timeout=90s").ok();
    // What tolerates nothing is driven away.
    assert_eq!(topo(bench, "taint nodes C0w1 leave:NoExecute").ok(), "node/C0w1 tainted\n");
    topo(bench, "wait pod/late --for=delete --timeout=90s").ok();
    assert_eq!(topo(bench, "taint nodes C0w1 leave:NoExecute-").ok(), "node/C0w1 untainted\n");
}

#[test]
fn pods_are_run_objects_patched_and_nodes_tainted() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    bench.up("dns: false\nclusters: [{name: C0, workers: 1}]\n", &[]);
    pods_run_and_print(&bench);
    objects_are_patched(&bench);
    nodes_are_tainted(&bench);
}

#[test]
fn what_needs_no_lab_needs_none() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    let kinds = topo(&bench, "api-resources --namespaced=false").ok();
    let rows: Vec<Vec<&str>> = kinds.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]);
    assert_eq!(
        rows[1..3],
        [vec!["namespaces", "ns", "v1", "false", "Namespace"], vec!["nodes", "no", "v1", "false", "Node"]]
    );
    let names = topo(&bench, "api-resources -o name --api-group apps").ok();
    assert!(names.lines().any(|line| line == "deployments.apps"), "{names}");
    assert_eq!(topo(&bench, "version").ok(), format!("Client Version: v{}\n", env!("CARGO_PKG_VERSION")));
    let said = topo(&bench, "explain pods");
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
    assert!(said.stderr.starts_with("topo: explain is not here: `topo api-resources`"), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1);
    let said = topo(&bench, "get pods -o go-template={{.kind}}");
    assert!(said.stderr.contains("there are no go-templates here"), "{said:?}");
}
