//! `topo doctor`: what this machine and kernel can do, found out by trying.
//!
//! ```text
//! topo doctor ── Sandbox ──▶ topo probe (pid 1 of its own namespaces, as a lab's)
//!   │  ◀── wire: a line when a check begins, one when it ends ──┤ mounts
//!   ├ tools: versions, by running them                          ├ links, packets, nftables, impairments
//!   └ machine: figures of the host                              └ each on a thread in a namespace of its own
//! ```
//!
//! The probe may hang or die: the checks that had begun are then to blame, and the kernel takes
//! everything away with it.

mod catalogue;
mod check;
mod forbidden;
mod machine;
mod modules;
mod print;
mod probe;
mod program;
mod tools;
mod watch;
mod wire;

use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use net::sandbox::IdMap;
use nix::unistd::Uid;
use runtime::chain;

use self::check::{Check, Group, Outcome, Report, User, as_root};
use self::watch::Watched;
use crate::cli::{Output, OutputArgs};
use crate::output;

pub(crate) use self::probe::run as probe;

pub(crate) fn run(args: &OutputArgs) -> Result<ExitCode> {
    // First of all: it takes a process with a single thread.
    let started = watch::start();
    let (namespaces, tools) = thread::scope(|scope| {
        let tools = scope.spawn(tools::checks);
        let namespaces = started.map(watch::Probe::watch);
        (namespaces, tools.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let report = assemble(namespaces, tools);
    match args.output {
        Output::Json => output::json(&report)?,
        Output::Table => print::report(&report),
    }
    Ok(if report.labs { ExitCode::SUCCESS } else { ExitCode::from(output::NO) })
}

fn assemble(namespaces: Result<Watched, net::Error>, tools: Vec<Check>) -> Report {
    let root = Uid::effective().is_root();
    let mut user = User { uid: Uid::current().as_raw(), root, user_namespace: None, ids: None };
    let mut checks = Vec::new();
    let failed = |error: net::Error| (chain(&error), error.errno());
    // One that dies before its first check was not let start either.
    let inside = namespaces.map_err(failed).and_then(|watched| match watched.seen.nothing() {
        Some(why) => Err((why.to_owned(), None)),
        None => Ok(watched),
    });
    match inside {
        Ok(watched) => {
            user.user_namespace = Some(watched.user);
            user.ids = Some(ids_word(&watched.ids));
            checks.push(Check::ok(Group::Namespaces, "namespaces", true, kind(&watched)));
            checks.push(ids(&watched.ids, root));
            checks.extend(catalogue::checks(&watched.seen, root));
        }
        Err((error, errno)) => checks.push(forbidden::check(&error, errno, root)),
    }
    checks.extend(tools);
    checks.extend(machine::checks(root));
    let labs = checks.iter().all(|check| !check.required || check.result != Outcome::Missing);
    Report { labs, user, kernel: machine::kernel(), checks }
}

fn kind(watched: &Watched) -> String {
    let user = if watched.user { "user, " } else { "" };
    format!("{user}mount, pid, network, uts, ipc: as a lab has them")
}

fn ids_word(ids: &IdMap) -> &'static str {
    match ids {
        IdMap::Host => "host",
        IdMap::Range(_) => "range",
        IdMap::Single { .. } => "single",
    }
}

/// How many users a lab can have.
fn ids(ids: &IdMap, root: bool) -> Check {
    let (group, name) = (Group::Namespaces, "user ids");
    match ids {
        IdMap::Host => Check::ok(group, name, false, "those of the machine"),
        IdMap::Range(count) => Check::ok(group, name, false, format!("root and {count} more")),
        IdMap::Single { why } => Check {
            detail: why.clone(),
            cost: Some("programs of a lab that change their user stay its root".into()),
            fix: Some(id_range(root)),
            ..Check::not(Outcome::Limited, group, name, false)
        },
    }
}

/// How a user gets a range of ids (`subuid(5)`).
fn id_range(root: bool) -> String {
    let range = as_root(root, "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER");
    match lab::programs::find("newuidmap") {
        Some(_) => range,
        None => format!("{}; {range}", as_root(root, "apt-get install uidmap")),
    }
}
