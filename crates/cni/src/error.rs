//! What can go wrong between a network's configuration and its plugins.

use std::io;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::failure::{Code, Failure, Reason};
use crate::request::Command;
use crate::version::Version;

/// An operation that failed.
///
/// `Display` names the operation and its objects, never the source: walk the chain for that.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration file, or its text, is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No file of the folder configures a network of that name.
    #[error("no network {name} in {}{}", folder.display(), named(found))]
    NoNetwork {
        /// The name.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
        /// The networks that are there.
        found: Vec<String>,
    },
    /// A parameter of the call that the specification forbids.
    #[error("{what} {value:?}: {why}")]
    Parameter {
        /// Which one, as `container id`.
        what: &'static str,
        /// What was given.
        value: String,
        /// Why it cannot be.
        why: &'static str,
    },
    /// There is no such plugin.
    #[error("{}plugin {plugin} not found in {}", of(network.as_deref()), folders(path))]
    NoPlugin {
        /// The network that wants it.
        network: Option<String>,
        /// Its type.
        plugin: String,
        /// The folders that were searched.
        path: Vec<PathBuf>,
    },
    /// A plugin was called and did not do its work.
    #[error(transparent)]
    Plugin(Box<Failure>),
    /// An ADD failed, and so did the DEL that should have undone what it had done by then.
    #[error(
        "{}; container {container} may keep parts of it, for the roll-back failed: {}",
        chain(add),
        joined(failures)
    )]
    RollBack {
        /// The container.
        container: String,
        /// Why the ADD failed.
        add: Box<Self>,
        /// What the roll-back could not do.
        failures: Vec<Self>,
    },
    /// The container has an attachment of that interface name already. A second ADD must not be
    /// (specification, section 2), and its roll-back would take the first one away.
    #[error("container {container} already has {ifname}, attached to network {network}")]
    Attached {
        /// The network that it is attached to.
        network: String,
        /// The container.
        container: String,
        /// The interface.
        ifname: String,
    },
    /// CHECK of an attachment that no ADD has made.
    #[error("container {container} has no {ifname} attached to network {network}")]
    NotAttached {
        /// The network.
        network: String,
        /// The container.
        container: String,
        /// The interface.
        ifname: String,
    },
    /// The network's version of the specification is older than the operation.
    #[error("network {network}: {command} came after version {version} of CNI")]
    TooOld {
        /// The network.
        network: String,
        /// The operation.
        command: Command,
        /// The network's version.
        version: Version,
    },
    /// A plugin speaks none of the versions that the network's configuration names and that the
    /// plugins before it speak.
    #[error(
        "network {network}: plugin {plugin} speaks CNI {}; wanted is one of {}",
        supported.join(", "),
        wanted.iter().map(|version| version.as_str()).collect::<Vec<_>>().join(", ")
    )]
    NoCommonVersion {
        /// The network.
        network: String,
        /// The plugin.
        plugin: String,
        /// What would do.
        wanted: Vec<Version>,
        /// What the plugin offers.
        supported: Vec<String>,
    },
    /// Garbage collection failed in part; all else of it is done.
    #[error("network {network}: garbage collection: {}", joined(failures))]
    Gc {
        /// The network.
        network: String,
        /// Everything that failed, never empty.
        failures: Vec<Self>,
    },
    /// The cache of results cannot be read or written.
    #[error("{what} {}", path.display())]
    Cache {
        /// The operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file of the cache holds something else than it should.
    #[error("cached result {}: {why}", path.display())]
    CacheEntry {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The plugin's error code, where a plugin gave one; of an ADD that could not be rolled back, the
    /// ADD's.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Plugin(failure) => match &failure.reason {
                Reason::Answer { error, .. } => Some(error.code),
                _ => None,
            },
            Self::RollBack { add, .. } => add.code(),
            _ => None,
        }
    }

    /// The plugin's failure, where it was one; of an ADD that could not be rolled back, the ADD's.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Plugin(failure) => Some(failure),
            Self::RollBack { add, .. } => add.failure(),
            _ => None,
        }
    }

    pub(crate) fn cache(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Cache { what, path: path.into(), source: source.into() }
    }
}

/// An error with everything that caused it, in one line.
pub(crate) fn chain(error: &(impl std::error::Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn joined(errors: &[Error]) -> String {
    errors.iter().map(chain).collect::<Vec<_>>().join("; ")
}

fn of(network: Option<&str>) -> String {
    network.map(|network| format!("network {network}: ")).unwrap_or_default()
}

fn folders(path: &[PathBuf]) -> String {
    if path.is_empty() {
        return "no folder at all: the plugin path is empty".into();
    }
    path.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(":")
}

fn named(found: &[String]) -> String {
    if found.is_empty() {
        return ": no configuration there".into();
    }
    format!(", only {}", found.join(", "))
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Plugin(Box::new(failure))
    }
}
