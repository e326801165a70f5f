//! Running plugins: the one side effect of this crate besides its cache.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// The variables of the protocol. A plugin sees them as the call has them, never as this process has.
pub const VARIABLES: [&str; 6] =
    ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"];

/// Bytes of standard output that are kept; results are a few KiB.
const STDOUT: usize = 4 << 20;
/// Bytes of standard error that are kept.
const STDERR: usize = 64 << 10;
/// How long a plugin that is just being written (`ETXTBSY`) is tried again, and how often.
const BUSY: Duration = Duration::from_secs(5);
const BUSY_STEP: Duration = Duration::from_millis(10);

/// Finds plugins and runs them.
pub trait PluginExec: Send + Sync {
    /// The file of a plugin: the first of that name in the folders.
    fn find(&self, plugin: &str, folders: &[PathBuf]) -> Option<PathBuf>;

    /// Runs a plugin to its end, or to the call's time limit; then nothing of it may go on. The same
    /// goes for a call that is dropped.
    fn run(&self, call: &Call) -> impl Future<Output = Result<Output, ExecError>> + Send;
}

/// One run of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The plugin's file.
    pub path: PathBuf,
    /// Those of [`VARIABLES`] that this call has; everything else the plugin inherits.
    pub environment: BTreeMap<&'static str, OsString>,
    /// The configuration.
    pub stdin: Vec<u8>,
    /// How long it may take.
    pub limit: Duration,
}

/// What a plugin left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, at most 4 MiB.
    pub stdout: Vec<u8>,
    /// What it said besides, at most the first 64 KiB.
    pub stderr: Vec<u8>,
}

/// A plugin that did not come to an end of its own.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It could not be started.
    #[error("start plugin")]
    Start(#[source] io::Error),
    /// Its pipes broke.
    #[error("talk to plugin")]
    Pipe(#[source] io::Error),
    /// It took too long and was killed.
    #[error("plugin took too long")]
    TimedOut {
        /// Whether it had ended itself, and only its output was still held open.
        ended: bool,
        /// What it had said on standard error by then.
        stderr: Vec<u8>,
    },
}

/// Runs plugins as processes, in the network namespace of the calling thread and each in a process
/// group of its own, so that a plugin that hangs is killed with its helpers. A plugin ends with the thread
/// that it was started by, so that none outlives this process: to be run by threads that last.
#[derive(Debug, Clone, Default)]
pub struct ProcessExec {
    folder: Option<PathBuf>,
    echo: bool,
}

impl ProcessExec {
    /// Plugins work in the folder of this process, and what they say besides their answer is kept only
    /// if they fail.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets plugins work in a folder.
    #[must_use]
    pub fn in_folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..self }
    }

    /// Passes on to standard error what plugins that succeed say there, as cnitool does.
    #[must_use]
    pub fn echo_stderr(self) -> Self {
        Self { echo: true, ..self }
    }

    async fn start(&self, call: &Call) -> io::Result<Child> {
        let mut command = Command::new(&call.path);
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.envs(&call.environment);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        // What this process does not hear the end of must not go on: whoever comes after it would undo
        // what is not done yet.
        net::process::die_with_parent(command.as_std_mut());
        let patience = Instant::now() + BUSY;
        loop {
            match command.spawn() {
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < patience => {
                    sleep(BUSY_STEP).await;
                }
                started => return started,
            }
        }
    }
}

impl PluginExec for ProcessExec {
    fn find(&self, plugin: &str, folders: &[PathBuf]) -> Option<PathBuf> {
        let is_file = |path: &Path| fs::metadata(path).is_ok_and(|data| data.is_file());
        folders.iter().map(|folder| folder.join(plugin)).find(|path| is_file(path))
    }

    async fn run(&self, call: &Call) -> Result<Output, ExecError> {
        let end = Instant::now() + call.limit;
        let mut child = self.start(call).await.map_err(ExecError::Start)?;
        let group = Group::of(&child);
        let mut stderr = Vec::new();
        let rest = end.saturating_duration_since(Instant::now());
        match timeout(rest, talk(&mut child, &call.stdin, &mut stderr)).await {
            Ok(Ok((status, stdout))) => {
                group.release();
                if self.echo && status.success() {
                    // Nothing is lost that anyone could miss: it is informal text.
                    let _ = io::stderr().write_all(&stderr);
                }
                Ok(Output { status, stdout, stderr })
            }
            Ok(Err(e)) => Err(ExecError::Pipe(e)),
            Err(_) => {
                let ended = group.leader_ended();
                drop(group);
                child.wait().await.map_err(ExecError::Pipe)?;
                Err(ExecError::TimedOut { ended, stderr })
            }
        }
    }
}

/// Feeds a plugin, hears it out and waits for its end, in this order: as long as it is not waited for,
/// its number stands for its process group and no other.
async fn talk(child: &mut Child, stdin: &[u8], stderr: &mut Vec<u8>) -> io::Result<(ExitStatus, Vec<u8>)> {
    let input = child.stdin.take();
    let feed = async move {
        let Some(mut input) = input else { return Ok(()) };
        match input.write_all(stdin).await {
            // A plugin need not read what it does not want.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    };
    let mut stdout = Vec::new();
    let (fed, heard, heard_too) = tokio::join!(
        feed,
        drain(child.stdout.take(), &mut stdout, STDOUT),
        drain(child.stderr.take(), stderr, STDERR)
    );
    fed.and(heard).and(heard_too)?;
    Ok((child.wait().await?, stdout))
}

/// Reads to the end, and keeps the beginning.
async fn drain(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, limit: usize) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 8192];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let wanted = read.min(limit.saturating_sub(kept.len()));
        kept.extend_from_slice(&buffer[..wanted]);
    }
}

/// A plugin's process group, killed when dropped. The plugin itself must not have been waited for
/// then, lest the number be someone else's.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn release(mut self) {
        self.0 = None;
    }

    fn leader_ended(&self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let state = self.0.map(|pid| waitid(Id::Pid(pid), look));
        matches!(state, Some(Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // ESRCH: nobody is left. Nothing else can go wrong with children of our own.
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests;
