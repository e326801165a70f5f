//! Whether a pod is ready, will be, or will not. Pure.

use api::types::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};

/// How a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// It takes requests, or has done what it was to do.
    Ready,
    /// It is on its way.
    Waiting(String),
    /// It may be: nobody wants it now.
    Doubtful(String),
    /// It will not be without a hand.
    Failed(String),
}

/// Reasons of a waiting container that are the ordinary course of things.
const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// Judges a pod by its status.
pub(crate) fn state(pod: &Pod) -> State {
    let empty = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&empty);
    let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
    if pod.metadata.deletion_timestamp.is_some() {
        return State::Doubtful("it is being deleted".into());
    }
    match status.phase.as_deref() {
        Some("Succeeded") => return State::Ready,
        Some("Failed") => {
            return State::Failed(reason(status.reason.as_deref(), status.message.as_deref(), "Failed"));
        }
        _ => {}
    }
    if condition("Ready").is_some_and(|c| c.status == "True") {
        return State::Ready;
    }
    let inits = status.init_container_statuses.iter().flatten();
    let containers: Vec<_> = inits.chain(status.container_statuses.iter().flatten()).collect();
    if let Some(why) = containers.iter().find_map(|container| stuck(container)) {
        return State::Failed(why);
    }
    if let Some(condition) = condition("PodScheduled").filter(|c| c.status == "False") {
        return State::Doubtful(of_condition(condition));
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    if node.is_empty() {
        return State::Waiting("no node has been chosen for it".into());
    }
    let told = containers.iter().find_map(|container| waits(container));
    let not_ready = || condition("Ready").filter(|c| c.message.is_some()).map(of_condition);
    let otherwise = || format!("{node} has not said anything of it");
    State::Waiting(told.or_else(not_ready).unwrap_or_else(otherwise))
}

/// A container that waits for something that does not come by itself.
fn stuck(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let why = waiting.reason.as_deref()?;
    (!ON_ITS_WAY.contains(&why)).then(|| {
        let reason = reason(Some(why), waiting.message.as_deref(), "");
        format!("container {}: {reason}", container.name)
    })
}

fn waits(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = reason(waiting.reason.as_deref(), waiting.message.as_deref(), "waiting");
    Some(format!("container {}: {reason}", container.name))
}

fn of_condition(condition: &PodCondition) -> String {
    reason(condition.reason.as_deref(), condition.message.as_deref(), &condition.type_)
}

fn reason(reason: Option<&str>, message: Option<&str>, otherwise: &str) -> String {
    let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    match (given(reason), given(message)) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => otherwise.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(status: serde_json::Value) -> State {
        let pod = json!({"metadata": {"name": "c1"}, "spec": {"nodeName": "C0w1", "containers": []}, "status": status});
        state(&serde_json::from_value(pod).unwrap())
    }

    fn container(state: serde_json::Value) -> serde_json::Value {
        json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
    }

    #[test]
    fn statuses_mean_what_people_see_in_them() {
        use State::{Doubtful, Failed, Ready, Waiting};
        let condition = |kind: &str, status: &str| json!([{"type": kind, "status": status, "reason": "Because", "message": "it is so"}]);
        let table = [
            (json!({"phase": "Running", "conditions": condition("Ready", "True")}), Ready),
            (json!({"phase": "Succeeded"}), Ready),
            (json!({"phase": "Pending"}), Waiting("C0w1 has not said anything of it".into())),
            (json!({"phase": "Failed", "reason": "Evicted"}), Failed("Evicted".into())),
            (
                json!({"phase": "Running", "conditions": condition("Ready", "False")}),
                Waiting("Because: it is so".into()),
            ),
            (
                json!({"phase": "Pending", "conditions": condition("PodScheduled", "False")}),
                Doubtful("Because: it is so".into()),
            ),
            (
                json!({"containerStatuses": container(json!({"waiting": {"reason": "ContainerCreating", "message": "no address"}}))}),
                Waiting("container c: ContainerCreating: no address".into()),
            ),
            (
                json!({"containerStatuses": container(json!({"waiting": {"reason": "ErrImagePull", "message": "unknown"}}))}),
                Failed("container c: ErrImagePull: unknown".into()),
            ),
            (
                json!({"initContainerStatuses": container(json!({"waiting": {"reason": "CrashLoopBackOff"}}))}),
                Failed("container c: CrashLoopBackOff".into()),
            ),
        ];
        for (status, wanted) in table {
            assert_eq!(judged(status.clone()), wanted, "{status}");
        }
    }

    #[test]
    fn a_pod_without_a_node_or_that_goes_is_told_so() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": []}});
        let without: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(state(&without), State::Waiting("no node has been chosen for it".into()));
        let pod = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let going: Pod = serde_json::from_value(pod).unwrap();
        assert!(matches!(state(&going), State::Doubtful(_)));
    }
}
