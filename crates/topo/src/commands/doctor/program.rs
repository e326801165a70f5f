//! Programs that are run with a time limit.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use net::process;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Most that is read of what a program prints.
const OUTPUT: u64 = 64 * 1024;

/// A program's end.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) status: ExitStatus,
    /// Both of its outputs.
    pub(super) text: String,
}

impl Ran {
    /// Whether there never was a program: the shell's codes for that, and those of the dynamic linker,
    /// or a signal.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.status.code(), Some(126 | 127)) || self.status.signal().is_some()
    }

    /// What it says first.
    pub(super) fn first_line(&self) -> &str {
        self.text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
    }
}

/// Runs a program, and kills it after `limit` (`TimedOut`).
pub(super) fn run(command: &mut Command, input: &[u8], limit: Duration) -> io::Result<Ran> {
    // Files in memory, no pipes: a program that writes much, or whose children live on, blocks nobody.
    let mut stdin = memory()?;
    stdin.write_all(input)?;
    stdin.rewind()?;
    let mut output = memory()?;
    command.env("LC_ALL", "C").stdin(stdin).stdout(output.try_clone()?).stderr(output.try_clone()?);
    process::die_with_parent(command);
    let mut child = command.spawn()?;
    let status = wait(&mut child, limit)?;
    output.rewind()?;
    let mut text = Vec::new();
    output.take(OUTPUT).read_to_end(&mut text)?;
    Ok(Ran { status, text: String::from_utf8_lossy(&text).into_owned() })
}

fn memory() -> io::Result<File> {
    Ok(memfd_create("doctor", MFdFlags::MFD_CLOEXEC)?.into())
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let process = process::open_pid(pid).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX))?;
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    child.kill()?;
    child.wait()?;
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end within {} s", limit.as_secs_f32())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> io::Result<Ran> {
        run(Command::new("/bin/sh").args(["-c", script]), b"in\n", limit)
    }

    #[test]
    fn both_outputs_and_the_status_are_kept() {
        let ran = sh("cat; echo err >&2; exit 3", Duration::from_secs(5)).unwrap();
        assert_eq!((ran.status.code(), ran.first_line()), (Some(3), "in"));
        assert_eq!(ran.text, "in\nerr\n");
        assert!(!ran.is_broken());
    }

    #[test]
    fn what_hangs_is_killed_and_what_its_children_hold_does_not_matter() {
        let limit = Duration::from_millis(50);
        assert_eq!(sh("sleep 60", limit).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let ran = sh("sleep 1 & echo done", Duration::from_secs(5)).unwrap();
        assert_eq!(ran.text, "done\n");
    }
}
