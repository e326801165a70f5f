//! The first process of a pod: holds its namespaces, starts its containers, tells what becomes of them.
//!
//! One thread, one `poll(2)`; short-lived threads only to start a process. It must be small, as every pod
//! has one, and it must never end before its pod does: whatever a client sends, it goes on.

mod child;
mod client;
mod mounts;
mod root;
mod setup;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use net::process;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{Backlog, listen};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::protocol::{ContainerState, Event, Files, Outcome, Phase, Process, Request};
use child::Child;
use client::Client;
use mounts::View;

pub(crate) use root::MOUNT_POINTS;
pub(crate) use setup::{LAYOUT, VOLUMES};

/// The descriptor of the socket that agents connect to.
pub(crate) const LISTENER: i32 = 3;
/// The descriptor of the folder for logs.
pub(crate) const LOGS: i32 = 4;

/// Runs a pod's sandbox, whose folder this is, until it is killed.
#[must_use]
pub fn main(folder: &Path) -> ExitCode {
    match run(folder) {
        Ok(never) => match never {},
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(folder: &Path) -> net::Result<std::convert::Infallible> {
    let failed = |what: &'static str| move |e: Errno| net::Error::sys(what, e);
    let listener = UnixListener::from(process::inherited(LISTENER)?);
    let logs = process::inherited(LOGS)?;
    // Once more, so that whoever connects from now on sees this process's pid (unix(7), SO_PEERCRED).
    listen(&listener, Backlog::MAXALLOWABLE).map_err(failed("listen"))?;
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.thread_block().map_err(failed("block signals"))?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("catch signals"))?;
    if let Err(error) = setup::world(folder) {
        return refuse(&listener, &runtime::chain(&error));
    }
    listener.set_nonblocking(true).map_err(|e| net::Error::sys("listen", e))?;
    let mut shim = Shim {
        logs: PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&logs))),
        listener,
        signals,
        clients: Vec::new(),
        came: 0,
        history: BTreeMap::new(),
        env: Vec::new(),
        children: Vec::new(),
    };
    loop {
        shim.turn();
    }
}

/// There is no sandbox: whoever made it is told why.
fn refuse(listener: &UnixListener, message: &str) -> net::Result<std::convert::Infallible> {
    let (stream, _) = listener.accept().map_err(|e| net::Error::sys("accept", e))?;
    let mut client = Client::new(0, stream);
    client.send(&Event::Hello { error: Some(message.into()), containers: Vec::new() });
    Err(net::Error::Other(message.into()))
}

struct Shim {
    logs: PathBuf,
    listener: UnixListener,
    signals: SignalFd,
    clients: Vec<Client>,
    /// How many clients there were.
    came: u64,
    /// Of each container the present or last run, after the one before.
    history: BTreeMap<String, Vec<ContainerState>>,
    /// The environment of the container that was started last, for commands from outside when none runs.
    env: Vec<(String, String)>,
    children: Vec<Child>,
}

impl Shim {
    /// Waits until something happens, and does what is due.
    fn turn(&mut self) {
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(self.clients.iter().map(Client::poll));
        fds.extend(self.children.iter().flat_map(Child::poll));
        // Trouble here means a descriptor that is gone, which the next turn does not ask for any more.
        let _ = poll(&mut fds, self.timeout());
        self.accept();
        self.hear();
        for child in &mut self.children {
            child.pump();
        }
        self.reap();
        self.punish();
        self.part();
    }

    /// Forgets the clients that have left, and ends what only they wanted to know.
    fn part(&mut self) {
        self.clients.retain_mut(|client| client.flush());
        let here = |id| self.clients.iter().any(|client| client.id() == id);
        for child in self.children.iter().filter(|child| child.client().is_some_and(|id| !here(id))) {
            child.signal(Signal::SIGKILL);
        }
    }

    /// Until the next command's time is up.
    fn timeout(&self) -> PollTimeout {
        let Some(next) = self.children.iter().filter_map(Child::deadline).min() else {
            return PollTimeout::NONE;
        };
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.welcome(stream);
        }
    }

    fn welcome(&mut self, stream: UnixStream) {
        self.came += 1;
        let mut client = Client::new(self.came, stream);
        let containers = self.history.values().flatten().cloned().collect();
        client.send(&Event::Hello { error: None, containers });
        self.clients.push(client);
    }

    fn hear(&mut self) {
        let mut heard = Vec::new();
        for (number, client) in self.clients.iter_mut().enumerate() {
            heard.extend(client.receive().into_iter().map(|request| (number, request)));
        }
        for (number, request) in heard {
            match request {
                Request::Start { container, attempt, process, files } => {
                    self.start(container, attempt, &process, &files);
                }
                Request::Refuse { container, attempt, message } => {
                    self.not_started(container, attempt, message);
                }
                Request::Run { id, container, process, limit_ms } => {
                    let view = self.view(|child| child.container() == Some(&container));
                    let deadline = Instant::now() + Duration::from_millis(limit_ms);
                    let client = self.clients[number].id();
                    self.run(number, id, Child::command(client, id, &process, deadline, view));
                }
                Request::Signal { container, signal } => self.signal(&container, signal),
                Request::Enter { container } => {
                    let wanted = main_of(&self.children, container.as_deref());
                    let env = wanted.and_then(Child::env).unwrap_or(&self.env);
                    let view = wanted.and_then(Child::view);
                    self.clients[number].hand_over(env, view);
                }
            }
        }
    }

    fn start(&mut self, container: String, attempt: u32, process: &Process, files: &Files) {
        let of_container = |child: &Child| child.container() == Some(&container);
        if self.children.iter().any(of_container) {
            // Asked twice, as by an agent that was restarted in between: it runs already.
            return;
        }
        self.env.clone_from(&process.env);
        let started_at = now();
        let folder = self.logs.join(&container);
        // The present run's and the one's before are shown; the others would grow without end.
        crate::log::remove_before(&folder, attempt.saturating_sub(1));
        let log = folder.join(format!("{attempt}.log"));
        match Child::container_of(&container, process, files, log) {
            Ok(child) => {
                let phase = Phase::Running { pid: child.pid() };
                self.children.push(child);
                self.record(ContainerState { name: container, attempt, started_at, phase });
            }
            Err(message) => self.not_started(container, attempt, message),
        }
    }

    fn not_started(&mut self, name: String, attempt: u32, message: String) {
        // What a shell says of it (POSIX, `sh`), and containerd's 128 for everything else.
        let code = if message.contains("not found") { 127 } else { 128 };
        let at = now();
        let phase = Phase::Exited { code, signal: None, finished_at: at, message: Some(message) };
        self.record(ContainerState { name, attempt, started_at: at, phase });
    }

    fn run(&mut self, client: usize, id: u64, started: Result<Child, String>) {
        match started {
            Ok(child) => self.children.push(child),
            Err(message) => {
                self.clients[client].send(&Event::Ran { id, outcome: Outcome::NotStarted { message } });
            }
        }
    }

    /// What the first of these processes sees.
    fn view(&self, which: impl Fn(&Child) -> bool) -> Option<View> {
        self.children.iter().find(|child| which(child))?.view().cloned()
    }

    fn signal(&mut self, container: &str, signal: i32) {
        let Ok(signal) = Signal::try_from(signal) else { return };
        if let Some(child) = self.children.iter().find(|child| child.container() == Some(container)) {
            child.signal(signal);
        }
    }

    /// Collects whoever has ended, ours or left behind by others.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (code, signal) = match status {
                WaitStatus::Exited(_, code) => (code, None),
                WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, Some(signal as i32)),
                WaitStatus::StillAlive => break,
                _ => continue,
            };
            let ours = self.children.iter().position(|child| status.pid().is_some_and(|pid| child.is(pid)));
            if let Some(number) = ours {
                let child = self.children.remove(number);
                self.ended(child, code, signal);
            }
        }
    }

    fn ended(&mut self, mut child: Child, code: i32, signal: Option<i32>) {
        // What it has left behind would hold the ports that its next run wants.
        let alone = !self.children.iter().any(|other| other.container().is_some());
        child.clear_away(alone);
        child.finish();
        match child.container() {
            Some(name) => {
                let last = self.history.get(name).and_then(|runs| runs.last()).cloned();
                let Some(last) = last else { return };
                let finished_at = now();
                self.record(ContainerState {
                    phase: Phase::Exited { code, signal, finished_at, message: None },
                    ..last
                });
            }
            None => {
                // His alone: another's number may be the same.
                let asker = self.clients.iter_mut().find(|client| child.client() == Some(client.id()));
                let (id, outcome) = child.outcome(code);
                if let Some(asker) = asker {
                    asker.send(&Event::Ran { id, outcome });
                }
            }
        }
    }

    /// Ends the commands whose time is up.
    fn punish(&mut self) {
        let now = Instant::now();
        for child in &mut self.children {
            if child.deadline().is_some_and(|deadline| deadline <= now) {
                child.time_out();
            }
        }
    }

    fn record(&mut self, state: ContainerState) {
        let runs = self.history.entry(state.name.clone()).or_default();
        runs.retain(|run| run.attempt != state.attempt);
        runs.push(state.clone());
        if runs.len() > 2 {
            runs.remove(0);
        }
        self.tell(&Event::Container(state));
    }

    fn tell(&mut self, event: &Event) {
        for client in &mut self.clients {
            client.send(event);
        }
    }
}

/// The container of that name, or else the one that was started last.
fn main_of<'a>(children: &'a [Child], name: Option<&str>) -> Option<&'a Child> {
    let mut containers = children.iter().filter(|child| child.container().is_some());
    let named = containers.clone().find(|child| name.is_some() && child.container() == name);
    named.or_else(|| containers.next_back())
}

/// Microseconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
