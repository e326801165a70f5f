//! What results of probes mean: thresholds, and the container's state.
//!
//! Source: kubernetes `pkg/kubelet/prober/worker.go` (`doProbe`), `prober_manager.go` (`UpdatePodStatus`).

use api::types::api::core::v1::Probe;

use super::ProbeKind;

/// What the probes say of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeState {
    /// `started` of the container's status: it has passed its startup probe, or has none.
    pub started: bool,
    /// `ready` of the container's status: it has started, and has passed its readiness probe or has none.
    pub ready: bool,
    /// Why it has to be restarted; once set, this container is not probed for life any more.
    pub failed: Option<Failed>,
}

/// A startup or liveness probe that failed as often as allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Which.
    pub kind: ProbeKind,
    /// What the last failure was.
    pub message: String,
    /// The probe's `terminationGracePeriodSeconds`, which then stands for the pod's.
    pub grace_seconds: Option<i64>,
}

impl Failed {
    /// What the kubelet says when it ends the container (event with the reason `Killing`).
    #[must_use]
    pub fn killing(&self, container: &str) -> String {
        let kind = self.kind.to_string().to_lowercase();
        format!("Container {container} failed {kind} probe, will be restarted")
    }
}

/// Equal results in a row, against the thresholds.
#[derive(Debug, Clone)]
pub struct Tally {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    run: u32,
}

impl Tally {
    /// Nothing yet; a threshold that is not set has its default.
    #[must_use]
    pub fn new(probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Self {
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            last: None,
            run: 0,
        }
    }

    /// Counts a result; gives it back if there have been enough of it for it to hold.
    pub fn count(&mut self, success: bool) -> Option<bool> {
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        (self.run >= threshold).then_some(success)
    }
}

/// The state after the result of a probe of this kind holds. `message` says why it is bad; a container
/// that has started is ready at once if it has no readiness probe.
#[must_use]
pub fn after(
    mut state: ProbeState,
    kind: ProbeKind,
    success: bool,
    message: &str,
    probe: &Probe,
    has_readiness_probe: bool,
) -> ProbeState {
    match (kind, success) {
        (ProbeKind::Startup, true) => {
            state.started = true;
            state.ready |= !has_readiness_probe;
        }
        (ProbeKind::Readiness, success) => state.ready = state.started && success,
        (ProbeKind::Startup | ProbeKind::Liveness, false) => {
            state.failed.get_or_insert_with(|| Failed {
                kind,
                message: message.into(),
                grace_seconds: probe.termination_grace_period_seconds,
            });
        }
        (ProbeKind::Liveness, true) => {}
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(success: i32, failure: i32) -> Tally {
        Tally::new(&Probe {
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..Probe::default()
        })
    }

    /// What holds after each of the results.
    fn held(mut tally: Tally, results: &str) -> String {
        let results = results.chars().map(|c| tally.count(c == '+'));
        results.map(|held| held.map_or('.', |success| if success { '+' } else { '-' })).collect()
    }

    #[test]
    fn a_result_holds_from_its_threshold_on() {
        assert_eq!(held(tally(1, 3), "+--+---+"), "+..+..-+");
        assert_eq!(held(tally(2, 1), "++-+-++"), ".+-.-.+");
        assert_eq!(held(tally(1, 3), "-----"), "..---");
        assert_eq!(held(tally(0, 0), "+---"), "+..-");
    }

    #[test]
    fn a_container_is_ready_once_it_has_started_and_passed() {
        let probe = Probe { termination_grace_period_seconds: Some(7), ..Probe::default() };
        let new = ProbeState::default();
        let started = after(new.clone(), ProbeKind::Startup, true, "", &probe, true);
        assert_eq!(started, ProbeState { started: true, ..new.clone() });
        let alone = after(new.clone(), ProbeKind::Startup, true, "", &probe, false);
        assert_eq!(alone, ProbeState { started: true, ready: true, failed: None });
        let ready = after(started, ProbeKind::Readiness, true, "", &probe, true);
        assert_eq!(ready, alone);
        assert!(!after(ready.clone(), ProbeKind::Readiness, false, "x", &probe, true).ready);
        assert!(!after(new, ProbeKind::Readiness, true, "", &probe, true).ready);

        let failed = after(ready, ProbeKind::Liveness, false, "gone", &probe, true).failed.unwrap();
        assert_eq!((failed.message.as_str(), failed.grace_seconds), ("gone", Some(7)));
        assert_eq!(failed.killing("web"), "Container web failed liveness probe, will be restarted");
    }
}
