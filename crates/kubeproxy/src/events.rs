//! Events: what happened to a worker's table, for `topo get events`.

use api::time;
use api::types::api::core::v1::{Event, EventSource, ObjectReference};
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use store::Store;

use crate::reconcile::COMPONENT;

/// Events of things without a namespace are here (client-go `tools/record/event.go`).
const NAMESPACE: &str = "default";

/// Says that somebody changed the table, and what was put right. An event that cannot be stored is lost.
pub(crate) async fn repaired(store: &Store, node: &str, what: &str) {
    let now = time::micro_now();
    let seen = time::now();
    let mut event = Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", node.to_lowercase(), now.0.as_nanosecond())),
            namespace: Some(NAMESPACE.into()),
            creation_timestamp: Some(seen.clone()),
            ..Default::default()
        },
        involved_object: ObjectReference {
            kind: Some("Node".into()),
            name: Some(node.into()),
            uid: Some(node.into()),
            ..Default::default()
        },
        reason: Some("RulesRepaired".into()),
        message: Some(format!("table kube-proxy was changed by someone else and put right: {what}")),
        type_: Some("Warning".into()),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: Some(node.into()) }),
        count: Some(1),
        first_timestamp: Some(seen.clone()),
        last_timestamp: Some(seen),
        ..Default::default()
    };
    if let Err(error) = store.create(&mut event).await {
        tracing::warn!(node, %error, "an event was not stored");
    }
}
