//! Why a program could not go on.

use std::io;

use crate::listen::Protocol;

/// Why a program behind an image could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A word or flag on the command line that is not understood.
    #[error("{0}")]
    Usage(String),
    /// Somebody else has the port.
    #[error("{protocol} port {port} is in use{}", .holder.as_ref().map(|holder| format!(" by {holder}")).unwrap_or_default())]
    PortInUse {
        /// The port.
        port: u16,
        /// TCP or UDP.
        protocol: Protocol,
        /// The process that has it, where it can be seen.
        holder: Option<String>,
    },
    /// The kernel does not give the port.
    #[error("listen on {protocol} port {port}")]
    Listen {
        /// The port.
        port: u16,
        /// TCP or UDP.
        protocol: Protocol,
        /// What the kernel says.
        source: io::Error,
    },
    /// Another call to the kernel failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel says.
        source: io::Error,
    },
}

impl Error {
    /// What to do about it, where known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::PortInUse { .. } => Some(
                "the containers of one pod share its ports, and so do the processes of one node: stop that one, \
                 or take another port",
            ),
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("ports below 1024 are root's: take one above")
            }
            _ => None,
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}
