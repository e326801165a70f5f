//! Generations: an nginx for each configuration.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use runtime::{Backoff, chain};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::listeners::Groups;
use super::nginx::refusal;
use super::{Nginx, Proxy};
use crate::error::{Error, Result};
use crate::render::{CONTROL, Rendered};

/// So long nginx may take to start; with ten thousand routes it takes a second.
const START: Duration = Duration::from_secs(30);
/// So long its last words are waited for when it has not.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(1);
/// Clients that are still connected to an old nginx when all that ask have been sent away, and ask nothing
/// for so long, may find their connection closed.
const IDLE: Duration = Duration::from_secs(1);
/// Between two looks at one that shall end.
const WATCH: Duration = Duration::from_millis(50);
/// After so long one that was told to quit is killed; nginx itself waits a minute for what is under way.
const PATIENCE: Duration = Duration::from_secs(70);
/// After it ended by itself, it is started again at once, and later each time.
const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// The text that is in service, for people.
const TEXT: &str = "nginx.conf";

/// nginx, a generation for each configuration.
#[derive(Debug)]
pub struct Generations {
    nginx: Nginx,
    folder: PathBuf,
    keep: Duration,
    number: u64,
    current: Option<Generation>,
    retired: Vec<Retired>,
    groups: Groups,
    backoff: Backoff,
    /// Whether processes go on when this is dropped.
    stay: bool,
}

/// One that serves.
#[derive(Debug)]
struct Generation {
    number: u64,
    folder: PathBuf,
    sockets: BTreeMap<u16, OwnedFd>,
    process: Process,
    began: Instant,
    /// How it ended, if it did so by itself.
    accident: Option<Accident>,
}

/// What happened to one that serves, and how far it is with coming back. It stands here, for who looks after it
/// may be called away at any time, and again before it is done.
#[derive(Debug)]
struct Accident {
    why: String,
    /// When it is started again.
    again_at: Instant,
    /// It is being started, and does not answer yet.
    process: Option<Process>,
}

/// One that shall end.
#[derive(Debug)]
struct Retired {
    /// None for one of a process before this one.
    number: Option<u64>,
    folder: Option<PathBuf>,
    sockets: BTreeMap<u16, OwnedFd>,
    process: Running,
    stage: Stage,
}

/// How far one is that shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has to go on until something else serves.
    Needed,
    /// Its clients are sent away until the first time; then it quits when none is left, or at the second.
    Draining(Instant, Instant),
    /// It was told to quit, and is killed then.
    Quitting(Instant),
}

/// Processes of one nginx.
#[derive(Debug)]
enum Running {
    /// Our own child.
    Child(Box<Process>),
    /// Those of a group whose first process is gone.
    Orphans(i32),
}

/// A child and those that it has made.
#[derive(Debug)]
struct Process {
    child: Child,
    /// Its group's number, which is its own.
    group: i32,
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

impl Generations {
    /// Generations below a folder, which is made. Clients' connections are kept for `keep`. Processes go on
    /// when this is dropped if they are to `stay`; the next process adopts them.
    ///
    /// What a process before this one has left there goes on serving until the first configuration does.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(nginx: Nginx, folder: &Path, keep: Duration, stay: bool) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::file("make folder", folder))?;
        let mut this = Self {
            nginx,
            folder: folder.into(),
            keep,
            number: 0,
            current: None,
            retired: Vec::new(),
            groups: Groups::default(),
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
            stay,
        };
        this.adopt();
        Ok(this)
    }

    /// How nginx says it is (`ngx_http_stub_status_module`), if it serves.
    pub async fn status(&self) -> Option<String> {
        let folder = &self.current.as_ref()?.folder;
        ask(&folder.join(CONTROL)).await.ok()
    }

    /// Finds what a process before this one has left.
    fn adopt(&mut self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            self.number = self.number.max(number);
            let folder = entry.path();
            let pid = fs::read_to_string(folder.join("nginx.pid")).unwrap_or_default();
            match pid.trim().parse::<i32>() {
                Ok(group) if !members(group).is_empty() => self.retired.push(Retired {
                    number: None,
                    folder: Some(folder),
                    sockets: BTreeMap::new(),
                    process: Running::Orphans(group),
                    stage: Stage::Needed,
                }),
                _ => remove(&folder),
            }
        }
    }

    /// Writes a configuration into a folder of its own.
    fn write(&self, number: u64, config: &Rendered) -> Result<PathBuf> {
        let folder = self.folder.join(number.to_string());
        fs::create_dir_all(&folder).map_err(Error::file("make folder", &folder))?;
        for (path, content) in &config.files {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(Error::file("make folder", parent))?;
            }
            write_private(&path, content).map_err(Error::file("write", &path))?;
        }
        let path = folder.join(TEXT);
        fs::write(&path, &config.text).map_err(Error::file("write", &path))?;
        Ok(folder)
    }

    fn open(&mut self, number: u64, ports: &[u16]) -> Result<BTreeMap<u16, OwnedFd>> {
        let mut sockets = BTreeMap::new();
        for port in ports {
            match self.groups.open(*port, number) {
                Ok(socket) => drop(sockets.insert(*port, socket)),
                Err(source) => {
                    self.close(number, sockets);
                    return Err(Error::Port { port: *port, source });
                }
            }
        }
        Ok(sockets)
    }

    fn close(&mut self, number: u64, sockets: BTreeMap<u16, OwnedFd>) {
        for (port, socket) in sockets {
            drop(socket);
            self.groups.closed(port, number);
        }
        self.steer();
    }

    /// Leads new connections to the one that serves. To be done whenever the groups have changed.
    fn steer(&self) {
        let Some(current) = &self.current else { return };
        for (port, socket) in &current.sockets {
            self.groups.steer(*port, current.number, socket);
        }
    }

    /// Makes a generation that has started the one that serves.
    fn serve(&mut self, generation: Generation) {
        let link = self.folder.join(TEXT);
        let new = self.folder.join(".nginx.conf");
        let _ = fs::remove_file(&new);
        let target = Path::new(&generation.number.to_string()).join(TEXT);
        if let Err(error) = std::os::unix::fs::symlink(target, &new).and_then(|()| fs::rename(&new, &link)) {
            tracing::warn!(%error, path = %link.display(), "the configuration in service is not linked");
        }
        let draining = self.draining();
        for retired in self.retired.iter_mut().filter(|one| one.stage == Stage::Needed) {
            retired.stage = draining;
        }
        if let Some(old) = self.current.replace(generation) {
            self.retire_generation(old, draining);
        }
        self.steer();
    }

    fn draining(&self) -> Stage {
        let sent_away = Instant::now() + self.keep;
        Stage::Draining(sent_away, sent_away + IDLE)
    }

    /// Sees one off, with all of its processes.
    fn retire_generation(&mut self, mut old: Generation, stage: Stage) {
        let process = match old.accident.take() {
            None => Running::Child(Box::new(old.process)),
            Some(Accident { process: None, .. }) => Running::Orphans(old.process.group),
            Some(Accident { process: Some(new), .. }) => {
                self.see_off(&old.process, stage);
                Running::Child(Box::new(new))
            }
        };
        let (number, folder, sockets) = (Some(old.number), Some(old.folder), old.sockets);
        self.retired.push(Retired { number, folder, sockets, process, stage });
    }

    /// Sees off what a first process has left that has ended: its children may go on without it, on the same
    /// sockets.
    fn see_off(&mut self, process: &Process, stage: Stage) {
        if !members(process.group).is_empty() {
            self.retired.push(Retired {
                number: None,
                folder: None,
                sockets: BTreeMap::new(),
                process: Running::Orphans(process.group),
                stage,
            });
        }
    }

    /// The one that serves has ended by itself: the same configuration again, on the same sockets. Goes on where
    /// it was left when it was dropped.
    async fn again(&mut self) -> Result<()> {
        let Some(Generation { folder, sockets, accident: Some(accident), .. }) = &mut self.current else {
            return Ok(());
        };
        let process = match &mut accident.process {
            Some(process) => process,
            none => none.insert(spawn(&self.nginx, folder, sockets)?),
        };
        if let Err(error) = answers(process, folder).await {
            accident.process = None;
            return Err(error);
        }
        let Some(generation) = &mut self.current else { return Ok(()) };
        let new = generation.accident.take().and_then(|accident| accident.process);
        let Some(new) = new else { return Ok(()) };
        let old = std::mem::replace(&mut generation.process, new);
        generation.began = Instant::now();
        let draining = self.draining();
        self.see_off(&old, draining);
        Ok(())
    }

    /// Tells those whose time has come to end, and clears away those that have.
    async fn retire(&mut self) {
        let mut ended = Vec::new();
        for (i, one) in self.retired.iter_mut().enumerate() {
            if one.process.has_ended() {
                ended.push(i);
            } else {
                one.advance().await;
            }
        }
        for i in ended.into_iter().rev() {
            let one = self.retired.swap_remove(i);
            match one.number {
                Some(number) => self.close(number, one.sockets),
                None => {
                    self.groups.strangers_closed();
                    self.steer();
                }
            }
            if let Some(folder) = &one.folder {
                remove(folder);
            }
        }
    }

    /// When there is something to do for those that shall end.
    fn due(&self) -> Option<Instant> {
        let soon = Instant::now() + WATCH;
        let due = self.retired.iter().filter_map(|one| match one.stage {
            Stage::Needed => None,
            Stage::Draining(from, _) => Some(from.max(soon)),
            Stage::Quitting(_) => Some(soon),
        });
        due.min()
    }
}

impl Retired {
    /// Does what is due.
    async fn advance(&mut self) {
        let now = Instant::now();
        match self.stage {
            Stage::Draining(from, until) if now >= from && (now >= until || self.is_idle().await) => {
                self.process.signal(Signal::SIGQUIT);
                self.stage = Stage::Quitting(now + PATIENCE);
            }
            Stage::Quitting(at) if now >= at => {
                self.process.signal(Signal::SIGKILL);
                self.stage = Stage::Quitting(now + PATIENCE);
            }
            _ => {}
        }
    }

    /// Whether nobody is connected but who asks this.
    async fn is_idle(&self) -> bool {
        let (Some(folder), Running::Child(_)) = (&self.folder, &self.process) else { return false };
        let control = folder.join(CONTROL);
        let Ok(Ok(status)) = tokio::time::timeout(WATCH, ask(&control)).await else { return false };
        let active = status.lines().next().and_then(|line| line.strip_prefix("Active connections: "));
        active.and_then(|active| active.trim().parse::<u64>().ok()).is_some_and(|active| active <= 1)
    }
}

impl Drop for Generations {
    fn drop(&mut self) {
        if self.stay {
            // Ends only the first process of each, with the thread that started it.
            std::mem::forget((self.current.take(), std::mem::take(&mut self.retired)));
            return;
        }
        for one in &self.retired {
            one.process.signal(Signal::SIGKILL);
        }
    }
}

impl Proxy for Generations {
    async fn apply(&mut self, config: &Rendered) -> Result<()> {
        self.number += 1;
        let number = self.number;
        let folder = self.write(number, config)?;
        let began = Instant::now();
        let start = async {
            let sockets = self.open(number, &config.ports)?;
            match start(&self.nginx, &folder, &sockets).await {
                Ok(process) => Ok((sockets, process)),
                Err(error) => {
                    self.close(number, sockets);
                    Err(error)
                }
            }
        };
        match start.await {
            Ok((sockets, process)) => {
                let generation = Generation { number, folder, sockets, process, began, accident: None };
                tracing::info!(number, took = ?began.elapsed(), "a configuration is in service");
                self.serve(generation);
                self.backoff.reset();
                Ok(())
            }
            Err(error) => {
                remove(&folder);
                Err(error)
            }
        }
    }

    async fn stop(&mut self) {
        let now = Stage::Draining(Instant::now(), Instant::now());
        if let Some(old) = self.current.take() {
            self.retire_generation(old, now);
        }
        for one in self.retired.iter_mut().filter(|one| !matches!(one.stage, Stage::Quitting(_))) {
            one.stage = now;
        }
        self.retire().await;
        let _ = fs::remove_file(self.folder.join(TEXT));
    }

    async fn tend(&mut self) -> String {
        loop {
            self.retire().await;
            let due = self.due();
            let rest = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let Some(current) = &mut self.current else {
                rest.await;
                continue;
            };
            let Some(accident) = &current.accident else {
                tokio::select! {
                    status = current.process.child.wait() => {
                        let why = match status {
                            Ok(status) => current.process.ended(status).await,
                            Err(error) => format!("cannot be waited for: {error}"),
                        };
                        tracing::warn!(why, "nginx has ended");
                        // A point in time: changes that keep coming call away who waits here.
                        let again_at = Instant::now() + self.backoff.after(current.began.elapsed());
                        current.accident = Some(Accident { why, again_at, process: None });
                    }
                    () = rest => {}
                }
                continue;
            };
            tokio::select! {
                () = sleep_until(accident.again_at) => {}
                () = rest => continue,
            }
            let why = accident.why.clone();
            return match self.again().await {
                Ok(()) => format!("nginx {why}; it was started again"),
                Err(error) => {
                    let again_at = Instant::now() + self.backoff.after(Duration::ZERO);
                    if let Some(accident) = self.current.as_mut().and_then(|one| one.accident.as_mut()) {
                        accident.again_at = again_at;
                    }
                    format!("nginx {why}, and cannot be started again: {}", chain(&error))
                }
            };
        }
    }

    fn reopen_logs(&self) {
        let current = self.current.iter().map(|one| one.process.group);
        let retired = self.retired.iter().filter_map(|one| match &one.process {
            Running::Child(process) => Some(process.group),
            Running::Orphans(_) => None,
        });
        for pid in current.chain(retired) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGUSR1);
        }
    }

    fn retiring(&self) -> usize {
        self.retired.len()
    }
}

impl Running {
    fn has_ended(&mut self) -> bool {
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
            Self::Orphans(group) => members(*group).is_empty(),
        }
    }

    fn signal(&self, signal: Signal) {
        match self {
            Self::Child(process) if signal == Signal::SIGKILL => {
                let _ = killpg(Pid::from_raw(process.group), signal);
            }
            // The first process tells the others.
            Self::Child(process) => {
                let _ = kill(Pid::from_raw(process.group), signal);
            }
            Self::Orphans(group) => {
                for pid in members(*group) {
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
    async fn ended(&mut self, status: ExitStatus) -> String {
        let last = self.last_words(WATCH).await;
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
async fn start(nginx: &Nginx, folder: &Path, sockets: &BTreeMap<u16, OwnedFd>) -> Result<Process> {
    let mut process = spawn(nginx, folder, sockets)?;
    answers(&mut process, folder).await?;
    Ok(process)
}

/// Waits until nginx in a folder answers. That it starts at all is the judgement on its configuration: it reads it
/// as `nginx -t` does.
async fn answers(process: &mut Process, folder: &Path) -> Result<()> {
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
fn spawn(nginx: &Nginx, folder: &Path, sockets: &BTreeMap<u16, OwnedFd>) -> Result<Process> {
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
async fn ask(control: &Path) -> io::Result<String> {
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
fn members(group: i32) -> Vec<i32> {
    if killpg(Pid::from_raw(group), None) == Err(Errno::ESRCH) {
        return Vec::new();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| is_member(*pid, group).unwrap_or(false)).collect()
}

/// (proc(5), `/proc/<pid>/stat`: `pid (name) state parent group …`)
fn is_member(pid: i32, group: i32) -> Option<bool> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    Some(name == "nginx" && state != "Z" && fields.nth(1)?.parse() == Ok(group))
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, folder = %folder.display(), "a folder stays");
    }
}
