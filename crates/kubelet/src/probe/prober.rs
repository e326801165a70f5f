//! Runs the probes of one container for as long as it runs.

use std::sync::Arc;
use std::time::Duration;

use api::types::api::core::v1::{Container, Probe};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::tally::{self, ProbeState, Tally};
use super::{Action, Exec, Outcome, ProbeKind};

/// How often probing is tried if nothing can be learnt (kubernetes `maxProbeRetries`).
const TRIES: usize = 3;
/// For so long a new container is probed more often than it says, …
const EAGER: Duration = Duration::from_secs(1);
/// … with pauses of this length.
const EAGER_STEP: Duration = Duration::from_millis(25);
/// Reason of the event of a probe that failed.
const UNHEALTHY: &str = "Unhealthy";
/// Reason of the event of a probe that succeeded, but.
const WARNING: &str = "ProbeWarning";

/// Something that somebody should know: an event of type `Warning` about the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeEvent {
    /// `Unhealthy` or `ProbeWarning`.
    pub reason: &'static str,
    /// As `Readiness probe failed: HTTP probe failed with statuscode: 500`.
    pub message: String,
}

/// What is probed.
pub struct Subject {
    /// The container as the pod has it.
    pub container: Container,
    /// The pod's address; the node's, if the pod is on its network.
    pub pod_ip: String,
    /// How long the container has been running.
    pub running_for: Duration,
    /// What was known of this very container before the kubelet was restarted.
    pub before: Option<Before>,
    /// How commands are run in it.
    pub exec: Arc<dyn Exec>,
    /// Who hears of events.
    pub events: Arc<dyn Fn(ProbeEvent) + Send + Sync>,
}

/// What the status of a container said that runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// `started`
    pub started: bool,
    /// `ready`
    pub ready: bool,
}

/// Probes of one running container, a task each; they end with it. For a container that is started anew
/// there is a new one.
///
/// A container without an initial delay is probed at once, and at once when its startup probe has
/// succeeded. Those whose state is known from before are probed at some time within their period, so that
/// a kubelet that is restarted does not probe all at the same moment.
#[derive(Debug)]
pub struct Prober {
    state: watch::Sender<ProbeState>,
    tasks: Vec<(ProbeKind, Task)>,
}

/// A task that ends with its handle.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Prober {
    /// Begins to probe. To be called within a runtime.
    #[must_use]
    pub fn start(subject: Subject) -> Self {
        let container = &subject.container;
        let (has_startup, has_readiness) =
            (container.startup_probe.is_some(), container.readiness_probe.is_some());
        let started = !has_startup || subject.before.is_some_and(|before| before.started);
        let ready = started && (!has_readiness || subject.before.is_some_and(|before| before.ready));
        let state = watch::Sender::new(ProbeState { started, ready, failed: None });
        let kinds = [
            (ProbeKind::Startup, container.startup_probe.clone().filter(|_| !started)),
            (ProbeKind::Readiness, container.readiness_probe.clone()),
            (ProbeKind::Liveness, container.liveness_probe.clone()),
        ];
        let subject = Arc::new(subject);
        let tasks = kinds.into_iter().filter_map(|(kind, probe)| {
            let probe = probe?;
            let settled = subject.before.is_some() && started && (ready || kind == ProbeKind::Liveness);
            let worker = Worker {
                kind,
                action: Action::resolve(&probe, &subject.container, &subject.pod_ip),
                tally: Tally::new(&probe),
                probe,
                began: Instant::now(),
                settled,
                state: state.clone(),
                subject: subject.clone(),
            };
            Some((kind, Task(tokio::spawn(worker.run()))))
        });
        Self { tasks: tasks.collect(), state }
    }

    /// What the probes say now.
    #[must_use]
    pub fn state(&self) -> ProbeState {
        self.state.borrow().clone()
    }

    /// What the probes say, and how that changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ProbeState> {
        self.state.subscribe()
    }

    /// The pod is being deleted: nothing is restarted any more, but it is still told whether the
    /// container is ready.
    pub fn pod_deleted(&mut self) {
        self.tasks.retain(|(kind, _)| *kind == ProbeKind::Readiness);
    }
}

/// One probe.
struct Worker {
    kind: ProbeKind,
    probe: Probe,
    action: Result<Action, String>,
    tally: Tally,
    began: Instant,
    /// Nothing waits for the first result.
    settled: bool,
    state: watch::Sender<ProbeState>,
    subject: Arc<Subject>,
}

impl Worker {
    async fn run(mut self) {
        if self.kind != ProbeKind::Startup {
            // The sender is held here.
            let _ = self.state.subscribe().wait_for(|state| state.started).await;
        }
        if self.eager().await {
            return;
        }
        let mut ticks = interval_at(self.first(), self.period());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let outcome = self.attempt().await;
            self.tell(&outcome);
            if self.learn(&outcome) {
                return;
            }
        }
    }

    /// A server that has just been started needs a moment, and a kubelet looks again only after a whole period:
    /// every pod with a probe would be ready a second late. So in its first second it is asked again and
    /// again, and that it is not there yet counts for nothing. Not by commands, which cost too much. Tells
    /// whether there is nothing more to probe for.
    async fn eager(&mut self) -> bool {
        let delayed = self.probe.initial_delay_seconds.is_some_and(|seconds| seconds > 0);
        let cheap = !matches!(self.action, Ok(Action::Exec(_)) | Err(_));
        let new = !self.settled && self.subject.running_for < EAGER;
        if self.kind == ProbeKind::Liveness || delayed || !cheap || !new {
            return false;
        }
        let until = Instant::now() + EAGER;
        while Instant::now() < until {
            let outcome = self.attempt().await;
            if matches!(outcome, Outcome::Success | Outcome::Warning(_)) {
                self.tell(&outcome);
                return self.learn(&outcome);
            }
            tokio::time::sleep(EAGER_STEP).await;
        }
        false
    }

    fn period(&self) -> Duration {
        seconds(self.probe.period_seconds, 10)
    }

    /// When to probe for the first time.
    fn first(&self) -> Instant {
        let delay = u64::try_from(self.probe.initial_delay_seconds.unwrap_or_default()).unwrap_or_default();
        let delay = Duration::from_secs(delay).saturating_sub(self.subject.running_for);
        let jitter = if self.settled { some_time_within(self.period()) } else { Duration::ZERO };
        (self.began + delay + jitter).max(Instant::now())
    }

    async fn attempt(&self) -> Outcome {
        let action = match &self.action {
            Ok(action) => action,
            Err(text) => return Outcome::Error(text.clone()),
        };
        let timeout = seconds(self.probe.timeout_seconds, 1);
        let mut outcome = action.run(timeout, &*self.subject.exec).await;
        for _ in 1..TRIES {
            if !matches!(outcome, Outcome::Error(_)) {
                break;
            }
            outcome = action.run(timeout, &*self.subject.exec).await;
        }
        outcome
    }

    fn tell(&self, outcome: &Outcome) {
        let kind = self.kind;
        let (reason, message) = match outcome {
            Outcome::Success => return,
            Outcome::Warning(text) => (WARNING, format!("{kind} probe warning: {text}")),
            Outcome::Failure(text) => (UNHEALTHY, format!("{kind} probe failed: {text}")),
            Outcome::Error(text) => {
                (UNHEALTHY, format!("{kind} probe errored and resulted in unknown state: {text}"))
            }
        };
        (self.subject.events)(ProbeEvent { reason, message });
    }

    /// Counts the result; says whether there is nothing more to probe for.
    fn learn(&mut self, outcome: &Outcome) -> bool {
        let (success, text) = match outcome {
            Outcome::Success | Outcome::Warning(_) => (true, ""),
            Outcome::Failure(text) => (false, text.as_str()),
            Outcome::Error(_) => return false,
        };
        let Some(held) = self.tally.count(success) else { return false };
        let has_readiness = self.subject.container.readiness_probe.is_some();
        self.state.send_if_modified(|state| {
            let next = tally::after(state.clone(), self.kind, held, text, &self.probe, has_readiness);
            let news = next != *state;
            *state = next;
            news
        });
        match self.kind {
            ProbeKind::Startup => true,
            ProbeKind::Liveness => !held,
            ProbeKind::Readiness => false,
        }
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    let value = value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
    Duration::from_secs(value.unwrap_or(default))
}

/// Less than that, in milliseconds, and more than nothing; random enough to spread.
fn some_time_within(period: Duration) -> Duration {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let most = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).saturating_sub(1).max(1);
    Duration::from_millis(1 + RandomState::new().build_hasher().finish() % most)
}

#[cfg(test)]
mod tests;
