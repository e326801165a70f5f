//! What can go wrong.

use std::net::SocketAddr;

use crate::zone::BadZone;

/// The result of what can go wrong here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can keep a server from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The zone is none.
    #[error(transparent)]
    Zone(#[from] BadZone),
    /// An address cannot be had.
    #[error("listen at {address} by {protocol}")]
    Listen {
        /// `UDP` or `TCP`.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn listen(protocol: &'static str, address: SocketAddr, source: std::io::Error) -> Self {
        Self::Listen { protocol, address, source }
    }
}
