//! Kubernetes' objects: kubectl's verbs, on a cluster's etcd.

mod apply;
mod change;
mod delete;
mod describe;
mod generate;
mod get;
mod nodes;
mod patch;
mod rollout;
mod run;
mod wait;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use api::KindInfo;
use api::kinds::Unknown;
use kubectl::apply::settle;
use kubectl::document::{Document, Documents, Place};
use kubectl::query::{Scope, find};
use kubectl::targets::{Target, Targets};
use kubectl::{Error, format};
use lab::{Client, LabName};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;
use store::Store;
use topology::{Cluster, Topology};

use crate::cli::objects::{DryRun, FileArgs, Form, PlaceArgs, SelectorArgs};
use crate::enter::{client, join};
use crate::output::{self, Hinted, note, raw};

pub(crate) use apply::{create, run as apply};
pub(crate) use change::{mark, scale};
pub(crate) use delete::run as delete;
pub(crate) use describe::run as describe;
pub(crate) use generate::{expose, set_image};
pub(crate) use get::run as get;
pub(crate) use nodes::{cordon, drain, taint};
pub(crate) use patch::run as patch;
pub(crate) use rollout::run as rollout;
pub(crate) use run::run;
pub(crate) use wait::run as wait;

/// Namespaces that one has to be in to reach a cluster's etcd. Files stay the caller's.
const NEEDED: [&str; 2] = ["user", "net"];

/// Runs a future with the objects of a cluster.
pub(crate) fn with_store(
    lab: &LabName,
    cluster: Option<&str>,
    command: impl AsyncFnOnce(Store) -> Result<ExitCode>,
) -> Result<ExitCode> {
    let client = client(lab)?;
    let topology = topology::load(&client.state().topology())?;
    let cluster = find_cluster(&topology, cluster)?;
    let node = cluster.etcd.first().map(|member| member.name.as_str()).unwrap_or_default();
    join_network(&client, node)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { command(Store::etcd(&cluster.etcd_endpoints()).await?).await })
}

/// The cluster of that name; without a name the first.
pub(crate) fn find_cluster<'a>(topology: &'a Topology, name: Option<&str>) -> Result<&'a Cluster> {
    let found = match name {
        Some(name) => topology.clusters.iter().find(|cluster| cluster.name == name),
        None => topology.clusters.first(),
    };
    found.ok_or_else(|| {
        let all: Vec<_> = topology.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        let message = format!("there is no cluster {}", name.unwrap_or_default());
        Hinted { message, hint: format!("there are {}", all.join(", ")) }.into()
    })
}

/// Enters the network of a node, and nothing else of it. To be called before there is a second thread: a user
/// namespace takes in none (setns(2)).
pub(crate) fn join_network(client: &Client, node: &str) -> Result<()> {
    let (entry, fds) = client.enter(node)?;
    let needed =
        entry.namespaces.iter().cloned().zip(fds).filter(|(kind, _)| NEEDED.contains(&kind.as_str()));
    let (kinds, fds): (Vec<_>, Vec<_>) = needed.unzip();
    join(&kinds, &fds)
}

/// The name of a cluster that a user has named, or of the first.
pub(crate) fn cluster_name(lab: &LabName, name: Option<&str>) -> Result<String> {
    let topology = topology::load(&client(lab)?.state().topology())?;
    Ok(find_cluster(&topology, name)?.name.clone())
}

/// Asks several clusters, all or those that are named, each from its own place: one that cannot be reached does
/// not hide the others. The answers are in the clusters' order.
pub(crate) fn in_clusters<T: Send>(
    lab: &LabName,
    names: Option<&[String]>,
    ask: impl AsyncFn(String, Store) -> Result<T> + Sync,
) -> Result<Vec<(String, Result<T>)>> {
    let client = client(lab)?;
    let topology = topology::load(&client.state().topology())?;
    let clusters: Vec<&Cluster> = match names {
        Some(names) => names.iter().map(|name| find_cluster(&topology, Some(name))).collect::<Result<_>>()?,
        None => topology.clusters.iter().collect(),
    };
    let mut places = Vec::new();
    for cluster in clusters {
        let node = cluster.etcd.first().map(|member| member.name.as_str()).unwrap_or_default();
        let (entry, fds) = client.enter(node)?;
        let all: Vec<_> = entry.namespaces.into_iter().zip(fds).collect();
        let (user, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(kind, _)| kind == "user");
        // Before there is a second thread; of all clusters it is the same, and one's own is passed over.
        let (kinds, fds): (Vec<_>, Vec<_>) = user.into_iter().unzip();
        join(&kinds, &fds)?;
        let net = rest.into_iter().find(|(kind, _)| kind == "net");
        places.push((cluster, net));
    }
    let one = |cluster: &Cluster, net: Option<(String, OwnedFd)>| -> Result<T> {
        let (kinds, fds): (Vec<_>, Vec<_>) = net.into_iter().unzip();
        join(&kinds, &fds)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let store = Store::etcd(&cluster.etcd_endpoints()).await?;
            ask(cluster.name.clone(), store).await
        })
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            places.into_iter().map(|(cluster, net)| (cluster, scope.spawn(|| one(cluster, net)))).collect();
        let answers = threads.into_iter().map(|(cluster, thread)| {
            let answer = thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the thread has ended")));
            (cluster.name.clone(), answer)
        });
        Ok(answers.collect())
    })
}

/// What has gone wrong in a command that goes on all the same, and how it ends.
struct Report {
    verb: &'static str,
    worst: u8,
}

impl Report {
    fn new(verb: &'static str) -> Self {
        Self { verb, worst: 0 }
    }

    /// Tells of an error.
    fn error(&mut self, error: &Error) {
        note(format_args!("topo: {}: {}", self.verb, runtime::chain(error)));
        if let Error::Unknown(Unknown::Resource(word)) = error
            && let Some(near) = topology::closest(word, api::kinds::KINDS.iter().map(|kind| kind.plural))
        {
            note(format_args!("hint: did you mean {near}?"));
        }
        self.worst = self.worst.max(if error.is_negative() { output::NO } else { output::ERROR });
    }

    /// Tells of an error with a document, which has its place in a file.
    fn error_at(&mut self, place: &Place, error: &Error) {
        self.failed(&format_args!("{place}: {}", runtime::chain(error)));
        if let Some(namespace) = error.missing_namespace() {
            note(format_args!("hint: `topo create namespace {namespace}` makes it"));
        }
    }

    fn failed(&mut self, error: &impl std::fmt::Display) {
        note(format_args!("topo: {}: {error}", self.verb));
        self.worst = output::ERROR;
    }

    fn code(&self) -> ExitCode {
        ExitCode::from(self.worst)
    }
}

/// An error that ends the command.
fn fatal(verb: &'static str, error: &Error) -> ExitCode {
    let mut report = Report::new(verb);
    report.error(error);
    report.code()
}

/// The documents of files; which of them are bad is told.
fn documents(files: &FileArgs, report: &mut Report) -> Vec<Document> {
    let found: Documents = kubectl::document::read(&files.files, files.recursive, || {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    });
    let mut good = Vec::new();
    for document in found {
        match document {
            Ok(document) => good.push(document),
            Err(error) => report.failed(&error),
        }
    }
    good
}

/// The objects that files name, each with where it is looked for.
fn from_files(files: &FileArgs, place: &PlaceArgs, report: &mut Report) -> Vec<(Target, Scope)> {
    let mut each = Vec::new();
    for mut document in documents(files, report) {
        if let Err(error) = settle(&mut document, place.namespace(), place.namespace.is_some()) {
            report.error_at(&document.place, &error);
            continue;
        }
        let text =
            |pointer: &str| document.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let target = Target { info: document.info, names: Some(vec![text("/metadata/name").into()]) };
        each.push((target, Scope::of(text("/metadata/namespace"))));
    }
    each
}

fn scope(place: &PlaceArgs, selectors: &SelectorArgs) -> Result<Scope, Error> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok(Scope {
        namespace: (!selectors.all_namespaces).then(|| place.namespace().to_owned()),
        labels: text(&selectors.labels).parse()?,
        fields: text(&selectors.fields).parse()?,
    })
}

impl From<DryRun> for kubectl::apply::DryRun {
    fn from(how: DryRun) -> Self {
        match how {
            DryRun::None => Self::None,
            DryRun::Client => Self::Client,
            DryRun::Server => Self::Server,
        }
    }
}

/// One value in a form that is no table.
fn show(form: &Form, value: &Value) {
    match form {
        Form::Yaml => raw(format::yaml(value).as_bytes()),
        Form::JsonPath(template) => raw(template.render(value).as_bytes()),
        _ => raw(format::json(value).as_bytes()),
    }
}

/// The objects that words, a selector or files mean; what is not there is told.
async fn meant(
    store: &Store,
    targets: &Targets,
    scope: &Scope,
    report: &mut Report,
) -> Vec<(&'static KindInfo, Value)> {
    let mut all = Vec::new();
    for target in &targets.each {
        let found = find(store, target, scope).await;
        found.errors.iter().for_each(|error| report.error(error));
        all.extend(found.objects.into_iter().map(|object| (found.info, object)));
    }
    if all.is_empty() && report.worst == 0 {
        report.error(&Error::Failed("no resources found".into()));
    }
    all
}

/// Waits until nobody reads any more what is printed, as of `topo get -w | head`.
async fn reader_gone() {
    const LOOK: Duration = Duration::from_millis(250);
    let stdout = std::io::stdout();
    loop {
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        // A pipe without a reader is an error (poll(2)); files and terminals have none.
        let looked = poll(&mut fds, PollTimeout::ZERO);
        if looked.is_ok() && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR)) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for Ctrl-C, or to be asked to end.
async fn interrupted() -> Result<ExitCode> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut int = signal(SignalKind::interrupt()).context("catch signals")?;
    let mut term = signal(SignalKind::terminate()).context("catch signals")?;
    tokio::select! {
        _ = int.recv() => Ok(ExitCode::from(130)),
        _ = term.recv() => Ok(ExitCode::from(143)),
    }
}
