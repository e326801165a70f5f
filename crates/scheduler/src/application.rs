//! Which pods belong together, as replicas of one application: they are spread over nodes without anyone
//! asking for it.
//!
//! Source: kubernetes `pkg/scheduler/framework/plugins/helper/spread.go` (`DefaultSelector`).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Selector;
use api::selector::Labels;
use api::types::api::apps::v1::{ReplicaSet, StatefulSet};
use api::types::api::core::v1::{Pod, Service};
use api::types::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use store::ObjectName;

/// What says so.
#[derive(Debug, Default)]
pub(crate) struct Applications {
    pub(crate) services: BTreeMap<ObjectName, Arc<Service>>,
    pub(crate) replica_sets: BTreeMap<ObjectName, Arc<ReplicaSet>>,
    pub(crate) stateful_sets: BTreeMap<ObjectName, Arc<StatefulSet>>,
}

impl Applications {
    /// Selects the pods that belong to the same application; empty if it belongs to none.
    pub(crate) fn of(&self, pod: &Pod) -> Selector {
        let mut all = LabelSelector { match_labels: Some(self.by_services(pod)), match_expressions: None };
        if let Some(own) = self.by_owner(&pod.metadata) {
            all.match_labels.get_or_insert_default().extend(own.match_labels.into_iter().flatten());
            all.match_expressions = own.match_expressions;
        }
        Selector::try_from(&all).unwrap_or_default()
    }

    fn by_services(&self, pod: &Pod) -> Labels {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let services = self.services.range(ObjectName::new(namespace, "")..);
        let services = services.take_while(|(name, _)| name.namespace == namespace);
        let selectors = services.filter_map(|(_, service)| service.spec.as_ref()?.selector.as_ref());
        let labels = pod.metadata.labels.as_ref();
        let has = |(key, value): (&String, &String)| labels.and_then(|labels| labels.get(key)) == Some(value);
        let selecting = selectors.filter(|selector| !selector.is_empty() && selector.iter().all(has));
        selecting.flat_map(|selector| selector.clone()).collect()
    }

    fn by_owner(&self, meta: &ObjectMeta) -> Option<LabelSelector> {
        let is_controller = |owner: &&OwnerReference| owner.controller == Some(true);
        let owner = meta.owner_references.as_ref()?.iter().find(is_controller)?;
        let name = ObjectName::new(meta.namespace.as_deref()?, &owner.name);
        match owner.kind.as_str() {
            "ReplicaSet" => Some(self.replica_sets.get(&name)?.spec.as_ref()?.selector.clone()),
            "StatefulSet" => Some(self.stateful_sets.get(&name)?.spec.as_ref()?.selector.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(owner: Value) -> Pod {
        let labels = json!({"app": "web", "tier": "front"});
        serde_json::from_value(json!({"metadata": {
            "name": "a", "namespace": "default", "labels": labels, "ownerReferences": owner,
        }}))
        .unwrap()
    }

    #[test]
    fn services_and_owners_say_what_belongs_together() {
        let mut applications = Applications::default();
        assert!(applications.of(&pod(json!([]))).is_empty());
        for (namespace, name, selector) in [
            ("default", "web", json!({"app": "web"})),
            ("default", "db", json!({"app": "db"})),
            ("default", "none", json!({})),
            ("other", "front", json!({"tier": "front"})),
        ] {
            let service = json!({"metadata": {"name": name}, "spec": {"selector": selector}});
            let service = Arc::new(serde_json::from_value(service).unwrap());
            applications.services.insert(ObjectName::new(namespace, name), service);
        }
        assert_eq!(applications.of(&pod(json!([]))).to_string(), "app=web");

        let set = json!({"spec": {"selector": {"matchLabels": {"tier": "front"}}}});
        let set = Arc::new(serde_json::from_value(set).unwrap());
        applications.replica_sets.insert(ObjectName::new("default", "web-1"), set);
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u",
            "controller": true}]);
        assert_eq!(applications.of(&pod(owner)).to_string(), "app=web,tier=front");
    }
}
