//! Children that live in other namespaces from their first instruction.
// The closures of `pre_exec` run between fork and exec; the interface is unsafe for that reason.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

use crate::error::{Error, Result};

/// Makes `command` start inside the given namespaces, entered in that order.
///
/// The child enters them itself, so the caller and its threads stay where they are.
pub fn join_before_exec(command: &mut Command, namespaces: Vec<Arc<OwnedFd>>) {
    // SAFETY: between fork and exec the closure only calls setns(2), which is async-signal-safe, and
    // allocates nothing; the descriptors live as long as the closure.
    unsafe {
        command.pre_exec(move || {
            for namespace in &namespaces {
                setns(namespace, CloneFlags::empty()).map_err(io::Error::from)?;
            }
            Ok(())
        });
    }
}

/// Makes `command` start with no signal blocked, whatever the caller has blocked.
pub fn unblock_signals(command: &mut Command) {
    // SAFETY: between fork and exec the closure only calls sigprocmask(2), async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(io::Error::from)
        });
    }
}

/// Makes `command` start as the leader of a session of its own (`setsid(2)`).
pub fn new_session(command: &mut Command) {
    // SAFETY: between fork and exec the closure only calls setsid(2), async-signal-safe.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(|_| ()).map_err(io::Error::from));
    }
}

/// Undoes what a caller may have left us with: while SIGCHLD is ignored nobody can wait for children
/// (`wait(2)`).
pub fn expect_children() {
    // SAFETY: the default action is no function of ours.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGCHLD, nix::sys::signal::SigHandler::SigDfl) };
}

/// Makes the kernel kill the child when the thread that starts it ends.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec the closure only calls prctl(2), async-signal-safe.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
    }
}

/// Moves the calling process into the namespaces, in that order.
///
/// A pid namespace takes in only the children made afterwards, a user namespace only a process with a
/// single thread (`setns(2)`).
///
/// # Errors
/// The kernel's.
pub fn join<F: AsFd>(namespaces: &[F]) -> Result<()> {
    for namespace in namespaces {
        setns(namespace, CloneFlags::empty()).map_err(|e| Error::sys("enter namespace", e))?;
    }
    Ok(())
}

/// A namespace file of the calling thread, as `net`, `uts` or `pid`.
///
/// # Errors
/// Only when `/proc` is not there.
pub fn own_namespace(kind: &str) -> Result<OwnedFd> {
    let path = Path::new("/proc/thread-self/ns").join(kind);
    File::open(&path).map(OwnedFd::from).map_err(|e| Error::file("open", path, e))
}

/// Takes over a descriptor that the process was started with, and keeps it from its own children.
///
/// # Errors
/// `EBADF` when there is none of that number.
pub fn inherited(number: RawFd) -> Result<OwnedFd> {
    let what = || format!("use inherited descriptor {number}");
    // SAFETY: fcntl(2) only looks the number up.
    let flags = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if flags < 0 {
        return Err(Error::sys(what(), io::Error::last_os_error()));
    }
    // SAFETY: it is open, and was handed to this process for this caller; `Sandbox` says which number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A descriptor that becomes readable when the process ends (`pidfd_open(2)`).
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn open_pid(pid: i32) -> Result<OwnedFd> {
    // SAFETY: the call takes two numbers and gives a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(Error::sys(format!("open process {pid}"), io::Error::last_os_error()));
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Kills the process behind such a descriptor, and no other that has its number by now
/// (`pidfd_send_signal(2)`).
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn kill_by_descriptor(process: &impl AsFd) -> Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    let fd = process.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open; without information of ours the kernel fills that in itself.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, none, 0) };
    if done < 0 {
        return Err(Error::sys("kill process", io::Error::last_os_error()));
    }
    Ok(())
}

/// Gives memory that is free back to the kernel: after work that took much more than what is left of it. Costs a walk
/// over the heap.
pub fn give_back_memory() {
    // SAFETY: it takes nothing that is in use (malloc_trim(3)).
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
