//! What can keep a controller from doing its work.

use api::Rejection;
use store::registry;

use crate::view::ObjectName;

/// A failure; the key it happened with is looked at again later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refuses, or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An object that a controller wants to make or change is not valid, mostly because its template is not;
    /// or it may not be done. In the API server's words.
    #[error("{0}")]
    Refused(String),
    /// An object that adopts others is another than before, or is being deleted.
    #[error("{kind} {name} has just been deleted or replaced")]
    OwnerGone {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: ObjectName,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The object is not there (any more).
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(store::Error::NotFound { .. }))
    }

    /// Someone else was faster; the next look will see it.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(store::Error::Conflict { .. } | store::Error::Exists { .. }))
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        match error {
            registry::Error::Store(error) => Self::Store(error),
            registry::Error::Rejected(rejection) => Self::Refused(match *rejection {
                Rejection::Invalid(invalid) => invalid.message(),
                Rejection::Undecodable(undecodable) => undecodable.to_string(),
            }),
            other => Self::Refused(other.to_string()),
        }
    }
}
