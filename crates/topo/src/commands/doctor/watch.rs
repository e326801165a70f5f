//! Starts the probe, listens to it, and ends it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use net::sandbox::{IdMap, Sandbox};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid};

use super::check::Outcome;
use super::wire::Word;

/// How long all checks may take: far longer than they do, even where modules are loaded first.
const LIMIT: Duration = Duration::from_secs(10);

/// How long the kernel may take to end what was killed.
const END: Duration = Duration::from_secs(2);

/// A probe that runs.
#[derive(Debug)]
pub(super) struct Probe {
    pid: Pid,
    ids: IdMap,
    user: bool,
    stream: UnixStream,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) ids: IdMap,
    /// Whether it took a user namespace.
    pub(super) user: bool,
    pub(super) seen: Seen,
}

/// What was heard of the checks.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By name; nothing for those that have only begun.
    checks: BTreeMap<String, Option<Heard>>,
    /// Why there are some of which nothing, or no end, was heard.
    silence: Option<String>,
}

/// The end of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) result: Outcome,
    pub(super) detail: String,
    pub(super) errno: Option<i32>,
    /// Whether it is the kernel's answer; otherwise there was none.
    pub(super) answered: bool,
}

/// Starts the probe in namespaces as a lab has them. The caller must have a single thread.
pub(super) fn start() -> Result<Probe, net::Error> {
    let failed = |e| net::Error::sys("start the probe", e);
    let (stream, theirs) = UnixStream::pair().map_err(failed)?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
    let mut sandbox = Sandbox {
        args: vec!["topo".into(), "probe".into()],
        env: env::vars_os().map(assignment).collect(),
        user: !Uid::effective().is_root(),
        net: true,
        mounts: None,
        stdio: [null.as_fd(); 3],
        keep: vec![theirs.as_fd()],
    };
    let (pid, ids) = match sandbox.start() {
        // As `topo up` does: root of a container may lack the right to make namespaces, and still have
        // that to a user namespace.
        Err(e) if !sandbox.user && e.errno() == Some(Errno::EPERM as i32) => {
            sandbox.user = true;
            sandbox.start().map_err(|_| e)
        }
        other => other,
    }?;
    Ok(Probe { pid, ids, user: sandbox.user, stream })
}

fn assignment((mut name, value): (OsString, OsString)) -> OsString {
    name.push("=");
    name.push(value);
    name
}

impl Probe {
    /// Listens until the probe has finished, dies or takes too long; then it is gone.
    pub(super) fn watch(self) -> Watched {
        let (mut seen, end) = follow(&self.stream, LIMIT);
        // An end that it came to by itself tells more than one by SIGKILL.
        let died = matches!(end, End::Closed).then(|| self.reap(false)).flatten();
        let status = died.or_else(|| self.reap(true));
        let silence = match (end, status) {
            (End::Finished, _) => None,
            (End::Late, _) => Some(format!("no answer within {} s", LIMIT.as_secs())),
            (End::Closed, Some(WaitStatus::Signaled(_, signal, _))) => {
                Some(format!("the probe was ended by {signal}"))
            }
            (End::Closed, Some(WaitStatus::Exited(_, code))) => {
                Some(format!("the probe ended with status {code}"))
            }
            (End::Closed, _) => Some("the probe ended".into()),
        };
        seen.silence = silence.or(seen.silence);
        Watched { ids: self.ids, user: self.user, seen }
    }

    /// Takes the process away, if it ends in time; one that is stuck in the kernel is left to it.
    fn reap(&self, by_force: bool) -> Option<WaitStatus> {
        let process = net::process::open_pid(self.pid.as_raw()).ok()?;
        if by_force {
            kill(self.pid, Signal::SIGKILL).ok()?;
        }
        let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::try_from(END).unwrap_or(PollTimeout::MAX)).ok()?;
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(_) => None,
            Ok(status) => Some(status),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    /// It closed its end without having finished: it is dead.
    Closed,
    Late,
}

fn follow(stream: &UnixStream, limit: Duration) -> (Seen, End) {
    let began = Instant::now();
    let mut seen = Seen::default();
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        if left.is_zero() || lines.get_ref().set_read_timeout(Some(left)).is_err() {
            return (seen, End::Late);
        }
        line.clear();
        match lines.read_line(&mut line) {
            Ok(0) => return (seen, End::Closed),
            Ok(_) => {}
            Err(_) => return (seen, End::Late),
        }
        match serde_json::from_str(&line) {
            Ok(Word::Begun(name)) => {
                seen.checks.insert(name, None);
            }
            Ok(Word::Ended { name, result, detail, errno }) => {
                seen.checks.insert(name, Some(Heard { result, detail, errno, answered: true }));
            }
            Ok(Word::Hindered(why)) => seen.silence = Some(why),
            Ok(Word::Finished) => return (seen, End::Finished),
            // Cut short: it died while it wrote.
            Err(_) => return (seen, End::Closed),
        }
    }
}

impl Seen {
    /// Why nothing at all was heard: the probe never came to its first check.
    pub(super) fn nothing(&self) -> Option<&str> {
        self.silence.as_deref().filter(|_| self.checks.is_empty())
    }

    /// What is known of a check.
    pub(super) fn of(&self, name: &str) -> Heard {
        let silence = self.silence.as_deref();
        let detail = match self.checks.get(name) {
            Some(Some(heard)) => return heard.clone(),
            Some(None) => format!("while this was tried: {}", silence.unwrap_or("no answer")),
            None => format!("not tried: {}", silence.unwrap_or("something before it is missing")),
        };
        Heard { result: Outcome::Missing, detail, errno: None, answered: false }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const VETH: &str = r#"{"ended":{"name":"veth","result":"ok","detail":"","errno":null}}"#;

    fn hear(text: &str, open: bool) -> (Seen, End) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(text.as_bytes()).unwrap();
        let theirs = open.then_some(theirs);
        let heard = follow(&ours, Duration::from_millis(50));
        drop(theirs);
        heard
    }

    #[test]
    fn what_hangs_is_told_apart_from_what_came_before_and_after() {
        let text = format!("{{\"begun\":\"veth\"}}\n{VETH}\n{{\"begun\":\"vxlan\"}}\n");
        let (mut seen, end) = hear(&text, true);
        assert_eq!(end, End::Late);
        seen.silence = Some("no answer within 1 s".into());
        assert_eq!(seen.of("veth").result, Outcome::Ok);
        assert_eq!(seen.of("vxlan").detail, "while this was tried: no answer within 1 s");
        assert_eq!(seen.of("bridge").detail, "not tried: no answer within 1 s");
    }

    #[test]
    fn death_is_noticed_even_within_a_line() {
        assert_eq!(hear("{\"begun\":\"veth\"}\n", false).1, End::Closed);
        assert_eq!(hear("{\"begun\":\"ve", false).1, End::Closed);
        assert_eq!(hear("\"finished\"\n", true).1, End::Finished);
    }
}
