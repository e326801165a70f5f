//! What can go wrong with stored objects, in Kubernetes' words where it has any.
//!
//! Source of the words: apimachinery `pkg/api/errors/errors.go`, apiserver `pkg/registry/generic/registry`.

use std::error::Error as _;
use std::fmt;
use std::io;

use api::field::quoted;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object.
    #[error("{resource} {} not found", quoted(name))]
    NotFound {
        /// As `pods`, `deployments.apps`.
        resource: String,
        /// Its name.
        name: String,
    },
    /// There is one already.
    #[error("{resource} {} already exists", quoted(name))]
    Exists {
        /// As `pods`, `deployments.apps`.
        resource: String,
        /// Its name.
        name: String,
    },
    /// Someone else changed it since it was read.
    #[error(
        "Operation cannot be fulfilled on {resource} {}: the object has been modified; please apply your \
         changes to the latest version and try again",
        quoted(name)
    )]
    Conflict {
        /// As `pods`, `deployments.apps`.
        resource: String,
        /// Its name.
        name: String,
    },
    /// A name that cannot be a part of a key.
    #[error("{resource} {}: {why}", quoted(name))]
    Name {
        /// As `pods`, `deployments.apps`.
        resource: String,
        /// The name, or the namespace.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What is stored, or shall be, is not such an object.
    #[error("{key} holds no valid object")]
    Invalid {
        /// Its key.
        key: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// What has happened since that revision is no longer known: list again.
    #[error("too old resource version: {revision} ({oldest})")]
    Compacted {
        /// The revision asked for.
        revision: i64,
        /// The oldest one known.
        oldest: i64,
    },
    /// A revision that has not been yet: it is of another etcd, or of data that are lost.
    #[error("Too large resource version: {revision}, current: {current}")]
    Ahead {
        /// The revision asked for.
        revision: i64,
        /// The newest one.
        current: i64,
    },
    /// etcd cannot be reached or refuses. What was to be written may have been.
    #[error("etcd at {endpoints}")]
    Etcd {
        /// Where.
        endpoints: String,
        /// What it said.
        #[source]
        source: Cause,
    },
    /// etcd does not answer. What was to be written may have been.
    #[error("etcd at {endpoints} does not answer")]
    Timeout {
        /// Where.
        endpoints: String,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The machine's word for it, as in `Error from server (NotFound)`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "NotFound",
            Self::Exists { .. } => "AlreadyExists",
            Self::Conflict { .. } => "Conflict",
            Self::Name { .. } => "BadRequest",
            Self::Invalid { .. } => "InternalError",
            Self::Compacted { .. } => "Expired",
            Self::Ahead { .. } | Self::Timeout { .. } => "Timeout",
            Self::Etcd { .. } => "ServiceUnavailable",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::NotFound { .. } => 404,
            Self::Exists { .. } | Self::Conflict { .. } => 409,
            Self::Name { .. } => 400,
            Self::Invalid { .. } => 500,
            Self::Compacted { .. } => 410,
            Self::Ahead { .. } | Self::Timeout { .. } => 504,
            Self::Etcd { .. } => 503,
        }
    }

    /// The error and its source in one line.
    pub(crate) fn in_one_line(&self) -> String {
        self.source().map_or_else(|| self.to_string(), |source| format!("{self}: {source}"))
    }
}

/// What etcd, or the way to it, said.
#[derive(Debug)]
pub struct Cause(Box<etcd_client::Error>);

impl From<etcd_client::Error> for Cause {
    fn from(error: etcd_client::Error) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = self.io() {
            return write!(f, "{error}");
        }
        match self.0.as_ref() {
            etcd_client::Error::GRpcStatus(status) => f.write_str(status.message()),
            other => write!(f, "{other}"),
        }
    }
}

impl std::error::Error for Cause {}

/// Codes of gRPC (`google/rpc/code.proto`).
const OUT_OF_RANGE: i32 = 11;

impl Cause {
    /// What the system said, if it was the system.
    fn io(&self) -> Option<&io::Error> {
        let mut next: Option<&(dyn std::error::Error + 'static)> = match self.0.as_ref() {
            etcd_client::Error::GRpcStatus(status) => Some(status),
            etcd_client::Error::TransportError(error) => Some(error),
            etcd_client::Error::IoError(error) => Some(error),
            _ => None,
        };
        while let Some(error) = next {
            if let Some(io) = error.downcast_ref() {
                return Some(io);
            }
            next = error.source();
        }
        None
    }

    /// Nobody listens there, so nothing was sent.
    pub(crate) fn is_refused(&self) -> bool {
        self.io().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// The answer had more bytes than a message may have.
    pub(crate) fn is_too_large(&self) -> bool {
        self.status(OUT_OF_RANGE).is_some_and(|message| message.contains("message length too large"))
    }

    /// The revision asked for is compacted.
    pub(crate) fn is_compacted(&self) -> bool {
        self.status(OUT_OF_RANGE).is_some_and(|message| message.contains("has been compacted"))
    }

    /// The revision asked for has not been yet.
    pub(crate) fn is_future(&self) -> bool {
        self.status(OUT_OF_RANGE).is_some_and(|message| message.contains("future revision"))
    }

    fn status(&self, code: i32) -> Option<&str> {
        match self.0.as_ref() {
            etcd_client::Error::GRpcStatus(status) if i32::from(status.code()) == code => {
                Some(status.message())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_speak_kubernetes() {
        let (resource, name) = ("pods".to_owned(), "web".to_owned());
        let table = [
            (
                Error::NotFound { resource: resource.clone(), name: name.clone() },
                "NotFound 404: pods \"web\" not found",
            ),
            (
                Error::Exists { resource: resource.clone(), name: name.clone() },
                "AlreadyExists 409: pods \"web\" already exists",
            ),
            (
                Error::Conflict { resource, name },
                "Conflict 409: Operation cannot be fulfilled on pods \"web\": the object has been modified; \
                 please apply your changes to the latest version and try again",
            ),
            (Error::Compacted { revision: 5, oldest: 9 }, "Expired 410: too old resource version: 5 (9)"),
            (
                Error::Timeout { endpoints: "http://10.1.0.1:2379".into() },
                "Timeout 504: etcd at http://10.1.0.1:2379 does not answer",
            ),
        ];
        for (error, said) in table {
            assert_eq!(format!("{} {}: {error}", error.reason(), error.code()), said);
        }
    }
}
