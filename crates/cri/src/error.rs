//! What can go wrong with a sandbox.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the container runtime; `Display` names the object, the source says why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder.
    #[error("{what} {}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] net::Error),
    /// Another sandbox has the name.
    #[error("sandbox {0} exists already")]
    Exists(String),
    /// The shim could not make the sandbox.
    #[error("sandbox {name}: {message}")]
    Setup {
        /// The sandbox.
        name: String,
        /// What the shim said.
        message: String,
    },
    /// The shim has ended; its sandbox with it.
    #[error("sandbox {0} has ended")]
    Ended(String),
    /// The connection to the shim broke; whether it has done what was asked is not known.
    #[error("the connection to sandbox {0} was lost")]
    Lost(String),
    /// The shim was killed and is still there.
    #[error("sandbox {0} does not end")]
    Unkillable(String),
}

impl Error {
    pub(crate) fn file(what: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::File { what, path: path.as_ref().into(), source }
    }
}

/// With this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;
