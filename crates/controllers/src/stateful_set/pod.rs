//! The pods of a StatefulSet: each has a number, and with it a name that stays.
//!
//! Source: kubernetes `pkg/controller/statefulset/stateful_set_utils.go`.

use api::types::api::apps::v1::StatefulSet;
use api::types::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};

use crate::history::HASH;
use crate::meta::{Meta, controller_reference};
use crate::pods;

/// A pod's own name, and its number.
const NAME: &str = "statefulset.kubernetes.io/pod-name";
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// The number of a pod of this set; none if its name has none.
pub(crate) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let number = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    let ordinal: i32 = number.parse().ok()?;
    // `web-01` is none of ours.
    (ordinal >= 0 && ordinal.to_string() == number).then_some(ordinal)
}

/// The pod of that number (`newStatefulSetPod`), of the revision of that name.
pub(crate) fn make(set: &StatefulSet, template: &PodTemplateSpec, ordinal: i32, revision: &str) -> Pod {
    let mut pod = pods::from_template(template, set.namespace(), controller_reference(set));
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(format!("{}-{ordinal}", set.name()));
    pod.metadata.labels.get_or_insert_default().insert(HASH.into(), revision.into());
    identify(set, &mut pod);
    let service = set.spec.as_ref().and_then(|spec| spec.service_name.clone());
    let name = pod.metadata.name.clone();
    let claims = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.clone()).unwrap_or_default();
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = name;
    spec.subdomain = service.filter(|service| !service.is_empty());
    let volumes = claims.iter().map(|claim| volume(set, claim, ordinal));
    let of_claims: Vec<Volume> = volumes.collect();
    let all = spec.volumes.get_or_insert_default();
    all.retain(|volume| of_claims.iter().all(|claim| claim.name != volume.name));
    all.extend(of_claims);
    spec.volumes.take_if(|volumes| volumes.is_empty());
    pod
}

fn volume(set: &StatefulSet, claim: &PersistentVolumeClaim, ordinal: i32) -> Volume {
    let name = claim.name().to_owned();
    let claim_name = format!("{name}-{}-{ordinal}", set.name());
    let source = PersistentVolumeClaimVolumeSource { claim_name, read_only: Some(false) };
    Volume { name, persistent_volume_claim: Some(source), ..Volume::default() }
}

/// The labels by which a pod is known.
pub(crate) fn identify(set: &StatefulSet, pod: &mut Pod) {
    let Some(ordinal) = ordinal(set, pod) else { return };
    let name = pod.name().to_owned();
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(NAME.into(), name);
    labels.insert(INDEX.into(), ordinal.to_string());
}

/// Whether a pod has them (`identityMatches`).
pub(crate) fn is_identified(pod: &Pod) -> bool {
    pod.label(NAME) == Some(pod.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set() -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "default", "uid": "u"},
            "spec": {
                "serviceName": "db", "selector": {}, "template": {},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn names_have_numbers() {
        let pod = |name: &str| Pod {
            metadata: serde_json::from_value(json!({"name": name})).unwrap(),
            ..Pod::default()
        };
        let said = ["db-0", "db-17", "db", "db-", "db-x", "db-01", "db-+1", "db--1", "web-0"]
            .map(|name| ordinal(&set(), &pod(name)));
        assert_eq!(said, [Some(0), Some(17), None, None, None, None, None, None, None]);
    }

    #[test]
    fn a_pod_is_as_upstream_makes_it() {
        let template = json!({
            "metadata": {"labels": {"app": "db"}},
            "spec": {"containers": [], "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]},
        });
        let template = serde_json::from_value(template).unwrap();
        let pod = serde_json::to_value(make(&set(), &template, 2, "db-abc")).unwrap();
        let labels = json!({
            "app": "db", "controller-revision-hash": "db-abc",
            "statefulset.kubernetes.io/pod-name": "db-2", "apps.kubernetes.io/pod-index": "2",
        });
        assert_eq!(pod["metadata"]["labels"], labels);
        assert_eq!(pod["metadata"]["name"], "db-2");
        let claim = json!({"claimName": "data-db-2", "readOnly": false});
        let expected = json!({
            "containers": [], "hostname": "db-2", "subdomain": "db",
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": claim}],
        });
        assert_eq!(pod["spec"], expected);
    }
}
