//! Running something inside a lab: `topo exec`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use lab::{Client, Entry, LabName, StateDir};
use net::{mount, process};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::fstat;
use nix::unistd::Pid;

use crate::output::{self, Hinted};

/// What a shell says of a command that is not there, and of one that is none (POSIX, `sh`).
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Signals that are for the command, if someone sends them to us.
const PASSED_ON: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// The running lab of that name.
pub(crate) fn client(lab: &LabName) -> Result<Client> {
    Ok(Client::of(StateDir::of(lab))?)
}

/// The way into a node or a pod.
pub(crate) fn enter(client: &Client, place: &str) -> Result<(Entry, Vec<OwnedFd>)> {
    client.enter(place).map_err(|error| match pods_called(client, place).as_slice() {
        [] => error.into(),
        pods => {
            let hint = format!("did you mean the pod {}?", pods.join(" or "));
            Hinted { message: error.to_string(), hint }.into()
        }
    })
}

/// Pods of that name, as C0/c1: who leaves the cluster out may mean one of them.
pub(crate) fn pods_called(client: &Client, name: &str) -> Vec<String> {
    let Ok(status) = client.status() else { return Vec::new() };
    let pods = status.clusters.iter().flat_map(|cluster| {
        let pods = cluster.workers.iter().flat_map(|worker| &worker.pods);
        pods.filter(|pod| pod.name == name).map(|pod| match pod.namespace.as_str() {
            "default" => format!("{}/{name}", cluster.name),
            namespace => format!("{}/{namespace}/{name}", cluster.name),
        })
    });
    pods.collect()
}

/// Runs a command in a node, and ends as it ends.
pub(crate) fn exec(lab: &LabName, node: &str, command: &[OsString]) -> Result<ExitCode> {
    let client = client(lab)?;
    let folder = env::current_dir().ok();
    let (entry, fds) = enter(&client, node)?;
    join(&entry.namespaces, &fds)?;
    // A pod has its own files in place already.
    if !node.is_empty() && entry.env.is_none() {
        see_as(node)?;
    }
    if entry.single_id {
        // Where it cannot be had, pid 1 could not either and has said so.
        let _ = net::ids::pretend_to_change();
    }
    // The same folder, if there is one of that name in here.
    if folder.is_none_or(|folder| env::set_current_dir(folder).is_err()) {
        env::set_current_dir("/").context("go to /")?;
    }
    let [program, args @ ..] = command else { bail!("exec: no command") };
    let mut child = Command::new(program);
    child.args(args);
    child.env(lab::state::LAB_VARIABLE, lab.as_str());
    if let Some(base) = client.state().path().parent() {
        child.env(lab::state::STATE_VARIABLE, base);
    }
    // Programs are looked for on the PATH that they get.
    child.env("PATH", lab::programs::path());
    if let Some(env) = entry.env {
        // As in a container, but for what a terminal needs.
        for (name, _) in env::vars_os().filter(|(name, _)| name != "TERM") {
            child.env_remove(name);
        }
        child.env_remove(lab::state::LAB_VARIABLE).env_remove(lab::state::STATE_VARIABLE);
        child.env("PATH", images::PATH).envs(env);
    }
    run(child, &program.to_string_lossy())
}

/// Runs a prepared command in the foreground: signals go on to it, its status comes back.
pub(crate) fn run(mut command: Command, name: &str) -> Result<ExitCode> {
    process::expect_children();
    let mut set: SigSet = PASSED_ON.into_iter().collect();
    set.add(Signal::SIGCHLD);
    set.thread_block().context("block signals")?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).context("catch signals")?;
    process::unblock_signals(&mut command);
    process::die_with_parent(&mut command);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(e) => return Ok(not_started(name, &e)),
    };
    let status = wait(child, &signals).with_context(|| format!("wait for {name}"))?;
    take_terminal_back();
    Ok(ExitCode::from(code(status)))
}

/// A shell that made itself the terminal's foreground group cannot give it back to a group outside of its
/// pid namespace; who reads from the terminal next would be stopped.
fn take_terminal_back() {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return;
    }
    let mut set = SigSet::empty();
    set.add(Signal::SIGTTOU);
    // Blocked, because the kernel sends it to a background group that does this (tcsetpgrp(3)).
    if set.thread_block().is_ok() {
        let _ = nix::unistd::tcsetpgrp(&stdin, nix::unistd::getpgrp());
        let _ = set.thread_unblock();
    }
}

fn not_started(name: &str, error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::NotFound {
        output::note(format_args!("topo: exec: {name}: command not found"));
        return ExitCode::from(NOT_FOUND);
    }
    output::note(format_args!("topo: exec: {name}: {error}"));
    ExitCode::from(NOT_EXECUTABLE)
}

fn wait(mut child: Child, signals: &SignalFd) -> Result<ExitStatus> {
    let pid = Pid::from_raw(child.id() as i32);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let Some(info) = signals.read_signal()? else { continue };
        let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else { continue };
        // What the terminal sends goes to its whole foreground group, the command included.
        let from_terminal = info.ssi_code == nix::libc::SI_KERNEL;
        if signal != Signal::SIGCHLD && !from_terminal {
            // It may just have ended.
            let _ = kill(pid, signal);
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    u8::try_from(code).unwrap_or(255)
}

/// Enters namespaces, but those that this process is in already: entering one's own user namespace is an
/// error (`setns(2)`).
pub(crate) fn join(kinds: &[String], fds: &[OwnedFd]) -> Result<()> {
    let others: Vec<_> =
        kinds.iter().zip(fds).filter(|(kind, fd)| !is_own(kind, fd)).map(|(_, fd)| fd).collect();
    let fds: Vec<_> = others.iter().map(|fd| fd.as_fd()).collect();
    process::join(&fds).context("enter the lab")
}

fn is_own(kind: &str, fd: &OwnedFd) -> bool {
    let own = fs::metadata(Path::new("/proc/self/ns").join(kind));
    match (fstat(fd), own) {
        (Ok(theirs), Ok(own)) => std::os::unix::fs::MetadataExt::ino(&own) == theirs.st_ino,
        _ => false,
    }
}

/// Makes /sys and /etc those of the node, for this process and its children, as `ip-netns(8)` does.
fn see_as(node: &str) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    mount::make_slave()?;
    mount::detach(Path::new("/sys"));
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Not to be had in every container; what reads /sys/class/net then sees the lab's switches.
    let _ = mount::fs("sysfs", Path::new("/sys"), plain, "");
    let own = Path::new("/etc/netns").join(node);
    let Ok(files) = fs::read_dir(own) else { return Ok(()) };
    for file in files.flatten() {
        let target = Path::new("/etc").join(file.file_name());
        if target.exists() {
            mount::bind(&file.path(), &target)?;
        }
    }
    Ok(())
}
