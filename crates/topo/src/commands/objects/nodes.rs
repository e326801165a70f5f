//! `topo taint`, `topo cordon`, `topo uncordon`, `topo drain`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use api::kinds::{NODES, PODS};
use kubectl::apply::DryRun;
use kubectl::drain::{self, Options, Plan};
use kubectl::query::Scope;
use kubectl::taint::{self, Taints};
use kubectl::targets::{Target, Targets};
use kubectl::{Error, delete};
use lab::LabName;
use serde_json::Value;
use store::Store;
use tokio::time::Instant;

use super::{Report, fatal, interrupted, meant, with_store};
use crate::cli::nodes::{CommonArgs, CordonArgs, DrainArgs, TaintArgs};
use crate::output::{line, note};

/// A year is for ever.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

pub(crate) fn taint(lab: &LabName, args: &TaintArgs) -> Result<ExitCode> {
    const VERB: &str = "taint";
    let asked = Taints::split(&args.words).and_then(|(words, taints)| {
        let (targets, scope) = of_words(&words, args)?;
        Ok((targets, scope, taints))
    });
    let (targets, scope, taints) = match asked {
        Ok(asked) => asked,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    with_store(lab, args.common.cluster.as_deref(), async |store| {
        let mut report = Report::new(VERB);
        for (_, node) in meant(&store, &targets, &scope, &mut report).await {
            match taint::taint(&store, &node, &taints, args.overwrite, args.common.dry_run.into()).await {
                Ok(text) => line(text),
                Err(error) => report.error(&error),
            }
        }
        Ok(report.code())
    })
}

fn of_words(words: &[String], args: &TaintArgs) -> kubectl::Result<(Targets, Scope)> {
    if words.is_empty() {
        return Err(Error::Usage("one or more resources must be specified as <resource> <name>".into()));
    }
    let targets = Targets::parse(words)?;
    if let Some(other) = targets.each.iter().find(|target| *target.info != NODES) {
        let kind = other.info.plural;
        return Err(Error::Usage(format!("invalid resource type {kind}, only node types are supported")));
    }
    if !targets.named() && !args.all && args.common.selector.is_none() {
        let why = "at least one resource name must be specified since 'all' parameter is not set";
        return Err(Error::Usage(why.into()));
    }
    let scope = selected(&args.common)?;
    scope.check(&targets)?;
    Ok((targets, scope))
}

fn selected(args: &CommonArgs) -> kubectl::Result<Scope> {
    Ok(Scope { labels: args.selector.as_deref().unwrap_or_default().parse()?, ..Scope::default() })
}

/// The nodes that are named, or selected by labels.
fn of_names(args: &CordonArgs) -> kubectl::Result<(Targets, Scope)> {
    let bare = |name: &String| {
        ["node/", "nodes/", "no/"]
            .into_iter()
            .find_map(|kind| name.strip_prefix(kind))
            .unwrap_or(name)
            .to_owned()
    };
    let names: Vec<String> = args.nodes.iter().map(bare).collect();
    let names = Some(names).filter(|names| !names.is_empty());
    Ok((Targets { each: vec![Target { info: &NODES, names }], single: false }, selected(&args.common)?))
}

pub(crate) fn cordon(lab: &LabName, args: &CordonArgs, wanted: bool) -> Result<ExitCode> {
    let verb = if wanted { "cordon" } else { "uncordon" };
    let (targets, scope) = match of_names(args) {
        Ok(asked) => asked,
        Err(error) => return Ok(fatal(verb, &error)),
    };
    with_store(lab, args.common.cluster.as_deref(), async |store| {
        let mut report = Report::new(verb);
        for (_, node) in meant(&store, &targets, &scope, &mut report).await {
            match taint::cordon(&store, &node, wanted, args.common.dry_run.into()).await {
                Ok(text) => line(text),
                Err(error) => report.error(&error),
            }
        }
        Ok(report.code())
    })
}

pub(crate) fn drain(lab: &LabName, args: &DrainArgs) -> Result<ExitCode> {
    const VERB: &str = "drain";
    let asked = of_names(&args.nodes).and_then(|(targets, scope)| {
        let options = Options {
            ignore_daemon_sets: args.ignore_daemonsets,
            delete_empty_dir_data: args.delete_emptydir_data,
            force: args.force,
            pods: args.pod_selector.parse()?,
        };
        Ok((targets, scope, options))
    });
    let (targets, scope, options) = match asked {
        Ok(asked) => asked,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    with_store(lab, args.nodes.common.cluster.as_deref(), async |store| {
        let mut report = Report::new(VERB);
        let nodes = meant(&store, &targets, &scope, &mut report).await;
        let job = Job { args, options, dry_run: args.nodes.common.dry_run.into() };
        let nodes = nodes.into_iter().map(|(_, node)| node).collect();
        tokio::select! {
            () = job.run(&store, nodes, &mut report) => {}
            code = interrupted() => return code,
        }
        Ok(report.code())
    })
}

struct Job<'a> {
    args: &'a DrainArgs,
    options: Options,
    dry_run: DryRun,
}

impl Job<'_> {
    /// All are cordoned first: pods of one do not go to another that is next.
    async fn run(&self, store: &Store, nodes: Vec<Value>, report: &mut Report) {
        let mut cordoned = Vec::new();
        for node in nodes {
            match taint::cordon(store, &node, true, self.dry_run).await {
                Ok(text) => {
                    line(text);
                    cordoned.push(node);
                }
                Err(error) => report.error(&error),
            }
        }
        let mut pending = Vec::new();
        for node in &cordoned {
            let name = node["metadata"]["name"].as_str().unwrap_or_default();
            match self.empty(store, name).await {
                Ok(()) => line(format_args!("node/{name} drained{}", self.dry_run.suffix())),
                Err(error) => {
                    report.error(&Error::Failed(format!(
                        "unable to drain node {name:?} due to error: {error}, continuing command..."
                    )));
                    pending.push(name);
                }
            }
        }
        if !pending.is_empty() {
            note("There are pending nodes to be drained:");
            pending.iter().for_each(|name| note(format_args!(" {name}")));
        }
    }

    async fn empty(&self, store: &Store, node: &str) -> kubectl::Result<()> {
        let Plan { evict, warnings, errors } = drain::plan(store, node, &self.options).await?;
        if !errors.is_empty() {
            return Err(several(&errors));
        }
        if !warnings.is_empty() {
            note(format_args!("Warning: {}", warnings.join("; ")));
        }
        let grace = Some(self.args.grace_period).filter(|grace| *grace >= 0);
        let limit = Some(self.args.timeout).filter(|timeout| !timeout.is_zero());
        let deadline = Instant::now() + limit.unwrap_or(FOR_EVER);
        let (mut going, mut errors) = (Vec::new(), Vec::new());
        for pod in &evict {
            let full_name = drain::full_name(pod);
            line(format_args!("evicting pod {full_name}{}", self.dry_run.suffix()));
            if self.dry_run != DryRun::None {
                continue;
            }
            match drain::evict(store, pod, grace).await {
                Ok(pod) => going.extend(pod),
                Err(error) => {
                    errors.push(format!("error when evicting pod {full_name}: {}", runtime::chain(&error)))
                }
            }
        }
        let mut lingering = Vec::new();
        for pod in &going {
            let left = deadline.saturating_duration_since(Instant::now());
            match delete::wait_gone(store, &PODS, pod, Some(left)).await {
                Ok(()) => {
                    line(format_args!("pod/{} evicted", pod["metadata"]["name"].as_str().unwrap_or_default()))
                }
                Err(Error::Timeout { .. }) => {
                    lingering.push(pod);
                    errors.push(format!(
                        "error when evicting pod {}: global timeout reached: {:?}",
                        drain::full_name(pod),
                        self.args.timeout
                    ));
                }
                Err(error) => errors.push(runtime::chain(&error)),
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        if !lingering.is_empty() {
            note(format_args!("There are pending pods in node {node:?} when an error occurred:"));
            lingering.iter().for_each(|pod| {
                note(format_args!("pod/{}", pod["metadata"]["name"].as_str().unwrap_or_default()))
            });
        }
        Err(several(&errors))
    }
}

/// Several errors as one, in kubectl's brackets.
fn several(errors: &[String]) -> Error {
    Error::Failed(match errors {
        [one] => one.clone(),
        more => format!("[{}]", more.join(", ")),
    })
}
