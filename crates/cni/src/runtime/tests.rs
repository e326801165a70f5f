//! The rules of the specification, with plugins that are not there.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::fake::{Answer, FakeExec, Recorded};
use crate::version::Version;

mod add;
mod concurrency;
mod errors;
mod gc;
mod later;
mod versions;

/// A runtime over plugins a, b and c, and a cache of its own.
struct Lab {
    cni: Cni<FakeExec>,
    folder: TempDir,
}

impl Lab {
    fn new() -> Self {
        Self::with(FakeExec::new(&["a", "b", "c"]))
    }

    fn with(fake: FakeExec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cni = Cni::new(fake, vec!["/plugins".into(), "/more".into()], folder.path(), TIME_LIMIT);
        Self { cni, folder }
    }

    fn next(&self, plugin: &str, command: &str, answer: Answer) {
        self.cni.exec().next(plugin, command, answer);
    }

    fn order(&self) -> Vec<String> {
        self.cni.exec().order()
    }

    /// Calls with this command.
    fn calls(&self, command: &str) -> Vec<Recorded> {
        self.cni.exec().calls().into_iter().filter(|call| call.command == command).collect()
    }

    fn cached(&self, container: &str) -> Option<Cached> {
        self.cni.cached("dbnet", container, "eth0").unwrap()
    }
}

/// The network dbnet of these plugins, the last one with two capabilities.
fn network(version: &str, plugins: &[&str]) -> NetworkList {
    changed(version, plugins, |_| {})
}

fn changed(version: &str, plugins: &[&str], change: impl FnOnce(&mut Value)) -> NetworkList {
    let mut plugins: Vec<Value> = plugins.iter().map(|kind| json!({"type": kind, "key": kind})).collect();
    if let Some(last) = plugins.last_mut() {
        last["capabilities"] = json!({"mac": true, "ips": true});
    }
    let mut list = json!({"cniVersion": version, "name": "dbnet", "plugins": plugins});
    change(&mut list);
    NetworkList::parse(list.to_string().as_bytes()).unwrap()
}

fn attachment(container: &str) -> Attachment {
    Attachment {
        container_id: container.into(),
        netns: Some(format!("/run/netns/{container}").into()),
        ifname: "eth0".into(),
        ..Attachment::default()
    }
}

fn print(value: &Value) -> Answer {
    Answer::Print(value.to_string())
}

/// A result that can be told from others.
fn result(version: &str, own: &str) -> Value {
    json!({"cniVersion": version, "own": own})
}
