//! `topo up`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::init::now;
use lab::{Client, Event, LabName, LabStatus, Manifest, Start, StateDir};
use net::sandbox::IdMap;
use topology::{Problems, Topology};

use crate::cli::labs::{ShellArgs, UpArgs};
use crate::commands::status;
use crate::commands::topology::load;
use crate::output::{Progress, line, note};
use crate::prompt;

/// Above this a line for each node tells less than one for each cluster.
const MANY: usize = 30;

pub(crate) fn run(lab: &LabName, args: &UpArgs) -> Result<ExitCode> {
    let began = now();
    let topology = load(args.file.as_deref())?;
    let manifests = manifests(&topology)?;
    if args.check {
        if !args.quiet {
            line(summary(&topology));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let state = StateDir::of(lab);
    let mut progress = Progress::new(!args.quiet);
    let mut notes = Vec::new();
    let start = Start {
        state: &state,
        topology: &topology,
        manifests: &manifests,
        keep: args.keep.clone(),
        timeout: Duration::from_secs(args.timeout),
        began,
    };
    let started = start.run(|event| match event {
        Event::Progress { what, done, of } => progress.show(format_args!("{what}: {done} of {of}")),
        Event::Note { text } => notes.push(text.clone()),
        Event::Ready | Event::Failed { .. } => {}
    });
    progress.clear();
    for text in notes {
        note(format_args!("note: {text}"));
    }
    let started = started?;
    if !args.quiet {
        let status = Client::of(state)?.status()?;
        report(lab, &status, &started.ids, (args.shell, !topology.site_links.is_empty()));
    }
    if args.shell {
        let code = prompt::run(lab, &ShellArgs { node: None, ns: false, commands: Vec::new() })?;
        note(format_args!("lab {lab} goes on; `topo down{}` ends it", option(lab)));
        return Ok(code);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be in the clusters from their begin, read and found to be good.
fn manifests(topology: &Topology) -> Result<Vec<Manifest>> {
    let mut all = Vec::new();
    let mut problems = Vec::new();
    for cluster in &topology.clusters {
        let mut of_cluster = Vec::new();
        for name in &cluster.manifests {
            let text = topology::manifest(name).with_context(|| format!("read manifest {name}"))?;
            of_cluster.push(control_plane::Manifest { file: name.clone(), text });
        }
        let workers: Vec<&str> = cluster.workers.iter().map(|worker| worker.name.as_str()).collect();
        let wrong = control_plane::check(&cluster.name, &workers, &of_cluster);
        problems.extend(wrong.err().into_iter().flat_map(|wrong| wrong.0));
        all.extend(of_cluster.into_iter().map(|manifest| Manifest {
            cluster: cluster.name.clone(),
            name: manifest.file,
            text: manifest.text,
        }));
    }
    // A file of several clusters is wrong once.
    problems.sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
    problems.dedup();
    all.extend(sites(topology)?);
    if problems.is_empty() { Ok(all) } else { Err(Problems(problems).into()) }
}

/// The sites of clusters that are linked from the begin, with certificates made for this lab alone.
fn sites(topology: &Topology) -> Result<Vec<Manifest>> {
    let place = |name: &str| {
        let cluster = topology.clusters.iter().find(|cluster| cluster.name == name)?;
        let worker = cluster.workers.first()?;
        Some(skupper::born::Cluster { name: name.into(), node: worker.name.clone(), address: worker.address })
    };
    let link = |link: &topology::SiteLink| {
        Some(skupper::born::Link { from: place(&link.from)?, to: place(&link.to)?, cost: link.cost })
    };
    let links: Vec<_> = topology.site_links.iter().filter_map(link).collect();
    let made = skupper::born::manifests(&links).context("make the sites' certificates")?;
    let manifest = |(cluster, text)| Manifest { cluster, name: "sites.yaml".into(), text };
    Ok(made.into_iter().map(manifest).collect())
}

/// What came up, in how long, and what to type next; nothing of the latter before the prompt, for a `shell`. Whether
/// clusters are `linked` is a topic of its own, for their routers need a second more.
fn report(lab: &LabName, status: &LabStatus, ids: &IdMap, (shell, linked): (bool, bool)) {
    let seconds = status.started_in.unwrap_or_default();
    let workers: usize = status.clusters.iter().map(|c| c.workers.len()).sum();
    if workers > MANY {
        status::summary(status);
    } else {
        status::table(status);
    }
    line("");
    let pods: usize = status.clusters.iter().flat_map(|c| &c.workers).map(|worker| worker.pods.len()).sum();
    let (clusters, workers) = (count(status.clusters.len(), "cluster"), count(workers, "worker"));
    let what = match pods {
        0 => format!("{clusters} and {workers}"),
        _ => format!("{clusters}, {workers} and {}", count(pods, "pod")),
    };
    line(format_args!("lab {lab}: {what} ready in {seconds:.2} s"));
    if let IdMap::Single { why } = ids {
        note(format_args!(
            "note: only one user id exists in this lab ({why}); programs that change user stay root in it"
        ));
    }
    if shell {
        return;
    }
    let first = status.clusters.first().and_then(|c| c.workers.first()).map_or("C0w1", |w| w.name.as_str());
    let topo = format!("{}{}", own_name(), option(lab));
    let mut rows = vec![
        (format!("{topo} exec {first} -- ip addr"), "run something in a worker".to_owned()),
        (format!("{topo} shell"), format!("the prompt: pingall, net, {first} ping …, help")),
        (format!("{topo} down"), "end it".to_owned()),
    ];
    if let Some((pod, address)) = two_pods(status) {
        let ping = format!("{topo} exec {pod} -- ping -c3 {address}");
        rows.insert(1, (ping, "from a pod to one of another worker".to_owned()));
    }
    if linked {
        let graph = (format!("{topo} skupper graph"), "services across clusters, in a second".to_owned());
        rows.insert(rows.len() - 2, graph);
    }
    let width = rows.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    for (command, meaning) in rows {
        line(format_args!("  {command:width$}  {meaning}"));
    }
}

/// A pod, and the address of one on another worker of its cluster.
fn two_pods(status: &LabStatus) -> Option<(String, String)> {
    let cluster = status.clusters.first()?;
    let mut with_pods = cluster.workers.iter().filter_map(|worker| worker.pods.first());
    let (first, second) = (with_pods.next()?, with_pods.next()?);
    let name = match first.namespace.as_str() {
        "default" => format!("{}/{}", cluster.name, first.name),
        other => format!("{}/{other}/{}", cluster.name, first.name),
    };
    Some((name, second.pod_ip.clone()?))
}

/// What to type to run this program again: `topo`, if that is what PATH has, else as it was called.
fn own_name() -> String {
    let called = std::env::args().next().unwrap_or_else(|| "topo".into());
    let same = |path: std::path::PathBuf| Some(path.canonicalize().ok()? == std::env::current_exe().ok()?);
    let on_path = lab::programs::find("topo").and_then(same).unwrap_or(false);
    if on_path || !called.contains('/') { "topo".into() } else { called }
}

fn option(lab: &LabName) -> String {
    if lab.as_str() == lab::state::DEFAULT_LAB { String::new() } else { format!(" --lab {lab}") }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn summary(topology: &Topology) -> String {
    let workers: usize = topology.clusters.iter().map(|c| c.workers.len()).sum();
    let etcd: usize = topology.clusters.iter().map(|c| c.etcd.len()).sum();
    format!(
        "ok: {}, {}, {}",
        count(topology.clusters.len(), "cluster"),
        count(workers, "worker"),
        count(etcd, "etcd node"),
    )
}
