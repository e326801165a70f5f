//! What is said to CNI plugins: `cni`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

pub(crate) const CNI_VARIABLES: &str = "\
Variables, as cnitool's:
  CNI_PATH     Folders of plugins [default: /opt/cni/bin:/usr/lib/cni:/usr/libexec/cni]
  NETCONFPATH  Folder of configurations [default: /etc/cni/net.d]
  CNI_IFNAME   Interface in the namespace [default: eth0]
  CNI_ARGS     Arguments for every plugin, as FOO=BAR;ABC=123
  CAP_ARGS     Arguments for capabilities, as {\"mac\":\"02:00:00:00:00:01\"}";

#[derive(Debug, Subcommand)]
pub(crate) enum CniCommand {
    /// Attach a namespace to a network; print the result
    Add(CniAttachmentArgs),
    /// Detach it, whatever is left of it
    Del(CniAttachmentArgs),
    /// Ask the plugins whether an attachment is as it should be; exit 1 if not
    Check(CniAttachmentArgs),
    /// Detach everything from a network but --valid, and let its plugins clean up
    Gc(CniGcArgs),
    /// Ask the plugins whether they could attach; exit 1 if not
    Status(CniNetworkArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CniAttachmentArgs {
    /// Name of the network, as a file in NETCONFPATH (/etc/cni/net.d) has it
    pub(crate) network: String,
    /// Network namespace: a path, or a name in /run/netns
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) netns: String,
    /// Interface in the namespace; without, CNI_IFNAME or eth0
    #[arg(short, long)]
    pub(crate) ifname: Option<String>,
    #[command(flatten)]
    pub(crate) runtime: CniRuntimeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CniNetworkArgs {
    /// Name of the network, as a file in NETCONFPATH (/etc/cni/net.d) has it
    pub(crate) network: String,
    /// Taken for cnitool's sake; the network is meant as a whole
    pub(crate) netns: Option<String>,
    #[command(flatten)]
    pub(crate) runtime: CniRuntimeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CniGcArgs {
    #[command(flatten)]
    pub(crate) network: CniNetworkArgs,
    /// An attachment that stays; may be given several times
    #[arg(long, value_name = "CONTAINER/IFNAME")]
    pub(crate) valid: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CniRuntimeArgs {
    /// Where attachments are remembered; cnitool looks nowhere else
    #[arg(long, value_name = "DIR", default_value = cni::tool::CACHE, value_hint = ValueHint::DirPath)]
    pub(crate) cache_dir: PathBuf,
    /// Seconds that each plugin may take
    #[arg(long, default_value_t = cni::TIME_LIMIT.as_secs(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
}
