//! `topo logs`.

mod pod;
mod selected;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use lab::{Client, LabName, StateDir};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::cli::pods::LogsArgs;
use crate::commands::objects::cluster_name;
use crate::enter::pods_called;
use crate::output::{self, Hinted, line};

/// More names are too many to read.
const MOST_KNOWN: usize = 12;
/// Beside the nodes' folders, that of all pods' logs: a folder a cluster.
const PODS: &str = "pods";

pub(crate) fn run(lab: &LabName, args: &LogsArgs) -> Result<ExitCode> {
    let state = StateDir::of(lab);
    if state.life().is_none() {
        return Err(lab::Error::NotRunning(lab.to_string()).into());
    }
    let pods = state.logs().join(PODS);
    if let Some(selector) = &args.selected.selector {
        return selected::run(lab, &pods, selector, args);
    }
    if args.target.is_empty() {
        let hint = "NODE, as C0w1, POD, as C0/c1, or -l LABELS".into();
        return Err(Hinted { message: "logs: whose?".into(), hint }.into());
    }
    if args.target.contains('/') {
        return pod::run(&pods, args);
    }
    let folder = state.logs().join(&args.target);
    let mut files = logs_in(&folder);
    if files.is_empty() {
        // As kubectl's users name pods.
        let asked = &args.selected;
        let cluster = cluster_name(lab, asked.cluster.as_deref())?;
        if kubelet::logs::files::find_pod(&pods.join(&cluster), &asked.namespace, &args.target)?.is_some() {
            return pod::of_pod(&pods, (&cluster, &asked.namespace, &args.target), args);
        }
    }
    refuse_options_of_pods(args)?;
    if files.is_empty() {
        let mut known = names(&state.logs());
        known.retain(|name| name != PODS);
        if let [pod, ..] = pods_called(&Client::of(state)?, &args.target).as_slice() {
            let message = format!("logs: there are no logs of a node {}", args.target);
            return Err(Hinted { message, hint: format!("did you mean the pod {pod}?") }.into());
        }
        return Err(missing(&format!("there are no logs of {}", args.target), &args.target, &known));
    }
    if let Some(component) = &args.component {
        let known: Vec<String> = files.keys().cloned().collect();
        files.retain(|name, _| name == component);
        if files.is_empty() {
            let what = format!("there is no {component} in {}", args.target);
            return Err(missing(&what, component, &known));
        }
    }
    let several = files.len() > 1;
    let mut tails: Vec<Tail> = files.into_iter().map(|(name, path)| Tail::new(name, path)).collect();
    let mut last = None;
    print(&mut tails, several, &mut last)?;
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).context("watch logs")?;
    let flags = AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_DELETE_SELF;
    inotify.add_watch(&folder, flags).with_context(|| format!("watch {}", folder.display()))?;
    loop {
        print(&mut tails, several, &mut last)?;
        let events = inotify.read_events().context("watch logs")?;
        if events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_DELETE_SELF)) {
            // The lab has ended.
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Logs of nodes are plain text, without times or restarts.
fn refuse_options_of_pods(args: &LogsArgs) -> Result<()> {
    let options = &args.pod;
    let given = [
        ("--container", options.container.is_some()),
        ("--previous", options.previous),
        ("--tail", options.tail.is_some()),
        ("--since", options.since.is_some()),
        ("--timestamps", options.timestamps),
        ("--limit-bytes", options.limit_bytes.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Hinted {
            message: format!("logs: {option} is for pods, and {} is none", args.target),
            hint: "a pod is named with its cluster, as C0/c1".into(),
        }
        .into()),
    }
}

fn missing(what: &str, word: &str, known: &[String]) -> anyhow::Error {
    let near =
        topology::closest(word, known.iter().map(String::as_str)).map(|near| format!("did you mean {near}?"));
    let more = if known.len() > MOST_KNOWN { ", …" } else { "" };
    let known = &known[..known.len().min(MOST_KNOWN)];
    let hint = near.unwrap_or_else(|| format!("there are {}{more}", known.join(", ")));
    Hinted { message: format!("logs: {what}"), hint }.into()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The logs of a node, by component.
fn logs_in(folder: &Path) -> BTreeMap<String, PathBuf> {
    let files = names(folder).into_iter();
    files.filter_map(|name| Some((name.strip_suffix(".log")?.to_owned(), folder.join(&name)))).collect()
}

/// A log that is read on, also over the moment when it is begun anew.
struct Tail {
    name: String,
    path: PathBuf,
    inode: u64,
    position: u64,
}

impl Tail {
    fn new(name: String, path: PathBuf) -> Self {
        Self { name, path, inode: 0, position: 0 }
    }

    /// What has come since the last time.
    fn read(&mut self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let Ok(mut file) = File::open(&self.path) else { return Ok(text) };
        let inode = file.metadata()?.ino();
        if inode != self.inode {
            // The rest of the one that was set aside comes first.
            let aside = self.path.with_extension("log.1");
            if let Ok(mut old) = File::open(&aside)
                && (self.inode == 0 || old.metadata()?.ino() == self.inode)
            {
                old.seek(SeekFrom::Start(self.position))?;
                old.read_to_end(&mut text)?;
            }
            (self.inode, self.position) = (inode, 0);
        }
        file.seek(SeekFrom::Start(self.position))?;
        self.position += file.read_to_end(&mut text)? as u64;
        Ok(text)
    }
}

/// Prints what is new, under the component's name where there are several, as tail does.
fn print(tails: &mut [Tail], several: bool, last: &mut Option<String>) -> Result<()> {
    for tail in tails {
        let text = tail.read()?;
        if text.is_empty() {
            continue;
        }
        if several && last.as_ref() != Some(&tail.name) {
            line(format_args!("==> {} <==", tail.name));
            *last = Some(tail.name.clone());
        }
        output::raw(&text);
    }
    Ok(())
}
