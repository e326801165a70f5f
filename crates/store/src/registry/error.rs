//! Why a request is refused, in the API server's words.
//!
//! Source: apimachinery `pkg/api/errors/errors.go`, apiserver `pkg/storage/interfaces.go`.

use api::Rejection;
use api::field::quoted;

/// A request that is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the store says.
    #[error(transparent)]
    Store(#[from] crate::Error),
    /// A document that is no valid object.
    #[error(transparent)]
    Rejected(Box<Rejection>),
    /// It may not be done.
    #[error("{resource} {} is forbidden: {why}", quoted(name))]
    Forbidden {
        /// As `pods`, `deployments.apps`.
        resource: String,
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// The object is not the one that was meant.
    #[error("Operation cannot be fulfilled on {resource} {}: {why}", quoted(name))]
    Precondition {
        /// As `pods`, `deployments.apps`.
        resource: String,
        /// Its name.
        name: String,
        /// What differs.
        why: String,
    },
    /// It should be done, but cannot.
    #[error("Internal error occurred: {0}")]
    Internal(String),
    /// A request that makes no sense.
    #[error("{0}")]
    BadRequest(String),
}

/// The module's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The machine's word for it, as in `Error from server (NotFound)`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Store(error) => error.reason(),
            Self::Rejected(rejection) => rejection.reason(),
            Self::Forbidden { .. } => "Forbidden",
            Self::Precondition { .. } => "Conflict",
            Self::Internal(_) => "InternalError",
            Self::BadRequest(_) => "BadRequest",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Store(error) => error.code(),
            Self::Rejected(rejection) => rejection.code(),
            Self::Forbidden { .. } => 403,
            Self::Precondition { .. } => 409,
            Self::Internal(_) => 500,
            Self::BadRequest(_) => 400,
        }
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(crate::Error::NotFound { .. }))
    }
}
