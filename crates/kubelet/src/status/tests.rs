use super::*;
use crate::plan::Blocked;
use serde_json::json;

const SECOND: i64 = 1_000_000;

fn pod(spec: serde_json::Value) -> Pod {
    let meta = json!({"name": "c1", "namespace": "default", "uid": "u1"});
    serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
}

fn one() -> Pod {
    pod(json!({"containers": [{"name": "a", "image": "nginx"}]}))
}

fn run(name: &str, attempt: u32, phase: Phase) -> ContainerState {
    ContainerState { name: name.into(), attempt, started_at: 100 * SECOND, phase }
}

fn exited(code: i32, at: i64) -> Phase {
    Phase::Exited { code, signal: None, finished_at: at * SECOND, message: None }
}

struct Case {
    pod: Pod,
    runs: Runs,
    past: Runs,
    notes: BTreeMap<String, Notes>,
    finished: Option<bool>,
    trouble: Option<&'static str>,
}

impl Case {
    fn new(pod: Pod, runs: impl IntoIterator<Item = ContainerState>) -> Self {
        let mut all = Runs::new();
        for run in runs {
            all.entry(run.name.clone()).or_default().push(run);
        }
        let ready = Notes { started: true, ready: true, ..Notes::default() };
        let spec = pod.spec.clone().unwrap();
        let names = spec.init_containers.iter().flatten().chain(&spec.containers).map(|c| c.name.clone());
        let notes = names.map(|name| (name, ready.clone())).collect();
        Self { pod, runs: all, past: Runs::new(), notes, finished: None, trouble: None }
    }

    fn status(&self) -> PodStatus {
        let up = self.trouble.is_none();
        let ips = ["11.10.0.2".to_owned()];
        View {
            pod: &self.pod,
            node_ip: "10.0.0.3",
            sandbox: up.then_some("c1_default_u1_0"),
            pod_ips: if up { &ips } else { &[] },
            runs: &self.runs,
            past: &self.past,
            stuck: None,
            notes: &self.notes,
            trouble: self.trouble,
            finished: self.finished,
            ended: None,
            now: 103 * SECOND,
        }
        .status()
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
    status.conditions.iter().flatten().find(|c| c.type_ == kind).unwrap()
}

#[test]
fn a_running_pod_is_as_a_kubelet_writes_it() {
    let status = Case::new(one(), [run("a", 0, Phase::Running { pid: 2 })]).status();
    insta::assert_snapshot!(serde_json::to_string_pretty(&status).unwrap());
}

#[test]
fn a_pod_without_network_says_why() {
    let mut case = Case::new(one(), []);
    case.trouble = Some("plugin bridge: no free addresses");
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let condition = condition(&status, "PodReadyToStartContainers");
    assert_eq!(condition.reason.as_deref(), Some("FailedCreatePodSandBox"));
    let waiting = status.container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
    assert_eq!(waiting.message.as_deref(), Some("plugin bridge: no free addresses"));
}

#[test]
fn crashes_show_as_a_back_off_with_the_last_run() {
    let crashed = |attempt| Case::new(one(), [run("a", attempt, exited(1, 102))]).status();
    let first = crashed(0).container_statuses.unwrap().remove(0);
    assert!(first.state.unwrap().terminated.is_some(), "started again at once");
    let status = crashed(2);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(condition(&status, "Ready").message.as_deref(), Some("containers with unready status: [a]"));
    let third = status.container_statuses.unwrap().remove(0);
    let waiting = third.state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(
        waiting.message.as_deref(),
        Some("back-off 20s restarting failed container=a pod=c1_default(u1)")
    );
    assert_eq!(third.restart_count, 2);
    assert_eq!(third.last_state.unwrap().terminated.unwrap().exit_code, 1);
}

#[test]
fn what_could_not_be_started_says_why() {
    let message = "exec: \"no-such\": executable file not found in $PATH".to_owned();
    let phase = Phase::Exited { code: 127, signal: None, finished_at: 102 * SECOND, message: Some(message) };
    let status = Case::new(one(), [run("a", 1, phase)]).status().container_statuses.unwrap().remove(0);
    assert_eq!(status.state.unwrap().waiting.unwrap().reason.as_deref(), Some("RunContainerError"));
    let last = status.last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (127, Some("StartError")));

    let mut case = Case::new(one(), []);
    let blocked = Blocked { until: 0, reason: "ErrImagePull".into(), message: "no image".into(), tries: 1 };
    case.notes.get_mut("a").unwrap().blocked = Some(blocked);
    let waiting = case.status().container_statuses.unwrap().remove(0).state.unwrap().waiting.unwrap();
    assert_eq!(
        (waiting.reason.as_deref(), waiting.message.as_deref()),
        (Some("ErrImagePull"), Some("no image"))
    );
}

#[test]
fn a_finished_pod_has_succeeded_or_failed() {
    let phase = |code| {
        let mut case = Case::new(one(), [run("a", 0, exited(code, 102))]);
        case.finished = Some(code == 0);
        let status = case.status();
        let reason = if code == 0 { "PodCompleted" } else { "PodFailed" };
        assert_eq!(condition(&status, "Ready").reason.as_deref(), Some(reason));
        let ended = status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
        (status.phase.unwrap(), ended.reason.unwrap())
    };
    assert_eq!(phase(0), ("Succeeded".into(), "Completed".into()));
    assert_eq!(phase(2), ("Failed".into(), "Error".into()));
}

#[test]
fn init_containers_come_first() {
    let spec = json!({
        "initContainers": [{"name": "i", "image": "busybox"}],
        "containers": [{"name": "a", "image": "nginx"}],
    });
    let status = Case::new(pod(spec.clone()), [run("i", 0, Phase::Running { pid: 2 })]).status();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(
        condition(&status, "Initialized").message.as_deref(),
        Some("containers with incomplete status: [i]")
    );
    let waiting = status.container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
    let done = [run("i", 0, exited(0, 101)), run("a", 0, Phase::Running { pid: 3 })];
    let status = Case::new(pod(spec), done).status();
    assert_eq!(condition(&status, "Ready").status, "True");
    assert!(status.init_container_statuses.unwrap()[0].ready);
}

#[test]
fn transition_times_and_the_conditions_of_others_stay() {
    let mut case = Case::new(one(), [run("a", 0, Phase::Running { pid: 2 })]);
    let mut before = case.status();
    before
        .conditions
        .as_mut()
        .unwrap()
        .iter_mut()
        .for_each(|c| c.last_transition_time = Some(time(7 * SECOND)));
    let gate = json!({"type": "example.org/gate", "status": "False"});
    before.conditions.as_mut().unwrap().push(serde_json::from_value(gate).unwrap());
    case.pod.status = Some(before.clone());
    assert_eq!(case.status(), before);
    let gates = json!([{"conditionType": "example.org/gate"}]);
    case.pod.spec.as_mut().unwrap().readiness_gates = serde_json::from_value(gates).unwrap();
    let status = case.status();
    assert_eq!(condition(&status, "ContainersReady").status, "True");
    assert_eq!(condition(&status, "Ready").reason.as_deref(), Some("ReadinessGatesNotReady"));
}

#[test]
fn quality_of_service_goes_by_requests_and_limits() {
    let class = |resources: serde_json::Value| {
        let pod = pod(json!({"containers": [{"name": "a", "image": "x", "resources": resources}]}));
        qos(pod.spec.as_ref().unwrap())
    };
    assert_eq!(class(json!({})), "BestEffort");
    assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    assert_eq!(
        class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})),
        "Burstable"
    );
}

#[test]
fn runs_of_a_sandbox_that_is_no_more_are_the_last_state() {
    let mut case = Case::new(one(), []);
    case.trouble = Some("no subnet");
    case.past.insert("a".into(), vec![run("a", 0, exited(1, 101)), run("a", 1, exited(137, 102))]);
    let status = case.status();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let container = status.container_statuses.unwrap().remove(0);
    assert_eq!(container.restart_count, 1);
    assert_eq!(container.container_id.as_deref(), Some("knetsim://u1/a/1"));
    assert_eq!(container.state.unwrap().waiting.unwrap().message.as_deref(), Some("no subnet"));
    assert_eq!(container.last_state.unwrap().terminated.unwrap().exit_code, 137);
    case.runs.insert("a".into(), vec![run("a", 2, Phase::Running { pid: 2 })]);
    let container = case.status().container_statuses.unwrap().remove(0);
    assert!(container.state.unwrap().running.is_some());
    assert_eq!(container.last_state.unwrap().terminated.unwrap().exit_code, 137);
    case.runs.clear();
    case.finished = Some(false);
    let container = case.status().container_statuses.unwrap().remove(0);
    assert_eq!(container.state.unwrap().terminated.unwrap().exit_code, 137);
    assert_eq!(container.last_state.unwrap().terminated.unwrap().exit_code, 1);
}

#[test]
fn a_sidecar_that_is_not_ready_keeps_the_pod_from_it() {
    let spec = json!({
        "initContainers": [{"name": "side", "image": "x", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "image": "nginx"}],
    });
    let mut case = Case::new(pod(spec), ["side", "a"].map(|name| run(name, 0, Phase::Running { pid: 2 })));
    assert_eq!(condition(&case.status(), "Ready").status, "True");
    case.notes.get_mut("side").unwrap().ready = false;
    let message = condition(&case.status(), "Ready").message.clone();
    assert_eq!(message.as_deref(), Some("containers with unready status: [side]"));
}

#[test]
fn conditions_of_others_are_written_by_others() {
    let ours = Case::new(one(), [run("a", 0, Phase::Running { pid: 2 })]).status();
    let gate = |status: &str| serde_json::from_value(json!({"type": "example.org/gate", "status": status}));
    let (mut stored, mut status) = (ours.clone(), ours.clone());
    stored.conditions.as_mut().unwrap().push(gate("True").unwrap());
    status.conditions.as_mut().unwrap().push(gate("False").unwrap());
    assert_eq!(over(Some(&stored), &status), stored);
    assert_eq!(over(None, &status), ours);
    assert_eq!(condition(&without_sandbox(ours, 0), SANDBOX).status, "False");
}
