//! A lab, and what the tests of this folder do in it.

use std::fmt::Debug;
use std::time::Duration;

use serde_json::Value;
use testkit::topo::{Bench, Outcome, User};
use testkit::wait_for;

/// No condition takes longer, on a busy machine too.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

pub(crate) struct Lab {
    pub(crate) bench: Bench,
}

impl Lab {
    /// Starts what a topology file describes.
    pub(crate) fn start(topology: &str) -> Self {
        let bench = Bench::new(env!("CARGO_BIN_EXE_topo"), User::Own);
        bench.up(topology, &[]);
        Self { bench }
    }

    /// Runs `topo` with these words.
    pub(crate) fn topo(&self, line: &str) -> Outcome {
        self.bench.run(line.split_whitespace())
    }

    /// The same, which must succeed; gives what it printed.
    pub(crate) fn ok(&self, line: &str) -> String {
        self.topo(line).ok()
    }

    /// `topo apply -f -` with this text; what it printed, complaints included.
    pub(crate) fn apply(&self, text: &str) -> String {
        let outcome = self.bench.told(["apply", "-f", "-"], text);
        outcome.stdout + &outcome.stderr
    }

    /// `topo get … -o json`.
    pub(crate) fn json(&self, what: &str) -> Value {
        let outcome = self.topo(&format!("get {what} -o json"));
        serde_json::from_str(&outcome.stdout).unwrap_or(Value::Null)
    }

    /// The objects of a kind.
    pub(crate) fn list(&self, what: &str) -> Vec<Value> {
        self.json(what)["items"].as_array().cloned().unwrap_or_default()
    }

    /// The words of a table's rows, the header first.
    pub(crate) fn table(&self, what: &str) -> Vec<Vec<String>> {
        let text = self.ok(&format!("get {what}"));
        text.lines().map(|line| line.split_whitespace().map(Into::into).collect()).collect()
    }

    /// Waits until what `look` gives is as `wanted`.
    pub(crate) fn until<T: Debug>(
        &self,
        what: &str,
        mut look: impl FnMut() -> T,
        wanted: impl Fn(&T) -> bool,
    ) -> T {
        wait_for(what, LIMIT, || {
            let now = look();
            if wanted(&now) { Ok(now) } else { Err(format!("{now:?}")) }
        })
    }

    /// Waits until a Deployment's rollout is done.
    pub(crate) fn rolled_out(&self, name: &str) {
        self.ok(&format!("rollout status deployment/{name} --timeout 90s"));
    }

    /// The addresses of a service's endpoints that are ready, sorted.
    pub(crate) fn endpoints(&self, service: &str) -> Vec<String> {
        let slices = self.list(&format!("endpointslices -l kubernetes.io/service-name={service}"));
        let all = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let ready = all.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        let mut found: Vec<String> = ready.map(|one| text(&one["addresses"][0])).collect();
        found.sort();
        found
    }

    /// The pods that are ready and not about to go.
    pub(crate) fn ready_pods(&self, labels: &str) -> Vec<Value> {
        let mut pods = self.list(&format!("pods -l {labels}"));
        pods.retain(|pod| is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    /// Process id of a worker's agent.
    pub(crate) fn agent(&self, worker: usize) -> i64 {
        self.bench.status()["clusters"][0]["workers"][worker]["pid"].as_i64().unwrap()
    }
}

/// What a value says, if it is a text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn name(object: &Value) -> String {
    text(&object["metadata"]["name"])
}

pub(crate) fn is_ready(object: &Value) -> bool {
    condition(object, "Ready") == "True"
}

/// The status of a condition; empty without.
pub(crate) fn condition(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.map(|condition| text(&condition["status"])).unwrap_or_default()
}
