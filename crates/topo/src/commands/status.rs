//! `topo status`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use comfy_table::Cell;
use lab::{LabName, LabStatus, PodSummary};
use runtime::{ComponentKind, ComponentStatus};

use crate::cli::Output;
use crate::enter::client;
use crate::output::{self, line, verdict};

/// More pods of a worker are only counted.
const MOST_NAMED: usize = 4;

pub(crate) fn run(lab: &LabName, form: Output) -> Result<ExitCode> {
    let status = client(lab)?.status()?;
    match form {
        Output::Json => output::json(&status)?,
        Output::Table => {
            table(&status);
            let warnings = status.warnings();
            if !warnings.is_empty() {
                line("");
                warnings.iter().for_each(|warning| line(format_args!("warning: {warning}")));
            }
            if !status.ready {
                line("");
                line(format_args!("not ready; `topo logs NODE` shows what a node's processes say"));
            }
        }
    }
    Ok(ExitCode::from(if status.ready { 0 } else { output::NO }))
}

/// Clusters and their nodes.
pub(crate) fn table(status: &LabStatus) {
    let mut table = output::table(&[
        "CLUSTER",
        "NODE",
        "ROLE",
        "ADDRESS",
        "READY",
        "RESTARTS",
        "PID",
        "COMPONENTS",
        "PODS",
    ]);
    let number = |n: Option<i32>| n.map_or("-".into(), |n| n.to_string());
    for cluster in &status.clusters {
        for etcd in &cluster.etcd {
            table.add_row([
                Cell::new(&cluster.name),
                Cell::new(&etcd.node),
                Cell::new("etcd"),
                Cell::new(&etcd.address),
                yes(etcd.ready),
                Cell::new(etcd.restarts),
                Cell::new(number(etcd.pid)),
                Cell::new(if etcd.ready { "etcd (real)" } else { &etcd.message }),
                Cell::new(""),
            ]);
        }
        for control_plane in cluster.control_planes() {
            table.add_row([
                Cell::new(&cluster.name),
                Cell::new(&control_plane.node),
                Cell::new("control-plane"),
                Cell::new(&control_plane.address),
                yes(control_plane.ready),
                Cell::new(control_plane.restarts),
                Cell::new(number(control_plane.pid)),
                Cell::new(components(control_plane.ready, &control_plane.message, &control_plane.components)),
                Cell::new(""),
            ]);
        }
        for worker in &cluster.workers {
            table.add_row([
                Cell::new(&cluster.name),
                Cell::new(&worker.name),
                Cell::new("worker"),
                Cell::new(worker.addresses.join(", ")),
                yes(worker.ready),
                Cell::new(worker.restarts),
                Cell::new(number(worker.pid)),
                Cell::new(components(worker.ready, &worker.message, &worker.components)),
                Cell::new(pods(&worker.pods)),
            ]);
        }
    }
    for helper in &status.helpers {
        table.add_row([
            Cell::new("-"),
            Cell::new(&helper.name),
            Cell::new("helper"),
            Cell::new("-"),
            yes(helper.ready),
            Cell::new(helper.restarts),
            Cell::new(number(helper.pid)),
            Cell::new(&helper.message),
            Cell::new(""),
        ]);
    }
    output::print_table(&table);
}

/// Clusters, each with its first and last nodes.
pub(crate) fn summary(status: &LabStatus) {
    let mut table = output::table(&["CLUSTER", "ROLE", "NODES", "NAMES", "ADDRESSES"]);
    let span =
        |first: &str, last: &str| if first == last { first.into() } else { format!("{first} … {last}") };
    for cluster in &status.clusters {
        if let (Some(first), Some(last)) = (cluster.etcd.first(), cluster.etcd.last()) {
            let (names, addresses) = (span(&first.node, &last.node), span(&first.address, &last.address));
            table.add_row([
                cluster.name.clone(),
                "etcd".into(),
                cluster.etcd.len().to_string(),
                names,
                addresses,
            ]);
        }
        if let (Some(first), Some(last)) = (cluster.workers.first(), cluster.workers.last()) {
            let addresses = span(&first.addresses.join(", "), &last.addresses.join(", "));
            let names = span(&first.name, &last.name);
            table.add_row([
                cluster.name.clone(),
                "worker".into(),
                cluster.workers.len().to_string(),
                names,
                addresses,
            ]);
        }
    }
    output::print_table(&table);
}

fn yes(ready: bool) -> Cell {
    verdict(ready, if ready { "yes" } else { "no" })
}

/// Which there are, or what keeps them.
fn components(ready: bool, message: &str, components: &BTreeMap<String, ComponentStatus>) -> String {
    if !ready && !message.is_empty() {
        return message.into();
    }
    let kind = |kind| if kind == ComponentKind::Real { " (real)" } else { "" };
    let names = components.iter().filter(|(name, _)| *name != "agent");
    names.map(|(name, c)| format!("{name}{}", kind(c.kind))).collect::<Vec<_>>().join(", ")
}

/// Which there are, or how many.
fn pods(pods: &[PodSummary]) -> String {
    if pods.len() > MOST_NAMED {
        return format!("{} pods", pods.len());
    }
    let name = |pod: &PodSummary| match pod.namespace.as_str() {
        "default" => pod.name.clone(),
        other => format!("{other}/{}", pod.name),
    };
    pods.iter().map(name).collect::<Vec<_>>().join(", ")
}
