//! The processes of a lab: started in their namespaces, reaped, started again when they end.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use net::{passing, process};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use runtime::{Backoff, Notice, WorkerReport, chain};
use tokio::io::AsyncReadExt;
use tokio::net::UnixDatagram;
use tokio::net::unix::pipe;
use tokio::signal::unix::SignalKind;
use tokio::sync::{oneshot, watch};

use crate::error::{Error, Result};
use crate::logs::Log;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// What to run, and where.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Node that it belongs to.
    pub(crate) node: String,
    /// As `etcd`, `agent`.
    pub(crate) component: String,
    /// The file; `/proc/self/exe` is this program itself.
    pub(crate) program: PathBuf,
    /// What `ps` shows first.
    pub(crate) arg0: String,
    pub(crate) args: Vec<OsString>,
    /// Entered before the first instruction.
    pub(crate) namespaces: Vec<Arc<OwnedFd>>,
}

/// How a process is.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) pid: Option<i32>,
    pub(crate) ready: bool,
    pub(crate) report: Option<WorkerReport>,
    pub(crate) restarts: u32,
    /// Ends in a row without having been ready.
    pub(crate) failures: u32,
    pub(crate) message: String,
}

impl State {
    fn apply(&mut self, notice: Notice) {
        match notice.report {
            Some(report) => {
                self.ready = report.ready();
                self.report = Some(report);
            }
            None => self.ready |= notice.ready,
        }
        if self.ready {
            self.failures = 0;
            self.message.clear();
        }
    }
}

/// A supervised process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) spec: Spec,
    pub(crate) log: Log,
    state: Mutex<State>,
    stop: watch::Sender<bool>,
}

impl Process {
    pub(crate) fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it for good.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Starts, watches and restarts.
#[derive(Debug)]
pub(crate) struct Supervisor {
    env: Vec<(OsString, OsString)>,
    logs: PathBuf,
    processes: Mutex<Vec<Arc<Process>>>,
    reaper: Reaper,
    /// What a process said that is so new that its pid is not known yet.
    early: Mutex<HashMap<i32, Notice>>,
    /// Moves whenever a state does.
    changed: watch::Sender<u64>,
}

impl Supervisor {
    /// A supervisor whose children get this environment and whose logs go below `logs`.
    pub(crate) fn new(env: Vec<(OsString, OsString)>, logs: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            env,
            logs,
            processes: Mutex::default(),
            reaper: Reaper::default(),
            early: Mutex::default(),
            changed: watch::Sender::new(0),
        })
    }

    /// Reaps whatever ends in this pid namespace, for ever.
    pub(crate) async fn reap(self: Arc<Self>) -> io::Result<()> {
        let mut child_ended = tokio::signal::unix::signal(SignalKind::child())?;
        while child_ended.recv().await.is_some() {
            self.reaper.collect();
        }
        Ok(())
    }

    /// Receives what processes say of themselves, for ever.
    pub(crate) async fn listen(self: Arc<Self>, socket: StdDatagram) -> io::Result<()> {
        passing::expect_senders(&socket)?;
        socket.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(socket)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let received = socket
                .async_io(tokio::io::Interest::READABLE, || {
                    passing::receive_from(socket.as_fd(), &mut buffer)
                })
                .await;
            if let Ok((length, pid)) = received {
                self.take_notice(pid, Notice::parse(&buffer[..length]));
            }
        }
    }

    fn take_notice(&self, pid: i32, notice: Notice) {
        // Held while looking, so that `known` comes either before or after as a whole.
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        match self.processes().into_iter().find(|p| p.lock().pid == Some(pid)) {
            Some(process) => process.lock().apply(notice),
            // Grandchildren speak too; nobody will ask for theirs, and they are few.
            None => {
                early.insert(pid, notice);
            }
        }
        drop(early);
        self.tell();
    }

    /// A process has this pid now; what it has said already counts.
    fn known(&self, process: &Process, pid: i32) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = process.lock();
        state.pid = Some(pid);
        if let Some(notice) = early.remove(&pid) {
            state.apply(notice);
        }
        // Left by processes that are long gone: their pids come again.
        if early.len() > 1000 {
            early.clear();
        }
    }

    /// Starts a process and keeps it running.
    pub(crate) fn start(self: &Arc<Self>, spec: Spec) -> Arc<Process> {
        let process = Arc::new(Process {
            log: Log::new(&self.logs, &spec.node, &spec.component),
            spec,
            state: Mutex::new(State { message: "starting".into(), ..State::default() }),
            stop: watch::Sender::new(false),
        });
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).push(process.clone());
        tokio::spawn(self.clone().keep(process.clone()));
        process
    }

    /// Every process, in the order of their start.
    pub(crate) fn processes(&self) -> Vec<Arc<Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wakes whenever a process's state has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Runs a process again and again until it is stopped.
    async fn keep(self: Arc<Self>, process: Arc<Process>) {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        let mut stop = process.stop.subscribe();
        loop {
            let began = Instant::now();
            let why = tokio::select! {
                why = self.run(&process) => why,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let delay = backoff.after(began.elapsed());
            {
                let mut state = process.lock();
                state.pid = None;
                state.ready = false;
                if let Some(report) = &mut state.report {
                    for component in report.components.values_mut() {
                        component.ready = false;
                        component.message = "the agent is down".into();
                    }
                }
                state.failures += 1;
                state.restarts += 1;
                state.message = format!("{why}; next try in {}", human(delay));
            }
            tracing::warn!(node = %process.spec.node, component = %process.spec.component, %why, ?delay, "ended");
            self.tell();
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let pid = process.lock().pid.take();
        if let Some(pid) = pid {
            // It may have ended by itself just now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).retain(|p| !Arc::ptr_eq(p, &process));
        self.tell();
    }

    /// Runs a process once; says why it ended.
    async fn run(self: &Arc<Self>, process: &Arc<Process>) -> String {
        let this = self.clone();
        let started = process.clone();
        let spawned = tokio::task::spawn_blocking(move || this.spawn(&started)).await;
        let (ended, output) = match spawned {
            Ok(Ok(pair)) => pair,
            Ok(Err(e)) => return format!("cannot be started: {}", chain(&e)),
            Err(e) => return format!("cannot be started: {e}"),
        };
        let pump = tokio::spawn(pump(output, process.log.clone()));
        let status = ended.await;
        // Grandchildren may hold the pipe open; what the process itself printed is there by now.
        let _ = tokio::time::timeout(Duration::from_millis(50), pump).await;
        let how = match status {
            Ok(WaitStatus::Exited(_, code)) => format!("exited with status {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
            _ => "ended".into(),
        };
        match process.log.last().last() {
            // Who is killed has not said why.
            _ if matches!(status, Ok(WaitStatus::Signaled(..))) => how,
            Some(line) => format!("{how}: {}", shorten(line)),
            None => how,
        }
    }

    /// Forks and executes; registers the pid before anyone can reap it.
    fn spawn(&self, process: &Process) -> Result<(oneshot::Receiver<WaitStatus>, pipe::Receiver)> {
        let spec = &process.spec;
        let failed = |e: io::Error| Error::file("run", &spec.program, e);
        let (reader, writer) = io::pipe().map_err(failed)?;
        let mut command = Command::new(&spec.program);
        command
            .arg0(&spec.arg0)
            .args(&spec.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer);
        process::join_before_exec(&mut command, spec.namespaces.clone());
        let ended = self.reaper.watch_over(|| {
            let child = command.spawn().map_err(failed)?;
            let pid = child.id() as i32;
            self.known(process, pid);
            Ok(pid)
        })?;
        self.tell();
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(failed)?;
        Ok((ended, output))
    }
}

/// Collects everything that ends in the pid namespace, ours or orphaned.
#[derive(Debug, Default)]
struct Reaper {
    /// Read-locked while a child is being made, so that it is known before it is collected.
    making: RwLock<()>,
    waiting: Mutex<HashMap<i32, oneshot::Sender<WaitStatus>>>,
}

impl Reaper {
    fn watch_over(&self, make: impl FnOnce() -> Result<i32>) -> Result<oneshot::Receiver<WaitStatus>> {
        let _making = self.making.read().unwrap_or_else(PoisonError::into_inner);
        let pid = make()?;
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, sender);
        Ok(receiver)
    }

    fn collect(&self) {
        let _nobody_makes = self.making.write().unwrap_or_else(PoisonError::into_inner);
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => status,
                Err(_) => continue,
            };
            let Some(pid) = status.pid() else { continue };
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid.as_raw());
            if let Some(waiting) = waiting {
                // Nobody waits for a process that was stopped for good.
                let _ = waiting.send(status);
            }
        }
    }
}

async fn pump(mut output: pipe::Receiver, log: Log) {
    let mut buffer = vec![0; 8 << 10];
    while let Ok(length) = output.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        log.write(&buffer[..length]);
    }
}

/// As much of a log line as fits into a table.
fn shorten(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.into(),
    }
}

fn human(delay: Duration) -> String {
    if delay < Duration::from_secs(1) {
        format!("{} ms", delay.as_millis())
    } else {
        format!("{:.0} s", delay.as_secs_f64())
    }
}
