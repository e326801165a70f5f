//! `kubectl rollout` of deployments: status, history, undo, restart, pause, resume.
//!
//! Source: kubectl `pkg/polymorphichelpers/{rollout_status,history,rollback,objectrestarter}.go`,
//! `pkg/util/deployment/deployment.go`.

use api::kinds::DEPLOYMENTS;
use api::time;
use api::types::api::apps::v1::{Deployment, DeploymentCondition, ReplicaSet};
use api::types::api::core::v1::PodTemplateSpec;
use api::types::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use store::registry::{self, Patched};
use store::{Event, Store};

use crate::error::{Error, Result};
use crate::object::name;
use crate::table::Table;

/// The number of a ReplicaSet in its deployment's history.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Why it was made, if someone has written that down.
const CAUSE: &str = "kubernetes.io/change-cause";
/// Set by a restart.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
/// Set by the controller, so that templates of different ReplicaSets differ.
const HASH: &str = "pod-template-hash";

/// The revision of a ReplicaSet, or of a deployment; 0 where there is none.
pub(crate) fn revision_of(meta: &ObjectMeta) -> i64 {
    let annotation = meta.annotations.as_ref().and_then(|annotations| annotations.get(REVISION));
    annotation.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A template without what the controller adds.
fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(HASH);
    }
    template
}

fn template_of(set: &ReplicaSet) -> PodTemplateSpec {
    bare(&set.spec.clone().unwrap_or_default().template.unwrap_or_default())
}

/// The ReplicaSet that has the deployment's own template (`GetNewReplicaSet`); the oldest, if several.
pub(crate) fn new_replica_set<'a>(deployment: &Deployment, sets: &'a [ReplicaSet]) -> Option<&'a ReplicaSet> {
    let wanted = bare(&deployment.spec.as_ref()?.template);
    let same = sets.iter().filter(|set| template_of(set) == wanted);
    same.min_by_key(|set| set.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// How far a rollout is: a line, and whether it is done.
///
/// # Errors
/// It has failed: the new pods did not become available in time.
pub fn status(deployment: &Deployment) -> Result<(String, bool)> {
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let (spec, status) =
        (deployment.spec.clone().unwrap_or_default(), deployment.status.clone().unwrap_or_default());
    if deployment.metadata.generation.unwrap_or_default() > status.observed_generation.unwrap_or_default() {
        return Ok(("Waiting for deployment spec update to be observed...".into(), false));
    }
    let late = |one: &&DeploymentCondition| {
        one.type_ == "Progressing" && one.reason.as_deref() == Some("ProgressDeadlineExceeded")
    };
    if status.conditions.iter().flatten().find(late).is_some() {
        return Err(Error::Failed(format!("deployment \"{name}\" exceeded its progress deadline")));
    }
    let wanted = spec.replicas.unwrap_or(1);
    let all = status.replicas.unwrap_or_default();
    let updated = status.updated_replicas.unwrap_or_default();
    let available = status.available_replicas.unwrap_or_default();
    let waiting = format!("Waiting for deployment \"{name}\" rollout to finish");
    if updated < wanted {
        let text = format!("{waiting}: {updated} out of {wanted} new replicas have been updated...");
        return Ok((text, false));
    }
    if all > updated {
        let text = format!("{waiting}: {} old replicas are pending termination...", all - updated);
        return Ok((text, false));
    }
    if available < updated {
        let text = format!("{waiting}: {available} of {updated} updated replicas are available...");
        return Ok((text, false));
    }
    Ok((format!("deployment \"{name}\" successfully rolled out"), true))
}

/// How far a rollout is now.
///
/// # Errors
/// It has failed.
pub fn now(deployment: &Value) -> Result<String> {
    let deployment: Deployment = serde_json::from_value(deployment.clone()).unwrap_or_default();
    status(&deployment).map(|(line, _)| line)
}

/// Follows a rollout until it is done; `told` hears each line.
///
/// # Errors
/// It has failed, or the deployment is gone.
pub async fn follow(store: &Store, namespace: &str, name: &str, mut told: impl FnMut(&str)) -> Result<()> {
    let mut last = String::new();
    loop {
        let found: Option<Deployment> = store.get(namespace, name).await?;
        let deployment = found.ok_or_else(|| Error::not_found(&DEPLOYMENTS, name))?;
        let (line, done) = status(&deployment)?;
        if line != last {
            told(&line);
            last = line;
        }
        if done {
            return Ok(());
        }
        let version = deployment.metadata.resource_version.unwrap_or_default();
        let after = version.parse().unwrap_or_default();
        let mut watch = store.watch::<Deployment>(Some(namespace), after).await?;
        // The state decides; an event only tells when to look.
        loop {
            match watch.next().await {
                Ok(Event::Added(one) | Event::Modified(one) | Event::Deleted { object: one, .. })
                    if one.metadata.name.as_deref() == Some(name) =>
                {
                    break;
                }
                Ok(_) => {}
                Err(store::Error::Compacted { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The ReplicaSets of a deployment.
async fn sets_of(store: &Store, deployment: &Value) -> Result<Vec<ReplicaSet>> {
    let namespace = crate::object::namespace(deployment);
    let uid = deployment.pointer("/metadata/uid").and_then(Value::as_str);
    let mut sets: Vec<ReplicaSet> = store.list(Some(namespace)).await?;
    sets.retain(|set| {
        let mut owners = set.metadata.owner_references.iter().flatten();
        owners.any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
    });
    sets.sort_by_key(|set| revision_of(&set.metadata));
    Ok(sets)
}

/// The table of a deployment's revisions.
///
/// # Errors
/// When etcd is away.
pub async fn history(store: &Store, deployment: &Value) -> Result<String> {
    let sets = sets_of(store, deployment).await?;
    let reference = format!("deployment.apps/{}", name(deployment));
    if sets.is_empty() {
        return Ok("No rollout history found.\n".into());
    }
    let mut table = Table::new(&["REVISION", "CHANGE-CAUSE"]);
    for set in &sets {
        let cause = set.metadata.annotations.as_ref().and_then(|annotations| annotations.get(CAUSE));
        let cause = cause.filter(|cause| !cause.is_empty()).map_or("<none>", String::as_str);
        table.row([revision_of(&set.metadata).to_string(), cause.into()]);
    }
    Ok(format!("{reference}\n{}", table.text()))
}

/// The pod template of a revision.
///
/// # Errors
/// There is no such revision.
pub async fn template_at(store: &Store, deployment: &Value, revision: i64) -> Result<Value> {
    let sets = sets_of(store, deployment).await?;
    let set = sets.iter().find(|set| revision_of(&set.metadata) == revision).ok_or_else(|| no(revision))?;
    let template = set.spec.clone().unwrap_or_default().template.unwrap_or_default();
    Ok(serde_json::to_value(template).unwrap_or_default())
}

fn no(revision: i64) -> Error {
    Error::Failed(format!("unable to find specified revision {revision} in history"))
}

/// Goes back to a revision; 0 is the one before the last. Gives the line to print.
///
/// # Errors
/// There is no such revision, or the deployment is paused.
pub async fn undo(store: &Store, deployment: &Value, to: i64) -> Result<String> {
    let reference = format!("deployment.apps/{}", name(deployment));
    if deployment.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Err(Error::Failed(format!(
            "cannot rollback a paused deployment; resume it first with 'topo rollout resume deployment/{}' and \
             try again",
            name(deployment)
        )));
    }
    let sets = sets_of(store, deployment).await?;
    let typed: Deployment = serde_json::from_value(deployment.clone()).unwrap_or_default();
    let current = new_replica_set(&typed, &sets).map(|set| revision_of(&set.metadata));
    let found = if to > 0 {
        sets.iter().find(|set| revision_of(&set.metadata) == to).ok_or_else(|| no(to))?
    } else {
        let before = sets.iter().filter(|set| Some(revision_of(&set.metadata)) != current);
        let none =
            || Error::Failed(format!("no rollout history found for deployment \"{}\"", name(deployment)));
        before.max_by_key(|set| revision_of(&set.metadata)).ok_or_else(none)?
    };
    let revision = revision_of(&found.metadata);
    if current == Some(revision) {
        return Ok(format!(
            "{reference} skipped rollback (current template already matches revision {revision})"
        ));
    }
    let template = serde_json::to_value(template_of(found)).unwrap_or_default();
    change(store, deployment, |new| new["spec"]["template"] = template.clone()).await?;
    Ok(format!("{reference} rolled back"))
}

/// Makes all pods anew, by the deployment's own strategy. Gives the line to print.
///
/// # Errors
/// The deployment is paused.
pub async fn restart(store: &Store, deployment: &Value) -> Result<String> {
    if deployment.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Err(Error::Failed("can't restart paused deployment (run rollout resume first)".into()));
    }
    let now = serde_json::to_value(time::now()).unwrap_or_default();
    change(store, deployment, |new| {
        let template = &mut new["spec"]["template"];
        if !template["metadata"].is_object() {
            template["metadata"] = json!({});
        }
        if !template["metadata"]["annotations"].is_object() {
            template["metadata"]["annotations"] = json!({});
        }
        template["metadata"]["annotations"][RESTARTED] = now.clone();
    })
    .await?;
    Ok(format!("deployment.apps/{} restarted", name(deployment)))
}

/// Holds a rollout, or lets it go on. Gives the line to print.
///
/// # Errors
/// It is held, or goes on, already.
pub async fn pause(store: &Store, deployment: &Value, paused: bool) -> Result<String> {
    let there = deployment.pointer("/spec/paused") == Some(&Value::Bool(true));
    let word = if paused { "paused" } else { "resumed" };
    if there == paused {
        let why = if paused { "is already paused" } else { "is not paused" };
        return Err(Error::Failed(format!("deployments.apps \"{}\" {why}", name(deployment))));
    }
    change(store, deployment, |new| {
        let spec = new["spec"].as_object_mut();
        if let Some(spec) = spec {
            spec.remove("paused");
            if paused {
                spec.insert("paused".into(), true.into());
            }
        }
    })
    .await?;
    Ok(format!("deployment.apps/{} {word}", name(deployment)))
}

async fn change(store: &Store, deployment: &Value, change: impl Fn(&mut Value)) -> Result<Patched> {
    let namespace = crate::object::namespace(deployment);
    let patched = registry::patch_raw(store, &DEPLOYMENTS, namespace, name(deployment), |old| {
        let mut new = old.clone();
        change(&mut new);
        Ok(new)
    });
    Ok(patched.await?)
}

#[cfg(test)]
mod tests;
