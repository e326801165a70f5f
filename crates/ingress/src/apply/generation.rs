//! Generations: an nginx for each configuration.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::{Backoff, chain};
use tokio::time::{Instant, sleep_until};

use super::listeners::Groups;
use super::process::{Process, Running, answers, ask, members, running_below, spawn, start};
use super::{Nginx, Proxy};
use crate::error::{Error, Result};
use crate::render::{CONTROL, Rendered};

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
    /// What happened to the one that served before, and people have not heard of.
    untold: Option<String>,
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
            untold: None,
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
        let running = running_below(&self.folder);
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            self.number = self.number.max(number);
            let folder = entry.path();
            match folder.canonicalize().ok().and_then(|path| running.get(&path)) {
                Some(groups) => self.retired.push(Retired {
                    number: None,
                    folder: Some(folder),
                    sockets: BTreeMap::new(),
                    process: Running::Orphans(groups.clone()),
                    stage: Stage::Needed,
                }),
                None => remove(&folder),
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
    async fn serve(&mut self, generation: Generation) {
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
        let old = self.current.replace(generation);
        // At once: who comes from now on is for the new one.
        self.steer();
        if let Some(old) = old
            && let Some(why) = self.retire_generation(old, draining).await
        {
            self.untold = Some(format!("nginx {why}; it was started again"));
        }
    }

    fn draining(&self) -> Stage {
        let sent_away = Instant::now() + self.keep;
        Stage::Draining(sent_away, sent_away + IDLE)
    }

    /// Sees one off, with all of its processes. Gives how it ended, if it did so by itself.
    async fn retire_generation(&mut self, mut old: Generation, stage: Stage) -> Option<String> {
        if let Ok(Some(status)) = old.process.child.try_wait()
            && old.accident.is_none()
        {
            let why = old.process.ended(status).await;
            old.accident = Some(Accident { why, again_at: Instant::now(), process: None });
        }
        let (why, process) = match old.accident {
            None => (None, Running::Child(Box::new(old.process))),
            Some(Accident { why, process: None, .. }) => {
                (Some(why), Running::Orphans([old.process.group].into()))
            }
            Some(Accident { why, process: Some(new), .. }) => {
                self.see_off(&old.process, stage);
                (Some(why), Running::Child(Box::new(new)))
            }
        };
        let (number, folder, sockets) = (Some(old.number), Some(old.folder), old.sockets);
        self.retired.push(Retired { number, folder, sockets, process, stage });
        why
    }

    /// Sees off what a first process has left that has ended: its children may go on without it, on the same
    /// sockets.
    fn see_off(&mut self, process: &Process, stage: Stage) {
        if !members(process.group).is_empty() {
            self.retired.push(Retired {
                number: None,
                folder: None,
                sockets: BTreeMap::new(),
                process: Running::Orphans([process.group].into()),
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
        // Those that have ended first: who looks after the others may be called away.
        let ended: Vec<_> = self.retired.extract_if(.., |one| one.process.has_ended()).collect();
        for one in ended {
            match one.number {
                Some(number) => self.close(number, one.sockets),
                // Which of several sockets it had is not known; chance decides until the last is closed.
                None if one.is_adopted() && !self.retired.iter().any(Retired::is_adopted) => {
                    self.groups.strangers_closed();
                    self.steer();
                }
                None => {}
            }
            if let Some(folder) = &one.folder {
                remove(folder);
            }
        }
        for one in &mut self.retired {
            one.advance().await;
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
    /// Whether a process before this one started it, with sockets that this one has not.
    fn is_adopted(&self) -> bool {
        self.number.is_none() && self.folder.is_some()
    }

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
                self.serve(generation).await;
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
            // With nothing to serve, how it ended is of no account.
            self.retire_generation(old, now).await;
        }
        for one in self.retired.iter_mut().filter(|one| !matches!(one.stage, Stage::Quitting(_))) {
            one.stage = now;
        }
        self.retire().await;
        let _ = fs::remove_file(self.folder.join(TEXT));
    }

    async fn tend(&mut self) -> String {
        if let Some(said) = self.untold.take() {
            return said;
        }
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
