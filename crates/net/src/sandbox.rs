//! A process in new user, mount, pid and network namespaces: a lab's first, or a pod's.
// clone(2) without exec has no safe wrapper.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Pid, Uid, User};

use crate::error::{Error, Result};

/// What to run as pid 1 of its own world.
#[derive(Debug)]
pub struct Sandbox<'a> {
    /// Arguments, the program's name first; the program is the caller's own.
    pub args: Vec<OsString>,
    /// Environment, `NAME=value`.
    pub env: Vec<OsString>,
    /// Whether to make a user namespace: needed without `CAP_SYS_ADMIN`.
    pub user: bool,
    /// Whether to make a network namespace; without, it stays in the caller's.
    pub net: bool,
    /// The mount namespace that the new one is a copy of; the caller's if none is named. What a copy
    /// costs, in time and kernel memory, grows with the number of mounts.
    pub mounts: Option<BorrowedFd<'a>>,
    /// Standard input, output and error of the child.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Descriptors that the child keeps, under the numbers 3, 4, …
    pub keep: Vec<BorrowedFd<'a>>,
}

/// How ids of the sandbox stand for the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMap {
    /// No user namespace: ids are what they are.
    Host,
    /// Root is the caller, and this many more come from `/etc/subuid`.
    Range(u32),
    /// Root is the caller, and nobody else exists.
    Single {
        /// Why it is not a range.
        why: String,
    },
}

impl Sandbox<'_> {
    /// Starts it: `execve` of the caller's own program, in new namespaces, its own session.
    ///
    /// The child waits until its ids are mapped; if the caller dies before that, so does the child. It is
    /// the caller's to wait for.
    ///
    /// # Errors
    /// `EPERM` or `ENOSPC` where namespaces are forbidden or used up; what mapping the ids said.
    pub fn start(&self) -> Result<(Pid, IdMap)> {
        let args = c_strings(&self.args)?;
        let env = c_strings(&self.env)?;
        let argv = pointers(&args);
        let envp = pointers(&env);
        let (mapped, go) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| Error::sys("make a pipe", e))?;
        let mut flags = libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
        let wanted = [
            (self.user, libc::CLONE_NEWUSER),
            (self.net, libc::CLONE_NEWNET),
            // Else the child makes it, from another one.
            (self.mounts.is_none(), libc::CLONE_NEWNS),
        ];
        flags |= wanted.into_iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | flag);
        // SAFETY: without a stack of its own and without CLONE_VM this is fork(2) plus namespaces. The
        // child only makes system calls until it becomes another program; all it needs is made above.
        let pid =
            unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0usize, 0usize, 0usize, 0usize) };
        match pid {
            -1 => return Err(Error::sys("make namespaces", io::Error::last_os_error())),
            0 => {
                drop(go);
                // SAFETY: this is the child; the arrays end with null and their strings are alive.
                unsafe { child(self, mapped.as_raw_fd(), argv.as_ptr(), envp.as_ptr()) }
            }
            _ => {}
        }
        drop(mapped);
        let pid = Pid::from_raw(pid as i32);
        let map = if self.user { map_ids(pid) } else { Ok(IdMap::Host) };
        let map = map.and_then(|map| {
            fs::File::from(go).write_all(b"g").map_err(|e| Error::sys("start the first process", e))?;
            Ok(map)
        });
        if map.is_err() {
            // Its end of the pipe is closed now, so it ends; only its entry is left to be taken away.
            let _ = nix::sys::wait::waitpid(pid, None);
        }
        map.map(|map| (pid, map))
    }
}

/// The child's way to exec: no allocation, no lock, no return.
unsafe fn child(
    sandbox: &Sandbox<'_>,
    mapped: RawFd,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> ! {
    // SAFETY: system calls on descriptors that the parent made, and arrays that it keeps alive.
    unsafe {
        let mut byte = 0u8;
        if libc::read(mapped, (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(1);
        }
        libc::setsid();
        if let Some(mounts) = sandbox.mounts
            && (libc::setns(mounts.as_raw_fd(), libc::CLONE_NEWNS) != 0
                || libc::unshare(libc::CLONE_NEWNS) != 0)
        {
            libc::_exit(5);
        }
        // First far above the numbers wanted, so that none is overwritten before it is moved.
        const ABOVE: RawFd = 32;
        let mut moved = [0; ABOVE as usize];
        let mut count: RawFd = 0;
        for fd in sandbox.stdio.iter().chain(&sandbox.keep).take(moved.len()) {
            let above = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, ABOVE);
            if above < ABOVE {
                libc::_exit(2);
            }
            moved[count as usize] = above;
            count += 1;
        }
        for (number, above) in moved.iter().take(count as usize).enumerate() {
            if libc::dup2(*above, number as RawFd) < 0 {
                libc::_exit(3);
            }
        }
        // Whatever else was open stays behind: a stray pipe end would keep the caller's reader waiting.
        libc::syscall(libc::SYS_close_range, count, libc::c_uint::MAX, 4 /* CLOSE_RANGE_CLOEXEC */);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::execve(c"/proc/self/exe".as_ptr(), argv, envp);
        libc::_exit(4)
    }
}

fn c_strings(strings: &[OsString]) -> Result<Vec<CString>> {
    strings
        .iter()
        .map(|s| {
            CString::new(s.as_bytes()).map_err(|_| Error::Other(format!("{} has a zero byte", s.display())))
        })
        .collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// Maps root of the child's user namespace to the caller, and a range of ids more where
/// `newuidmap(1)` and `/etc/subuid` allow it.
fn map_ids(pid: Pid) -> Result<IdMap> {
    match map_range(pid) {
        Ok(count) => Ok(IdMap::Range(count)),
        Err(why) => {
            map_single(pid)?;
            Ok(IdMap::Single { why })
        }
    }
}

fn map_range(pid: Pid) -> Result<u32, String> {
    let (uid, gid) = (Uid::current(), Gid::current());
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    let uids = subordinate("/etc/subuid", uid.as_raw(), name.as_deref())?;
    let gids = subordinate("/etc/subgid", uid.as_raw(), name.as_deref())?;
    // Groups first: if they are refused, nothing is written yet and a single id can still be mapped.
    id_map_tool("newgidmap", pid, gid.as_raw(), gids)?;
    id_map_tool("newuidmap", pid, uid.as_raw(), uids)?;
    Ok(uids.1.min(gids.1))
}

/// The first range of a user in a file as `subuid(5)` describes it.
fn subordinate(file: &str, uid: u32, name: Option<&str>) -> Result<(u32, u32), String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    find_range(&text, uid, name).ok_or_else(|| format!("{file} has no range for this user"))
}

fn find_range(text: &str, uid: u32, name: Option<&str>) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?);
        (Some(owner) == name || owner.parse() == Ok(uid)).then_some(range)
    })
}

fn id_map_tool(tool: &str, pid: Pid, own: u32, (first, count): (u32, u32)) -> Result<(), String> {
    let output = Command::new(tool)
        .arg(pid.to_string())
        .args(["0", &own.to_string(), "1", "1", &first.to_string(), &count.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{tool}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{tool}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

fn map_single(pid: Pid) -> Result<()> {
    let write = |file: &str, text: String| {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, text).map_err(|e| Error::file("write", path, e))
    };
    // Without it the kernel refuses a gid_map (user_namespaces(7)).
    write("setgroups", "deny".into())?;
    write("gid_map", format!("0 {} 1", Gid::current()))?;
    write("uid_map", format!("0 {} 1", Uid::current()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_users_range_by_name_or_number() {
        let text = "# comment\nann:100000:65536\n1001:165536:1000\nbroken\n";
        assert_eq!(find_range(text, 1000, Some("ann")), Some((100_000, 65_536)));
        assert_eq!(find_range(text, 1001, None), Some((165_536, 1000)));
        assert_eq!(find_range(text, 1002, Some("bob")), None);
    }
}
