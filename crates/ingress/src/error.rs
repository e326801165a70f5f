//! What can go wrong between a configuration and an nginx that serves it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration is not served.
///
/// `Display` names the operation and its objects, never the source: walk the chain for that.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no nginx.
    #[error("nginx is not on this machine (apt install nginx-light)")]
    NoNginx,
    /// nginx is there, and does not say which version it is.
    #[error("{} -v says {said:?}, which is no version of nginx", program.display())]
    NoVersion {
        /// The program.
        program: PathBuf,
        /// What it said.
        said: String,
    },
    /// nginx does not take a configuration.
    #[error(transparent)]
    Refused(Refusal),
    /// A port cannot be had.
    #[error("listen on port {port}")]
    Port {
        /// The port.
        port: u16,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// nginx has taken the configuration, and ended nevertheless.
    #[error("nginx {0}")]
    Ended(String),
    /// nginx runs and does not answer.
    #[error("nginx does not answer at {}", .0.display())]
    Mute(PathBuf),
    /// The system refused something.
    #[error("{what}")]
    Io {
        /// What.
        what: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// What nginx says of a configuration that it does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nginx refuses the configuration: {message}")]
pub struct Refusal {
    /// Its words, without time and place.
    pub message: String,
    /// The line of `nginx.conf`, counted from 1, if it names one.
    pub line: Option<usize>,
    /// The file beside `nginx.conf`, relative to it, if it names one.
    pub file: Option<String>,
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn file(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{verb} {}", path.display()))
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
