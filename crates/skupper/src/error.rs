//! What can keep a site from its work.

use std::path::PathBuf;

/// A result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done. It is told in the object's status and tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What the store would not take.
    #[error(transparent)]
    Registry(#[from] store::registry::Error),
    /// A file or folder of the site.
    #[error("{what} {}", path.display())]
    File {
        /// As `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key that cannot be made or read.
    #[error("{what}")]
    Certificate {
        /// As `sign the certificate of 10.0.0.3`.
        what: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A secret that is not as it has to be.
    #[error("secret \"{secret}\": {what}")]
    Secret {
        /// Its name.
        secret: String,
        /// What is wrong with it.
        what: String,
    },
    /// TLS.
    #[error("{what}")]
    Tls {
        /// As `listen with the site's certificate`.
        what: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The router's management.
    #[error("router management at {at}: {what}")]
    Management {
        /// Where.
        at: String,
        /// What is wrong.
        what: String,
    },
    /// What the router answered to a request.
    #[error("the router refuses to {operation} {entity}: {status} {description}")]
    Refused {
        /// As `create`.
        operation: String,
        /// As `tcpListener "svc1"`.
        entity: String,
        /// As HTTP's.
        status: i64,
        /// Its words.
        description: String,
    },
    /// The router's process.
    #[error("{0}")]
    Router(String),
}
