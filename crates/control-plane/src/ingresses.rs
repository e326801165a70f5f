//! Waits for the ingresses by hand that the manifests declare, so that they answer when `topo up` ends.
//!
//! One that is not served is no reason for the lab not to be: its worker says why.

use std::path::PathBuf;
use std::time::Duration;

use api::NodeIngress;
use runtime::{Health, chain};
use store::{Objects, Reflector, Store};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// The component's name in `topo status`.
pub(crate) const COMPONENT: &str = "ingresses";
/// They are not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the declared ones are together.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    /// Those that are there: some may have been deleted.
    all: usize,
    ready: usize,
    /// Those of which nobody has said anything.
    silent: usize,
}

impl Summary {
    fn of(ingresses: &Objects<NodeIngress>) -> Self {
        let statuses = || ingresses.values().filter_map(|one| one.status.as_ref());
        let ready = statuses().filter(|status| status.ready).count();
        Self { all: ingresses.len(), ready, silent: ingresses.len() - statuses().count() }
    }

    fn message(&self) -> String {
        format!("{} of {} ready", self.ready, self.all)
    }
}

/// Follows those of these names once the manifests are `applied`, until dropped. It turns ready once and stays
/// so. A `marker` says that it was ready in this lab before.
pub(crate) async fn run(
    store: Store,
    declared: Vec<String>,
    marker: PathBuf,
    mut applied: watch::Receiver<bool>,
    health: Health,
) {
    health.set(COMPONENT, false, "waiting for the manifests");
    // The sender lives as long as the process.
    let _ = applied.wait_for(|applied| *applied).await;
    let wanted = move |one: &NodeIngress| one.metadata.name.as_ref().is_some_and(|n| declared.contains(n));
    let ingresses = Reflector::<NodeIngress>::start_where(&store, None, wanted);
    let mut changes = ingresses.subscribe();
    ingresses.wait_synced().await;
    let mut deadline = (!marker.exists()).then(|| Instant::now() + PATIENCE);
    loop {
        changes.mark_unchanged();
        let summary = Summary::of(&ingresses.snapshot());
        let is_over = |at: Instant| summary.silent == 0 || at <= Instant::now();
        if deadline.is_some_and(is_over) {
            deadline = None;
            if let Err(error) = std::fs::write(&marker, "") {
                tracing::warn!(error = chain(&error), path = %marker.display(), "not written");
            }
        }
        let Some(at) = deadline else {
            // What is wrong with one its worker tells.
            health.warn(COMPONENT, &summary.message(), &[]);
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        health.set(COMPONENT, false, &summary.message());
        let _ = timeout_at(at, changes.changed()).await;
    }
}

#[cfg(test)]
mod tests {
    use api::NodeIngressStatus;
    use runtime::ComponentKind;

    use super::*;

    async fn say(store: &Store, name: &str, ready: bool, message: &str) {
        let set = |one: &mut NodeIngress| {
            one.status = Some(NodeIngressStatus { ready, message: message.into() });
        };
        store.modify::<NodeIngress>("", name, set).await.unwrap();
    }

    #[tokio::test]
    async fn ready_once_each_has_been_spoken_of() {
        let store = Store::memory();
        for name in ["a", "b", "undeclared"] {
            store.create(&mut NodeIngress::new("", name, Default::default())).await.unwrap();
        }
        let health = Health::default();
        health.announce(COMPONENT, ComponentKind::Builtin, "1");
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("ingresses.ready");
        let (_applied, applied) = watch::channel(true);
        let declared = vec!["a".into(), "b".into()];
        let task = run(store.clone(), declared, marker.clone(), applied, health.clone());
        let task = tokio::spawn(task);
        let mut board = health.watch();
        let mut until = async |message: &str, ready: bool| {
            let said = |report: &runtime::WorkerReport| {
                let status = &report.components[COMPONENT];
                status.message == message && status.ready == ready
            };
            board.wait_for(said).await.unwrap();
        };
        until("0 of 2 ready", false).await;
        say(&store, "a", true, "").await;
        until("1 of 2 ready", false).await;
        assert!(!marker.exists());
        say(&store, "b", false, "nginx is not on this machine").await;
        until("1 of 2 ready", true).await;
        assert!(marker.exists());
        say(&store, "a", false, "").await;
        until("0 of 2 ready", true).await;
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let store = Store::memory();
        store.create(&mut NodeIngress::new("", "a", Default::default())).await.unwrap();
        let health = Health::default();
        health.announce(COMPONENT, ComponentKind::Builtin, "1");
        let folder = tempfile::tempdir().unwrap();
        let (_applied, applied) = watch::channel(true);
        let task = run(store, vec!["a".into()], folder.path().join("m"), applied, health.clone());
        let task = tokio::spawn(task);
        let ready = |report: &runtime::WorkerReport| report.components[COMPONENT].ready;
        health.watch().wait_for(ready).await.unwrap();
        task.abort();
    }
}
