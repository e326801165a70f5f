//! What can go wrong when the kernel is asked for something.

use std::io;
use std::path::PathBuf;

/// An operation that the kernel, or a file, refused.
///
/// `Display` names the operation and its object, never the source: walk the chain for that.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a named object failed.
    #[error("{what}")]
    Sys {
        /// The operation and its object, as `create namespace C0w1`.
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file operation failed.
    #[error("{what} {}", path.display())]
    File {
        /// The operation, as `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no link of that name in the namespace.
    #[error("link {0} not found")]
    NoLink(String),
    /// The kernel is built without something that is asked of it.
    #[error("{0}")]
    Unsupported(String),
    /// Something that is not the kernel's fault: a helper program, a bad figure.
    #[error("{0}")]
    Other(String),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Sys`] from whatever converts into an I/O error (an `Errno`, too).
    pub fn sys(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Sys { what: what.into(), source: source.into() }
    }

    /// An [`Error::File`].
    pub fn file(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { what, path: path.into(), source: source.into() }
    }

    pub(crate) fn netlink(what: impl Into<String>, source: rtnetlink::Error) -> Self {
        let source = match source {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other),
        };
        Self::Sys { what: what.into(), source }
    }

    /// The kernel's error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Sys { source, .. } | Self::File { source, .. } => source.raw_os_error(),
            Self::NoLink(_) | Self::Unsupported(_) | Self::Other(_) => None,
        }
    }
}
