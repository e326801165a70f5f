//! The end of a pod: its containers are asked, then killed; everything that it held is given back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cri::{Phase, Sandbox};
use nix::sys::signal::Signal;
use runtime::chain;
use store::registry;

use super::{FORCED, Life, NORMAL, Pods, WARNING, after_seconds, all, now};

impl Life {
    /// Ends the pod, and its object if that waits for it. Returns when nothing is left.
    pub(super) async fn end(mut self, pods: &mut Pods) {
        self.look();
        self.kills.abort_all();
        let deleted = self.pod.metadata.deletion_timestamp.is_some();
        let grace = if deleted { self.grace() } else { self.grace().min(FORCED) };
        self.stop(grace, pods).await;
        self.let_go().await;
        if let Some(sandbox) = self.log_of() {
            let removed = cri::sandbox::remove_logs(&self.shared.options.runtime.logs, &sandbox);
            if let Err(error) = removed {
                tracing::warn!(error = %chain(&error), "logs of a pod");
            }
        }
        if deleted {
            if self.finished.is_none() && self.ended.is_none() {
                self.finished = Some(
                    self.runs
                        .values()
                        .filter_map(|runs| runs.last())
                        .all(|run| matches!(run.phase, Phase::Exited { code: 0, .. })),
                );
            }
            self.publish();
            self.writer.flush().await;
            self.delete(pods).await;
        }
    }

    /// Removes the object, which waits for nothing else.
    async fn delete(&mut self, pods: &mut Pods) {
        loop {
            match registry::delete_now(&self.shared.store, &*self.pod).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "a pod is not deleted");
                    tokio::time::sleep(self.retry.after(Duration::ZERO)).await;
                }
            }
        }
        // Until it is gone, unless a finalizer of others holds it: they have all the time they want.
        let uid = self.pod.metadata.uid.clone();
        let gone = |pod: &Option<Arc<_>>| {
            pod.as_ref().is_none_or(|pod: &Arc<api::types::api::core::v1::Pod>| pod.metadata.uid != uid)
        };
        // The kubelet ends.
        let _ = pods.wait_for(gone).await;
    }

    fn log_of(&self) -> Option<cri::SandboxSpec> {
        let meta = &self.pod.metadata;
        Some(cri::SandboxSpec {
            namespace: meta.namespace.clone()?,
            pod: meta.name.clone()?,
            uid: meta.uid.clone()?,
            name: String::new(),
            id: String::new(),
            node: String::new(),
            attempt: 0,
            hostname: String::new(),
            host_network: false,
            files: std::collections::BTreeMap::new(),
            mount_points: Vec::new(),
        })
    }

    /// Stops all containers: those that run beside the others last. `grace` is in seconds, and is cut short
    /// when the object says so.
    pub(super) async fn stop(&mut self, grace: i64, pods: &mut Pods) {
        let Some(sandbox) = self.sandbox.clone() else { return };
        let spec = self.spec();
        let beside: BTreeSet<String> =
            spec.init_containers.iter().flatten().map(|container| container.name.clone()).collect();
        let until = after_seconds(now(), grace);
        let running: Vec<String> = self.running().into_iter().map(|run| run.name.clone()).collect();
        let (last, first): (Vec<String>, Vec<String>) =
            running.into_iter().partition(|name| beside.contains(name));
        for names in [first, last] {
            for name in &names {
                self.tell_of(name, NORMAL, "Killing", &format!("Stopping container {name}"));
            }
            self.before_stop(&names, until).await;
            for name in &names {
                // Of a pod whose object is gone, nothing is known but that it runs.
                let container = all(&spec).find(|container| container.name == *name);
                let signal = container.map_or(Signal::SIGTERM, |container| self.stop_signal(container));
                sandbox.signal(name, signal);
            }
            self.await_end(&sandbox, &names, until, pods).await;
        }
        self.look();
    }

    /// The containers' own hooks, at the same time, within the pod's grace.
    async fn before_stop(&self, names: &[String], until: i64) {
        let spec = self.spec();
        let limit = super::until(until);
        let hooks = all(&spec).filter(|container| names.contains(&container.name)).filter_map(|container| {
            let hook = container.lifecycle.as_ref()?.pre_stop.as_ref()?;
            Some(async move { (&container.name, self.hook(container, hook, limit).await) })
        });
        for (name, outcome) in futures_util::future::join_all(hooks).await {
            if let Err(why) = outcome {
                self.tell_of(name, WARNING, "FailedPreStopHook", &format!("PreStopHook failed: {why}"));
            }
        }
    }

    async fn await_end(&mut self, sandbox: &Sandbox, names: &[String], until: i64, pods: &mut Pods) {
        let Some(mut state) = self.state.clone() else { return };
        let mut until = until;
        let uid = self.pod.metadata.uid.clone();
        loop {
            let ended = state.wait_for(|state| {
                !state.alive || !names.iter().any(|name| state.last(name).is_some_and(|run| run.running()))
            });
            let left = super::until(until);
            tokio::select! {
                _ = ended => return,
                () = tokio::time::sleep(left) => break,
                // Deleted once more, with less grace.
                Ok(()) = pods.changed() => {
                    let latest = pods.borrow_and_update().clone();
                    match latest.filter(|pod| pod.metadata.uid == uid) {
                        Some(pod) => {
                            let grace = pod.metadata.deletion_grace_period_seconds;
                            until = until.min(after_seconds(now(), grace.unwrap_or(i64::MAX)));
                            self.pod = pod;
                        }
                        None => until = until.min(after_seconds(now(), FORCED)),
                    }
                }
            }
        }
        for name in names {
            sandbox.signal(name, Signal::SIGKILL);
        }
        let ended = state.wait_for(|state| {
            !state.alive || !names.iter().any(|name| state.last(name).is_some_and(|run| run.running()))
        });
        // Who cannot be killed ends with the sandbox.
        let _ = tokio::time::timeout(Duration::from_secs(2), ended).await;
    }
}
