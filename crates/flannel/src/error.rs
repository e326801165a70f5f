//! What can keep flannel from its work.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::lease::Exhausted;

/// Why the daemon cannot do its work now. It tells this on the board and tries again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no configuration.
    #[error("etcd has no network config under {key}; put it there, as conf/flannel-network-config.json")]
    NoConfig {
        /// Where it should be.
        key: String,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No subnet is left.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// Others were faster, each time.
    #[error("others leased each of the {tries} subnets that were tried; trying again")]
    Race {
        /// How often.
        tries: u32,
    },
    /// No interface has the address that is to be the worker's.
    #[error("no interface has the address {0}")]
    NoInterface(Ipv4Addr),
    /// etcd cannot be reached or refuses.
    #[error("etcd at {endpoints}")]
    Etcd {
        /// Where.
        endpoints: String,
        /// What it said.
        #[source]
        source: Box<etcd_client::Error>,
    },
    /// etcd does not answer, or no longer.
    #[error("etcd at {endpoints} {what}")]
    Away {
        /// Where.
        endpoints: String,
        /// What it does, as `does not answer`.
        what: &'static str,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] net::Error),
    /// The kernel makes no VXLAN device, here or for us.
    #[error("make the vxlan device {device}")]
    NoVxlan {
        /// As `flannel.100`.
        device: String,
        /// What it said.
        #[source]
        source: net::Error,
    },
    /// The kernel refused the rules that masquerade.
    #[error("masquerade the pod network")]
    Masquerade(#[source] nft::Error),
    /// A file operation failed.
    #[error("{what} {}", path.display())]
    File {
        /// The operation, as `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system has no random bytes.
    #[error("get random bytes")]
    Random(#[source] io::Error),
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What somebody has to do, where waiting is of no use.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoVxlan { .. } => Some(
                "load the kernel's module (modprobe vxlan), or do without: \"Backend\": {\"Type\": \"host-gw\"} \
                 in the pod network's configuration",
            ),
            Self::Masquerade(_) => {
                Some("the kernel needs nftables with NAT (modprobe nft_masq nft_chain_nat)")
            }
            Self::Config(_) => Some("correct the configuration, in etcd or in the topology file"),
            Self::Exhausted(_) => {
                Some("give it a wider range: SubnetMin and SubnetMax, or a greater SubnetLen")
            }
            Self::NoConfig { .. }
            | Self::Race { .. }
            | Self::NoInterface(_)
            | Self::Etcd { .. }
            | Self::Away { .. }
            | Self::Kernel(_)
            | Self::File { .. }
            | Self::Random(_) => None,
        }
    }
}
