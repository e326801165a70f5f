//! `topo probe`: the process that tries everything, in namespaces that end with it.

mod impairments;
mod links;
mod mounts;
mod netlink;
mod nftables;
mod packets;

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use runtime::chain;

use super::check::Outcome;
use super::wire::{WIRE, Word};

/// Runs all checks and tells of them. Only for the process that doctor starts.
pub(crate) fn run() -> Result<ExitCode> {
    // It mounts over /run: in the machine's own namespaces that would be a disaster.
    if std::process::id() != 1 {
        bail!("probe: only `topo doctor` starts this");
    }
    let wire = net::process::inherited(WIRE)?;
    // Doctor may be killed, too; there is nobody to tell then.
    prctl::set_pdeathsig(Signal::SIGKILL).context("probe: ask to end with doctor")?;
    let teller = Teller(Mutex::new(wire.into()));
    let own = mounts::run(&teller);
    if links::nested(&teller, own) {
        everything_else(&teller);
    }
    teller.tell(&Word::Finished);
    Ok(ExitCode::SUCCESS)
}

/// Side by side, each in a network of its own: what hangs holds up only what comes after it there.
fn everything_else(teller: &Teller) {
    let lanes: [fn(&Lane<'_>); 5] =
        [links::run, packets::run, nftables::hooks, nftables::rules, impairments::run];
    thread::scope(|scope| {
        for lane in lanes {
            scope.spawn(move || match Lane::open(teller) {
                Ok(open) => lane(&open),
                Err(error) => teller.tell(&Word::Hindered(chain(error.as_ref()))),
            });
        }
    });
}

/// A thread in a network namespace of its own.
#[derive(Debug)]
struct Lane<'a> {
    teller: &'a Teller,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Lane<'a> {
    /// Moves the calling thread into a new namespace.
    fn open(teller: &'a Teller) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("make one network namespace more")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { teller, runtime })
    }

    fn attempt(&self, name: &str, what: impl FnOnce() -> Result<String>) -> bool {
        self.teller.attempt(name, what)
    }

    fn attempt_async(&self, name: &str, what: impl Future<Output = Result<String>>) -> bool {
        self.attempt(name, || self.runtime.block_on(what))
    }
}

/// What could not be tried, which says nothing of the machine.
#[derive(Debug, thiserror::Error)]
#[error("not tried: {0}")]
struct NotTried(String);

/// The way to doctor.
#[derive(Debug)]
struct Teller(Mutex<File>);

impl Teller {
    /// Tries something and tells what came of it: a detail worth knowing, or an error. Says whether it
    /// worked.
    fn attempt(&self, name: &str, what: impl FnOnce() -> Result<String>) -> bool {
        self.tell(&Word::Begun(name.into()));
        let outcome = what();
        let (result, detail, errno) = match &outcome {
            Ok(detail) => (Outcome::Ok, detail.clone(), None),
            Err(error) if error.is::<NotTried>() => (Outcome::Limited, error.to_string(), None),
            Err(error) => (Outcome::Missing, chain(error.as_ref()), errno(error)),
        };
        self.tell(&Word::Ended { name: name.into(), result, detail, errno });
        outcome.is_ok()
    }

    fn tell(&self, word: &Word) {
        let mut line = serde_json::to_vec(word).unwrap_or_default();
        line.push(b'\n');
        let mut wire = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wire.write_all(&line).is_err() {
            // Nobody listens any more.
            std::process::exit(1);
        }
    }
}

/// What the kernel said, wherever it stands in the chain.
fn errno(error: &anyhow::Error) -> Option<i32> {
    error.chain().find_map(|cause| match cause.downcast_ref::<nix::errno::Errno>() {
        Some(errno) => Some(*errno as i32),
        None => cause.downcast_ref::<io::Error>()?.raw_os_error(),
    })
}
