//! A router's process: skrouterd where there is one, else ours, `topo router`.
//!
//! It outlives the agent, for traffic goes through it: the next agent finds it by its pid and the time at which
//! it was started, and goes on with it.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;

/// Names the real router, where it is not in `PATH`.
pub const VARIABLE: &str = "KNETSIM_SKROUTERD";

/// A router program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What stands before `-c FILE`.
    pub arguments: Vec<String>,
    /// Its version.
    pub version: String,
}

impl Program {
    /// The machine's skrouterd: the one of `KNETSIM_SKROUTERD`, or the one in `PATH`.
    #[must_use]
    pub fn find() -> Option<Self> {
        let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let folders = std::env::var_os("PATH");
        let folders = folders.iter().flat_map(std::env::split_paths);
        let path = match named {
            Some(path) => Some(path).filter(|path| path.is_file()),
            None => folders.map(|folder| folder.join("skrouterd")).find(|path| path.is_file()),
        }?;
        let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(Self { path, arguments: Vec::new(), version })
    }

    /// Ours.
    #[must_use]
    pub fn builtin() -> Self {
        Self {
            path: "/proc/self/exe".into(),
            arguments: vec!["router".into()],
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// A running router.
#[derive(Debug)]
pub struct Process {
    running: Running,
    child: Option<tokio::process::Child>,
    note: PathBuf,
    log: PathBuf,
}

/// What is written down of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    pid: i32,
    /// In clock ticks after the machine's start (proc(5), `stat`, field 22): pids come again.
    started: u64,
    /// What it was started with: another one has to be started for another configuration.
    program: String,
    /// The entities that cannot be changed while it runs.
    fixed: String,
}

impl Process {
    /// The router of a site's folder, if it runs and is of this program with these fixed entities; one that is
    /// not so is ended.
    #[must_use]
    pub fn adopt(folder: &Path, program: &Program, fixed: &str) -> Option<Self> {
        let note = folder.join("router.json");
        let running: Running = serde_json::from_slice(&fs::read(&note).ok()?).ok()?;
        let process = Self { child: None, note, log: folder.join("router.log"), running };
        if !process.lives() {
            return None;
        }
        if process.running.program != shown(program) || process.running.fixed != fixed {
            process.end();
            return None;
        }
        tracing::info!("goes on with the router of process {}", process.running.pid);
        Some(process)
    }

    /// Starts it on a configuration file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(folder: &Path, program: &Program, config: &Path, fixed: &str) -> Result<Self> {
        let (log, note) = (folder.join("router.log"), folder.join("router.json"));
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| Error::File { what: "write", path, source }
        };
        let out = fs::File::create(&log).map_err(fail(&log))?;
        let err = out.try_clone().map_err(fail(&log))?;
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).arg("-c").arg(config).current_dir(folder);
        if !program.arguments.is_empty() {
            // Ours is a part of `topo`, and called so in `ps`.
            command.arg0("topo");
        }
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        // Not a message for the supervisor of the agent.
        command.env_remove(runtime::notify::SOCKET);
        // What ends the agent is not for it.
        net::process::new_session(&mut command);
        let child = tokio::process::Command::from(command)
            .spawn()
            .map_err(|e| Error::Router(format!("{} cannot be started: {e}", program.path.display())))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let running = Running {
            pid,
            started: started(pid).unwrap_or_default(),
            program: shown(program),
            fixed: fixed.into(),
        };
        let text = serde_json::to_vec(&running).unwrap_or_default();
        files::write(&note, &text)?;
        Ok(Self { running, child: Some(child), note, log })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.running.pid
    }

    /// Whether it was started with these fixed entities.
    #[must_use]
    pub fn is_of(&self, fixed: &str) -> bool {
        self.running.fixed == fixed
    }

    /// Whether it still runs.
    #[must_use]
    pub fn lives(&self) -> bool {
        started(self.running.pid) == Some(self.running.started)
    }

    /// How it has ended, if it has: its last words.
    pub fn ended(&mut self) -> Option<String> {
        if let Some(child) = &mut self.child {
            let status = child.try_wait().ok().flatten()?;
            return Some(format!("{status}{}", self.last_words()));
        }
        (!self.lives()).then(|| format!("it is gone{}", self.last_words()))
    }

    /// The last line of its log that says something.
    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        line.map(|line| format!(": {}", line.trim())).unwrap_or_default()
    }

    /// Ends it.
    pub fn end(&self) {
        if self.lives() {
            // It may just have ended.
            let _ = kill(Pid::from_raw(self.running.pid), Signal::SIGTERM);
        }
        let _ = fs::remove_file(&self.note);
    }
}

/// Ends the router of a site that is no more.
pub fn end(folder: &Path) {
    let note = folder.join("router.json");
    if let Some(running) = fs::read(&note).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
        Process { running, child: None, note, log: PathBuf::new() }.end();
    }
}

fn shown(program: &Program) -> String {
    let own = fs::read_link(&program.path).unwrap_or_else(|_| program.path.clone());
    format!("{} {}", own.display(), program.arguments.join(" "))
}

/// None if it does not run, or has ended and nobody has asked yet how.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have blanks in it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Program {
        // `sh -c 'sleep 60' -c FILE`
        let arguments = vec!["-c".into(), "exec sleep 60".into()];
        Program { path: "/bin/sh".into(), arguments, version: String::new() }
    }

    #[tokio::test]
    async fn a_router_outlives_who_started_it_and_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("router.conf");
        assert!(Process::adopt(folder.path(), &sleeper(), "a").is_none());
        let process = Process::start(folder.path(), &sleeper(), &config, "a").unwrap();
        let pid = process.pid();
        assert!(process.lives());
        drop(process);
        let again = Process::adopt(folder.path(), &sleeper(), "a").unwrap();
        assert!(again.lives() && again.pid() == pid);
        assert!(Process::adopt(folder.path(), &sleeper(), "b").is_none(), "it is of another configuration");
        let gone = || if again.lives() { Err("it lives".to_owned()) } else { Ok(()) };
        testkit::wait_for("the end of the old one", std::time::Duration::from_secs(30), gone);
    }

    #[tokio::test]
    async fn its_last_words_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = vec!["-c".into(), "echo no such file; exit 1".into()];
        let program = Program { path: "/bin/sh".into(), arguments, version: String::new() };
        let mut process = Process::start(folder.path(), &program, Path::new("x"), "").unwrap();
        let ended = || process.ended().ok_or_else(|| "it runs".to_owned());
        let said = testkit::wait_for("its end", std::time::Duration::from_secs(30), ended);
        assert_eq!(said, "exit status: 1: no such file");
    }
}
