//! `kubectl drain`: which of a node's pods go, which stay, which must not go unasked; and their eviction.
//!
//! A DaemonSet's pods stay, for they would come again at once. What no controller would make anew, and what
//! has data that would be lost, goes only if that is said. Nothing goes where one pod must not.
//!
//! Source: kubectl `pkg/drain/{drain,filters}.go`; what an eviction is: kubernetes
//! `pkg/registry/core/pod/storage/eviction.go`. There are no PodDisruptionBudgets here.

use std::collections::BTreeSet;

use api::kinds::{DAEMON_SETS, PODS};
use api::selector::Selector;
use api::types::api::core::v1::{Pod, PodCondition};
use serde_json::Value;
use store::registry::{self, Propagation};
use store::{ObjectName, Store};

use crate::delete::{How, delete_found};
use crate::error::Result;
use crate::object::{labels, name, namespace, text};

/// A pod that a kubelet runs from a file (`kubernetes.io/config.mirror`): it cannot be deleted.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on though there are pods of DaemonSets, which stay.
    pub ignore_daemon_sets: bool,
    /// Pods with an emptyDir go, and what is in it.
    pub delete_empty_dir_data: bool,
    /// Pods go that nobody makes anew.
    pub force: bool,
    /// Of the node's pods only those with these labels.
    pub pods: Selector,
}

/// What becomes of a node's pods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Those that are to go.
    pub evict: Vec<Value>,
    /// What the user should know, with the pods' names.
    pub warnings: Vec<String>,
    /// Why nothing may go.
    pub errors: Vec<String>,
}

/// What a rule says of a pod.
enum Verdict {
    Goes,
    Stays,
    Warned { goes: bool, why: String },
    Refused(String),
}

/// What becomes of the pods of a node.
///
/// # Errors
/// When etcd is away.
pub async fn plan(store: &Store, node: &str, options: &Options) -> Result<Plan> {
    let mut pods = store.list_raw(&PODS, None).await?.items;
    pods.retain(|pod| text(pod, "/spec/nodeName") == node);
    let sets = store.list_raw(&DAEMON_SETS, None).await?.items;
    let sets = sets.iter().map(|set| (namespace(set).to_owned(), name(set).to_owned())).collect();
    Ok(of_pods(&pods, &sets, options))
}

/// `sets` are the DaemonSets that there are, by namespace and name.
fn of_pods(pods: &[Value], sets: &BTreeSet<(String, String)>, options: &Options) -> Plan {
    let mut plan = Plan::default();
    let (mut warned, mut refused): (Vec<(String, Vec<String>)>, Vec<_>) = (Vec::new(), Vec::new());
    for pod in pods {
        if !options.pods.is_empty() && !options.pods.matches(Some(&labels(pod, "/metadata/labels"))) {
            continue;
        }
        let full_name = format!("{}/{}", namespace(pod), name(pod));
        let goes = match verdict(pod, sets, options) {
            Verdict::Goes => true,
            Verdict::Stays => false,
            Verdict::Warned { goes, why } => {
                together(&mut warned, why, full_name);
                goes
            }
            Verdict::Refused(why) => {
                together(&mut refused, why, full_name);
                false
            }
        };
        if goes {
            plan.evict.push(pod.clone());
        }
    }
    let line = |(why, pods): (String, Vec<String>)| format!("{why}: {}", pods.join(", "));
    plan.warnings = warned.into_iter().map(line).collect();
    plan.errors = refused.into_iter().map(|both| format!("cannot delete {}", line(both))).collect();
    plan
}

/// One line for all pods of which the same is said.
fn together(lines: &mut Vec<(String, Vec<String>)>, why: String, pod: String) {
    match lines.iter_mut().find(|(other, _)| *other == why) {
        Some((_, pods)) => pods.push(pod),
        None => lines.push((why, vec![pod])),
    }
}

/// The rules in kubectl's order: the first that lets a pod stay decides; of the others the last that speaks.
fn verdict(pod: &Value, sets: &BTreeSet<(String, String)>, options: &Options) -> Verdict {
    let done = ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"));
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let controller = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    let mut orphan = None;
    if let Some(set) = controller.filter(|owner| owner["kind"] == DAEMON_SETS.kind && !done) {
        let set = text(set, "/name");
        let there = sets.contains(&(namespace(pod).to_owned(), set.to_owned()));
        let missing = || format!("{} {set:?} not found", DAEMON_SETS.resource());
        match (there, options) {
            (true, Options { ignore_daemon_sets: true, .. }) => {
                return Verdict::Warned { goes: false, why: "ignoring DaemonSet-managed Pods".into() };
            }
            (true, _) => {
                return Verdict::Refused("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)".into());
            }
            (false, Options { force: true, .. }) => orphan = Some(missing()),
            (false, _) => return Verdict::Refused(missing()),
        }
    }
    if pod.pointer("/metadata/annotations").is_some_and(|all| all.get(MIRROR).is_some()) {
        return Verdict::Stays;
    }
    let mut volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    let local = !done && volumes.any(|volume| volume.get("emptyDir").is_some_and(|dir| !dir.is_null()));
    if local && !options.delete_empty_dir_data {
        return Verdict::Refused("Pods with local storage (use --delete-emptydir-data to override)".into());
    }
    if !done && controller.is_none() && !options.force {
        return Verdict::Refused("Pods that declare no controller (use --force to override)".into());
    }
    let unmanaged = !done && controller.is_none();
    let why = unmanaged.then(|| "deleting Pods that declare no controller".to_owned());
    let why = why.or_else(|| local.then(|| "deleting Pods with local storage".into())).or(orphan);
    why.map_or(Verdict::Goes, |why| Verdict::Warned { goes: true, why })
}

/// Evicts a pod: says in its status what for, and deletes it. `grace` is in seconds; none for what the pod
/// says, 0 for at once. Gives the pod as it is then, or nothing if it was gone.
///
/// # Errors
/// It may not be deleted.
pub async fn evict(store: &Store, pod: &Value, grace: Option<i64>) -> Result<Option<Value>> {
    let now = registry::stamp().now;
    let disrupted = registry::modify(store, namespace(pod), name(pod), |there: &mut Pod| {
        if there.metadata.uid.as_deref() != Some(text(pod, "/metadata/uid")) {
            return;
        }
        let conditions = there.status.get_or_insert_default().conditions.get_or_insert_default();
        if conditions
            .iter()
            .any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")
        {
            return;
        }
        conditions.retain(|condition| condition.type_ != "DisruptionTarget");
        conditions.push(PodCondition {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
            reason: Some("EvictionByEvictionAPI".into()),
            message: Some("Eviction API: evicting".into()),
            last_transition_time: Some(now.clone()),
            ..PodCondition::default()
        });
    })
    .await;
    let how = How { grace, force: grace == Some(0), cascade: Propagation::Background };
    let deleted = match disrupted {
        Ok(_) => delete_found(store, &PODS, pod, how).await,
        Err(error) => Err(error.into()),
    };
    match deleted {
        Ok(pod) => Ok(Some(pod)),
        // Another of its name is there.
        Err(crate::Error::Registry(registry::Error::Precondition { .. })) => Ok(None),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// As `default/web-1`.
#[must_use]
pub fn full_name(pod: &Value) -> String {
    ObjectName::new(namespace(pod), name(pod)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owned(kind: &str, owner: &str) -> Value {
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "u", "controller": true}])
    }

    fn pod(name: &str, owners: &Value, more: &Value) -> Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "ownerReferences": owners, "labels": {"app": name}},
            "spec": {"nodeName": "C0w1", "containers": [{"name": "c", "image": "nginx"}]},
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            for (key, value) in value.as_object().into_iter().flatten() {
                pod[field][key] = value.clone();
            }
        }
        pod
    }

    fn pods() -> Vec<Value> {
        let volumes = json!({"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}});
        let mirror = json!({"metadata": {"annotations": {MIRROR: "x"}}});
        let done =
            json!({"status": {"phase": "Succeeded"}, "spec": {"volumes": [{"name": "tmp", "emptyDir": {}}]}});
        let none = json!(null);
        vec![
            pod("web", &owned("ReplicaSet", "web"), &none),
            pod("data", &owned("ReplicaSet", "web"), &volumes),
            pod("agent", &owned("DaemonSet", "agent"), &volumes),
            pod("lost", &owned("DaemonSet", "gone"), &none),
            pod("static", &none, &mirror),
            pod("bare", &none, &none),
            pod("bare2", &none, &volumes),
            pod("job", &none, &done),
        ]
    }

    #[test]
    fn what_goes_what_stays_and_what_must_not_go_unasked() {
        let sets = BTreeSet::from([("default".to_owned(), "agent".to_owned())]);
        let mut log = Vec::new();
        for flags in ["", "ignore", "ignore data", "ignore data force", "force", "only"] {
            let has = |flag: &str| flags.split(' ').any(|word| word == flag);
            let options = Options {
                ignore_daemon_sets: has("ignore"),
                delete_empty_dir_data: has("data"),
                force: has("force"),
                pods: if has("only") { "app=web".parse().unwrap() } else { Selector::default() },
            };
            let plan = of_pods(&pods(), &sets, &options);
            let names: Vec<_> = plan.evict.iter().map(name).collect();
            log.push(format!("[{flags}] evict {}", names.join(" ")));
            log.extend(plan.warnings.iter().map(|line| format!("  Warning: {line}")));
            log.extend(plan.errors.iter().map(|line| format!("  error: {line}")));
        }
        insta::assert_snapshot!(log.join("\n"));
    }

    #[tokio::test]
    async fn an_evicted_pod_says_why_it_goes() {
        let store = Store::memory();
        for name in ["web", "other"] {
            let mut one = pod(name, &json!(null), &json!({"metadata": {"finalizers": ["example.com/hold"]}}));
            if name == "other" {
                one["spec"]["nodeName"] = "C0w2".into();
            }
            registry::create_raw(&store, &PODS, &one).await.unwrap();
        }
        let options = Options { force: true, ..Options::default() };
        let plan = plan(&store, "C0w1", &options).await.unwrap();
        assert_eq!(plan.evict.iter().map(full_name).collect::<Vec<_>>(), ["default/web"]);
        let going = evict(&store, &plan.evict[0], Some(7)).await.unwrap().unwrap();
        assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 7);
        let condition = going["status"]["conditions"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&condition["type"], &condition["reason"]),
            (&json!("DisruptionTarget"), &json!("EvictionByEvictionAPI"))
        );
        // Nobody else's pod goes in its stead.
        let mut another = plan.evict[0].clone();
        another["metadata"]["uid"] = "another".into();
        assert_eq!(evict(&store, &another, None).await.unwrap(), None);
        another["metadata"]["name"] = "nothing".into();
        assert_eq!(evict(&store, &another, None).await.unwrap(), None);
    }
}
