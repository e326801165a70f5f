//! What pods see of files: the machine's, which stay as they are, and their volumes.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use testkit::topo::{Bench, User};
use testkit::wait_for;

const SOON: Duration = Duration::from_secs(60);
const LAB: &str = "dns: false\nclusters: [{name: C0, workers: 1}]\n";

fn lab(user: User) -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), user);
    bench.up(LAB, &[]);
    bench
}

/// A pod on the worker, with containers `a` and, if there are mounts for it, `b`.
fn pod(name: &str, volumes: &str, a: &str, b: Option<&str>) -> String {
    let container = |name: &str, rest: &str| format!("{{name: {name}, image: netshoot, {rest}}}");
    let mut containers = container("a", a);
    if let Some(b) = b {
        containers += &format!(", {}", container("b", b));
    }
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}}}, \
         spec: {{nodeName: C0w1, terminationGracePeriodSeconds: 1, volumes: [{volumes}], containers: [{containers}]}}}}\n---\n"
    )
}

fn get(bench: &Bench, name: &str) -> Value {
    let outcome = bench.run(["get", "pod", name, "-o", "json"]);
    serde_json::from_str(&outcome.stdout).unwrap_or(Value::Null)
}

fn ready(bench: &Bench, name: &str) {
    wait_for("the pod ready", SOON, || {
        let pod = get(bench, name);
        let conditions = pod["status"]["conditions"].as_array();
        let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
        if ready { Ok(()) } else { Err(format!("{:#}", pod["status"])) }
    });
}

fn sh(bench: &Bench, place: &str, script: &str) -> String {
    bench.ok(["exec", place, "--", "sh", "-c", script])
}

/// What is left of pods, in the lab and in the mounts of its processes.
fn traces(bench: &Bench) -> String {
    sh(bench, "C0w1", "ls -A /run/lab/pods; cat /proc/[0-9]*/mountinfo 2>/dev/null | grep -c /pods/ || true")
}

fn writes_stay_in_the_pod(user: User) {
    let bench = lab(user);
    bench.apply(&(pod("one", "", "", None) + &pod("two", "", "", None)));
    ready(&bench, "one");
    ready(&bench, "two");
    let name = format!("knetsim-{}", std::process::id());
    let folders = ["/", "/etc", "/tmp", "/run", "/usr", "/dev/shm"];
    for folder in folders {
        let file = Path::new(folder).join(&name);
        let file = file.to_str().unwrap();
        assert_eq!(sh(&bench, "C0/one", &format!("echo x > {file} && cat {file}")), "x\n", "{folder}");
        assert_eq!(bench.run(["exec", "C0/two", "--", "cat", file]).code, Some(1), "{folder}");
        assert!(!Path::new(file).exists(), "{folder}");
    }
    if user == User::Own {
        // What is the machine's can be changed and removed.
        sh(&bench, "C0/one", "rm /usr/bin/env && echo x >> /etc/passwd && rm -rf /var/lib");
        sh(&bench, "C0/two", "ls /usr/bin/env /var/lib && ! grep -x x /etc/passwd");
        assert!(Path::new("/usr/bin/env").exists() && Path::new("/var/lib").exists());
    }
    sh(
        &bench,
        "C0/one",
        "for f in null zero urandom full tty ptmx; do test -c /dev/$f || exit 1; done; echo x > /dev/null",
    );
    // What is the lab's is not to be seen, nor the state folder.
    let state = bench.state();
    let seen =
        sh(&bench, "C0/one", &format!("ls -A /run {} /proc/1/root/run 2>/dev/null || true", state.display()));
    assert!(!seen.contains("lab") && !seen.contains("netns") && !seen.contains("knetsim/"), "{seen}");
    assert_eq!(sh(&bench, "C0/one", "cat /etc/hostname"), "one\n");
    bench.ok(["delete", "pod", "one", "two"]);
    wait_for("nothing left", SOON, || {
        let left = bench.run(["exec", "C0w1", "--", "sh", "-c", "ls -A /run/lab/pods"]).stdout;
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_write_in_a_pod_reaches_neither_the_machine_nor_another_pod() {
    writes_stay_in_the_pod(User::Own);
}

#[test]
fn a_write_in_a_pod_stays_there_without_privileges() {
    writes_stay_in_the_pod(User::Nobody);
}

const OBJECTS: &str = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {colour: red, size: '9'}}
---
{apiVersion: v1, kind: Secret, metadata: {name: login}, stringData: {password: s3cret}}
---
";

fn volumes_are_seen(user: User) {
    let bench = lab(user);
    let before = traces(&bench);
    let volumes = "{name: shared, emptyDir: {}}, {name: small, emptyDir: {medium: Memory, sizeLimit: 1Mi}}, \
                   {name: config, configMap: {name: settings}}, \
                   {name: secret, secret: {secretName: login, defaultMode: 256}}, \
                   {name: about, downwardAPI: {items: [{path: app, fieldRef: {fieldPath: 'metadata.labels'}}]}}, \
                   {name: host, hostPath: {path: /usr/bin}}";
    let a = "volumeMounts: [{name: shared, mountPath: /data}, {name: small, mountPath: /usr/share/no/such/small}, \
             {name: config, mountPath: /etc/settings}, {name: config, mountPath: /etc/app/colour.conf, subPath: colour}, \
             {name: secret, mountPath: /etc/login, readOnly: true}, {name: about, mountPath: /about}, \
             {name: host, mountPath: /host/bin, readOnly: true}]";
    let b = "command: [sh, -c, 'until cat /b/word; do sleep 0.1; done; touch /x 2>/dev/null || echo sealed; exec sleep 1000'], \
             securityContext: {readOnlyRootFilesystem: true}, \
             volumeMounts: [{name: shared, mountPath: /b, subPath: part}]";
    bench.apply(&(OBJECTS.to_owned() + &pod("c1", volumes, a, Some(b))));
    ready(&bench, "c1");
    // Two containers share one.
    sh(&bench, "C0/c1", "echo hello > /data/part/new && mv /data/part/new /data/part/word");
    wait_for("the other's words", SOON, || {
        let log = bench.ok(["logs", "C0/c1", "-c", "b"]);
        if log.ends_with("hello\nsealed\n") { Ok(()) } else { Err(log) }
    });
    let script = "cat /etc/settings/colour /etc/settings/size /etc/app/colour.conf /etc/login/password; echo; \
                  stat -Lc %a /etc/login/password /data; cat /about/app; echo; \
                  for f in /etc/settings /etc/login /host/bin; do touch $f/x 2>/dev/null && echo wrote $f; done; \
                  head -c 3000000 /dev/zero > /usr/share/no/such/small/x 2>/dev/null || stat -c %s /usr/share/no/such/small/x; \
                  ls -A /run/.volumes; test -x /host/bin/env";
    assert_eq!(sh(&bench, "C0/c1", script), "red9reds3cret\n400\n777\napp=\"c1\"\n1048576\n");
    // It changes for all of it, and not for a part (kubernetes' documentation, "Mounted ConfigMaps are updated").
    bench.apply(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {colour: green, new: 'yes'}}\n",
    );
    wait_for("the change", SOON, || {
        let seen = sh(&bench, "C0/c1", "ls /etc/settings; cat /etc/settings/colour /etc/app/colour.conf");
        if seen == "colour\nnew\ngreenred" { Ok(()) } else { Err(seen) }
    });
    bench.ok(["delete", "pod", "c1"]);
    wait_for("nothing left", SOON, || {
        let now = traces(&bench);
        if now == before { Ok(()) } else { Err(now) }
    });
}

#[test]
fn volumes_are_what_the_manifest_says() {
    volumes_are_seen(User::Own);
}

#[test]
fn volumes_are_what_the_manifest_says_without_privileges() {
    volumes_are_seen(User::Nobody);
}

#[test]
fn a_pod_waits_for_what_its_volumes_are_made_of() {
    let bench = lab(User::Own);
    bench.apply(&pod(
        "c1",
        "{name: config, configMap: {name: settings}}",
        "volumeMounts: [{name: config, mountPath: /c}]",
        None,
    ));
    wait_for("the event", SOON, || {
        let events = bench.ok(["get", "events"]);
        let told = events.contains("FailedMount")
            && events.contains(
                "MountVolume.SetUp failed for volume \"config\" : configmap \"settings\" not found",
            );
        if told { Ok(()) } else { Err(events) }
    });
    let state = &get(&bench, "c1")["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
    assert_eq!(state, "ContainerCreating");
    bench.apply(OBJECTS);
    ready(&bench, "c1");
    assert_eq!(sh(&bench, "C0/c1", "cat /c/colour"), "red");
}
