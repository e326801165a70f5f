//! Which containers of a pod are to be started, and when. Pure.
//!
//! Source: kubernetes `pkg/kubelet/kuberuntime/kuberuntime_manager.go` (`computePodActions`,
//! `doBackOff`) and `pkg/kubelet/container/helpers.go` (`ShouldContainerBeRestarted`).

use std::collections::BTreeMap;

use api::types::api::core::v1::{Container, PodSpec};
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
