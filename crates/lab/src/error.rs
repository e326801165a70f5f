//! What can go wrong with a lab.

use std::io;
use std::path::PathBuf;

/// A failure, with what to do about it where that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no lab of that name.
    #[error("no lab {0} is running")]
    NotRunning(String),
    /// There is one already.
    #[error("lab {name} is {what} (pid {pid})")]
    Busy {
        /// Its name.
        name: String,
        /// `running` or `just being started`.
        what: &'static str,
        /// Of its first process, as the caller sees it.
        pid: i32,
    },
    /// A name that cannot be a lab's.
    #[error(
        "{0:?} is no name for a lab: letters, digits, -, _ and . only, a letter or digit first, at most 32"
    )]
    BadName(String),
    /// A file operation failed.
    #[error("{what} {}", path.display())]
    File {
        /// The operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused something.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// nftables refused something.
    #[error(transparent)]
    Nft(#[from] nft::Error),
    /// The topology is not one.
    #[error(transparent)]
    Topology(#[from] topology::Problems),
    /// A program that a lab needs is not there.
    #[error("{program} is not on PATH")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// Debian's package.
        package: &'static str,
    },
    /// pid 1 said no, or is gone.
    #[error("{0}")]
    Refused(String),
    /// A refusal with a way out.
    #[error("{message}")]
    Hinted {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The lab did not come up.
    #[error("{message}")]
    Failed {
        /// What is wrong.
        message: String,
        /// The last lines of the log that says more.
        log: Vec<String>,
    },
    /// Talking to pid 1 failed.
    #[error("talk to the lab")]
    Protocol(#[source] io::Error),
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { what, path: path.into(), source: source.into() }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRunning(name) if name == state_default() => Some("start it with `topo up`".into()),
            Self::NotRunning(name) => {
                Some(format!("start it with `topo up --lab {name}`, or see `topo list`"))
            }
            Self::Busy { name, .. } => {
                Some(format!("end it with `topo down --lab {name}`, or start another with --lab NAME"))
            }
            Self::NoProgram { package, .. } => Some(format!(
                "install it with `apt-get install {package}`; scripts/up does, and `topo doctor` lists all"
            )),
            Self::Hinted { hint, .. } => Some(hint.clone()),
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => Some(
                "the file system is full; KNETSIM_STATE_DIR names another place for state folders".into(),
            ),
            Self::Net(error) => namespace_hint(error),
            _ => None,
        }
    }
}

fn state_default() -> &'static str {
    crate::state::DEFAULT_LAB
}

/// Namespaces are refused for a few well-known reasons.
fn namespace_hint(error: &net::Error) -> Option<String> {
    let permission = matches!(
        error.errno().map(nix::errno::Errno::from_raw),
        Some(nix::errno::Errno::EPERM | nix::errno::Errno::EACCES | nix::errno::Errno::ENOSPC)
    );
    permission.then(|| {
        "this machine restricts namespaces for this user: `topo doctor` says how, and as root it works".into()
    })
}
