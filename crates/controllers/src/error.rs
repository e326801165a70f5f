//! What can keep a controller from doing its work.

use api::Rejection;

use crate::view::ObjectName;

/// A failure; the key it happened with is looked at again later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refuses, or is away.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An object that a controller wants to make is not valid, mostly because its template is not; in the API
    /// server's words.
    #[error("{0}")]
    Rejected(String),
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

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(match rejection {
            Rejection::Invalid(invalid) => invalid.message(),
            Rejection::Undecodable(undecodable) => undecodable.to_string(),
        })
    }
}
