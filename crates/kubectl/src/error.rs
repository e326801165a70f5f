//! What can go wrong, in kubectl's words where it has any.

use api::KindInfo;

/// A failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the API server would say.
    #[error(transparent)]
    Registry(#[from] store::registry::Error),
    /// There is no such kind.
    #[error(transparent)]
    Unknown(#[from] api::kinds::Unknown),
    /// A selector that cannot be understood.
    #[error(transparent)]
    Selector(#[from] api::selector::Malformed),
    /// A field by which objects of that kind cannot be selected.
    #[error(transparent)]
    Field(#[from] api::selector::NotSelectable),
    /// Words that make no sense together.
    #[error("{0}")]
    Usage(String),
    /// It cannot be done, or has not succeeded.
    #[error("{0}")]
    Failed(String),
    /// A path into objects that cannot be understood.
    #[error("{0}")]
    Path(String),
    /// Time is up.
    #[error("timed out waiting for {what}")]
    Timeout {
        /// As `the condition on pods/c1`.
        what: String,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Registry(error.into())
    }
}

impl Error {
    /// Whether it only says no: there is no such object, or what was waited for did not come.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.is_not_found() || matches!(self, Self::Timeout { .. } | Self::Failed(_))
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_not_found())
    }

    /// The namespace that would have to be there.
    #[must_use]
    pub fn missing_namespace(&self) -> Option<&str> {
        match self {
            Self::Registry(store::registry::Error::Store(store::Error::NotFound { resource, name }))
                if *resource == api::kinds::NAMESPACES.resource() =>
            {
                Some(name)
            }
            _ => None,
        }
    }

    pub(crate) fn not_found(info: &KindInfo, name: &str) -> Self {
        store::Error::NotFound { resource: info.resource(), name: name.into() }.into()
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }
}
