//! What is said of services: `vip`, `proxy`.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};

use super::OutputArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum VipCommand {
    /// Let an address stand for pods: new flows of every protocol go to one of them, be it there or not
    Add(VipAddArgs),
    /// Take the address away
    Delete(VipDeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VipAddArgs {
    /// The cluster, as C0
    #[arg(value_name = "CLUSTER")]
    pub(crate) cluster: String,
    /// The address
    #[arg(value_name = "VIP")]
    pub(crate) address: Ipv4Addr,
    /// Pods, by name
    #[arg(value_name = "POD", required_unless_present = "addresses")]
    pub(crate) pods: Vec<String>,
    /// An address beside those of the pods
    #[arg(long = "to", value_name = "ADDRESS")]
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// The pods' namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProxyCommand {
    /// Tell in words what a worker's rules do with connections to services, and what they have counted
    Show(ProxyShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ProxyShowArgs {
    /// A service or one port of it, as web, default/web or default/web:http; without, all
    pub(crate) service: Option<String>,
    /// Worker; without, the cluster's first
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    /// Cluster, as C0; without, the first of the lab
    #[arg(long, value_name = "CLUSTER", conflicts_with = "node")]
    pub(crate) cluster: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VipDeleteArgs {
    /// The cluster, as C0
    #[arg(value_name = "CLUSTER")]
    pub(crate) cluster: String,
    /// The address
    #[arg(value_name = "VIP")]
    pub(crate) address: Ipv4Addr,
    /// The pods' namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}
