//! `topo ingress`: nginx by hand, and where all ingresses lead.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use api::node_ingress::{NodeIngressPath, NodeIngressSpec};
use api::{NodeIngress, NodeIngressStatus};
use ingress::show::{Addresses, Node, Shown, show};
use ingress::{Cluster, Settings};
use lab::LabName;
use store::registry::{self, Error as RegistryError};
use store::{Object, ObjectName, Objects, Reflector, Store};
use topology::Topology;

use super::objects::with_store;
use super::pod::cluster_of;
use crate::cli::Output;
use crate::cli::ingress::{IngressCommand, IngressCreateArgs, IngressDeleteArgs, IngressShowArgs};
use crate::enter::client;
use crate::output::{self, Negative, line, note};

pub(crate) fn run(lab: &LabName, command: &IngressCommand) -> Result<ExitCode> {
    match command {
        IngressCommand::Create(args) => create(lab, args),
        IngressCommand::Delete(args) => delete(lab, args),
        IngressCommand::Show(args) => list(lab, args),
    }
}

fn create(lab: &LabName, args: &IngressCreateArgs) -> Result<ExitCode> {
    let cluster = cluster_of(lab, &args.node)?;
    let path = |(path, backend): &(String, std::net::SocketAddr)| NodeIngressPath {
        path: path.clone(),
        backend: backend.to_string(),
    };
    let spec = NodeIngressSpec {
        node: args.node.clone(),
        port: args.port.into(),
        paths: args.paths.iter().map(path).collect(),
    };
    with_store(lab, Some(&cluster), async |store| {
        let made = registry::create(&store, &NodeIngress::new("", &args.name, spec)).await?;
        let status = told(&store, &made, Duration::from_secs(args.timeout)).await;
        match status {
            Some(NodeIngressStatus { ready: true, .. }) => {
                line(format!("nodeingress/{} created: {} port {}", args.name, args.node, args.port));
                Ok(ExitCode::SUCCESS)
            }
            Some(NodeIngressStatus { message, .. }) => {
                Err(Negative(format!("ingress: {} is not served: {message}", args.name)).into())
            }
            None => {
                let why = format!("after {} s nothing is heard from {}", args.timeout, args.node);
                Err(Negative(format!("ingress: {} is not served: {why}", args.name)).into())
            }
        }
    })
}

/// Waits for what its worker says of an ingress.
async fn told(store: &Store, made: &NodeIngress, patience: Duration) -> Option<NodeIngressStatus> {
    let uid = made.metadata.uid.clone();
    let ours = Reflector::start_where(store, None, move |one: &NodeIngress| one.metadata.uid == uid);
    let mut changed = ours.subscribe();
    ours.wait_synced().await;
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        changed.mark_unchanged();
        if let Some(status) = ours.list(None).first().and_then(|one| one.status.clone()) {
            return Some(status);
        }
        tokio::time::timeout_at(deadline, changed.changed()).await.ok()?.ok()?;
    }
}

fn delete(lab: &LabName, args: &IngressDeleteArgs) -> Result<ExitCode> {
    let cluster = cluster_of(lab, &args.node)?;
    with_store(lab, Some(&cluster), async |store| {
        let found: Option<NodeIngress> = store.get("", &args.name).await?;
        if let Some(one) = found.as_ref().filter(|one| one.spec.node == args.node) {
            let mut options = api::types::apimachinery::pkg::apis::meta::v1::DeleteOptions::default();
            options.preconditions.get_or_insert_default().uid.clone_from(&one.metadata.uid);
            match registry::delete::<NodeIngress>(&store, "", &args.name, &options).await {
                // Gone meanwhile.
                Ok(_) | Err(RegistryError::Store(store::Error::NotFound { .. })) => {}
                Err(error) => return Err(error.into()),
            }
            line(format!("nodeingress/{} deleted", args.name));
            return Ok(ExitCode::SUCCESS);
        }
        note(format_args!("topo: ingress: there is no ingress {} on {}", args.name, args.node));
        match found {
            Some(one) => note(format_args!("hint: it is on {}", one.spec.node)),
            None => note(format_args!("hint: `topo ingress show {}` tells which there are", args.node)),
        }
        Ok(ExitCode::from(output::NO))
    })
}

fn list(lab: &LabName, args: &IngressShowArgs) -> Result<ExitCode> {
    let of_node = args.node.as_ref().map(|node| cluster_of(lab, node)).transpose()?;
    let topology: Topology = topology::load(&client(lab)?.state().topology())?;
    let name = of_node.as_ref().or(args.cluster.as_ref());
    let cluster = match name {
        Some(name) => topology.clusters.iter().find(|cluster| cluster.name == *name),
        None => topology.clusters.first(),
    };
    let workers = cluster.into_iter().flat_map(|cluster| cluster.workers.iter().map(move |w| (cluster, w)));
    let nodes: Vec<Node> = workers
        .filter(|(_, worker)| args.node.as_ref().is_none_or(|only| worker.name == *only))
        .map(|(cluster, worker)| {
            let mut settings = Settings::new(&worker.name);
            settings.resolver =
                topology::dns_address(cluster.service_network).filter(|_| cluster.dns).map(Into::into);
            Node { settings, address: worker.address.to_string() }
        })
        .collect();
    with_store(lab, name.map(String::as_str), async |store| {
        let shown = shown(&store, &nodes).await?;
        match args.output.output {
            Output::Json => output::json(&shown)?,
            Output::Table => output::raw(shown.table().as_bytes()),
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn shown(store: &Store, nodes: &[Node]) -> Result<Shown> {
    let cluster = Cluster {
        ingresses: Arc::new(all(store).await?),
        classes: Arc::new(all(store).await?),
        node_ingresses: Arc::new(all(store).await?),
        services: Arc::new(all(store).await?),
        slices: Arc::new(all(store).await?),
        secrets: Arc::new(all(store).await?),
        gateway_classes: Arc::new(all(store).await?),
        gateways: Arc::new(all(store).await?),
        http_routes: Arc::new(all(store).await?),
        grants: Arc::new(all(store).await?),
        namespaces: Arc::new(all(store).await?),
    };
    let addresses = Addresses { virtual_ips: all(store).await?, pods: all(store).await? };
    Ok(show(&cluster, &addresses, nodes))
}

/// All objects of a kind.
async fn all<K: Object>(store: &Store) -> Result<Objects<K>> {
    let objects = store.list::<K>(None).await?;
    Ok(objects.into_iter().map(|one| (ObjectName::of(one.metadata()), Arc::new(one))).collect())
}
