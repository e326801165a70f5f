//! nginx's processes: a first one, and those that it has made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::Nginx;
use super::nginx::refusal;
use crate::error::{Error, Result};
use crate::render::CONTROL;

/// So long nginx may take to start; with ten thousand routes it takes a second.
const START: Duration = Duration::from_secs(30);
/// So long its last words are waited for when it has not.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(1);
/// And when its children may hold open what it printed into.
const HELD_OPEN: Duration = Duration::from_millis(50);

/// Processes of one nginx.
#[derive(Debug)]
pub(super) enum Running {
    /// Our own child.
    Child(Box<Process>),
    /// Those of groups whose first processes are gone.
    Orphans(BTreeSet<i32>),
}

/// A child and those that it has made.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    /// Its group's number, which is its own.
    pub(super) group: i32,
    began: Instant,
    /// What it said last.
    last: Arc<Mutex<String>>,
    pump: JoinHandle<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.pump.abort();
        // Its children do not end with it.
        if self.child.id().is_some() {
            let _ = killpg(Pid::from_raw(self.group), Signal::SIGKILL);
        }
    }
}

impl Running {
    pub(super) fn has_ended(&mut self) -> bool {
        match self {
            Self::Child(process) => match process.child.try_wait() {
                Ok(None) => false,
                // Without the first the others would go on for ever.
                Ok(Some(_)) | Err(_) => {
                    members(process.group).is_empty() || {
                        let _ = killpg(Pid::from_raw(process.group), Signal::SIGKILL);
                        false
                    }
                }
            },
            Self::Orphans(groups) => groups.iter().all(|group| members(*group).is_empty()),
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        match self {
            Self::Child(process) if signal == Signal::SIGKILL => {
                let _ = killpg(Pid::from_raw(process.group), signal);
            }
            // The first process tells the others.
            Self::Child(process) => {
                let _ = kill(Pid::from_raw(process.group), signal);
            }
            Self::Orphans(groups) => {
                for pid in groups.iter().flat_map(|group| members(*group)) {
                    let _ = kill(Pid::from_raw(pid), signal);
                }
            }
        }
    }
}

impl Process {
    /// Its last words.
    async fn last_words(&mut self, patience: Duration) -> String {
        // What it printed is in the pipe by now; its children may hold that open.
        if !self.pump.is_finished() {
            let _ = tokio::time::timeout(patience, &mut self.pump).await;
        }
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How it ended, with its last words where it went by itself.
    pub(super) async fn ended(&mut self, status: ExitStatus) -> String {
        let last = self.last_words(HELD_OPEN).await;
        match (status.code(), status.signal()) {
            (Some(code), _) if last.is_empty() => format!("exited with status {code}"),
            (Some(code), _) => format!("exited with status {code}: {last}"),
            (None, Some(signal)) => {
                let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
                format!("was killed by {name}")
            }
            (None, None) => "has ended".into(),
        }
    }
}

/// Starts nginx in a folder, with sockets, and waits until it answers.
pub(super) async fn start(nginx: &Nginx, folder: &Path, sockets: &BTreeMap<u16, OwnedFd>) -> Result<Process> {
    let mut process = spawn(nginx, folder, sockets)?;
    answers(&mut process, folder).await?;
    Ok(process)
}

/// Waits until nginx in a folder answers. That it starts at all is the judgement on its configuration: it reads it
/// as `nginx -t` does.
pub(super) async fn answers(process: &mut Process, folder: &Path) -> Result<()> {
    let control = folder.join(CONTROL);
    let limit = process.began + START;
    loop {
        if let Some(status) = process.child.try_wait().map_err(Error::io("wait for nginx"))? {
            // It has no children yet that could hold the pipe open.
            let last = process.last_words(LAST_WORDS).await;
            return Err(match last.as_str() {
                "" => Error::Ended(process.ended(status).await),
                last => Error::Refused(refusal(last, folder)),
            });
        }
        match timeout_at(limit, ask(&control)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) if Instant::now() < limit => sleep(LOOK).await,
            Ok(Err(_)) | Err(_) => return Err(Error::Mute(control)),
        }
    }
}

/// Starts nginx. On this thread: with the thread that started it the child dies.
pub(super) fn spawn(nginx: &Nginx, folder: &Path, sockets: &BTreeMap<u16, OwnedFd>) -> Result<Process> {
    let run = || Error::io(format!("run {}", nginx.program.display()));
    // nginx does not listen where there is a file, left by its predecessor.
    let _ = fs::remove_file(folder.join(CONTROL));
    let mut command = nginx.command(folder);
    let mut mappings = Vec::new();
    let mut inherited = String::new();
    for (child_fd, socket) in (3..).zip(sockets.values()) {
        let parent_fd = socket.try_clone().map_err(Error::io("duplicate a socket"))?;
        mappings.push(FdMapping { parent_fd, child_fd });
        inherited.push_str(&format!("{child_fd};"));
    }
    // nginx takes sockets over from one that is replaced by a new program (`ngx_add_inherited_sockets`).
    if !inherited.is_empty() {
        command.env("NGINX", inherited);
    }
    command.fd_mappings(mappings).map_err(|error| run()(io::Error::other(error)))?;
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped());
    net::process::die_with_parent(&mut command);
    net::process::unblock_signals(&mut command);
    let mut child = Command::from(command).kill_on_drop(true).spawn().map_err(run())?;
    let last = Arc::new(Mutex::new(String::new()));
    let pump = tokio::spawn(pump(child.stderr.take(), last.clone()));
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    Ok(Process { child, group, began: Instant::now(), last, pump })
}

/// Passes on what nginx says.
async fn pump(said: Option<ChildStderr>, last: Arc<Mutex<String>>) {
    let Some(said) = said else { return };
    let mut lines = BufReader::new(said).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if ["[emerg]", "[alert]", "[crit]", "[error]"].iter().any(|level| line.contains(level)) {
            tracing::warn!(target: "nginx", "{line}");
            if line.contains("[emerg]") {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
            }
        } else {
            tracing::info!(target: "nginx", "{line}");
        }
    }
}

/// Asks nginx how it is.
pub(super) async fn ask(control: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(control).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.into()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The processes of a group that are nginx; numbers of processes come again.
pub(super) fn members(group: i32) -> Vec<i32> {
    if killpg(Pid::from_raw(group), None) == Err(Errno::ESRCH) {
        return Vec::new();
    }
    let all = every_nginx().filter(|(_, own)| *own == group);
    all.map(|(pid, _)| pid).collect()
}

/// The groups of every nginx that runs in a folder below this one, by that folder. A folder's `nginx.pid` is not
/// enough: nginx that was started again wrote its own number over that of the one whose children may still be there.
pub(super) fn running_below(folder: &Path) -> BTreeMap<PathBuf, BTreeSet<i32>> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.into());
    let mut found = BTreeMap::<PathBuf, BTreeSet<i32>>::new();
    for (pid, group) in every_nginx() {
        let Ok(own) = fs::read_link(format!("/proc/{pid}/cwd")) else { continue };
        if own.parent() == Some(&folder) {
            found.entry(own).or_default().insert(group);
        }
    }
    found
}

/// All that are nginx and have not ended: their numbers, and those of their groups.
fn every_nginx() -> impl Iterator<Item = (i32, i32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, group_of_nginx(pid)?)))
}

/// (proc(5), `/proc/<pid>/stat`: `pid (name) state parent group …`)
fn group_of_nginx(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    (name == "nginx" && state != "Z").then_some(group)
}
