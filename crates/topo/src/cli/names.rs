//! What is said of names: `dns`.

use clap::{Args, Subcommand};

use super::OutputArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum DnsCommand {
    /// Look a name up from a pod or a node as its programs would; show every query and its answer
    Trace(DnsTraceArgs),
    /// A cluster's DNS server (started in pods)
    #[command(hide = true)]
    Serve(DnsServeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DnsTraceArgs {
    /// Where, as C0/c1 or C0w1
    #[arg(value_name = "POD|NODE")]
    pub(crate) place: String,
    /// The name, as web or web.default
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DnsServeArgs {
    #[arg(long, value_delimiter = ',')]
    pub(crate) etcd: Vec<String>,
    /// The cluster's domain
    #[arg(long, default_value = "cluster.local")]
    pub(crate) zone: String,
    /// The server's own address in answers
    #[arg(long = "name-server")]
    pub(crate) name_servers: Vec<std::net::IpAddr>,
    /// Who is asked for other names
    #[arg(long = "upstream")]
    pub(crate) upstreams: Vec<std::net::SocketAddr>,
    /// Log every query
    #[arg(long)]
    pub(crate) log: bool,
    /// The ConfigMap with the Corefile, which then says what is logged and who is asked
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = config_map)]
    pub(crate) config: Option<store::ObjectName>,
    /// A network of the cluster: others are not asked for names of its addresses
    #[arg(long = "own-network")]
    pub(crate) own_networks: Vec<ipnetwork::IpNetwork>,
}

fn config_map(text: &str) -> Result<store::ObjectName, String> {
    let (namespace, name) = text.split_once('/').ok_or("as NAMESPACE/NAME")?;
    Ok(store::ObjectName::new(namespace, name))
}
