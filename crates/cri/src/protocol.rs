//! What agent and shim say to each other: JSON, a line each, over a Unix socket.
//!
//! Whoever connects is told the whole state first ([`Event::Hello`]), then every change.

use serde::{Deserialize, Serialize};

/// A command to run in a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The program, looked for on the PATH of `env`, and its arguments; `topo` is this very program.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory; `/` if empty.
    pub cwd: String,
    /// User id to run as.
    pub user: Option<u32>,
    /// Group id to run as.
    pub group: Option<u32>,
}

/// What a container sees of its pod's files, beside what all of the pod's containers see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// In the order in which they are mounted: a folder before what is in it.
    pub mounts: Vec<Mount>,
    /// Whether it can write to what it mounts, and to nothing else.
    pub read_only_root: bool,
}

/// A folder or file that a container has at a place of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// What is there.
    pub source: Source,
    /// Where, as `/data`; made if it is not there.
    pub target: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// One of the pod's volumes.
    Volume {
        /// Its name: what is in it is in this folder of [`crate::Sandbox::volume`].
        name: String,
        /// What of it, empty for all; a folder if it is not there.
        path: String,
        /// If it may grow to so many bytes at most; it is empty at first then.
        limit: Option<u64>,
    },
    /// A path of the machine, as the pod sees it.
    Host {
        /// The path.
        path: String,
        /// What is made, if nothing is there.
        create: Option<Kind>,
    },
}

/// What can be at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file.
    File,
}

/// What an agent asks of a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Start a container; what becomes of it is told by [`Event::Container`].
    Start {
        /// The container's name in its pod.
        container: String,
        /// How often it was started before.
        attempt: u32,
        /// What to run.
        process: Process,
        /// What it sees.
        files: Files,
    },
    /// Note a container as one that could not be started; told by [`Event::Container`], too.
    Refuse {
        /// The container's name in its pod.
        container: String,
        /// How often it was started before.
        attempt: u32,
        /// Why.
        message: String,
    },
    /// Run a command beside the containers, as a probe or a hook does; answered by [`Event::Ran`].
    Run {
        /// The asker's number for it.
        id: u64,
        /// The container whose files it sees, if that has any of its own.
        container: String,
        /// What to run.
        process: Process,
        /// After so many milliseconds it is killed.
        limit_ms: u64,
    },
    /// Send a signal to a container's first process; SIGKILL is for all of its processes.
    Signal {
        /// The container's name.
        container: String,
        /// The signal's number.
        signal: i32,
    },
    /// The namespaces of the pod, as descriptors, in the order of [`NAMESPACES`]; answered by
    /// [`Event::Namespaces`], then by the descriptors.
    Enter {
        /// The container whose files and environment are wanted; if it does not run, or is not named, those
        /// of the one that was started last.
        container: Option<String>,
    },
}

/// Whoever sends a longer request, in bytes, is dropped by the shim.
pub(crate) const LONGEST: usize = 1 << 20;

/// What a shim tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// The first word on every connection.
    Hello {
        /// Why there is no sandbox, if there is none; the shim ends then.
        error: Option<String>,
        /// Of every container the present or last run, and the one before.
        containers: Vec<ContainerState>,
    },
    /// A container has been started or has ended.
    Container(ContainerState),
    /// A command has ended.
    Ran {
        /// The asker's number.
        id: u64,
        /// How.
        outcome: Outcome,
    },
    /// The descriptors follow, with the environment that a command in here should have.
    Namespaces {
        /// The environment of the container.
        env: Vec<(String, String)>,
    },
}

/// The namespaces of a pod that [`Request::Enter`] gives, as `/proc/self/ns` names them.
pub const NAMESPACES: [&str; 5] = ["mnt", "pid", "net", "uts", "ipc"];

/// One run of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    /// The container's name in its pod.
    pub name: String,
    /// How often it was started before.
    pub attempt: u32,
    /// Microseconds since 1970.
    pub started_at: i64,
    /// What it is doing.
    pub phase: Phase,
}

/// What a run of a container is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// It runs, as the process of this pid in the pod.
    Running {
        /// The pid.
        pid: i32,
    },
    /// It has ended.
    Exited {
        /// Exit code; 128 and the signal's number, if one killed it.
        code: i32,
        /// The signal that killed it.
        signal: Option<i32>,
        /// Microseconds since 1970.
        finished_at: i64,
        /// Why it could not be started, if so.
        message: Option<String>,
    },
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// By itself, or by a signal (128 and its number).
    Exited {
        /// Exit code.
        code: i32,
        /// The first 10 KiB of what it printed.
        output: String,
    },
    /// It was killed because its time was up.
    TimedOut {
        /// What it had printed by then.
        output: String,
    },
    /// It could not be started.
    NotStarted {
        /// Why.
        message: String,
    },
}

impl ContainerState {
    /// Whether it runs.
    #[must_use]
    pub const fn running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }
}

/// One JSON line.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Strings, numbers and lists of these: nothing that serde_json refuses.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The whole lines at the beginning of `buffer`, taken out of it.
pub(crate) fn take_lines<T: for<'a> Deserialize<'a>>(
    buffer: &mut Vec<u8>,
) -> Result<Vec<T>, serde_json::Error> {
    let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
    let rest = buffer.split_off(end + 1);
    let lines = std::mem::replace(buffer, rest);
    lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_when_they_are_whole() {
        let first = Event::Ran { id: 1, outcome: Outcome::Exited { code: 0, output: "a\nb".into() } };
        let second = Event::Hello { error: None, containers: Vec::new() };
        let mut bytes = encode(&first);
        bytes.extend(encode(&second));
        let cut = bytes.split_off(bytes.len() - 3);
        assert_eq!(take_lines::<Event>(&mut bytes).unwrap(), [first]);
        assert_eq!(take_lines::<Event>(&mut bytes).unwrap(), []);
        bytes.extend(cut);
        assert_eq!(take_lines::<Event>(&mut bytes).unwrap(), [second]);
        assert!(bytes.is_empty());
        assert!(take_lines::<Event>(&mut b"nonsense\n".to_vec()).is_err());
    }
}
