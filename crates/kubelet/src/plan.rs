//! Which containers of a pod are to be started, and when. Pure.
//!
//! Source: kubernetes `pkg/kubelet/kuberuntime/kuberuntime_manager.go` (`computePodActions`,
//! `doBackOff`) and `pkg/kubelet/container/helpers.go` (`ShouldContainerBeRestarted`).

use std::collections::BTreeMap;

use api::types::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, PodSpec};
use cri::{ContainerState, Phase};

/// A container that ended is started again at once, then after so long, then after twice that, …
const FIRST_DELAY: i64 = 10_000_000;
/// … and never later than that.
const LONGEST_DELAY: i64 = 300_000_000;
/// Who ran for so long starts from the beginning.
const CALM: i64 = 600_000_000;

/// By container: its present or last run in this sandbox, after the one before.
pub(crate) type Runs = BTreeMap<String, Vec<ContainerState>>;

/// What else bears on a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// The number of its next run, if there is none in this sandbox.
    pub(crate) next_attempt: u32,
    /// How many runs there were when it last had run for long.
    pub(crate) calm_since: u32,
    /// Why it could not be started, for a reason outside of it.
    pub(crate) blocked: Option<Blocked>,
    /// Whether its startup probe has succeeded, or it has none.
    pub(crate) started: bool,
    /// Whether its readiness probe has succeeded, or it has none.
    pub(crate) ready: bool,
}

/// A container that could not be started for a reason outside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocked {
    /// Not again before this time: microseconds since 1970.
    pub(crate) until: i64,
    /// As `ErrImagePull`.
    pub(crate) reason: String,
    /// In words.
    pub(crate) message: String,
    /// How often in a row.
    pub(crate) tries: u32,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Next {
    /// Containers to start, by name, with the number of the run.
    pub(crate) start: Vec<(String, u32)>,
    /// When to look again, if nothing happens before: microseconds since 1970.
    pub(crate) wake: Option<i64>,
    /// Who would be started, but has failed too often of late, with the number of the last run.
    pub(crate) backed_off: Vec<(String, u32)>,
    /// Nothing is ever to be started again; whether all went well.
    pub(crate) finished: Option<bool>,
}

/// Decides for a pod whose sandbox stands; `now` is in microseconds since 1970.
pub(crate) fn next(spec: &PodSpec, runs: &Runs, notes: &BTreeMap<String, Notes>, now: i64) -> Next {
    let mut next = Next::default();
    let policy = policy(spec);
    let mut initialized = true;
    for container in spec.init_containers.iter().flatten() {
        let state = last(runs, &container.name);
        if is_sidecar(container) {
            want(container, state, notes, now, &mut next);
            let running = state.is_some_and(ContainerState::running);
            initialized &= running && notes.get(&container.name).is_some_and(|notes| notes.started);
        } else {
            match state.map(|state| &state.phase) {
                Some(Phase::Exited { code: 0, .. }) => continue,
                Some(Phase::Exited { .. }) if policy == Policy::Never => {
                    next.finished = Some(false);
                    next.start.clear();
                    return next;
                }
                Some(Phase::Running { .. }) => {}
                _ => want(container, state, notes, now, &mut next),
            }
            initialized = false;
        }
        if !initialized {
            return next;
        }
    }
    let mut all_done = true;
    for container in &spec.containers {
        let state = last(runs, &container.name);
        if state.is_some_and(|state| is_done(state, policy)) {
            continue;
        }
        all_done = false;
        want(container, state, notes, now, &mut next);
    }
    if all_done && !spec.containers.is_empty() {
        let well = spec.containers.iter().all(|container| {
            let state = last(runs, &container.name);
            matches!(state.map(|state| &state.phase), Some(Phase::Exited { code: 0, .. }))
        });
        return Next { finished: Some(well), ..Next::default() };
    }
    next
}

/// Starts a container that does not run, now or when it may.
fn want(
    container: &Container,
    state: Option<&ContainerState>,
    notes: &BTreeMap<String, Notes>,
    now: i64,
    next: &mut Next,
) {
    let default = Notes::default();
    let notes = notes.get(&container.name).unwrap_or(&default);
    let (attempt, due) = match state {
        Some(state) if state.running() => return,
        Some(state) => (state.attempt + 1, due(state, notes)),
        None => (notes.next_attempt, 0),
    };
    if let Some(state) = state
        && due > now
    {
        next.backed_off.push((container.name.clone(), state.attempt));
    }
    let due = due.max(notes.blocked.as_ref().map_or(0, |blocked| blocked.until));
    if due <= now {
        next.start.push((container.name.clone(), attempt));
    } else {
        next.wake = Some(next.wake.map_or(due, |wake| wake.min(due)));
    }
}

/// When a container that has ended may be started again: microseconds since 1970.
pub(crate) fn due(state: &ContainerState, notes: &Notes) -> i64 {
    let Phase::Exited { finished_at, .. } = state.phase else { return 0 };
    finished_at + delay(state, notes)
}

/// How long a container that has ended is left alone, in microseconds.
pub(crate) fn delay(state: &ContainerState, notes: &Notes) -> i64 {
    let Phase::Exited { finished_at, .. } = state.phase else { return 0 };
    if ran_long(state, finished_at) {
        return 0;
    }
    match state.attempt.saturating_sub(notes.calm_since) {
        0 => 0,
        again => FIRST_DELAY.saturating_mul(1 << (again - 1).min(10)).min(LONGEST_DELAY),
    }
}

/// How many runs there were when the last one that was long had ended, or was that long.
pub(crate) fn calm_since(runs: &[ContainerState], now: i64) -> Option<u32> {
    let long = runs.iter().rev().find(|run| match run.phase {
        Phase::Running { .. } => ran_long(run, now),
        Phase::Exited { finished_at, .. } => ran_long(run, finished_at),
    });
    long.map(|run| run.attempt + 1)
}

/// As [`calm_since`], for who comes later and finds these runs: by how long the last one was waited for.
pub(crate) fn calm_before(runs: &[ContainerState]) -> u32 {
    match runs {
        [.., ContainerState { attempt, phase: Phase::Exited { finished_at, .. }, .. }, last] => {
            let waited = last.started_at - finished_at;
            let delays = (0..10).map(|n| (FIRST_DELAY << n).min(LONGEST_DELAY));
            let steps = delays.take(6).take_while(|delay| *delay <= waited).count();
            attempt.saturating_sub(u32::try_from(steps).unwrap_or(u32::MAX))
        }
        [.., last] => last.attempt,
        [] => 0,
    }
}

/// Whether a pod whose sandbox has ended gets no other one, after these runs; whether all went well then.
pub(crate) fn ends_with_sandbox(spec: &PodSpec, past: &Runs) -> Option<bool> {
    let well = |container: &Container| {
        matches!(
            last(past, &container.name),
            Some(ContainerState { phase: Phase::Exited { code: 0, .. }, .. })
        )
    };
    let well = spec.containers.iter().all(well);
    match policy(spec) {
        Policy::Never if !past.is_empty() => Some(well),
        Policy::OnFailure if well && !spec.containers.is_empty() => Some(true),
        _ => None,
    }
}

/// What has become of a run whose sandbox has ended.
pub(crate) fn lost(run: ContainerState, now: i64) -> ContainerState {
    if !run.running() {
        return run;
    }
    // 128 and SIGKILL, which is what took it.
    let phase = Phase::Exited { code: 137, signal: Some(9), finished_at: now, message: None };
    ContainerState { phase, ..run }
}

/// A container's runs in a sandbox that is no more, as its status tells of them.
pub(crate) fn told(status: &ContainerStatus, now: i64) -> Vec<ContainerState> {
    let attempt = u32::try_from(status.restart_count).unwrap_or(0);
    let time = |time: Option<&api::types::apimachinery::pkg::apis::meta::v1::Time>| {
        time.map_or(now, |time| time.0.as_microsecond())
    };
    let ended = |ended: &ContainerStateTerminated, attempt: u32| ContainerState {
        name: status.name.clone(),
        attempt,
        started_at: time(ended.started_at.as_ref()),
        phase: Phase::Exited {
            code: ended.exit_code,
            signal: None,
            finished_at: time(ended.finished_at.as_ref()),
            message: ended.message.clone(),
        },
    };
    let before = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let Some(state) = &status.state else { return Vec::new() };
    let last = if let Some(running) = &state.running {
        let started_at = time(running.started_at.as_ref());
        let run = ContainerState {
            name: status.name.clone(),
            attempt,
            started_at,
            phase: Phase::Running { pid: 0 },
        };
        Some(lost(run, now))
    } else {
        state.terminated.as_ref().map(|terminated| ended(terminated, attempt))
    };
    match (last, before) {
        (Some(last), Some(before)) if attempt > 0 => vec![ended(before, attempt - 1), last],
        (Some(last), _) => vec![last],
        // One that waits for its next run counts the last.
        (None, Some(before)) => vec![ended(before, attempt)],
        (None, None) => Vec::new(),
    }
}

/// Whether a run was so long that what was before it is forgotten.
pub(crate) fn ran_long(state: &ContainerState, until: i64) -> bool {
    until - state.started_at >= CALM
}

/// A pod's restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Always,
    OnFailure,
    Never,
}

pub(crate) fn policy(spec: &PodSpec) -> Policy {
    match spec.restart_policy.as_deref() {
        Some("Never") => Policy::Never,
        Some("OnFailure") => Policy::OnFailure,
        _ => Policy::Always,
    }
}

/// Whether an init container runs beside the others (KEP-753).
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container is not to be started again.
pub(crate) fn is_done(state: &ContainerState, policy: Policy) -> bool {
    match (&state.phase, policy) {
        (Phase::Running { .. }, _) | (_, Policy::Always) => false,
        (Phase::Exited { code, .. }, Policy::OnFailure) => *code == 0,
        (_, Policy::Never) => true,
    }
}

pub(crate) fn last<'a>(runs: &'a Runs, container: &str) -> Option<&'a ContainerState> {
    runs.get(container)?.last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECOND: i64 = 1_000_000;

    fn spec(json: serde_json::Value) -> PodSpec {
        serde_json::from_value(json).unwrap()
    }

    fn two(policy: &str) -> PodSpec {
        let container = |name: &str| json!({"name": name, "image": "x"});
        spec(json!({"restartPolicy": policy, "containers": [container("a"), container("b")]}))
    }

    #[test]
    fn who_comes_later_knows_the_back_off_by_how_long_was_waited() {
        let after = |attempt: u32, seconds: i64| {
            let before = exited("a", attempt, 1, 100 * SECOND);
            let mut last = exited("a", attempt + 1, 1, 0);
            last.started_at = (100 + seconds) * SECOND;
            let calm = calm_before(&[before, last.clone()]);
            delay(&last, &Notes { calm_since: calm, ..Notes::default() }) / SECOND
        };
        assert_eq!([after(7, 0), after(7, 11), after(7, 45), after(9, 301)], [10, 20, 80, 300]);
        assert_eq!(after(1, 301), 20, "no more than there were runs");
        assert_eq!((calm_before(&[running("a")]), calm_before(&[])), (0, 0));
        let mut long = exited("a", 3, 1, CALM + 1);
        long.started_at = 0;
        assert_eq!(calm_since(&[long, exited("a", 4, 1, CALM + SECOND)], 2 * CALM), Some(4));
        assert_eq!(calm_since(&[exited("a", 4, 1, SECOND)], 2 * CALM), None, "it ended long ago");
    }

    #[test]
    fn the_policy_says_whether_a_sandbox_comes_again() {
        let ends = |policy: &str, past: Vec<ContainerState>| ends_with_sandbox(&two(policy), &runs(past));
        let lost = || lost(running("b"), 5);
        assert!(matches!(lost().phase, Phase::Exited { code: 137, finished_at: 5, .. }));
        for policy in ["Always", "OnFailure", "Never"] {
            assert_eq!(ends(policy, vec![]), None, "{policy}: nothing has run yet");
        }
        let one_lost = || vec![exited("a", 0, 0, SECOND), lost()];
        assert_eq!(ends("Always", one_lost()), None);
        assert_eq!(ends("OnFailure", one_lost()), None);
        assert_eq!(ends("Never", one_lost()), Some(false));
        let well = || vec![exited("a", 0, 0, SECOND), exited("b", 0, 0, SECOND)];
        assert_eq!(ends("Always", well()), None);
        assert_eq!(ends("OnFailure", well()), Some(true));
        assert_eq!(ends("Never", well()), Some(true));
    }

    #[test]
    fn a_status_tells_of_runs_in_a_sandbox_that_is_no_more() {
        let of = |json: serde_json::Value| {
            let runs = told(&serde_json::from_value(json).unwrap(), 9 * SECOND);
            let code = |run: &ContainerState| match run.phase {
                Phase::Exited { code, .. } => code,
                Phase::Running { .. } => -1,
            };
            runs.iter().map(|run| (run.attempt, code(run))).collect::<Vec<_>>()
        };
        let status = |state: serde_json::Value, last: serde_json::Value| json!({"name": "a", "image": "x", "imageID": "x", "ready": false, "restartCount": 2, "state": state, "lastState": last});
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        assert_eq!(of(status(json!({"running": {}}), ended(3))), [(1, 3), (2, 137)]);
        assert_eq!(of(status(ended(0), json!({}))), [(2, 0)]);
        assert_eq!(of(status(json!({"waiting": {}}), ended(4))), [(2, 4)]);
        assert_eq!(of(status(json!({"waiting": {}}), json!({}))), []);
    }

    fn running(name: &str) -> ContainerState {
        ContainerState { name: name.into(), attempt: 0, started_at: 0, phase: Phase::Running { pid: 2 } }
    }

    fn exited(name: &str, attempt: u32, code: i32, at: i64) -> ContainerState {
        let phase = Phase::Exited { code, signal: None, finished_at: at, message: None };
        ContainerState { name: name.into(), attempt, started_at: at - SECOND, phase }
    }

    fn runs(states: impl IntoIterator<Item = ContainerState>) -> Runs {
        states.into_iter().map(|state| (state.name.clone(), vec![state])).collect()
    }

    fn decide(spec: &PodSpec, states: impl IntoIterator<Item = ContainerState>, now: i64) -> Next {
        let names = spec.init_containers.iter().flatten().chain(&spec.containers).map(|c| c.name.clone());
        let notes = names.map(|name| (name, Notes { started: true, ..Notes::default() })).collect();
        next(spec, &runs(states), &notes, now)
    }

    fn started(next: &Next) -> Vec<(&str, u32)> {
        next.start.iter().map(|(name, attempt)| (name.as_str(), *attempt)).collect()
    }

    #[test]
    fn all_containers_start_at_once() {
        assert_eq!(started(&decide(&two("Always"), [], 0)), [("a", 0), ("b", 0)]);
        assert_eq!(decide(&two("Always"), [running("a"), running("b")], 0), Next::default());
    }

    #[test]
    fn the_policy_says_who_comes_again() {
        let states = || [exited("a", 0, 0, SECOND), exited("b", 0, 1, SECOND)];
        assert_eq!(started(&decide(&two("Always"), states(), SECOND)), [("a", 1), ("b", 1)]);
        assert_eq!(started(&decide(&two("OnFailure"), states(), SECOND)), [("b", 1)]);
        assert_eq!(decide(&two("Never"), states(), SECOND).finished, Some(false));
        let well = [exited("a", 0, 0, SECOND), exited("b", 3, 0, SECOND)];
        assert_eq!(decide(&two("OnFailure"), well, SECOND).finished, Some(true));
        assert_eq!(decide(&two("Never"), [exited("a", 0, 0, SECOND), running("b")], SECOND).finished, None);
    }

    #[test]
    fn who_fails_again_and_again_waits_longer_and_longer() {
        let delays: Vec<i64> =
            (0..8).map(|n| delay(&exited("a", n, 1, SECOND), &Notes::default()) / SECOND).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        let next = decide(&two("Always"), [exited("a", 1, 1, 5 * SECOND), running("b")], 6 * SECOND);
        assert_eq!((next.start.len(), next.wake), (0, Some(15 * SECOND)));
        let next = decide(&two("Always"), [exited("a", 1, 1, 5 * SECOND), running("b")], 15 * SECOND);
        assert_eq!(started(&next), [("a", 2)]);
        // After a long run all is forgotten.
        let mut long = exited("a", 7, 1, CALM + 1);
        long.started_at = 0;
        assert_eq!(delay(&long, &Notes::default()), 0);
        assert_eq!(delay(&exited("a", 8, 1, 9), &Notes { calm_since: 8, ..Notes::default() }), 0);
    }

    #[test]
    fn init_containers_go_first_one_by_one() {
        let pod = |policy: &str| {
            spec(json!({
                "restartPolicy": policy,
                "initContainers": [{"name": "one", "image": "x"}, {"name": "two", "image": "x"}],
                "containers": [{"name": "a", "image": "x"}],
            }))
        };
        assert_eq!(started(&decide(&pod("Always"), [], 0)), [("one", 0)]);
        assert_eq!(decide(&pod("Always"), [running("one")], 0), Next::default());
        assert_eq!(started(&decide(&pod("Always"), [exited("one", 0, 0, 0)], 0)), [("two", 0)]);
        let both = [exited("one", 0, 0, 0), exited("two", 1, 0, 0)];
        assert_eq!(started(&decide(&pod("Never"), both, 0)), [("a", 0)]);
        assert_eq!(started(&decide(&pod("Always"), [exited("one", 0, 1, 0)], 0)), [("one", 1)]);
        assert_eq!(decide(&pod("Never"), [exited("one", 0, 1, 0)], 0).finished, Some(false));
    }

    #[test]
    fn a_sidecar_runs_beside_and_does_not_keep_a_pod_from_finishing() {
        let pod = spec(json!({
            "restartPolicy": "Never",
            "initContainers": [{"name": "side", "image": "x", "restartPolicy": "Always"}],
            "containers": [{"name": "a", "image": "x"}],
        }));
        assert_eq!(started(&decide(&pod, [], 0)), [("side", 0)]);
        assert_eq!(started(&decide(&pod, [running("side")], 0)), [("a", 0)]);
        let mut waits = BTreeMap::new();
        waits.insert("side".to_owned(), Notes::default());
        assert_eq!(next(&pod, &runs([running("side")]), &waits, 0), Next::default(), "not started yet");
        assert_eq!(started(&decide(&pod, [exited("side", 0, 1, 0), running("a")], 0)), [("side", 1)]);
        assert_eq!(decide(&pod, [running("side"), exited("a", 0, 0, 0)], 0).finished, Some(true));
    }

    #[test]
    fn a_blocked_container_is_tried_again_later() {
        let blocked = Blocked { until: 7, reason: "ErrImagePull".into(), message: String::new(), tries: 1 };
        let blocked = Notes { blocked: Some(blocked), next_attempt: 3, ..Notes::default() };
        let notes = BTreeMap::from([("a".to_owned(), blocked)]);
        let pod = spec(json!({"containers": [{"name": "a", "image": "x"}]}));
        assert_eq!(next(&pod, &Runs::new(), &notes, 6).wake, Some(7));
        assert_eq!(started(&next(&pod, &Runs::new(), &notes, 7)), [("a", 3)]);
    }
}
