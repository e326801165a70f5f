//! A pod's status, from its spec and what its sandbox tells. Pure.
//!
//! Sources: kubernetes `pkg/kubelet/kubelet_pods.go` (`getPhase`, `convertToAPIContainerStatuses`),
//! `pkg/kubelet/status/generate.go` (conditions and their words).

use std::collections::BTreeMap;

use api::types::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use api::types::apimachinery::pkg::apis::meta::v1::Time;
use api::types::jiff::Timestamp;
use cri::{ContainerState, Phase};

use crate::plan::{self, Notes, Runs, is_done, is_sidecar, last, policy};

/// The condition that tells whether the sandbox stands.
const SANDBOX: &str = "PodReadyToStartContainers";
/// The conditions that the kubelet tells; all others are others' (kubernetes `PodConditionsByKubelet`).
const OURS: [&str; 5] = [SANDBOX, "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// A status to be written over that which `stored` is, of which the conditions of others stay.
pub(crate) fn over(stored: Option<&PodStatus>, status: &PodStatus) -> PodStatus {
    let own = |condition: &PodCondition| OURS.contains(&condition.type_.as_str());
    let ours = status.conditions.iter().flatten().filter(|condition| own(condition));
    let others = stored.and_then(|stored| stored.conditions.as_deref()).unwrap_or_default();
    let others = others.iter().filter(|condition| !own(condition));
    let conditions: Vec<PodCondition> = ours.chain(others).cloned().collect();
    PodStatus {
        conditions: (status.conditions.is_some() || !conditions.is_empty()).then_some(conditions),
        ..status.clone()
    }
}

/// The last status of a pod that was over before the kubelet knew it, when nothing is left of it.
pub(crate) fn without_sandbox(mut status: PodStatus, now: i64) -> PodStatus {
    let old = status.conditions.clone().unwrap_or_default();
    for condition in status.conditions.iter_mut().flatten().filter(|condition| condition.type_ == SANDBOX) {
        *condition = Verdict::No { reason: None, message: None }.condition(SANDBOX, &old, now);
    }
    status
}

/// Everything that a status says.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The pod, with the status that it has.
    pub(crate) pod: &'a Pod,
    /// The node's address.
    pub(crate) node_ip: &'a str,
    /// The sandbox's id, if its network stands.
    pub(crate) sandbox: Option<&'a str>,
    /// The pod's addresses.
    pub(crate) pod_ips: &'a [String],
    /// The containers' runs.
    pub(crate) runs: &'a Runs,
    /// Their runs in sandboxes that are no more, all of them ended.
    pub(crate) past: &'a Runs,
    /// What else is known of them.
    pub(crate) notes: &'a BTreeMap<String, Notes>,
    /// Why there is no sandbox yet.
    pub(crate) trouble: Option<&'a str>,
    /// Why what the sandbox held cannot be given back.
    pub(crate) stuck: Option<&'a str>,
    /// Nothing is ever started again; whether all went well.
    pub(crate) finished: Option<bool>,
    /// The pod was ended, with reason and message.
    pub(crate) ended: Option<(&'a str, &'a str)>,
    /// Microseconds since 1970.
    pub(crate) now: i64,
}

impl View<'_> {
    /// The status as it should be.
    pub(crate) fn status(&self) -> PodStatus {
        let before = self.pod.status.clone().unwrap_or_default();
        let default = PodSpec::default();
        let spec = self.pod.spec.as_ref().unwrap_or(&default);
        let init: &[Container] = spec.init_containers.as_deref().unwrap_or_default();
        let initialized = init.iter().all(|container| self.is_initialized(container));
        let statuses = |containers: &[Container], waits: bool| -> Vec<ContainerStatus> {
            containers.iter().map(|container| self.container(container, spec, waits)).collect()
        };
        let containers = statuses(&spec.containers, !initialized);
        let init_statuses = statuses(init, false);
        let beside = init.iter().zip(&init_statuses).filter(|(container, _)| is_sidecar(container));
        let counted: Vec<&ContainerStatus> = beside.map(|(_, status)| status).chain(&containers).collect();
        let conditions = self.conditions(&before, initialized, init, &counted);
        let some = |ip: &str| Some(ip.to_owned()).filter(|ip| !ip.is_empty());
        PodStatus {
            phase: Some(self.phase(spec, initialized).into()),
            conditions: Some(conditions),
            host_ip: some(self.node_ip),
            host_ips: Some(vec![HostIP { ip: self.node_ip.into() }]),
            pod_ip: self.pod_ips.first().cloned(),
            pod_ips: (!self.pod_ips.is_empty())
                .then(|| self.pod_ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect()),
            start_time: before.start_time.clone().or_else(|| Some(time(self.now))),
            init_container_statuses: (!init.is_empty()).then_some(init_statuses),
            container_statuses: Some(containers),
            qos_class: Some(qos(spec).into()),
            reason: self.ended.map(|(reason, _)| reason.to_owned()),
            message: self.ended.map(|(_, message)| message.to_owned()),
            ..before
        }
    }

    fn is_initialized(&self, container: &Container) -> bool {
        let state = last(self.runs, &container.name);
        if is_sidecar(container) {
            return state.is_some() && self.notes(container).started;
        }
        matches!(state.map(|state| &state.phase), Some(Phase::Exited { code: 0, .. }))
    }

    fn notes(&self, container: &Container) -> Notes {
        self.notes.get(&container.name).cloned().unwrap_or_default()
    }

    fn phase(&self, spec: &PodSpec, initialized: bool) -> &'static str {
        match (self.ended, self.finished) {
            (Some(_), _) | (None, Some(false)) => "Failed",
            (None, Some(true)) => "Succeeded",
            (None, None) => {
                let all_have_run = spec
                    .containers
                    .iter()
                    .all(|c| last(self.runs, &c.name).or_else(|| last(self.past, &c.name)).is_some());
                if initialized && all_have_run { "Running" } else { "Pending" }
            }
        }
    }

    /// `waits`: for the init containers.
    fn container(&self, container: &Container, spec: &PodSpec, waits: bool) -> ContainerStatus {
        let notes = self.notes(container);
        let here = self.runs.get(&container.name).map(Vec::as_slice).unwrap_or_default();
        let past = self.past.get(&container.name).map(Vec::as_slice).unwrap_or_default();
        let past = past.iter().filter(|run| here.iter().all(|other| other.attempt != run.attempt));
        let runs: Vec<&ContainerState> = past.chain(here).collect();
        let current = runs.last().copied();
        let before = runs.iter().rev().nth(1).map(|run| self.terminated(run));
        let running = current.is_some_and(ContainerState::running);
        let started = running && notes.started;
        let (state, last_state) = match current {
            None => (self.waiting(&notes, spec, waits), None),
            Some(run) if run.running() => (running_since(run), before),
            Some(run) if here.is_empty() && !self.is_over() => {
                (self.waiting(&notes, spec, waits), Some(self.terminated(run)))
            }
            Some(run) => self.after(run, container, spec, &notes, before),
        };
        let is_init_done = !is_sidecar(container)
            && matches!(current.map(|run| &run.phase), Some(Phase::Exited { code: 0, .. }));
        let is_init = spec.init_containers.iter().flatten().any(|init| init.name == container.name);
        ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            image_id: current.map(|_| container.image.clone().unwrap_or_default()).unwrap_or_default(),
            container_id: current.map(|run| self.container_id(run)),
            ready: (started && notes.ready) || (is_init && is_init_done),
            started: Some(started),
            restart_count: i32::try_from(current.map_or(notes.next_attempt, |run| run.attempt))
                .unwrap_or(i32::MAX),
            state: Some(state),
            last_state: Some(last_state.unwrap_or_default()),
            ..ContainerStatus::default()
        }
    }

    /// The container's state after a run, and its last state.
    fn after(
        &self,
        run: &ContainerState,
        container: &Container,
        spec: &PodSpec,
        notes: &Notes,
        before: Option<ApiState>,
    ) -> (ApiState, Option<ApiState>) {
        let ended = self.terminated(run);
        let is_init = spec.init_containers.iter().flatten().any(|init| init.name == container.name);
        let done = match &run.phase {
            Phase::Exited { code: 0, .. } if is_init && !is_sidecar(container) => true,
            _ if is_sidecar(container) => false,
            _ => is_done(run, policy(spec)),
        };
        if self.is_over() || done {
            return (ended, before);
        }
        if let Some(blocked) = &notes.blocked {
            return (waiting(&blocked.reason, &blocked.message), Some(ended));
        }
        if let Phase::Exited { message: Some(message), .. } = &run.phase {
            return (waiting("RunContainerError", message), Some(ended));
        }
        if plan::due(run, notes) <= self.now {
            return (ended, before);
        }
        let meta = &self.pod.metadata;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let message = format!(
            "back-off {} restarting failed container={} pod={}_{}({})",
            human(plan::delay(run, notes)),
            container.name,
            text(&meta.name),
            text(&meta.namespace),
            text(&meta.uid)
        );
        (waiting("CrashLoopBackOff", &message), Some(ended))
    }

    /// Whether nothing is started any more.
    fn is_over(&self) -> bool {
        self.finished.is_some() || self.ended.is_some() || self.pod.metadata.deletion_timestamp.is_some()
    }

    fn waiting(&self, notes: &Notes, spec: &PodSpec, waits: bool) -> ApiState {
        if let Some(blocked) = &notes.blocked {
            return waiting(&blocked.reason, &blocked.message);
        }
        let initializing = waits && spec.init_containers.as_ref().is_some_and(|init| !init.is_empty());
        let reason = if initializing { "PodInitializing" } else { "ContainerCreating" };
        waiting(reason, self.stuck.or(self.trouble).unwrap_or_default())
    }

    fn terminated(&self, run: &ContainerState) -> ApiState {
        let Phase::Exited { code, finished_at, message, .. } = &run.phase else { return ApiState::default() };
        let reason = match (message, code) {
            (Some(_), _) => "StartError",
            (None, 0) => "Completed",
            (None, _) => "Error",
        };
        let terminated = ContainerStateTerminated {
            exit_code: *code,
            reason: Some(reason.into()),
            message: message.clone(),
            started_at: Some(time(run.started_at)),
            finished_at: Some(time(*finished_at)),
            container_id: Some(self.container_id(run)),
            ..ContainerStateTerminated::default()
        };
        ApiState { terminated: Some(terminated), ..ApiState::default() }
    }

    fn container_id(&self, run: &ContainerState) -> String {
        // Of the pod, as containers of one that had several sandboxes share the numbering.
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        format!("knetsim://{uid}/{}/{}", run.name, run.attempt)
    }

    fn conditions(
        &self,
        before: &PodStatus,
        initialized: bool,
        init: &[Container],
        counted: &[&ContainerStatus],
    ) -> Vec<PodCondition> {
        let over = self.finished.is_some() || self.ended.is_some();
        let well = self.ended.is_none() && self.finished == Some(true);
        let incomplete: Vec<&str> =
            init.iter().filter(|c| !self.is_initialized(c)).map(|c| c.name.as_str()).collect();
        let unready: Vec<&str> = counted.iter().filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
        let list =
            |what: &str, names: &[&str]| format!("containers with {what} status: [{}]", names.join(" "));
        let containers_ready = match (over, unready.is_empty()) {
            (true, _) => Verdict::no(if well { "PodCompleted" } else { "PodFailed" }, String::new()),
            (false, true) => Verdict::Yes,
            (false, false) => Verdict::no("ContainersNotReady", list("unready", &unready)),
        };
        let ready = match self.missing_gate(before) {
            Some(gate) if containers_ready == Verdict::Yes => {
                let message =
                    format!("corresponding condition of pod readiness gate \"{gate}\" does not exist.");
                Verdict::no("ReadinessGatesNotReady", message)
            }
            _ => containers_ready.clone(),
        };
        let sandbox = match self.trouble {
            _ if self.stuck.is_some() => Verdict::no("FailedKillPod", self.stuck.unwrap_or_default().into()),
            _ if self.sandbox.is_some() => Verdict::Yes,
            Some(trouble) => Verdict::no("FailedCreatePodSandBox", trouble.into()),
            None => Verdict::No { reason: None, message: None },
        };
        let initialized = if initialized || over {
            Verdict::Yes
        } else {
            Verdict::no("ContainersNotInitialized", list("incomplete", &incomplete))
        };
        let ours = [
            (SANDBOX, sandbox),
            ("Initialized", initialized),
            ("Ready", ready),
            ("ContainersReady", containers_ready),
            ("PodScheduled", Verdict::Yes),
        ];
        let old = before.conditions.as_deref().unwrap_or_default();
        let mut conditions: Vec<PodCondition> =
            ours.into_iter().map(|(kind, verdict)| verdict.condition(kind, old, self.now)).collect();
        // What others have set, as for readiness gates, stays.
        let others = old.iter().filter(|o| !conditions.iter().any(|c| c.type_ == o.type_)).cloned();
        let others: Vec<_> = others.collect();
        conditions.extend(others);
        conditions
    }

    fn missing_gate(&self, before: &PodStatus) -> Option<String> {
        let gates = self.pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
        let met =
            |kind: &str| before.conditions.iter().flatten().any(|c| c.type_ == kind && c.status == "True");
        gates.map(|gate| gate.condition_type.clone()).find(|kind| !met(kind))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Yes,
    No { reason: Option<String>, message: Option<String> },
}

impl Verdict {
    fn no(reason: &str, message: String) -> Self {
        Self::No { reason: Some(reason.into()), message: Some(message).filter(|message| !message.is_empty()) }
    }

    fn condition(self, kind: &str, old: &[PodCondition], now: i64) -> PodCondition {
        let (status, reason, message) = match self {
            Self::Yes => ("True", None, None),
            Self::No { reason, message } => ("False", reason, message),
        };
        let same = old.iter().find(|c| c.type_ == kind && c.status == status);
        PodCondition {
            type_: kind.into(),
            status: status.into(),
            reason,
            message,
            last_transition_time: same
                .and_then(|c| c.last_transition_time.clone())
                .or_else(|| Some(time(now))),
            ..PodCondition::default()
        }
    }
}

fn running_since(run: &ContainerState) -> ApiState {
    let running = ContainerStateRunning { started_at: Some(time(run.started_at)) };
    ApiState { running: Some(running), ..ApiState::default() }
}

fn waiting(reason: &str, message: &str) -> ApiState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.into()),
        message: Some(message.to_owned()).filter(|message| !message.is_empty()),
    };
    ApiState { waiting: Some(waiting), ..ApiState::default() }
}

/// Whole seconds, as the API server's times are.
pub(crate) fn time(microseconds: i64) -> Time {
    Time(Timestamp::from_second(microseconds.div_euclid(1_000_000)).unwrap_or_default())
}

/// As Go writes a duration of whole seconds.
fn human(microseconds: i64) -> String {
    let seconds = microseconds / 1_000_000;
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

/// Quality of service (kubernetes `pkg/apis/core/v1/helper/qos/qos.go`).
fn qos(spec: &PodSpec) -> &'static str {
    let all = || spec.init_containers.iter().flatten().chain(&spec.containers);
    let amount = |container: &Container, limit: bool, what: &str| {
        let resources = container.resources.as_ref()?;
        let list = if limit { resources.limits.as_ref() } else { resources.requests.as_ref() };
        list?.get(what).cloned()
    };
    let any = |c: &Container| {
        ["cpu", "memory"]
            .iter()
            .any(|what| amount(c, true, what).is_some() || amount(c, false, what).is_some())
    };
    let guaranteed = |c: &Container| {
        ["cpu", "memory"].iter().all(|what| {
            let limit = amount(c, true, what);
            limit.is_some() && amount(c, false, what).is_none_or(|request| Some(request) == limit)
        })
    };
    if !all().any(any) {
        "BestEffort"
    } else if all().all(guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests;
