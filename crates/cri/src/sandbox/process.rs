//! A shim's process, held by a descriptor: its number may be another's by now.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use net::process;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Error, Result};

/// A killed process is gone within this time, whatever the machine's load.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked where the kernel cannot tell.
const STEP: Duration = Duration::from_millis(50);

/// The first process of a sandbox.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pid: i32,
    descriptor: Arc<OwnedFd>,
    /// Whether it is this process's child, and so its to wait for.
    child: bool,
}

impl Process {
    /// A child that nobody has waited for.
    pub(super) fn child(pid: i32) -> Result<Self> {
        Ok(Self { pid, descriptor: Arc::new(process::open_pid(pid)?), child: true })
    }

    /// The shim of the sandbox whose folder this is, made by another agent; `peer` may be it. Whoever has
    /// made a socket is its peer until the shim listens itself, and a number may be reused: hence a look at
    /// what it is, and if that is not it, at all that run.
    pub(super) fn find(folder: &Path, peer: Option<i32>) -> Option<Self> {
        let found = |pid: i32| {
            let descriptor = Arc::new(process::open_pid(pid).ok()?);
            is_shim(pid, folder).then_some(Self { pid, descriptor, child: false })
        };
        peer.and_then(found).or_else(|| {
            let entries = fs::read_dir("/proc").ok()?;
            let mut pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            pids.find_map(found)
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Returns when it has ended, and with it everything in its pod.
    pub(super) async fn ended(&self) {
        // Unsound only for descriptors that are not their owner's; this one is, and is dropped with it.
        #[allow(deprecated)]
        let watched =
            self.descriptor.try_clone().and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE));
        if let Ok(watched) = watched {
            // An error is as good as none: what counts is looked at below.
            drop(watched.readable().await);
        }
        while !self.has_ended() {
            tokio::time::sleep(STEP).await;
        }
    }

    /// Kills it; returns when it is gone, and with it everything in its pod.
    ///
    /// # Errors
    /// [`Error::Unkillable`].
    pub(super) async fn end(&self, name: &str) -> Result<()> {
        // It may have ended already.
        let _ = process::kill_by_descriptor(&self.descriptor);
        let gone = tokio::time::timeout(PATIENCE, self.ended()).await;
        gone.map_err(|_| Error::Unkillable(name.into()))?;
        if self.child {
            // Nobody else's business, and done at most once.
            let _ = waitid(Id::PIDFd(self.descriptor.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        }
        Ok(())
    }
}

/// Whether a process is the first of a pod, and was started for the folder.
fn is_shim(pid: i32, folder: &Path) -> bool {
    let args = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut args = args.split(|byte| *byte == 0);
    let (Some(_), Some(what), Some(of)) = (args.next(), args.next(), args.next()) else { return false };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    what == b"shim"
        && of == folder.as_os_str().as_bytes()
        && numbers.split_whitespace().next_back() == Some("1")
}
