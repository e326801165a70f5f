//! Waits for the pods that the manifests declare, so that `topo up` ends when they can be reached, or can say
//! why they cannot.
//!
//! A pod that does not become ready is no reason for the lab not to: it is told as a warning once waiting is
//! of no use, by what its status says, or because nothing has changed for long.

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, mem};

use api::types::api::core::v1::Pod;
use runtime::{Health, chain};
use store::{ObjectName, Objects, Reflector, Store};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

mod judge;

use judge::{State, state};

/// The component's name in `topo status`.
pub(crate) const COMPONENT: &str = "pods";

/// How long a pod may stay as it is and still be waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where it does not look as if it would become ready.
const LITTLE_PATIENCE: Duration = Duration::from_secs(2);

/// How the declared pods are together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Summary {
    /// Those that are there: some may have been deleted.
    all: usize,
    ready: usize,
    /// Of those that are not, with the reason.
    waiting: Vec<String>,
    doubtful: Vec<String>,
    failed: Vec<String>,
}

impl Summary {
    fn of(declared: &[ObjectName], pods: &Objects<Pod>) -> Self {
        let mut summary = Self::default();
        for (name, pod) in declared.iter().filter_map(|name| pods.get_key_value(name)) {
            summary.all += 1;
            let (list, why) = match state(pod) {
                State::Ready => {
                    summary.ready += 1;
                    continue;
                }
                State::Waiting(why) => (&mut summary.waiting, why),
                State::Doubtful(why) => (&mut summary.doubtful, why),
                State::Failed(why) => (&mut summary.failed, why),
            };
            list.push(format!("pod {name} is not ready: {why}"));
        }
        summary
    }

    fn message(&self) -> String {
        format!("{} of {} ready", self.ready, self.all)
    }

    /// All that is wrong.
    fn complaints(&self) -> Vec<String> {
        [&self.failed[..], &self.doubtful, &self.waiting].concat()
    }

    /// How long to wait for a change; none when there is nothing to wait for.
    fn patience(&self) -> Option<Duration> {
        match (self.waiting.is_empty(), self.doubtful.is_empty()) {
            (false, _) => Some(PATIENCE),
            (true, false) => Some(LITTLE_PATIENCE),
            (true, true) => None,
        }
    }
}

/// Follows the declared pods once the manifests are `applied`, until dropped. It turns ready once and stays
/// so: what becomes of the pods later is theirs. A `marker` says that it was ready in this lab before.
pub(crate) async fn run(
    store: Store,
    declared: Vec<ObjectName>,
    marker: PathBuf,
    mut applied: watch::Receiver<bool>,
    health: Health,
) {
    health.set(COMPONENT, false, "waiting for the manifests");
    // The sender lives as long as the process.
    let _ = applied.wait_for(|applied| *applied).await;
    let names = declared.clone();
    let wanted = move |pod: &Pod| names.contains(&ObjectName::of(&pod.metadata));
    let pods = Reflector::<Pod>::start_where(&store, None, wanted);
    let mut changes = pods.subscribe();
    pods.wait_synced().await;
    let mut ready = marker.exists();
    let mut seen = Summary::default();
    let mut deadline = None;
    loop {
        changes.mark_unchanged();
        let summary = Summary::of(&declared, &pods.snapshot());
        if mem::replace(&mut seen, summary.clone()) != summary || deadline.is_none() {
            deadline = summary.patience().map(|patience| Instant::now() + patience);
        }
        let over = deadline.is_none_or(|deadline| deadline <= Instant::now());
        if over && !ready {
            ready = true;
            if let Err(error) = fs::write(&marker, "") {
                tracing::warn!(error = chain(&error), path = %marker.display(), "not written");
            }
        }
        if ready {
            health.warn(COMPONENT, &summary.message(), &summary.complaints());
        } else {
            let complaints = summary.complaints();
            let first = complaints.first().map_or(String::new(), |first| format!("; {first}"));
            health.set(COMPONENT, false, &format!("{}{first}", summary.message()));
        }
        let wake = deadline.filter(|_| !ready);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests;
