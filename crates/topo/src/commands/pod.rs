//! `topo pod`: one pod by hand, as the course does it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use api::types::api::core::v1::Pod;
use api::types::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use lab::LabName;
use serde_json::json;
use store::registry::{self, Error as RegistryError};
use store::{Reflector, Store};
use topology::{Topology, closest};

use super::objects::with_store;
use crate::cli::pods::{PodCommand, PodCreateArgs, PodDeleteArgs};
use crate::enter::client;
use crate::output::{self, Hinted, Negative, line};

/// The image of a pod without a command: it does nothing, and does that for ever.
const IMAGE: &str = "netshoot";

pub(crate) fn run(lab: &LabName, command: &PodCommand) -> Result<ExitCode> {
    match command {
        PodCommand::Create(args) => create(lab, args),
        PodCommand::Delete(args) => delete(lab, args),
    }
}

fn create(lab: &LabName, args: &PodCreateArgs) -> Result<ExitCode> {
    let cluster = cluster_of(lab, &args.node)?;
    let mut container = json!({"name": "main", "image": args.image.as_deref().unwrap_or(IMAGE)});
    if !args.command.is_empty() {
        container["command"] = json!(args.command);
    }
    let document = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": args.name, "namespace": args.namespace, "labels": {"app": args.name}},
        "spec": {"nodeName": args.node, "containers": [container]},
    });
    with_store(lab, Some(&cluster), async |store| {
        let document = serde_json::from_value(document)?;
        let pod: Pod = registry::create(&store, &document).await?;
        let told = watch(&store, args, &pod).await?;
        match told {
            Told::Ready(ip) => {
                line(format!("pod/{} created on {} with address {ip}", args.name, args.node));
                Ok(ExitCode::SUCCESS)
            }
            Told::Over(phase) => {
                line(format!("pod/{} created on {}, and has ended: {phase}", args.name, args.node));
                Ok(ExitCode::SUCCESS)
            }
            Told::Not(why) => Err(Negative(format!("pod: {} is not ready: {why}", args.name)).into()),
        }
    })
}

/// What came of a new pod.
enum Told {
    Ready(String),
    Over(String),
    Not(String),
}

/// Waits until the pod is ready, or waiting is of no use.
async fn watch(store: &Store, args: &PodCreateArgs, pod: &Pod) -> Result<Told> {
    let uid = pod.metadata.uid.clone();
    let pods =
        Reflector::<Pod>::start_where(store, Some(&args.namespace), move |pod| pod.metadata.uid == uid);
    let mut changed = pods.subscribe();
    pods.wait_synced().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(args.timeout);
    loop {
        changed.mark_unchanged();
        let now = pods.get(&args.namespace, &args.name);
        let Some(pod) = now else { return Ok(Told::Not("it was deleted".into())) };
        let settled = settled(&pod);
        if let Some(told) = settled {
            return Ok(told);
        }
        if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
            let why = waits(&pod).unwrap_or_else(|| "its kubelet has not begun with it".into());
            return Ok(Told::Not(format!("after {} s: {why}", args.timeout)));
        }
    }
}

fn settled(pod: &Pod) -> Option<Told> {
    let status = pod.status.as_ref()?;
    if let Some(phase) =
        status.phase.as_ref().filter(|phase| matches!(phase.as_str(), "Succeeded" | "Failed"))
    {
        return Some(Told::Over(phase.clone()));
    }
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    if let Some(ip) = status.pod_ip.as_ref().filter(|_| ready) {
        return Some(Told::Ready(ip.clone()));
    }
    // What waiting does not mend.
    let hopeless = [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "RunContainerError",
        "CrashLoopBackOff",
    ];
    let reasons =
        status.container_statuses.iter().flatten().filter_map(|c| c.state.as_ref()?.waiting.as_ref());
    let stuck = reasons
        .into_iter()
        .find(|waiting| waiting.reason.as_deref().is_some_and(|reason| hopeless.contains(&reason)))?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(Told::Not(format!("{}: {}", text(&stuck.reason), text(&stuck.message))))
}

/// What a pod that is not ready waits for.
fn waits(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let waiting =
        status.container_statuses.iter().flatten().find_map(|c| c.state.as_ref()?.waiting.as_ref())?;
    let reason = waiting.reason.clone().unwrap_or_default();
    Some(match waiting.message.as_deref().filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason,
    })
}

fn delete(lab: &LabName, args: &PodDeleteArgs) -> Result<ExitCode> {
    let cluster = cluster_of(lab, &args.node)?;
    with_store(lab, Some(&cluster), async |store| {
        let pod: Option<Pod> = store.get(&args.namespace, &args.name).await?;
        let on = pod.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.clone());
        let Some(pod) = pod.filter(|_| on.as_ref() == Some(&args.node)) else {
            let hint = match on {
                Some(node) => format!("it is on {node}"),
                None => format!("`topo get pods -A -o wide --cluster {cluster}` tells which there are"),
            };
            let message = format!("pod: there is no pod {} on {}", args.name, args.node);
            output::note(format_args!("topo: {message}"));
            output::note(format_args!("hint: {hint}"));
            return Ok(ExitCode::from(output::NO));
        };
        let uid = pod.metadata.uid.clone();
        let mut options = DeleteOptions::default();
        options.preconditions.get_or_insert_default().uid.clone_from(&uid);
        let same = move |pod: &Pod| pod.metadata.uid == uid;
        let pods = Reflector::<Pod>::start_where(&store, Some(&args.namespace), same);
        let mut changed = pods.subscribe();
        pods.wait_synced().await;
        match registry::delete::<Pod>(&store, &args.namespace, &args.name, &options).await {
            // Gone meanwhile, or another of its name is there: that one is not meant.
            Ok(_)
            | Err(RegistryError::Store(store::Error::NotFound { .. }) | RegistryError::Precondition { .. }) =>
                {}
            Err(error) => return Err(error.into()),
        }
        let deadline = tokio::time::Instant::now() + Duration::from_secs(args.timeout);
        while let Some(pod) = pods.get(&args.namespace, &args.name) {
            if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                let why = lingers(&pod);
                let message = format!("pod: {} is not gone after {} s: {why}", args.name, args.timeout);
                return Err(Negative(message).into());
            }
        }
        line(format!("pod/{} deleted", args.name));
        Ok(ExitCode::SUCCESS)
    })
}

/// Why a pod that is being deleted is still there.
fn lingers(pod: &Pod) -> String {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let stuck = conditions.filter(|condition| condition.reason.as_deref() == Some("FailedKillPod"));
    if let Some(message) = stuck.filter_map(|condition| condition.message.clone()).next() {
        return message;
    }
    match pod.metadata.finalizers.as_deref().unwrap_or_default() {
        [] => "its kubelet has not ended it".into(),
        finalizers => format!("its kubelet has not ended it, or it is held by {}", finalizers.join(", ")),
    }
}

/// The cluster that a worker is of.
pub(crate) fn cluster_of(lab: &LabName, node: &str) -> Result<String> {
    let topology: Topology = topology::load(&client(lab)?.state().topology())?;
    let workers = || topology.clusters.iter().flat_map(|c| c.workers.iter().map(move |w| (c, w)));
    if let Some((cluster, _)) = workers().find(|(_, worker)| worker.name == node) {
        return Ok(cluster.name.clone());
    }
    let names: Vec<&str> = workers().map(|(_, worker)| worker.name.as_str()).collect();
    let hint = closest(node, names.iter().copied())
        .map_or_else(|| format!("there are {}", names.join(", ")), |near| format!("did you mean {near}?"));
    Err(Hinted { message: format!("there is no worker {node}"), hint }.into())
}
