//! What `topo up` does outside: prepare the state folder, start pid 1, wait for it.

use std::env;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use net::sandbox::{IdMap, Sandbox};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, Uid};
use std::os::fd::AsFd;
use topology::Topology;

use crate::error::{Error, Result};
use crate::programs;
use crate::protocol::Event;
use crate::resolver::Outside;
use crate::state::{ChangeLock, KEPT, Life, StateDir};

/// A process that is killed is gone by then, and so is a lab that is being started or ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// A lab that is to be started.
#[derive(Debug)]
pub struct Start<'a> {
    /// Where.
    pub state: &'a StateDir,
    /// What.
    pub topology: &'a Topology,
    /// What is to be in the clusters from their begin. Handed over as text: a lab sees not every file.
    pub manifests: &'a [Manifest],
    /// Whether etcd's data outlives the lab, and in which folder (none: in the state folder).
    pub keep: Option<Option<PathBuf>>,
    /// How long to wait for everything to be ready.
    pub timeout: Duration,
    /// When the command began.
    pub began: Duration,
}

/// A file that declares objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The cluster that they are for, as `C0`.
    pub cluster: String,
    /// The file's name, with or without folders.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// A lab that runs.
#[derive(Debug)]
pub struct Started {
    /// pid 1, as the caller sees it.
    pub pid: i32,
    /// How ids are mapped.
    pub ids: IdMap,
}

impl Start<'_> {
    /// Starts the lab and returns when everything is ready. `tell` hears of progress.
    ///
    /// The caller must have a single thread. Whatever happens, and if the caller is killed too, there
    /// is either a whole lab or none.
    ///
    /// # Errors
    /// [`Error::Busy`] when there is one already; a program that is missing; what the kernel refuses;
    /// what pid 1 says.
    pub fn run(self, mut tell: impl FnMut(&Event)) -> Result<Started> {
        programs::check()?;
        let lock = self.state.lock()?;
        match lock.running() {
            Some(pid) => {
                return Err(Error::Busy {
                    name: self.state.name().to_string(),
                    what: "already running",
                    pid,
                });
            }
            None if self.state.topology().exists() => {
                tell(&Event::Note { text: "removed what an earlier lab of this name left behind".into() });
            }
            None => {}
        }
        let outcome = self.prepare(&lock).and_then(|log| self.supervise(&lock, &log, &mut tell));
        if outcome.is_err() {
            // It may be half removed already, by pid 1.
            let _ = self.state.clear(&lock);
        }
        outcome
    }

    /// Fills the state folder.
    fn prepare(&self, lock: &ChangeLock) -> Result<OwnedFd> {
        self.state.wipe(lock)?;
        let logs = self.state.logs().join("lab");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&logs)
            .map_err(|e| Error::file("make folder", &logs, e))?;
        let text = serde_yaml::to_string(self.topology)
            .map_err(|e| Error::Refused(format!("write the topology: {e}")))?;
        let path = self.state.topology();
        fs::write(&path, text).map_err(|e| Error::file("write", path, e))?;
        self.write_manifests()?;
        let path = logs.join("init.log");
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let log = log.map_err(|e| Error::file("make", path, e))?;
        Ok(log.into())
    }

    fn write_manifests(&self) -> Result<()> {
        for (number, manifest) in self.manifests.iter().enumerate() {
            let folder = self.state.manifests(&manifest.cluster);
            fs::create_dir_all(&folder).map_err(|e| Error::file("make folder", &folder, e))?;
            // Files of one name may come from several folders.
            let name = Path::new(&manifest.name).file_name().unwrap_or_default().to_string_lossy();
            let path = folder.join(format!("{number:04}-{name}"));
            // Sites' keys are among them.
            let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
            let written = file.and_then(|mut file| file.write_all(manifest.text.as_bytes()));
            written.map_err(|e| Error::file("write", path, e))?;
        }
        Ok(())
    }

    fn keep(&self) -> Result<Option<PathBuf>> {
        let Some(wanted) = &self.keep else { return Ok(None) };
        let Some(folder) = wanted else { return make_kept(&self.state.path().join(KEPT)).map(Some) };
        let folder = std::path::absolute(folder).map_err(|e| Error::file("find", folder, e))?;
        // As far as it exists already: links must not lead where a lab sees something else.
        let existing = folder.ancestors().find_map(|path| path.canonicalize().ok()).unwrap_or_default();
        for covered in ["/run", "/etc", "/proc", "/sys"] {
            if folder.starts_with(covered) || existing.starts_with(covered) {
                let message = format!("{} would be hidden by the lab's own {covered}", folder.display());
                let hint = "keep it in another place, or in the state folder by plain --keep";
                return Err(Error::Hinted { message, hint: hint.into() });
            }
        }
        let folder = make_kept(&folder)?;
        Ok(Some(folder))
    }

    fn supervise(&self, lock: &ChangeLock, log: &OwnedFd, tell: &mut impl FnMut(&Event)) -> Result<Started> {
        let failed = |e| net::Error::sys("start the first process", e);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let null = fs::File::open("/dev/null").map_err(failed)?;
        let resolvers =
            if self.topology.clusters.iter().any(|c| c.dns) { Outside::all() } else { Vec::new() };
        let mut keep = vec![lock.as_fd(), theirs.as_fd()];
        keep.extend(resolvers.iter().flat_map(Outside::sockets));
        let mut sandbox = Sandbox {
            args: self.arguments(&resolvers)?,
            env: environment(),
            user: !Uid::effective().is_root(),
            net: true,
            mounts: None,
            stdio: [null.as_fd(), log.as_fd(), log.as_fd()],
            keep,
        };
        // From here on a Ctrl-C is answered with a clean end.
        let signals = Signals::catch()?;
        let started = match sandbox.start() {
            // Root of a container may lack the right to make namespaces, and still have that to a user namespace.
            Err(e) if !sandbox.user && e.errno() == Some(Errno::EPERM as i32) => {
                sandbox.user = true;
                sandbox.start().map_err(|_| e)
            }
            other => other,
        };
        let (pid, ids) = started?;
        // Only pid 1 holds its end now, so that its death ends the conversation.
        drop(theirs);
        let outcome = follow(&ours, &signals, tell);
        match outcome {
            Ok(()) => {
                // Nobody depends on it: the locks tell whether a lab lives.
                let _ = fs::write(self.state.path().join("pid"), format!("{pid}\n"));
                Ok(Started { pid: pid.as_raw(), ids })
            }
            Err(error) => {
                // pid 1 has ended, or shall; with it goes everything else.
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
                Err(self.explain(error))
            }
        }
    }

    /// What pid 1 printed, where it could not say it.
    fn explain(&self, error: Error) -> Error {
        match error {
            Error::Failed { message, log } if log.is_empty() => {
                let text = fs::read_to_string(self.state.logs().join("lab/init.log")).unwrap_or_default();
                Error::Failed {
                    message,
                    log: text
                        .lines()
                        .rev()
                        .take(10)
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                        .into_iter()
                        .rev()
                        .collect(),
                }
            }
            other => other,
        }
    }

    fn arguments(&self, resolvers: &[Outside]) -> Result<Vec<OsString>> {
        let mut args: Vec<OsString> =
            vec!["topo".into(), "lab".into(), "--name".into(), self.state.name().as_str().into()];
        args.extend(["--state".into(), self.state.path().into()]);
        args.extend(["--began".into(), self.began.as_nanos().to_string().into()]);
        args.extend(["--timeout".into(), self.timeout.as_secs().to_string().into()]);
        if let Some(folder) = self.keep()? {
            args.extend(["--keep".into(), folder.into()]);
        }
        for resolver in resolvers {
            args.extend(["--resolver".into(), resolver.address.to_string().into()]);
        }
        Ok(args)
    }
}

/// Makes the folder for what is kept; gives its real name.
fn make_kept(folder: &Path) -> Result<PathBuf> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| folder.canonicalize()).map_err(|e| Error::file("make folder", folder, e))
}

/// Ends a lab; returns when it is gone. One that is just being started or ended is waited for.
///
/// # Errors
/// [`Error::NotRunning`] when there is none, not even its remains; when it does not end in time.
pub fn stop(state: &StateDir) -> Result<Ended> {
    state.check_owner()?;
    let deadline = Instant::now() + PATIENCE;
    let mut found = None;
    loop {
        match state.life() {
            None => return found.ok_or_else(|| Error::NotRunning(state.name().to_string())),
            Some(Life::Running(pid)) => {
                end(pid)?;
                found = Some(Ended::Running);
            }
            Some(Life::Dead) => match state.lock() {
                Ok(lock) if lock.running().is_none() => {
                    let remains = state.topology().exists().then_some(Ended::Remains);
                    state.clear(&lock)?;
                    return found.or(remains).ok_or_else(|| Error::NotRunning(state.name().to_string()));
                }
                // Somebody was faster.
                Ok(_) => {}
                Err(Error::Busy { .. }) if Instant::now() < deadline => {}
                Err(e) => return Err(e),
            },
            Some(Life::Changing(pid)) if Instant::now() > deadline => {
                return Err(Error::Busy {
                    name: state.name().to_string(),
                    what: "still being started or ended",
                    pid,
                });
            }
            Some(Life::Changing(_)) => {}
        }
        // Locks have no event to wait for.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What [`stop`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A lab that ran.
    Running,
    /// What one left behind that was killed.
    Remains,
}

/// Kills a process and waits until it, and with pid 1 everything below it, is gone.
fn end(pid: i32) -> Result<()> {
    if pid <= 1 {
        // Seen from inside: the kernel lets nobody there kill it.
        return Err(Error::Hinted {
            message: "a lab cannot be ended from inside".into(),
            hint: "leave it, and type `topo down` outside".into(),
        });
    }
    let failed = |e: Errno| net::Error::sys(format!("end process {pid}"), e);
    let process = match net::process::open_pid(pid) {
        Ok(process) => process,
        // Gone in the meantime.
        Err(e) if e.errno() == Some(Errno::ESRCH as i32) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(e) => return Err(failed(e).into()),
    }
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(PATIENCE.as_millis() as u16)) {
        Ok(0) => {
            Err(Error::Refused(format!("process {pid} was killed and has not ended within {PATIENCE:?}")))
        }
        Ok(_) => Ok(()),
        Err(e) => Err(failed(e).into()),
    }
}

/// SIGINT, SIGTERM and SIGHUP as events; restored when dropped.
struct Signals {
    fd: SignalFd,
    set: SigSet,
}

impl Signals {
    fn catch() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        let failed = |e| net::Error::sys("catch signals", e);
        set.thread_block().map_err(failed)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map_err(failed)?;
        Ok(Self { fd, set })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // A second Ctrl-C while tidying up shall work again.
        let _ = self.set.thread_unblock();
    }
}

/// Passes on what pid 1 tells until it is ready.
fn follow(stream: &UnixStream, signals: &Signals, tell: &mut impl FnMut(&Event)) -> Result<()> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    loop {
        if lines.buffer().is_empty() {
            let mut fds = [
                PollFd::new(stream.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) if fds[1].revents().is_some_and(|e| !e.is_empty()) => {
                    // Taken off the queue, or it would strike when signals are let through again.
                    let _ = signals.fd.read_signal();
                    return Err(Error::Interrupted);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(net::Error::sys("wait for the first process", e).into()),
            }
        }
        line.clear();
        if lines.read_line(&mut line).map_err(Error::Protocol)? == 0 {
            return Err(Error::Failed {
                message: "the lab's first process was killed".into(),
                log: Vec::new(),
            });
        }
        let event: Event = serde_json::from_str(&line).map_err(|e| Error::Protocol(e.into()))?;
        match event {
            Event::Ready => return Ok(()),
            Event::Failed { message, hint: Some(hint), .. } => return Err(Error::Hinted { message, hint }),
            Event::Failed { message, log, .. } => return Err(Error::Failed { message, log }),
            other => tell(&other),
        }
    }
}

/// The caller's, as pid 1 picks from it itself.
fn environment() -> Vec<OsString> {
    env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        })
        .collect()
}
