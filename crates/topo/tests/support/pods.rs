//! Pods in a lab, as several tests ask for them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::topo::Bench;
use testkit::wait_for;

pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) fn pod(name: &str, node: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{nodeName: {node}, {rest}}}}}\n---\n"
    )
}

pub(crate) fn idle(name: &str, node: &str) -> String {
    pod(name, node, "containers: [{name: main, image: netshoot}]")
}

pub(crate) fn get(bench: &Bench, name: &str) -> Value {
    let outcome = bench.run(["get", "pod", name, "-o", "json"]);
    serde_json::from_str(&outcome.stdout).unwrap_or(Value::Null)
}

pub(crate) fn until(bench: &Bench, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    wait_for(what, SOON, || {
        last = get(bench, name);
        if condition(&last) { Ok(()) } else { Err(format!("{name}: {:#}", last["status"])) }
    });
    last
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

pub(crate) fn ready(bench: &Bench, name: &str) -> String {
    let pod = until(bench, name, "the pod ready", is_ready);
    pod["status"]["podIP"].as_str().unwrap().to_owned()
}

pub(crate) fn main_container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

pub(crate) fn gone(bench: &Bench, name: &str) {
    wait_for("the pod gone", SOON, || {
        let pod = get(bench, name);
        if pod.is_null() { Ok(()) } else { Err(format!("{:#}", pod["status"])) }
    });
}

pub(crate) fn sh(bench: &Bench, node: &str, script: &str) -> String {
    bench.ok(["exec", node, "--", "sh", "-c", script])
}

pub(crate) fn ping(bench: &Bench, pod: &str, address: &str) {
    bench.ok(["exec", pod, "--", "ping", "-c1", "-W5", address]);
}

pub(crate) fn kill(signal: &str, pid: i64) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

pub(crate) fn agent(bench: &Bench) -> i64 {
    bench.status()["clusters"][0]["workers"][0]["pid"].as_i64().unwrap()
}

/// A folder with a plugin `bridge` that runs `script` before the real one.
pub(crate) fn plugin(bench: &Bench, script: &str) -> String {
    let folder = bench.folder().join("plugins");
    fs::create_dir_all(&folder).unwrap();
    let real = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"].map(PathBuf::from);
    let real = real.into_iter().find(|folder| folder.join("bridge").exists()).unwrap();
    let text = format!("#!/bin/bash\n{script}\nexec {}/bridge\n", real.display());
    // Written aside: a file that is open for writing cannot be executed, and other tests fork meanwhile.
    let (new, path) = (folder.join("new"), folder.join("bridge"));
    assert!(
        Command::new("sh")
            .args(["-c", "cat > \"$1\"", "sh"])
            .arg(&new)
            .stdin(Stdio::piped())
            .spawn()
            .and_then(|mut child| {
                child.stdin.take().unwrap().write_all(text.as_bytes())?;
                child.wait()
            })
            .unwrap()
            .success()
    );
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, &path).unwrap();
    folder.display().to_string()
}
