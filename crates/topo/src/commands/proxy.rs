//! `topo proxy`: the rules of services, as a worker has them.

use std::process::ExitCode;

use anyhow::{Context, Result};
use api::types::api::core::v1::Service;
use kubeproxy::show::Shown;
use lab::LabName;
use nft::ruleset::Family;
use store::Store;
use topology::{Cluster, Topology};

use super::objects::{find_cluster, join_network};
use crate::cli::Output;
use crate::cli::services::{ProxyCommand, ProxyShowArgs};
use crate::enter::client;
use crate::output::{self, Hinted, Negative, line};

pub(crate) fn run(lab: &LabName, command: &ProxyCommand) -> Result<ExitCode> {
    match command {
        ProxyCommand::Show(args) => show(lab, args),
    }
}

fn show(lab: &LabName, args: &ProxyShowArgs) -> Result<ExitCode> {
    let client = client(lab)?;
    let topology = topology::load(&client.state().topology())?;
    let (cluster, node) = place(&topology, args)?;
    join_network(&client, node)?;
    let shown = kubeproxy::show(Family::Ip, args.service.as_deref())
        .with_context(|| format!("the rules of services on {node}"))?;
    if let (Some(service), true) = (&args.service, shown.services.is_empty()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let why = runtime.block_on(async {
            let store = Store::etcd(&cluster.etcd_endpoints()).await?;
            Ok::<_, anyhow::Error>(why_not(find(&store, service).await?.as_ref(), service, node))
        })?;
        return Err(Negative(why).into());
    }
    match args.output.output {
        Output::Json => output::json(&shown)?,
        Output::Table => tell(&shown, args.service.is_none(), node),
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(shown: &Shown, all: bool, node: &str) {
    let text = shown.to_string();
    if text.is_empty() {
        line(format!("{node} has no rules of services"));
        return;
    }
    line(text.trim_end());
    if all {
        line(shown.counts);
    }
}

/// The worker whose rules are meant, and its cluster.
fn place<'a>(topology: &'a Topology, args: &ProxyShowArgs) -> Result<(&'a Cluster, &'a str)> {
    let workers = |cluster: &'a Cluster| cluster.workers.iter().map(move |worker| (cluster, &*worker.name));
    let Some(wanted) = &args.node else {
        let cluster = find_cluster(topology, args.cluster.as_deref())?;
        return workers(cluster).next().context("there are no workers");
    };
    let mut all = topology.clusters.iter().flat_map(workers);
    all.find(|(_, name)| name == wanted).ok_or_else(|| {
        let names: Vec<_> = topology.clusters.iter().flat_map(workers).map(|(_, name)| name).collect();
        let message = format!("there is no worker {wanted}");
        Hinted { message, hint: format!("rules of services are on {}", names.join(", ")) }.into()
    })
}

/// The service that is called `web`, `default/web` or `default/web:http`.
async fn find(store: &Store, called: &str) -> Result<Option<Service>> {
    let (namespace, name) = called.split_once('/').unwrap_or(("default", called));
    let name = name.split(':').next().unwrap_or_default();
    Ok(store.get::<Service>(namespace, name).await?)
}

/// Why there are no rules for a service.
fn why_not(service: Option<&Service>, called: &str, node: &str) -> String {
    let Some(spec) = service.map(|service| service.spec.clone().unwrap_or_default()) else {
        return format!("there is no service {called}");
    };
    if spec.type_.as_deref() == Some("ExternalName") {
        let elsewhere = spec.external_name.unwrap_or_default();
        return format!(
            "service {called} has no address and no rules: DNS answers with the name {elsewhere}"
        );
    }
    match spec.cluster_ip.as_deref() {
        Some("None") => {
            format!("service {called} is headless, without address and rules: DNS answers with its pods'")
        }
        None | Some("") => format!("service {called} has no address yet"),
        Some(_) => format!("service {called} has no such port, or {node} has no rules for it yet"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::why_not;

    #[test]
    fn a_service_without_rules_has_a_reason() {
        let why = |spec: Value| {
            let service = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            why_not(Some(&service), "web", "C0w1")
        };
        assert!(why(json!({"clusterIP": "None"})).contains("is headless"));
        assert!(why(json!({"type": "ExternalName", "externalName": "a.b"})).ends_with("the name a.b"));
        assert!(why(json!({})).ends_with("has no address yet"));
        assert!(why(json!({"clusterIP": "100.64.0.1"})).contains("C0w1 has no rules for it yet"));
        assert_eq!(why_not(None, "web", "C0w1"), "there is no service web");
    }
}
