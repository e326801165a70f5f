//! A process that the shim has started: a container's first, or a command beside them.

use std::fs;
use std::io::{ErrorKind, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use net::process;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use runtime::crilog;

use super::mounts::View;
use crate::log::{Log, Stream};
use crate::protocol::{Files, Outcome, Process};

/// So much of what a command prints is kept (kubernetes `pkg/probe`, `maxReadLength`).
const MOST_OUTPUT: usize = 10 << 10;

/// As a program's name: the one that the shim itself is.
const OURSELVES: &str = "topo";

pub(super) struct Child {
    pid: Pid,
    pipes: [Option<PipeReader>; 2],
    /// If it sees other files than the shim.
    view: Option<View>,
    task: Task,
}

type Started = (Pid, [Option<PipeReader>; 2]);

enum Task {
    Container { name: String, env: Vec<(String, String)>, log: Log, streams: [Stream; 2] },
    Command { client: u64, id: u64, output: Vec<u8>, deadline: Instant, timed_out: bool },
}

impl Child {
    /// Starts a container's first process.
    pub(super) fn container_of(
        name: &str,
        process: &Process,
        files: &Files,
        log: PathBuf,
    ) -> Result<Self, String> {
        let streams = [crilog::Stream::Stdout, crilog::Stream::Stderr].map(Stream::new);
        let ((pid, pipes), view) = View::make(files, || spawn(process))?;
        Ok(Self {
            pid,
            pipes,
            view,
            task: Task::Container {
                name: name.into(),
                env: process.env.clone(),
                log: Log::new(log),
                streams,
            },
        })
    }

    /// Starts a command, the client's of that number.
    pub(super) fn command(
        client: u64,
        id: u64,
        process: &Process,
        deadline: Instant,
        view: Option<View>,
    ) -> Result<Self, String> {
        let (pid, pipes) = match &view {
            Some(view) => view.within(|| spawn(process))?,
            None => spawn(process)?,
        };
        Ok(Self {
            pid,
            pipes,
            view,
            task: Task::Command { client, id, output: Vec::new(), deadline, timed_out: false },
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    pub(super) fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    pub(super) fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }

    pub(super) fn container(&self) -> Option<&str> {
        match &self.task {
            Task::Container { name, .. } => Some(name),
            Task::Command { .. } => None,
        }
    }

    /// The environment of a container.
    pub(super) fn env(&self) -> Option<&[(String, String)]> {
        match &self.task {
            Task::Container { env, .. } => Some(env),
            Task::Command { .. } => None,
        }
    }

    /// Whose command it is.
    pub(super) fn client(&self) -> Option<u64> {
        match &self.task {
            Task::Container { .. } => None,
            Task::Command { client, .. } => Some(*client),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.task {
            Task::Command { deadline, timed_out: false, .. } => Some(*deadline),
            _ => None,
        }
    }

    pub(super) fn poll(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.pipes.iter().flatten().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
    }

    /// Takes what it has printed.
    pub(super) fn pump(&mut self) {
        for number in 0..self.pipes.len() {
            let mut buffer = [0; 8192];
            // A bound, so that one who prints without end does not keep the others waiting.
            for _ in 0..16 {
                let Some(pipe) = &mut self.pipes[number] else { break };
                match pipe.read(&mut buffer) {
                    Ok(0) => self.pipes[number] = None,
                    Ok(length) => self.task.take(number, &buffer[..length]),
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => self.pipes[number] = None,
                }
            }
        }
    }

    /// It has ended: takes the rest of what it printed.
    pub(super) fn finish(&mut self) {
        self.pump();
        if let Task::Container { log, streams, .. } = &mut self.task {
            for stream in streams {
                stream.end(log);
            }
        }
    }

    pub(super) fn outcome(self, code: i32) -> (u64, Outcome) {
        match self.task {
            Task::Command { id, output, timed_out, .. } => {
                let output = String::from_utf8_lossy(&output).into_owned();
                let timed_out = timed_out.then(|| Outcome::TimedOut { output: output.clone() });
                (id, timed_out.unwrap_or(Outcome::Exited { code, output }))
            }
            Task::Container { .. } => (0, Outcome::Exited { code, output: String::new() }),
        }
    }

    /// Sends a signal; SIGKILL is for all that it has started, too.
    pub(super) fn signal(&self, signal: Signal) {
        // It may just have ended.
        let _ = kill(self.pid, signal);
        if signal == Signal::SIGKILL {
            self.clear_away(false);
        }
    }

    pub(super) fn time_out(&mut self) {
        if let Task::Command { timed_out, .. } = &mut self.task {
            *timed_out = true;
        }
        self.signal(Signal::SIGKILL);
    }

    /// Kills what it has left behind: its group, its session, and, if it was `alone`, whoever has become
    /// the shim's child by losing his own parent.
    pub(super) fn clear_away(&self, alone: bool) {
        let _ = killpg(self.pid, Signal::SIGKILL);
        for other in processes() {
            let orphan = alone && self.container().is_some() && other.parent == 1;
            if other.pid != 1 && (other.session == self.pid.as_raw() || orphan) {
                let _ = kill(Pid::from_raw(other.pid), Signal::SIGKILL);
            }
        }
    }
}

impl Task {
    fn take(&mut self, stream: usize, bytes: &[u8]) {
        match self {
            Self::Container { log, streams, .. } => streams[stream].take(bytes, log),
            Self::Command { output, .. } => {
                let room = MOST_OUTPUT.saturating_sub(output.len()).min(bytes.len());
                output.extend_from_slice(&bytes[..room]);
            }
        }
    }
}

fn spawn(process: &Process) -> Result<Started, String> {
    let [program, args @ ..] = process.argv.as_slice() else { return Err("no command specified".into()) };
    let cwd = if process.cwd.is_empty() { "/" } else { &process.cwd };
    if !Path::new(cwd).is_dir() {
        return Err(format!("working directory {cwd} is not there"));
    }
    let failed = |e: std::io::Error| format!("exec: {program:?}: {}", reason(&e));
    // This very program is there, whatever has become of its file: it is the pod's first process.
    let (file, name) =
        if program == OURSELVES { ("/proc/1/exe", OURSELVES) } else { (program.as_str(), program.as_str()) };
    let (out, out_end) = std::io::pipe().map_err(failed)?;
    let (err, err_end) = std::io::pipe().map_err(failed)?;
    for pipe in [&out, &err] {
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| failed(e.into()))?;
    }
    let mut command = Command::new(file);
    command
        .arg0(name)
        .args(args)
        .env_clear()
        .envs(process.env.iter().map(|(name, value)| (name, value)))
        .current_dir(cwd)
        .stdin(Stdio::null())
        .stdout(out_end)
        .stderr(err_end);
    if let Some(group) = process.group.or(process.user) {
        command.gid(group);
    }
    if let Some(user) = process.user {
        command.uid(user);
    }
    process::new_session(&mut command);
    process::unblock_signals(&mut command);
    let child = command.spawn().map_err(failed)?;
    Ok((Pid::from_raw(child.id() as i32), [Some(out), Some(err)]))
}

/// As runc words it.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "executable file not found in $PATH".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

struct Other {
    pid: i32,
    parent: i32,
    session: i32,
}

/// Every process of the pod.
fn processes() -> Vec<Other> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect()
}

/// A line of `/proc/<pid>/stat` (`proc_pid_stat(5)`): the name may hold anything, so count from its end.
fn parse(stat: &str) -> Option<Other> {
    let (pid, _) = stat.split_once(' ')?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().take(4).collect();
    let [_, parent, _, session] = fields.as_slice() else { return None };
    Some(Other { pid: pid.parse().ok()?, parent: parent.parse().ok()?, session: session.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let other = parse("42 (a) b (c)) S 1 42 41 0 -1 4194560 ...").unwrap();
        assert_eq!((other.pid, other.parent, other.session), (42, 1, 41));
        assert!(parse("42 (cut").is_none());
    }

    #[test]
    fn what_cannot_be_started_says_so_as_runc_does() {
        let process = |argv: &[&str], cwd: &str| Process {
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            cwd: cwd.into(),
            ..Process::default()
        };
        let said = |process| spawn(&process).unwrap_err();
        assert_eq!(said(process(&["no-such"], "")), "exec: \"no-such\": executable file not found in $PATH");
        assert_eq!(said(process(&["/etc/passwd"], "")), "exec: \"/etc/passwd\": permission denied");
        assert_eq!(said(process(&["true"], "/no-such")), "working directory /no-such is not there");
        assert_eq!(said(process(&[], "")), "no command specified");
    }
}
