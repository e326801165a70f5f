//! What can go wrong between the desired state and the kernel.

/// What keeps the table from being what it should be. `Display` never repeats its source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table is somebody else's.
    #[error(
        "table {table} was not made by knetsim{comment}: delete it (nft delete table {table}) or stop what made it"
    )]
    Foreign {
        /// As `ip kube-proxy`.
        table: String,
        /// What it says of itself, with a blank before it; empty if it says nothing.
        comment: String,
    },
    /// The kernel did not do it.
    #[error("{what}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// What it said.
        #[source]
        source: nft::Error,
    },
    /// One change does not fit into what the kernel takes at once.
    #[error("{what} takes {size} bytes at once, and the kernel takes {limit}: raise net.core.wmem_max")]
    TooLarge {
        /// The change.
        what: String,
        /// Its bytes.
        size: usize,
        /// Bytes that would do.
        limit: usize,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The kernel's error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { source, .. } => source.errno(),
            Self::Foreign { .. } | Self::TooLarge { .. } => None,
        }
    }
}
