//! Asking a lab's pid 1.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use net::passing;
use serde::de::DeserializeOwned;
use topology::LinkProperties;

use crate::error::{Error, Result};
use crate::framing;
use crate::protocol::{Entry, KINDS, LinkStatus, Request};
use crate::state::{Life, StateDir};
use crate::status::LabStatus;

/// pid 1 answers at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// Measuring a link's delay takes that delay, which may be a minute, both ways.
const LINK_PATIENCE: Duration = Duration::from_secs(180);

/// The way to a running lab.
#[derive(Debug)]
pub struct Client {
    state: StateDir,
}

impl Client {
    /// The lab of that state folder, which must be running.
    ///
    /// # Errors
    /// [`Error::NotRunning`] otherwise.
    pub fn of(state: StateDir) -> Result<Self> {
        state.check_owner()?;
        match state.life() {
            Some(Life::Running(_)) => Ok(Self { state }),
            Some(Life::Changing(pid)) => {
                Err(Error::Busy { name: state.name().to_string(), what: "just being started or ended", pid })
            }
            Some(Life::Dead) | None => Err(Error::NotRunning(state.name().to_string())),
        }
    }

    /// Where its files are.
    #[must_use]
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// How everything is, with pids as the caller sees them.
    ///
    /// # Errors
    /// When pid 1 does not answer.
    pub fn status(&self) -> Result<LabStatus> {
        let stream = self.connect()?;
        passing::expect_pids(&stream).map_err(Error::Protocol)?;
        let mut status: LabStatus = self.call(&stream, &Request::Status)?;
        for pid in status.pids_mut() {
            *pid = passing::receive_pid(&stream).map_err(Error::Protocol)?;
        }
        Ok(status)
    }

    /// The namespaces of a node or switch, or of the lab itself (an empty name).
    ///
    /// # Errors
    /// When there is no such node.
    pub fn enter(&self, node: &str) -> Result<(Entry, Vec<OwnedFd>)> {
        let stream = self.connect()?;
        let entry: Entry = self.call(&stream, &Request::Enter { node: node.into() })?;
        // Anything less would leave the caller, and what it runs, partly outside.
        if entry.namespaces != KINDS {
            return Err(Error::Refused(format!(
                "the lab offers {:?} instead of {KINDS:?}",
                entry.namespaces
            )));
        }
        let fds = passing::receive_fds(&stream, entry.namespaces.len()).map_err(Error::Protocol)?;
        Ok((entry, fds))
    }

    /// Every link.
    ///
    /// # Errors
    /// When pid 1 does not answer.
    pub fn links(&self) -> Result<Vec<LinkStatus>> {
        self.call(&self.connect()?, &Request::Links)
    }

    /// Changes a link and tells how it is then.
    ///
    /// # Errors
    /// Where the kernel cannot, or what was set does not show.
    pub fn link_set(&self, a: &str, b: &str, change: LinkProperties, clear: bool) -> Result<LinkStatus> {
        let request = Request::LinkSet { between: (a.into(), b.into()), change, clear };
        let stream = self.connect()?;
        stream.set_read_timeout(Some(LINK_PATIENCE)).map_err(Error::Protocol)?;
        self.call(&stream, &request)
    }

    fn connect(&self) -> Result<UnixStream> {
        let stream = connect(&self.state.socket()).map_err(Error::Protocol)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(Error::Protocol)?;
        Ok(stream)
    }

    fn call<T: DeserializeOwned>(&self, stream: &UnixStream, request: &Request) -> Result<T> {
        framing::send(stream, request).map_err(|e| self.no_answer(e))?;
        let answer: Answer<T> = framing::receive(stream).map_err(|e| self.no_answer(e))?;
        match answer {
            Answer::Ok(value) => Ok(value),
            Answer::Error { message, hint: None } => Err(Error::Refused(message)),
            Answer::Error { message, hint: Some(hint) } => Err(Error::Hinted { message, hint }),
        }
    }
}

impl Client {
    fn no_answer(&self, error: io::Error) -> Error {
        let Some(Life::Running(pid)) = self.state.life() else {
            return Error::NotRunning(self.state.name().to_string());
        };
        if error.kind() != io::ErrorKind::WouldBlock {
            return Error::Protocol(error);
        }
        Error::Hinted {
            message: format!("lab {} does not answer", self.state.name()),
            hint: format!(
                "its first process may be stopped: `kill -CONT {pid}`, or end the lab with `topo down`"
            ),
        }
    }
}

/// What pid 1 answers.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer<T> {
    Ok(T),
    Error { message: String, hint: Option<String> },
}

/// A socket's address has at most 107 bytes; a descriptor of its folder makes any path short.
pub(crate) fn short(path: &Path) -> io::Result<(std::fs::File, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = std::fs::File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((folder, short))
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_folder, short) = short(path)?;
    UnixStream::connect(short)
}
