//! The end of a pod: its containers are asked, then killed; everything that it held is given back.
//!
//! Source: kubernetes `pkg/kubelet/kuberuntime/kuberuntime_container.go` (`killContainer`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::types::api::core::v1::Pod;
use cri::{Phase, Sandbox, State};
use nix::sys::signal::Signal;
use runtime::chain;
use store::registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::probes::Hook;
use super::tell::Teller;
use super::{FORCED, Life, NORMAL, Pods, WARNING, after_seconds, all, now, until};
use crate::plan::is_sidecar;

/// What a container has at least to end after its own hook, in seconds (`minimumGracePeriodInSeconds`).
const LEAST: i64 = 2;
/// Who is killed is gone within this time; who is not ends with the sandbox.
const GONE: Duration = Duration::from_secs(2);

/// A run of a container that is being ended; dropped, it is left as it is.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) attempt: u32,
    /// When it is killed: microseconds since 1970. That may come nearer.
    until: watch::Sender<i64>,
    task: JoinHandle<()>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ending {
    fn hasten(&self, latest: i64) {
        self.until.send_if_modified(|until| {
            let sooner = latest < *until;
            *until = latest.min(*until);
            sooner
        });
    }
}

/// What ends it.
struct Ender {
    sandbox: Arc<Sandbox>,
    state: watch::Receiver<State>,
    name: String,
    attempt: u32,
    signal: Signal,
    hook: Option<Hook>,
    /// Containers that end before it.
    before: Vec<String>,
    until: watch::Receiver<i64>,
    teller: Teller,
}

impl Ender {
    async fn run(mut self) {
        let (name, attempt) = (self.name.clone(), self.attempt);
        let ended = |state: watch::Receiver<State>| {
            let name = name.clone();
            wait_until(state, move |state| {
                state.last(&name).is_none_or(|run| run.attempt != attempt || !run.running())
            })
        };
        let mut least = 0;
        if let Some(hook) = self.hook.take() {
            let limit = until(*self.until.borrow());
            let outcome = tokio::select! {
                outcome = hook.run(limit) => outcome,
                () = passed(&mut self.until) => Err("the grace period has passed".into()),
                () = ended(self.state.clone()) => return,
            };
            if let Err(why) = outcome {
                self.teller.tell(WARNING, "FailedPreStopHook", &format!("PreStopHook failed: {why}"));
            }
            least = after_seconds(now(), LEAST);
        }
        let before = std::mem::take(&mut self.before);
        let turn = wait_until(self.state.clone(), move |state| {
            !before.iter().any(|name| state.last(name).is_some_and(cri::ContainerState::running))
        });
        tokio::select! {
            () = turn => {}
            () = passed(&mut self.until) => {}
        }
        self.sandbox.signal(&self.name, self.signal);
        let time = async {
            passed(&mut self.until).await;
            tokio::time::sleep(until(least)).await;
        };
        tokio::select! {
            () = ended(self.state.clone()) => return,
            () = time => {}
        }
        self.sandbox.signal(&self.name, Signal::SIGKILL);
        let _ = tokio::time::timeout(GONE, ended(self.state.clone())).await;
    }
}

/// Returns when that is so, or the sandbox has ended.
async fn wait_until(mut state: watch::Receiver<State>, so: impl Fn(&State) -> bool) {
    // It is closed when the sandbox has ended.
    let _ = state.wait_for(|state| !state.alive || so(state)).await;
}

/// Returns when that time, which may come nearer, has come.
async fn passed(latest: &mut watch::Receiver<i64>) {
    loop {
        let at = *latest.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(until(at)) => return,
            Ok(()) = latest.changed() => {}
        }
    }
}

impl Life {
    /// Ends the pod, and its object if that waits for it. Returns when nothing is left.
    pub(super) async fn end(mut self, pods: &mut Pods) {
        self.look();
        self.posts.abort_all();
        let deleted = self.pod.metadata.deletion_timestamp.is_some();
        let grace = if deleted { self.grace() } else { self.grace().min(FORCED) };
        self.stop(grace, pods).await;
        if deleted && !self.is_over() {
            let well = |run: &cri::ContainerState| matches!(run.phase, Phase::Exited { code: 0, .. });
            self.finished = Some(self.runs.values().filter_map(|runs| runs.last()).all(well));
        }
        self.let_go().await;
        self.stuck = None;
        if let Some(sandbox) = self.log_of() {
            let removed = cri::sandbox::remove_logs(&self.shared.options.runtime.logs, &sandbox);
            if let Err(error) = removed {
                tracing::warn!(error = %chain(&error), "logs of a pod");
            }
        }
        if deleted {
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
        let gone = |pod: &Option<Arc<Pod>>| pod.as_ref().is_none_or(|pod: &Arc<Pod>| pod.metadata.uid != uid);
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
            files: BTreeMap::new(),
            mount_points: Vec::new(),
            main: None,
        })
    }

    /// All that is to run has run: ends what runs beside it. Its status is over when nothing runs any more.
    pub(super) async fn finish(&mut self, well: bool, pods: &Pods) {
        if !self.running().is_empty() {
            self.publish();
            self.stop(self.grace(), &mut pods.clone()).await;
        }
        self.finished = Some(well);
    }

    /// Stops all containers: those that run beside the others after them, the last one first (KEP-753).
    /// `grace` is in seconds, and is cut short when the object says so.
    pub(super) async fn stop(&mut self, grace: i64, pods: &mut Pods) {
        let latest = after_seconds(now(), grace);
        let spec = self.spec();
        let beside: Vec<&str> = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|container| is_sidecar(container))
            .map(|container| container.name.as_str())
            .collect();
        let running: Vec<(String, u32)> =
            self.running().into_iter().map(|run| (run.name.clone(), run.attempt)).collect();
        for (name, attempt) in &running {
            let place = beside.iter().position(|other| other == name);
            let waits_for = |other: &str| match (place, beside.iter().position(|one| *one == other)) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(mine), Some(others)) => others > mine,
            };
            let before = running.iter().map(|(other, _)| other).filter(|other| waits_for(other));
            let before = before.cloned().collect();
            if self.endings.get(name).is_none_or(|ending| ending.attempt != *attempt) {
                self.tell_of(name, NORMAL, "Killing", &format!("Stopping container {name}"));
            }
            self.begin_end(name, *attempt, latest, before).await;
        }
        self.await_end(pods).await;
        self.look();
    }

    /// Begins to end a run of a container: its hook, its stop signal, and SIGKILL when the time has come
    /// (microseconds since 1970). If that has begun already, it is only hastened.
    pub(super) async fn begin_end(&mut self, name: &str, attempt: u32, latest: i64, before: Vec<String>) {
        if let Some(ending) = self.endings.get(name).filter(|ending| ending.attempt == attempt) {
            return ending.hasten(latest);
        }
        let (Some(sandbox), Some(state)) = (self.sandbox.clone(), self.state.clone()) else { return };
        // Of a pod whose object is gone, nothing is known but that it runs.
        let spec = self.spec();
        let container = all(&spec).find(|container| container.name == name);
        let signal = container.map_or(Signal::SIGTERM, |container| self.stop_signal(container));
        let handler = container
            .and_then(|container| Some((container, container.lifecycle.as_ref()?.pre_stop.as_ref()?)))
            .filter(|_| latest > now());
        let hook = match handler {
            Some((container, handler)) => match self.hook(container, handler).await {
                Ok(hook) => Some(hook),
                Err(why) => {
                    let message = format!("PreStopHook failed: {why}");
                    self.tell_of(name, WARNING, "FailedPreStopHook", &message);
                    None
                }
            },
            None => None,
        };
        let sender = watch::Sender::new(latest);
        let ender = Ender {
            sandbox,
            state,
            name: name.to_owned(),
            attempt,
            signal,
            hook,
            before,
            until: sender.subscribe(),
            teller: self.teller(name),
        };
        let ending = Ending { attempt, until: sender, task: tokio::spawn(ender.run()) };
        self.endings.insert(name.to_owned(), ending);
    }

    /// Waits until all have ended that are to, sooner if the object says so meanwhile.
    async fn await_end(&mut self, pods: &mut Pods) {
        let uid = self.pod.metadata.uid.clone();
        loop {
            let left: Vec<_> = self.endings.values_mut().map(|ending| &mut ending.task).collect();
            let left: Vec<_> = left.into_iter().filter(|task| !task.is_finished()).collect();
            if left.is_empty() {
                return;
            }
            tokio::select! {
                _ = futures_util::future::join_all(left) => return,
                Ok(()) = pods.changed() => {}
            }
            // Deleted once more, with less grace; or by force, and gone.
            let pod = pods.borrow_and_update().clone().filter(|pod| pod.metadata.uid == uid);
            let grace = match &pod {
                Some(pod) => pod.metadata.deletion_grace_period_seconds.unwrap_or(i64::MAX),
                None => FORCED,
            };
            self.pod = pod.unwrap_or_else(|| self.pod.clone());
            let latest = after_seconds(now(), grace);
            self.endings.values().for_each(|ending| ending.hasten(latest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_time_that_comes_nearer_has_come() {
        let sender = watch::Sender::new(i64::MAX);
        let mut receiver = sender.subscribe();
        let waits = tokio::spawn(async move { passed(&mut receiver).await });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        let ending = Ending { attempt: 0, until: sender, task: tokio::spawn(async {}) };
        ending.hasten(now());
        waits.await.unwrap();
        ending.hasten(i64::MAX);
        assert!(*ending.until.borrow() <= now(), "it never goes farther away");
    }
}
