//! Probes and hooks of the containers, and what follows from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::types::api::core::v1::{Container, LifecycleHandler, Probe};
use cri::{Outcome as Ran, Process};
use nix::sys::signal::Signal;
use store::events::reference;
use tokio::sync::watch;

use super::{Life, NORMAL, WARNING, all, now};
use crate::environment::static_command;
use crate::probe::{Action, Before, Exec, ExecOutput, Outcome, ProbeEvent, ProbeState, Prober, Subject};

/// A hook is not waited for longer than this, whatever the pod's grace is.
const HOOK_LIMIT: Duration = Duration::from_secs(120);

/// The probes of a container's run.
#[derive(Debug)]
pub(super) struct Probed {
    attempt: u32,
    prober: Prober,
    news: watch::Receiver<ProbeState>,
}

pub(super) type Probers = BTreeMap<String, Probed>;

/// Waits until any probe says something else than before.
pub(super) async fn news(probers: &mut Probers) {
    let changes = probers.values_mut().map(|probed| Box::pin(probed.news.changed()));
    let changes: Vec<_> = changes.collect();
    if changes.is_empty() {
        std::future::pending::<()>().await;
    }
    // Whichever it was, all are looked at.
    let _ = futures_util::future::select_all(changes).await;
}

impl Life {
    /// Probes what runs, and does what the probes say.
    pub(super) async fn probe(&mut self) {
        let spec = self.spec();
        for container in all(&spec) {
            let running =
                self.runs.get(&container.name).and_then(|runs| runs.last()).filter(|run| run.running());
            let Some(run) = running else {
                self.probers.remove(&container.name);
                continue;
            };
            let (attempt, started_at) = (run.attempt, run.started_at);
            if self.probers.get(&container.name).is_none_or(|probed| probed.attempt != attempt) {
                self.begin_probing(container, attempt, started_at).await;
            }
            let Some(probed) = self.probers.get(&container.name) else { continue };
            let state = probed.prober.state();
            if let Some(notes) = self.notes.get_mut(&container.name) {
                notes.started = state.started;
                notes.ready = state.ready;
            }
            if let Some(failed) = state.failed
                && self.killed.insert((container.name.clone(), attempt))
            {
                self.tell_of(&container.name, NORMAL, "Killing", &failed.killing(&container.name));
                let grace = failed.grace_seconds.unwrap_or_else(|| self.grace());
                self.kill(container, attempt, grace);
            }
        }
    }

    async fn begin_probing(&mut self, container: &Container, attempt: u32, started_at: i64) {
        let probes = [&container.startup_probe, &container.readiness_probe, &container.liveness_probe];
        if probes.iter().all(|probe| probe.is_none()) {
            return;
        }
        let Some(exec) = self.exec(container).await else { return };
        let status = self.pod.status.as_ref();
        let told = status.iter().flat_map(|status| {
            status.container_statuses.iter().chain(&status.init_container_statuses).flatten()
        });
        // Only of this very run: the pod's status may be older.
        let before = told.filter(|told| told.name == container.name).find(|told| {
            told.restart_count == i32::try_from(attempt).unwrap_or(i32::MAX)
                && told.state.as_ref().is_some_and(|state| state.running.is_some())
        });
        let before = before.map(|told| Before { started: told.started.unwrap_or(false), ready: told.ready });
        let (recorder, object) = (self.shared.recorder.clone(), reference(&*self.pod));
        let field_path = Some(self.field_path(&container.name));
        let events = move |event: ProbeEvent| {
            let object = api::types::api::core::v1::ObjectReference {
                field_path: field_path.clone(),
                ..object.clone()
            };
            recorder.event(&object, WARNING, event.reason, &event.message);
        };
        let prober = Prober::start(Subject {
            container: container.clone(),
            pod_ip: self.ips.iter().flatten().next().cloned().unwrap_or_default(),
            running_for: Duration::from_micros(u64::try_from(now() - started_at).unwrap_or(0)),
            before,
            exec,
            events: Arc::new(events),
        });
        let news = prober.watch();
        self.probers.insert(container.name.clone(), Probed { attempt, prober, news });
    }

    /// How commands are run as in a container.
    async fn exec(&self, container: &Container) -> Option<Arc<dyn Exec>> {
        let runner = self.sandbox.as_ref()?.runner(&container.name);
        // What it was started with; read anew if an agent before this one did that.
        let process = self.process(container).await.ok()?;
        let image = self.shared.options.images.resolve(container.image.as_deref().unwrap_or_default());
        let image = image.cloned().unwrap_or_default();
        let exec = move |argv: Vec<String>, timeout: Duration| {
            let argv = image.program(argv);
            let (runner, process) = (runner.clone(), Process { argv, ..process.clone() });
            async move {
                match runner.run(process, timeout).await {
                    Ok(Ran::Exited { code, output }) => {
                        Ok(ExecOutput { exit_code: Some(code), output: output.into_bytes() })
                    }
                    Ok(Ran::TimedOut { output }) => {
                        Ok(ExecOutput { exit_code: None, output: output.into_bytes() })
                    }
                    Ok(Ran::NotStarted { message }) => Err(message),
                    Err(error) => Err(runtime::chain(&error)),
                }
            }
        };
        Some(Arc::new(exec))
    }

    /// Ends a run of a container: its stop signal, and SIGKILL after `grace` seconds.
    pub(super) fn kill(&mut self, container: &Container, attempt: u32, grace: i64) {
        let (Some(sandbox), Some(state)) = (self.sandbox.clone(), self.state.clone()) else { return };
        let name = container.name.clone();
        let signal = self.stop_signal(container);
        self.kills.spawn(async move {
            let mut state = state;
            sandbox.signal(&name, signal);
            let ended = state.wait_for(|state| {
                let last = state.last(&name);
                !state.alive || last.is_none_or(|run| run.attempt != attempt || !run.running())
            });
            let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
            if tokio::time::timeout(grace, ended).await.is_err() {
                sandbox.signal(&name, Signal::SIGKILL);
            }
        });
    }

    /// Runs a hook for at most `limit`; gives what went wrong.
    pub(super) async fn hook(
        &self,
        container: &Container,
        hook: &LifecycleHandler,
        limit: Duration,
    ) -> Result<(), String> {
        let limit = limit.min(HOOK_LIMIT);
        if let Some(sleep) = &hook.sleep {
            let time = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
            tokio::time::sleep(time.min(limit)).await;
            return Ok(());
        }
        let Some(exec) = self.exec(container).await else { return Ok(()) };
        if let Some(one) = &hook.exec {
            let argv = static_command(one.command.as_deref().unwrap_or_default(), container);
            let output = exec.exec(argv, limit).await?;
            let text = String::from_utf8_lossy(&output.output).into_owned();
            return match output.exit_code {
                Some(0) => Ok(()),
                Some(code) => Err(format!("exited with {code}: {text}")),
                None => Err(format!("timed out after {} s: {text}", limit.as_secs())),
            };
        }
        // What a page is asked for, and how, is the same as for a probe.
        let probe = Probe { http_get: hook.http_get.clone(), ..Probe::default() };
        let ip = self.ips.iter().flatten().next().cloned().unwrap_or_default();
        match Action::resolve(&probe, container, &ip)?.run(limit, &*exec).await {
            Outcome::Success | Outcome::Warning(_) => Ok(()),
            Outcome::Failure(why) | Outcome::Error(why) => Err(why),
        }
    }
}
