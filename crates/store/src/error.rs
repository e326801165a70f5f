//! What can go wrong with stored objects.

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is one already.
    #[error("{0} already exists")]
    Exists(String),
    /// Someone else changed or deleted it since it was read.
    #[error("{0} has been modified; apply the change to the latest version and try again")]
    Conflict(String),
    /// What is stored is not such an object.
    #[error("{key} holds no valid object")]
    Invalid {
        /// Its key.
        key: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// etcd cannot be reached or refuses.
    #[error("etcd at {endpoints}")]
    Etcd {
        /// Where.
        endpoints: String,
        /// What it said.
        #[source]
        source: Box<etcd_client::Error>,
    },
    /// etcd does not answer.
    #[error("etcd at {endpoints} does not answer")]
    Timeout {
        /// Where.
        endpoints: String,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
