//! What the API server does with pods beside defaulting and validating.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::default::pod as defaults;
use crate::quantity::Amount;

/// Admission plugins' defaults, and the first status (kubernetes `pkg/registry/core/pod/strategy.go`).
pub(super) fn prepare_create(pod: &mut Pod) {
    defaults::admission(pod);
    let class = quality(pod.spec.as_ref().unwrap_or(&PodSpec::default()));
    pod.status = Some(PodStatus {
        phase: Some("Pending".into()),
        qos_class: Some(class.into()),
        ..PodStatus::default()
    });
}

/// A document that was written by hand says nothing of what others have set since: the node, the account,
/// the tolerations. What it does say has to be as it was; validation sees to that.
pub(super) fn prepare_update(pod: &mut Pod, old: &Pod) {
    let (spec, Some(old)) = (pod.spec.get_or_insert_default(), &old.spec) else { return };
    fn keep<T: Clone>(new: &mut Option<T>, old: &Option<T>) {
        if new.is_none() {
            new.clone_from(old);
        }
    }
    keep(&mut spec.node_name, &old.node_name);
    keep(&mut spec.service_account_name, &old.service_account_name);
    keep(&mut spec.service_account, &old.service_account);
    keep(&mut spec.priority, &old.priority);
    keep(&mut spec.preemption_policy, &old.preemption_policy);
    keep(&mut spec.tolerations, &old.tolerations);
}

/// Which pods are evicted first (kubernetes `pkg/apis/core/v1/helper/qos/qos.go`).
fn quality(spec: &PodSpec) -> &'static str {
    let containers: Vec<&Container> =
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).collect();
    let of = |resources: Option<&BTreeMap<String, Quantity>>, name: &str| {
        let quantity = resources?.get(name)?;
        Amount::parse(quantity).ok().filter(|amount| *amount != Amount::default())
    };
    let amounts = |container: &Container, name: &str| {
        let resources = container.resources.clone().unwrap_or_default();
        (of(resources.requests.as_ref(), name), of(resources.limits.as_ref(), name))
    };
    let pairs: Vec<_> = containers
        .iter()
        .flat_map(|container| ["cpu", "memory"].map(|name| amounts(container, name)))
        .collect();
    if pairs.iter().all(|pair| *pair == (None, None)) {
        "BestEffort"
    } else if pairs.iter().all(|(request, limit)| limit.is_some() && request == limit) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_are_sorted_by_what_they_ask_for() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let table = [
            (json!([{}]), "BestEffort"),
            (json!([{"requests": both, "limits": both}]), "Guaranteed"),
            (json!([{"requests": both, "limits": {"cpu": "1000m", "memory": "1024Mi"}}]), "Guaranteed"),
            (json!([{"requests": both}]), "Burstable"),
            (json!([{"requests": both, "limits": both}, {}]), "Burstable"),
            (json!([{"requests": {"cpu": "0"}}]), "BestEffort"),
        ];
        for (resources, class) in table {
            let containers: Vec<_> =
                resources.as_array().unwrap().iter().map(|one| json!({"resources": one})).collect();
            let spec = serde_json::from_value(json!({"containers": containers})).unwrap();
            assert_eq!(quality(&spec), class, "{resources}");
        }
    }
}
