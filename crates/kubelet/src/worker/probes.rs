//! Probes and hooks of the containers, and what follows from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::types::api::core::v1::{Container, LifecycleHandler, Probe};
use cri::{Outcome as Ran, Process};
use store::events::reference;
use tokio::sync::watch;

use super::{Life, NORMAL, WARNING, after_seconds, all, now};
use crate::environment::static_command;
use crate::probe::{Action, Before, Exec, ExecOutput, Outcome, ProbeEvent, ProbeState, Prober, Subject};

/// Longer than anything takes, and no overflow for those who count from now.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A container whose commands cannot be run yet is looked at again after so many microseconds.
const AGAIN: i64 = 5_000_000;

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
        self.probe_again = self.probe_again.filter(|again| *again > now());
        for container in all(&spec) {
            if self.posting.contains_key(&container.name) {
                continue;
            }
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
                && !self.endings.contains_key(&container.name)
            {
                self.tell_of(&container.name, NORMAL, "Killing", &failed.killing(&container.name));
                let grace = failed.grace_seconds.unwrap_or_else(|| self.grace());
                let latest = after_seconds(now(), grace);
                self.begin_end(&container.name, attempt, latest, Vec::new()).await;
            }
        }
    }

    async fn begin_probing(&mut self, container: &Container, attempt: u32, started_at: i64) {
        let probes = [&container.startup_probe, &container.readiness_probe, &container.liveness_probe];
        if probes.iter().all(|probe| probe.is_none()) {
            return;
        }
        let runs_commands = probes.iter().any(|probe| probe.as_ref().is_some_and(|p| p.exec.is_some()));
        if runs_commands && self.probe_again.is_some() {
            return;
        }
        let exec = match self.exec_if(runs_commands, container).await {
            Ok(exec) => exec,
            Err(why) => {
                tracing::debug!(container = %container.name, %why, "not probed");
                self.probe_again = Some(now() + AGAIN);
                return;
            }
        };
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

    /// How commands are run as in a container, if there are any: its environment may not be known.
    async fn exec_if(&mut self, needed: bool, container: &Container) -> Result<Arc<dyn Exec>, String> {
        if needed {
            return self.exec(container).await;
        }
        let none = |_: Vec<String>, _: Duration| async { Err("there is no command".to_owned()) };
        Ok(Arc::new(none))
    }

    async fn exec(&mut self, container: &Container) -> Result<Arc<dyn Exec>, String> {
        let sandbox = self.sandbox.as_ref().ok_or("there is no sandbox")?;
        let runner = sandbox.runner(&container.name);
        // What it was started with; made anew if an agent before this one did that.
        let process = match self.processes.get(&container.name) {
            Some(process) => process.clone(),
            None => {
                let made = self.process(container).await.map_err(|refusal| refusal.message)?;
                self.processes.insert(container.name.clone(), made.clone());
                made
            }
        };
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
        Ok(Arc::new(exec))
    }

    /// A hook of a container, to be run in whatever task.
    pub(super) async fn hook(
        &mut self,
        container: &Container,
        handler: &LifecycleHandler,
    ) -> Result<Hook, String> {
        let exec = self.exec_if(handler.exec.is_some(), container).await?;
        let ip = self.ips.iter().flatten().next().cloned().unwrap_or_default();
        Ok(Hook { container: container.clone(), handler: handler.clone(), exec, ip })
    }
}

/// A hook of a container.
pub(super) struct Hook {
    container: Container,
    handler: LifecycleHandler,
    exec: Arc<dyn Exec>,
    ip: String,
}

impl Hook {
    /// Runs it for at most `limit`; gives what went wrong.
    pub(super) async fn run(self, limit: Duration) -> Result<(), String> {
        let limit = limit.min(YEAR);
        if let Some(sleep) = &self.handler.sleep {
            let time = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
            tokio::time::sleep(time.min(limit)).await;
            return Ok(());
        }
        if let Some(one) = &self.handler.exec {
            let argv = static_command(one.command.as_deref().unwrap_or_default(), &self.container);
            let output = self.exec.exec(argv, limit).await?;
            let text = String::from_utf8_lossy(&output.output).into_owned();
            return match output.exit_code {
                Some(0) => Ok(()),
                Some(code) => Err(format!("exited with {code}: {text}")),
                None => Err(format!("timed out after {} s: {text}", limit.as_secs())),
            };
        }
        // What a page is asked for, and how, is the same as for a probe.
        let probe = Probe { http_get: self.handler.http_get.clone(), ..Probe::default() };
        match Action::resolve(&probe, &self.container, &self.ip)?.run(limit, &*self.exec).await {
            Outcome::Success | Outcome::Warning(_) => Ok(()),
            Outcome::Failure(why) | Outcome::Error(why) => Err(why),
        }
    }
}
