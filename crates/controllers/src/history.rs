//! The templates that a DaemonSet or StatefulSet has had, as ControllerRevisions.
//!
//! Source: kubernetes `pkg/controller/history/controller_history.go`,
//! `pkg/controller/{daemon/update,statefulset/stateful_set_control}.go`.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::types::api::apps::v1::ControllerRevision;
use api::types::api::core::v1::PodTemplateSpec;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::types::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};
use store::Object;

use crate::claim::ignore_missing;
use crate::error::{Error, Result};
use crate::meta::{Meta, controller_reference};
use crate::template;
use crate::writer::Writer;

/// Tells the pods of different templates apart, and names a revision's own hash.
pub(crate) const HASH: &str = "controller-revision-hash";

/// What there is to do about revisions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// The template is new.
    Create(Box<ControllerRevision>),
    /// The template has come back: it is the newest again.
    Renumber(Arc<ControllerRevision>, i64),
}

/// The revision of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Revision {
    pub(crate) name: String,
    pub(crate) hash: String,
    /// To be done before pods of it are made.
    pub(crate) step: Option<Step>,
}

/// The revision of the owner's template, given those that there are; `taken` counts names that others had.
pub(crate) fn revision<K: Object>(
    owner: &K,
    template: &PodTemplateSpec,
    taken: Option<i32>,
    there: &[Arc<ControllerRevision>],
) -> Revision {
    let newest = there.iter().map(|one| one.revision).max().unwrap_or_default();
    let wanted = data(template);
    let same = |one: &&Arc<ControllerRevision>| one.data.as_ref().map(|data| &data.0) == Some(&wanted);
    if let Some(found) = there.iter().filter(same).max_by_key(|one| one.revision) {
        let step = (found.revision < newest).then(|| Step::Renumber(found.clone(), newest + 1));
        let hash = found.label(HASH).unwrap_or_default().to_owned();
        return Revision { name: found.name().into(), hash, step };
    }
    let hash = template::hash(template, taken);
    let name = format!("{}-{hash}", owner.name());
    let mut labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(HASH.into(), hash.clone());
    let new = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: owner.meta().namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(wanted)),
        revision: newest + 1,
    };
    Revision { name, hash, step: Some(Step::Create(Box::new(new))) }
}

/// A template as upstream keeps it: as a patch that replaces it.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = template::comparable(template);
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// The template of a revision.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// Revisions beyond the `limit`, the oldest first, of which no pod is, and which are not `live`.
pub(crate) fn superfluous(
    there: &[Arc<ControllerRevision>],
    live: &BTreeSet<&str>,
    limit: Option<i32>,
) -> Vec<Arc<ControllerRevision>> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or_default();
    let is_live = |one: &ControllerRevision| {
        live.contains(one.name()) || one.label(HASH).is_some_and(|hash| live.contains(hash))
    };
    let mut dead: Vec<_> = there.iter().filter(|one| !is_live(one)).cloned().collect();
    dead.sort_by_key(|one| one.revision);
    dead.truncate(dead.len().saturating_sub(limit));
    dead
}

/// Does it; says whether the name was taken by a revision of another template.
pub(crate) async fn apply(step: &Step, writer: &Writer) -> Result<bool> {
    match step {
        Step::Renumber(revision, number) => {
            let change = |revision: &mut ControllerRevision| revision.revision = *number;
            ignore_missing(writer.modify(revision.as_ref(), change).await)?;
        }
        Step::Create(new) => match writer.create(new.as_ref()).await {
            Err(Error::Store(store::Error::Exists { resource, name })) => {
                let there: Option<ControllerRevision> =
                    writer.store().get(new.namespace(), new.name()).await?;
                let ours = there.is_some_and(|there| {
                    there.data == new.data && there.metadata.owner_references == new.metadata.owner_references
                });
                if ours {
                    // The view will show it.
                    return Err(store::Error::Exists { resource, name }.into());
                }
                return Ok(true);
            }
            result => drop(result?),
        },
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::types::api::apps::v1::DaemonSet;

    fn owner() -> DaemonSet {
        serde_json::from_value(json!({"metadata": {"name": "agent", "namespace": "default", "uid": "u"}}))
            .unwrap()
    }

    fn template(image: &str) -> PodTemplateSpec {
        let spec = json!({"containers": [{"name": "main", "image": image}]});
        serde_json::from_value(json!({"metadata": {"labels": {"app": "agent"}}, "spec": spec})).unwrap()
    }

    fn created(revision: &Revision) -> Arc<ControllerRevision> {
        let Some(Step::Create(new)) = &revision.step else { panic!("{revision:?}") };
        Arc::new(new.as_ref().clone())
    }

    #[test]
    fn a_template_has_one_revision_and_is_the_newest_again_when_it_comes_back() {
        let a = revision(&owner(), &template("a"), None, &[]);
        let first = created(&a);
        assert_eq!((first.revision, first.name()), (1, format!("agent-{}", a.hash).as_str()));
        assert_eq!(template_of(&first).unwrap(), template("a"));
        assert_eq!(
            revision(&owner(), &template("a"), None, std::slice::from_ref(&first)),
            Revision { step: None, ..a.clone() }
        );
        let b = revision(&owner(), &template("b"), None, std::slice::from_ref(&first));
        let second = created(&b);
        assert_eq!(second.revision, 2);
        let back = revision(&owner(), &template("a"), None, &[first.clone(), second.clone()]);
        assert_eq!(back.step, Some(Step::Renumber(first.clone(), 3)));
        assert_ne!(revision(&owner(), &template("a"), Some(1), &[]).name, a.name);

        let live = BTreeSet::from([b.hash.as_str()]);
        assert_eq!(superfluous(&[first.clone(), second.clone()], &live, Some(1)), []);
        assert_eq!(superfluous(&[second, first.clone()], &live, Some(0)), [first]);
    }
}
