//! What can go wrong between a transaction and the kernel.

use std::io;

/// A transaction, or a look at the rules, that failed. Nothing of a failed transaction stays.
///
/// `Display` names the operation and its object, never the source: walk the chain for that.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("{what}")]
    Socket {
        /// The operation, as `send nftables batch`.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused an object, and with it the whole transaction.
    #[error("{what}")]
    Refused {
        /// The operation and its object, as `add chain netdev loss ingress-eth0`.
        what: String,
        /// Which message of the transaction it is, counted from nought; none when it is no single one.
        position: Option<usize>,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The batch is larger than the kernel lets this socket send: without `CAP_NET_ADMIN` in the first
    /// user namespace, `net.core.wmem_max` decides. Split the transaction.
    #[error("nftables batch of {size} bytes: the kernel takes {limit} at once")]
    TooLarge {
        /// Bytes of the batch.
        size: usize,
        /// Bytes that would do.
        limit: usize,
    },
    /// There is no device of that name in the namespace.
    #[error("device {0} not found")]
    NoDevice(String),
    /// The kernel cannot filter what a device sends.
    #[error(
        "this kernel has no nftables hook for what device {0} sends (egress: Linux 5.16 with \
         CONFIG_NETFILTER_EGRESS)"
    )]
    NoEgress(String),
    /// A value that nftables cannot hold.
    #[error("{0}")]
    Invalid(String),
    /// An answer that is missing, cut short or not of a form known here.
    #[error("{0}")]
    Answer(String),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn socket(what: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Socket { what, source: source.into() }
    }

    /// The kernel's error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::TooLarge { .. }
            | Self::NoDevice(_)
            | Self::NoEgress(_)
            | Self::Invalid(_)
            | Self::Answer(_) => None,
        }
    }
}
