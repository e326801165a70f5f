//! Whose an object is: an owner takes orphans that its selector selects, and lets go of its own that it does
//! not select any more.
//!
//! Source: kubernetes `pkg/controller/controller_ref_manager.go`.

use std::sync::Arc;

use api::types::Metadata;
use api::types::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use api::{Kind, Selector};
use store::Object;

use crate::error::{Error, Result};
use crate::meta::{Meta, controller_reference};
use crate::writer::Writer;

/// Objects sorted by what an owner does with them.
#[derive(Debug, PartialEq)]
pub(crate) struct Claim<K> {
    /// Its own, those to adopt among them.
    pub(crate) mine: Vec<Arc<K>>,
    pub(crate) adopt: Vec<Arc<K>>,
    pub(crate) release: Vec<Arc<K>>,
}

/// What an owner selects: nothing, if its selector is empty or not valid.
pub(crate) fn selector(selector: Option<&LabelSelector>) -> Selector {
    let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
    selector.filter(|selector| !selector.is_empty()).unwrap_or_else(Selector::nothing)
}

/// Sorts objects of the owner's namespace.
pub(crate) fn claim<'a, K>(
    owner: &ObjectMeta,
    selector: &Selector,
    objects: impl Iterator<Item = &'a Arc<K>>,
) -> Claim<K>
where
    K: Metadata<Ty = ObjectMeta> + 'a,
{
    let uid = owner.uid.as_deref().unwrap_or_default();
    let deleting = owner.deletion_timestamp.is_some();
    let mut claim = Claim { mine: vec![], adopt: vec![], release: vec![] };
    for object in objects {
        let selected = selector.matches(object.meta().labels.as_ref());
        match object.controller() {
            Some(other) if other.uid != uid => {}
            Some(_) if selected => claim.mine.push(object.clone()),
            Some(_) if !deleting => claim.release.push(object.clone()),
            Some(_) => {}
            None if deleting || !selected || object.is_deleting() => {}
            None => {
                claim.mine.push(object.clone());
                claim.adopt.push(object.clone());
            }
        }
    }
    claim
}

/// Makes the owner references as they were sorted.
pub(crate) async fn settle<O, K>(owner: &O, claim: &Claim<K>, writer: &Writer) -> Result<()>
where
    O: Object,
    K: Object + Clone + PartialEq,
{
    if !claim.adopt.is_empty() {
        may_adopt(owner, writer).await?;
    }
    let reference = controller_reference(owner);
    for object in &claim.adopt {
        ignore_missing(writer.modify(object.as_ref(), |object| adopt(object, &reference)).await)?;
    }
    for object in &claim.release {
        let release = |object: &mut K| {
            let owners = &mut object.metadata_mut().owner_references;
            if let Some(all) = owners {
                all.retain(|one| one.uid != reference.uid);
            }
            if owners.as_ref().is_some_and(Vec::is_empty) {
                *owners = None;
            }
        };
        ignore_missing(writer.modify(object.as_ref(), release).await)?;
    }
    Ok(())
}

fn adopt<K: Metadata<Ty = ObjectMeta>>(object: &mut K, reference: &OwnerReference) {
    // Another may have taken it, or it is being deleted.
    if object.controller().is_none() && !object.is_deleting() {
        let owners = object.metadata_mut().owner_references.get_or_insert_default();
        owners.retain(|one| one.uid != reference.uid);
        owners.push(reference.clone());
    }
}

/// An owner that is being deleted must not take new objects with it: what the view shows may be old.
async fn may_adopt<O: Object>(owner: &O, writer: &Writer) -> Result<()> {
    let latest: Option<O> = writer.store().get(owner.namespace(), owner.name()).await?;
    match latest {
        Some(latest) if latest.uid() == owner.uid() && !latest.is_deleting() => Ok(()),
        _ => Err(Error::OwnerGone { kind: <O as Kind>::INFO.kind, name: owner.key() }),
    }
}

/// An object that has gone needs no owner.
pub(crate) fn ignore_missing<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::types::api::core::v1::Pod;
    use serde_json::json;

    fn pod(name: &str, app: &str, owner: Option<&str>, deleting: bool) -> Arc<Pod> {
        let owners = owner.map(|uid| {
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid, "uid": uid, "controller": true}])
        });
        let at = deleting.then_some("2026-01-01T00:00:00Z");
        Arc::new(
            serde_json::from_value(json!({"metadata": {
                "name": name, "labels": {"app": app}, "ownerReferences": owners, "deletionTimestamp": at,
            }}))
            .unwrap(),
        )
    }

    fn sorted(owner: &ObjectMeta) -> String {
        let pods = [
            pod("kept", "web", Some("me"), false),
            pod("dying", "web", Some("me"), true),
            pod("relabelled", "db", Some("me"), false),
            pod("other", "web", Some("you"), false),
            pod("orphan", "web", None, false),
            pod("dying-orphan", "web", None, true),
            pod("stranger", "db", None, false),
        ];
        let selector = "app=web".parse().unwrap();
        let claim = claim(owner, &selector, pods.iter());
        let names =
            |pods: &[Arc<Pod>]| pods.iter().map(|pod| pod.name().to_owned()).collect::<Vec<_>>().join(" ");
        format!("{}; +{}; -{}", names(&claim.mine), names(&claim.adopt), names(&claim.release))
    }

    #[test]
    fn orphans_are_adopted_and_those_not_selected_released() {
        let mut owner = ObjectMeta { uid: Some("me".into()), ..ObjectMeta::default() };
        assert_eq!(sorted(&owner), "kept dying orphan; +orphan; -relabelled");
        owner.deletion_timestamp = Some(api::time::now());
        assert_eq!(sorted(&owner), "kept dying; +; -");
    }
}
