//! The processes of a lab, which nobody starts by hand.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;
use ipnetwork::Ipv4Network;
use lab::LabName;
use topology::Choice;

#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    #[arg(long)]
    pub(crate) name: LabName,
    #[arg(long)]
    pub(crate) state: PathBuf,
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
    #[arg(long)]
    pub(crate) began: u64,
    #[arg(long)]
    pub(crate) timeout: u64,
    #[arg(long = "resolver")]
    pub(crate) resolvers: Vec<std::net::SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct RouterArgs {
    /// The configuration, JSON
    #[arg(short, long)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[arg(long)]
    pub(crate) cluster: String,
    #[arg(long)]
    pub(crate) node: String,
    #[arg(long)]
    pub(crate) address: Ipv4Addr,
    #[arg(long, value_delimiter = ',')]
    pub(crate) etcd: Vec<String>,
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// flannel's network configuration, JSON
    #[arg(long)]
    pub(crate) network: String,
    #[arg(long)]
    pub(crate) service_network: Ipv4Network,
    #[arg(long)]
    pub(crate) flannel: Choice,
    #[arg(long)]
    pub(crate) flannel_plugin: Choice,
    /// Milliseconds
    #[arg(long, default_value_t = 50_000)]
    pub(crate) node_monitor_grace_period: u64,
    /// The cluster's sites are here, with this router
    #[arg(long)]
    pub(crate) router: Option<Choice>,
    /// Images beside those that are built in
    #[arg(long)]
    pub(crate) images: PathBuf,
    /// Folder of the pods' logs
    #[arg(long)]
    pub(crate) logs: PathBuf,
    /// A line for each request that nginx has answered
    #[arg(long)]
    pub(crate) access_log: PathBuf,
    /// The cluster has a DNS service
    #[arg(long)]
    pub(crate) dns: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ControlPlaneArgs {
    #[arg(long)]
    pub(crate) cluster: String,
    #[arg(long, value_delimiter = ',')]
    pub(crate) etcd: Vec<String>,
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// flannel's network configuration, JSON
    #[arg(long)]
    pub(crate) network: String,
    #[arg(long)]
    pub(crate) service_network: Ipv4Network,
    /// Where services of type LoadBalancer get their addresses from
    #[arg(long)]
    pub(crate) load_balancer_pool: Option<Ipv4Network>,
    /// What it is called among several of a cluster
    #[arg(long)]
    pub(crate) identity: String,
    /// It is one more, which does not bring the cluster about
    #[arg(long)]
    pub(crate) standby: bool,
    /// Milliseconds
    #[arg(long, default_value_t = 50_000)]
    pub(crate) node_monitor_grace_period: u64,
    #[arg(long = "manifest", value_name = "FILE")]
    pub(crate) manifests: Vec<PathBuf>,
    /// The cluster has a DNS service
    #[arg(long)]
    pub(crate) dns: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DelayLineArgs {
    pub(crate) a: String,
    pub(crate) b: String,
    /// Microseconds
    pub(crate) delay: u64,
}
