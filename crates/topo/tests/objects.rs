//! Kubernetes' objects as users of kubectl meet them, in a real cluster's etcd.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::topo::{Bench, Outcome, User};
use testkit::wait_for;

const ONE_CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/one-cluster.yaml");

/// Pods that no node takes, a service and a map: whatever else runs in the cluster leaves them alone.
const OBJECTS: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: c1
  labels: {app: web}
spec:
  nodeSelector: {no: where}
  containers:
  - name: web
    image: nginx
    ports: [{containerPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red}
";

fn lab(user: User) -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), user);
    bench.ok(["up", "-q", "-f", ONE_CLUSTER]);
    bench
}

/// Runs `topo` with these words.
fn topo(bench: &Bench, line: &str) -> Outcome {
    bench.run(line.split_whitespace())
}

/// `topo apply -f -` with this text; gives what it printed, complaints included, and the exit status.
fn apply(bench: &Bench, text: &str) -> (String, Option<i32>) {
    let outcome = bench.told(["apply", "-f", "-"], text);
    (outcome.stdout + &outcome.stderr, outcome.code)
}

fn json(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.ok()).unwrap()
}

fn declared_changed_and_deleted(bench: &Bench) {
    let said = "pod/c1 created\nservice/web created\nconfigmap/settings created\n";
    assert_eq!(apply(bench, OBJECTS), (said.into(), Some(0)));
    let said = "pod/c1 unchanged\nservice/web unchanged\nconfigmap/settings unchanged\n";
    assert_eq!(apply(bench, OBJECTS), (said.into(), Some(0)));
    let said = "pod/c1 unchanged\nservice/web unchanged\nconfigmap/settings configured\n";
    assert_eq!(apply(bench, &OBJECTS.replace("red", "blue")), (said.into(), Some(0)));

    let pods = topo(bench, "get pods").ok();
    let lines: Vec<Vec<&str>> = pods.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(lines[1][..4], ["c1", "0/1", "Pending", "0"]);
    let wide = topo(bench, "get pod c1 -o wide").ok();
    assert!(
        wide.lines().next().unwrap().ends_with("IP       NODE     NOMINATED NODE   READINESS GATES"),
        "{wide}"
    );
    let both = topo(bench, "get po,svc -l app!=other").ok();
    assert!(
        both.contains("\npod/c1 ") && both.contains("\n\nNAME") && both.contains("\nservice/web "),
        "{both}"
    );
    assert_eq!(topo(bench, "get cm/settings svc/web -o name").ok(), "configmap/settings\nservice/web\n");
    let map = json(topo(bench, "get cm settings -o json"));
    assert_eq!(map["data"]["colour"], "blue");
    let list = json(topo(bench, "get cm -o json --field-selector metadata.name=settings"));
    assert_eq!((list["kind"].as_str(), &list["items"][0]), (Some("List"), &map));
    let yaml = topo(bench, "get cm settings -o yaml").ok();
    assert!(
        yaml.starts_with("apiVersion: v1\ndata:\n  colour: blue\nkind: ConfigMap\nmetadata:\n"),
        "{yaml}"
    );
    let path = topo(bench, "get pods -o jsonpath={.items[*].spec.containers[0].image}").ok();
    assert_eq!(path, "nginx");
    let nodes = topo(bench, "get no --no-headers -o custom-columns=N:.metadata.name").ok();
    assert_eq!(nodes, "C0w1\nC0w2\n");
    let described = topo(bench, "describe pod c").ok();
    assert!(described.starts_with("Name:             c1\nNamespace:        default\n"), "{described}");

    assert_eq!(topo(bench, "label cm settings tier=front").ok(), "configmap/settings labeled\n");
    assert!(topo(bench, "get cm -l tier=front -A").ok().starts_with("NAMESPACE   NAME "));
    assert_eq!(topo(bench, "delete pod c1").ok(), "pod \"c1\" deleted\n");
    let gone = topo(bench, "get pod c1");
    assert_eq!((gone.code, gone.stderr.as_str()), (Some(1), "topo: get: pods \"c1\" not found\n"));
    assert_eq!(topo(bench, "delete svc,cm -l tier=front").ok(), "configmap \"settings\" deleted\n");
    let none = topo(bench, "get cm");
    let said = (none.code, none.stdout.as_str(), none.stderr.as_str());
    assert_eq!(said, (Some(0), "", "No resources found in default namespace.\n"));
}

#[test]
fn objects_are_declared_changed_and_deleted() {
    declared_changed_and_deleted(&lab(User::Own));
}

#[test]
fn objects_are_declared_changed_and_deleted_without_any_privilege() {
    declared_changed_and_deleted(&lab(User::Nobody));
}

#[test]
fn mistakes_are_told_with_their_place_and_keep_nothing_else_back() {
    let bench = lab(User::Own);
    let text = format!(
        "{OBJECTS}---\napiVersion: v1\nkind: Pod\nmetadata: {{name: bad}}\nspec: {{containers: [{{nme: x}}]}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: lost, namespace: nowhere}}\n---\na: [b\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: last}}\n"
    );
    let (said, code) = apply(&bench, &text);
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(said, @r#"
    pod/c1 created
    service/web created
    configmap/settings created
    configmap/last created
    topo: apply: standard input: line 34: not valid YAML: unclosed bracket '['
    topo: apply: standard input: document 4 (line 25): Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.containers[0].nme"
    topo: apply: standard input: document 5 (line 30): namespaces "nowhere" not found
    hint: `topo create namespace nowhere` makes it
    "#);
    assert_eq!(topo(&bench, "create namespace nowhere").ok(), "namespace/nowhere created\n");
    let lost = text.split("---\n").nth(4).unwrap();
    assert_eq!(apply(&bench, lost), ("configmap/lost created\n".into(), Some(0)));

    let said = |line: &str| {
        let outcome = topo(&bench, line);
        assert_eq!(outcome.stdout, "", "{outcome:?}");
        format!("{line}: {}: {}", outcome.code.unwrap(), outcome.stderr.trim_end())
    };
    let all = [
        "get foo",
        "get pods -l a=b=c",
        "get pods --field-selector spec.foo=1",
        "get pods c1 -l a=b",
        "get pods c1 -A",
        "get pods c1 c9 -o json --cluster C9",
        "get pods,svc -w",
        "delete pods",
        "scale cm/settings --replicas 1",
        "scale deploy/none --replicas 1",
        "rollout status ds/x",
        "label cm settings",
        "wait pod/c1 --for=condition=Ready --timeout=0",
        "wait pod/c1 --for=Ready",
        "apply -f /nonexistent.yaml",
        "create -f /nonexistent.yaml",
        "create pod x",
        "create namespace nowhere",
        "apply",
    ];
    insta::assert_snapshot!(all.map(said).join("\n"));
    let some = topo(&bench, "get cm settings x last -o name");
    assert_eq!((some.code, some.stdout.as_str()), (Some(1), "configmap/settings\nconfigmap/last\n"));
}

#[test]
fn a_pod_that_runs_ends_gracefully_and_can_be_forced() {
    let bench = lab(User::Own);
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: c1, finalizers: [example.com/hold]}\nspec:\n  \
                nodeName: away\n  containers: [{name: c, image: nginx}]\n";
    apply(&bench, text);
    assert_eq!(topo(&bench, "delete pod c1 --wait=false").ok(), "pod \"c1\" deleted\n");
    let pod = json(topo(&bench, "get pod c1 -o json"));
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(topo(&bench, "get pods").ok().contains(" Terminating "));
    let late = topo(&bench, "delete pod c1 --grace-period=5 --timeout=0.1s");
    assert_eq!(late.code, Some(1));
    assert_eq!(late.stderr, "topo: delete: timed out waiting for the condition on pods/c1\n");
    let pod = json(topo(&bench, "get pod c1 -o json"));
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 5);
    let forced = topo(&bench, "delete pod c1 --force --wait=false");
    assert_eq!(forced.stdout, "pod \"c1\" force deleted\n");
    assert!(forced.stderr.starts_with("Warning: immediate deletion"), "{forced:?}");
    let pod = json(topo(&bench, "get pod c1 -o json"));
    assert_eq!(pod["metadata"]["finalizers"][0], "example.com/hold", "finalizers are respected");
    // Applied without it, it goes.
    let (said, _) = apply(&bench, &text.replace("example.com/hold", ""));
    assert!(said.contains("Warning: pod/c1 is being deleted: apply it once more"), "{said}");
    assert_eq!(topo(&bench, "get pod c1").code, Some(1));
}

/// A watch whose lines are read.
struct Watcher {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watcher {
    fn start(bench: &Bench, line: &str) -> Self {
        let mut child = bench.command(line.split_whitespace()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line's words, without the age.
    fn words(&mut self) -> Vec<String> {
        let line = self.lines.next().unwrap().unwrap();
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        words.pop();
        words
    }

    fn end(mut self) -> Option<i32> {
        wait_for("the watch ends", Duration::from_secs(20), || {
            self.child.try_wait().unwrap().map(|status| status.code()).ok_or_else(|| "it runs".to_owned())
        })
    }
}

#[test]
fn a_watch_tells_what_changes_until_it_is_interrupted() {
    let bench = lab(User::Own);
    let map = |name: &str, data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{l: x}}}}\ndata: {data}\n"
        )
    };
    apply(&bench, &map("a", "{}"));
    let mut watcher = Watcher::start(&bench, "get cm -w -l l=x");
    assert_eq!(watcher.words(), ["NAME", "DATA"]);
    assert_eq!(watcher.words(), ["a", "0"]);
    apply(&bench, &map("b", "{k: v}"));
    assert_eq!(watcher.words(), ["b", "1"]);
    apply(&bench, &map("a", "{k: v, l: w}"));
    assert_eq!(watcher.words(), ["a", "2"]);
    // One that is no longer selected is told a last time, and no more.
    topo(&bench, "label cm b l-").ok();
    assert_eq!(watcher.words(), ["b", "1"]);
    topo(&bench, "label cm b m=n").ok();
    topo(&bench, "delete cm a").ok();
    assert_eq!(watcher.words(), ["a", "2"]);
    let pid = nix::unistd::Pid::from_raw(watcher.child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(watcher.end(), Some(130));

    let mut watcher = Watcher::start(&bench, "get cm b -w -o name");
    assert_eq!(watcher.lines.next().unwrap().unwrap(), "configmap/b");
    // Nobody reads any more, and nothing changes.
    let Watcher { mut child, lines } = watcher;
    drop(lines);
    let status = wait_for("the watch ends", Duration::from_secs(20), || {
        child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(status.code(), Some(0));
}

#[test]
fn waiting_ends_with_what_was_waited_for() {
    let bench = lab(User::Own);
    let watcher = Watcher::start(&bench, "wait cm/a --for=create --timeout=30s");
    apply(&bench, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    assert_eq!(watcher.end(), Some(0));
    let watcher = Watcher::start(&bench, "wait cm a --for=jsonpath={.data.k}=v --timeout=30s");
    apply(&bench, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n");
    assert_eq!(watcher.end(), Some(0));
    let watcher = Watcher::start(&bench, "wait cm a --for=delete --timeout=30s");
    topo(&bench, "delete cm a").ok();
    assert_eq!(watcher.end(), Some(0));
}

#[test]
fn clusters_are_apart_and_the_prompt_knows_the_verbs() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
    bench.ok(["up", "-q"]);
    let file = bench.folder().join("map.yaml");
    std::fs::write(&file, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n").unwrap();
    let file = file.display();
    let lines = [
        &format!("apply -f {file} --cluster C1"),
        "get cm a --cluster C1 -o name",
        "get cm a --cluster C0",
        "delete -f FILE --cluster C1",
    ]
    .map(|line| line.replace("FILE", &file.to_string()));
    let words: Vec<_> = lines.iter().flat_map(|line| ["-c", line]).collect();
    let outcome = bench.run(std::iter::once("shell").chain(words));
    assert_eq!(outcome.stdout, "configmap/a created\nconfigmap/a\nconfigmap \"a\" deleted\n", "{outcome:?}");
    assert_eq!(outcome.stderr, "topo: get: configmaps \"a\" not found\n");
    assert_eq!(outcome.code, Some(1));
    let away = bench.run(["get", "pods", "--cluster", "C9"]);
    assert_eq!(away.code, Some(2));
    assert_eq!(away.stderr, "topo: there is no cluster C9\nhint: there are C0, C1\n");
    let none = bench.run(["--lab", "other", "get", "pods"]);
    assert_eq!(none.code, Some(2), "{none:?}");
}
