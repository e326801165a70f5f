//! Showing: what the objects of all clusters say.

use std::process::ExitCode;

use anyhow::Result;
use lab::LabName;
use skupper::graph::{Cluster, Graph};

use super::super::objects::in_clusters;
use crate::cli::Output;
use crate::output::{self, json, line, note, print_table, raw, table, verdict};
use comfy_table::Cell;

/// What is to be seen; a cluster whose etcd does not answer is told of and left out.
fn seen(lab: &LabName) -> Result<Graph> {
    let clusters = in_clusters(lab, None, async |name, store| {
        Ok(Cluster {
            name,
            sites: store.list(None).await?,
            links: store.list(None).await?,
            listeners: store.list(None).await?,
            connectors: store.list(None).await?,
        })
    })?;
    let mut all = Vec::new();
    for (name, cluster) in clusters {
        match cluster {
            Ok(cluster) => all.push(cluster),
            Err(error) => note(format_args!("topo: skupper: {name}: {error:#}")),
        }
    }
    Ok(skupper::graph::graph(&all))
}

fn hint_if_empty(graph: &Graph) {
    if graph.sites.is_empty() {
        note("topo: skupper: no cluster has a site\nhint: `topo skupper init --cluster C0` makes one");
    }
}

fn exit(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::from(output::NO) }
}

pub(super) fn links(lab: &LabName, form: Output) -> Result<ExitCode> {
    let graph = seen(lab)?;
    let good = graph.links.iter().all(|link| link.status == "Ready");
    if matches!(form, Output::Json) {
        json(&graph.links)?;
        return Ok(exit(good));
    }
    if graph.links.is_empty() {
        note("topo: skupper: there are no links");
        note(
            "hint: `topo skupper token create FILE` at one site, `topo skupper link create FILE` at the other",
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = table(&["CLUSTER", "LINK", "TO", "COST", "STATUS", "OTHER END", "MESSAGE"]);
    for link in &graph.links {
        let to = match link.remote_cluster.as_str() {
            "" => link.remote_site.clone(),
            cluster => format!("{cluster} ({})", link.remote_site),
        };
        rows.add_row([
            Cell::new(&link.cluster),
            Cell::new(&link.name),
            Cell::new(to),
            Cell::new(link.cost),
            verdict(link.status == "Ready", &link.status),
            verdict(link.other_end != "down", &link.other_end),
            Cell::new(&link.message),
        ]);
    }
    print_table(&rows);
    Ok(exit(good))
}

pub(super) fn services(lab: &LabName, form: Output) -> Result<ExitCode> {
    let graph = seen(lab)?;
    if matches!(form, Output::Json) {
        json(&graph.addresses)?;
        return Ok(ExitCode::SUCCESS);
    }
    hint_if_empty(&graph);
    let mut rows = table(&["ADDRESS", "CLIENTS", "SERVERS"]);
    for address in &graph.addresses {
        let count = address.listeners.len().max(address.connectors.len());
        for number in 0..count {
            let at = |all: &[String]| all.get(number).cloned().unwrap_or_default();
            let name = if number == 0 { address.address.clone() } else { String::new() };
            rows.add_row([name, at(&address.listeners), at(&address.connectors)]);
        }
    }
    print_table(&rows);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn network(lab: &LabName, form: Output) -> Result<ExitCode> {
    let graph = seen(lab)?;
    let good = graph.sites.iter().all(|site| site.status == "Ready");
    if matches!(form, Output::Json) {
        json(&graph.sites)?;
        return Ok(exit(good));
    }
    hint_if_empty(&graph);
    let mut rows =
        table(&["CLUSTER", "NAMESPACE", "SITE", "STATUS", "SITES IN NETWORK", "LINKS COME TO", "MESSAGE"]);
    for site in &graph.sites {
        rows.add_row([
            Cell::new(&site.cluster),
            Cell::new(&site.namespace),
            Cell::new(&site.name),
            verdict(site.status == "Ready", &site.status),
            Cell::new(site.sites_in_network),
            Cell::new(if site.endpoint.is_empty() { "-" } else { &site.endpoint }),
            Cell::new(&site.message),
        ]);
    }
    print_table(&rows);
    Ok(exit(good))
}

pub(super) fn graph(lab: &LabName, svg: bool, form: Output) -> Result<ExitCode> {
    let graph = seen(lab)?;
    if svg {
        raw(skupper::graph::svg(&graph).as_bytes());
    } else if matches!(form, Output::Json) {
        json(&graph)?;
    } else {
        hint_if_empty(&graph);
        line(skupper::graph::text(&graph).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
