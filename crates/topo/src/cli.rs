//! The command line, as clap reads it, as `topo man` prints it and as the prompt completes it.

pub(crate) mod changes;
pub(crate) mod ingress;
pub(crate) mod logs;
pub(crate) mod nodes;
pub(crate) mod objects;
pub(crate) mod patch;
pub(crate) mod run;
pub(crate) mod skupper;
pub(crate) mod verbs;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use ipnetwork::Ipv4Network;
use jiff::SignedDuration;
use lab::LabName;
use topology::{Choice, Delay, Loss, Rate};

/// Whole Kubernetes clusters' networks on one Linux machine: instant, harmless to the host, real.
#[derive(Debug, Parser)]
#[command(name = "topo", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Which lab
    #[arg(long, global = true, env = "KNETSIM_LAB", default_value = lab::state::DEFAULT_LAB, value_name = "NAME", value_parser = lab_name)]
    pub(crate) lab: LabName,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// An empty name, as of an empty variable, is the default.
fn lab_name(text: &str) -> Result<LabName, lab::Error> {
    if text.is_empty() { lab::state::DEFAULT_LAB.parse() } else { text.parse() }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a lab; return when it is ready
    Up(UpArgs),
    /// End a lab, and everything in it
    Down(DownArgs),
    /// Labs on this machine
    List(OutputArgs),
    /// Clusters, workers and their components
    Status(OutputArgs),
    /// What this machine and kernel can do, what is missing and how to get it
    Doctor(OutputArgs),
    /// Run a command in a node; its exit status is passed on
    Exec(ExecArgs),
    /// A shell in a node; without a node the prompt, where `C0w1 ping C0w2` works
    Shell(ShellArgs),
    /// What the processes of a node, or the containers of a pod, have printed
    Logs(LogsArgs),
    /// One pod by hand: `pod create C0w1 c10`
    #[command(subcommand, arg_required_else_help = true)]
    Pod(PodCommand),
    /// An address that stands for pods: `vip add C0 100.64.10.1 c2 c3`
    #[command(subcommand, arg_required_else_help = true)]
    Vip(VipCommand),
    /// The rules of services on a worker: `proxy show web`
    #[command(subcommand, arg_required_else_help = true)]
    Proxy(ProxyCommand),
    /// nginx by hand, and what all ingresses lead to: `ingress create C0w1 grp1 --port 8001 --path …`
    #[command(subcommand, arg_required_else_help = true)]
    Ingress(ingress::IngressCommand),
    /// Services across clusters: sites, links, and what crosses
    #[command(subcommand, arg_required_else_help = true)]
    Skupper(skupper::SkupperCommand),
    /// Names of a cluster: what a look-up costs
    #[command(subcommand, arg_required_else_help = true)]
    Dns(DnsCommand),
    /// Make objects as files describe them, or change them into that
    Apply(objects::ApplyArgs),
    /// Make new objects, from files or a few words
    Create(objects::CreateArgs),
    /// Put a service in front of pods
    Expose(changes::ExposeArgs),
    /// Change what containers run
    #[command(subcommand, arg_required_else_help = true)]
    Set(changes::SetCommand),
    /// Show objects
    Get(objects::GetArgs),
    /// Delete objects
    Delete(objects::DeleteArgs),
    /// Tell of objects in words, with what belongs to them and what has happened to them
    Describe(changes::DescribeArgs),
    /// Set how many pods a deployment or replica set keeps
    Scale(changes::ScaleArgs),
    /// Set or take away labels: KEY=VALUE, KEY-
    Label(changes::MarkArgs),
    /// Set or take away annotations: KEY=VALUE, KEY-
    Annotate(changes::MarkArgs),
    /// New versions of a deployment: how far, which, back, again
    #[command(subcommand, arg_required_else_help = true)]
    Rollout(changes::RolloutCommand),
    /// Wait until something is so
    Wait(changes::WaitArgs),
    #[command(flatten)]
    Verb(verbs::Verb),
    /// Impair a link, or pull its plug: `link set A B …`, `link A B down`
    #[command(subcommand, arg_required_else_help = true)]
    Link(LinkCommand),
    /// Topology files
    #[command(subcommand)]
    Topology(TopologyCommand),
    /// Call CNI plugins by hand, with cnitool's words and environment
    #[command(subcommand, arg_required_else_help = true, after_help = CNI_VARIABLES)]
    Cni(CniCommand),
    /// A little web server that answers TEXT
    Echo(EchoArgs),
    /// Names of all nodes and switches
    Nodes,
    /// Which interface is plugged into which
    Net,
    /// Every link, whether it is up, and what impairs it
    Links(OutputArgs),
    /// Nodes with addresses and process ids
    Dump,
    /// Every node pings every other
    Pingall(PingallArgs),
    /// TCP throughput between two nodes
    Iperf(IperfArgs),
    /// Completions for a shell, to be sourced
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// The manual page; with a folder, all of them as files
    Man {
        /// Where to write `topo.1`, `topo-up.1`, …
        #[arg(value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
    },
    /// pid 1 of a lab (started by `up`)
    #[command(hide = true)]
    Lab(LabArgs),
    /// The agent of a worker (started by the lab)
    #[command(hide = true)]
    Agent(AgentArgs),
    /// The control plane of a cluster (started by the lab)
    #[command(hide = true)]
    ControlPlane(ControlPlaneArgs),
    /// A router between sites, by the configuration of skrouterd (started by the lab)
    #[command(hide = true)]
    Router(RouterArgs),
    /// Tries what this kernel can do (started by `doctor`)
    #[command(hide = true)]
    Probe,
    /// What stands in for an image (started in pods)
    #[command(hide = true, disable_help_flag = true)]
    Image {
        /// Name and arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// A delay between two devices (started by the lab)
    #[command(hide = true)]
    DelayLine(DelayLineArgs),
}

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

#[derive(Debug, Subcommand)]
pub(crate) enum PodCommand {
    /// Make a pod on a worker; return when it is ready
    Create(PodCreateArgs),
    /// Delete a pod of a worker; return when it is gone
    Delete(PodDeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PodCreateArgs {
    /// The worker, as C0w1
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// The pod's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What to run; without, the pod only is there
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
    /// The image, see docs/images.md
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// The pod's namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Seconds to wait for it
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct PodDeleteArgs {
    /// The worker, as C0w1
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// The pod's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The pod's namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Seconds to wait until it is gone
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Topology file; without, the two clusters of the course
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Only say what is wrong with the file
    #[arg(long)]
    pub(crate) check: bool,
    /// Go on to the prompt
    #[arg(long, conflicts_with = "check")]
    pub(crate) shell: bool,
    /// Keep etcd's data when the lab ends, and go on with it: in the state folder, or in DIR
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, value_hint = ValueHint::DirPath)]
    #[allow(clippy::option_option)]
    pub(crate) keep: Option<Option<PathBuf>>,
    /// Seconds to wait for everything to be ready
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
    /// Print nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Every lab of this user
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables for people
    Table,
    /// JSON for programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Node or switch, as C0w1
    pub(crate) node: String,
    /// Command and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// Node or switch; without, the prompt
    pub(crate) node: Option<String>,
    /// A plain shell in the lab, where `ip netns exec C0w1 …` works
    #[arg(long, conflicts_with = "node")]
    pub(crate) ns: bool,
    /// Run this line as if typed at the prompt, and leave; may be given several times
    #[arg(short, long = "command", value_name = "LINE", conflicts_with_all = ["node", "ns"])]
    pub(crate) commands: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Node, as C0w1, or pod, as C0/c1 or C0/NAMESPACE/POD; `lab` is the lab's own first process
    #[arg(value_name = "NODE|POD", default_value = "", hide_default_value = true)]
    pub(crate) target: String,
    /// As etcd or agent; without, all of the node. Of a pod the container
    pub(crate) component: Option<String>,
    /// Go on printing; of a pod also after a restart
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) pod: PodLogsArgs,
    #[command(flatten)]
    pub(crate) selected: logs::SelectedArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options for pods")]
pub(crate) struct PodLogsArgs {
    /// Which container; without, the first
    #[arg(short, long, conflicts_with = "component")]
    pub(crate) container: Option<String>,
    /// Of the container before the last restart
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// Only so many lines from the end; -1 for all
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    pub(crate) tail: Option<i64>,
    /// Only what is younger, as 5s, 2m or 3h
    #[arg(long, value_name = "DURATION", value_parser = age)]
    pub(crate) since: Option<SignedDuration>,
    /// Print the time before each line
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Print no more than that
    #[arg(long, value_name = "BYTES")]
    pub(crate) limit_bytes: Option<u64>,
}

fn age(text: &str) -> Result<SignedDuration, String> {
    let age: SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    if age.is_negative() { Err("a duration must not be negative".into()) } else { Ok(age) }
}

#[derive(Debug, Subcommand)]
pub(crate) enum LinkCommand {
    /// Change a link, in both directions; what is not named stays as it is
    Set(LinkSetArgs),
    #[command(external_subcommand)]
    Mininet(Vec<String>),
}

#[derive(Debug, Args)]
pub(crate) struct LinkSetArgs {
    /// A node or switch
    pub(crate) a: String,
    /// The switch at the other end
    pub(crate) b: String,
    /// Most that passes, as 10mbit
    #[arg(long)]
    pub(crate) rate: Option<Rate>,
    /// Share of packets lost, as 5%; 0% for none
    #[arg(long)]
    pub(crate) loss: Option<Loss>,
    /// One-way delay, as 20ms; 0ms for none
    #[arg(long)]
    pub(crate) delay: Option<Delay>,
    /// Largest packet in bytes
    #[arg(long, value_parser = clap::value_parser!(u32).range(68..=65535))]
    pub(crate) mtu: Option<u32>,
    /// Plug it in
    #[arg(long, conflicts_with = "down")]
    pub(crate) up: bool,
    /// Pull the plug
    #[arg(long)]
    pub(crate) down: bool,
    /// First forget everything that was set before
    #[arg(long)]
    pub(crate) clear: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopologyCommand {
    /// The file as it is understood, with every default
    Print {
        /// Topology file; without, the two clusters of the course
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Form of the answer
        #[arg(short, long, value_enum, default_value_t = Text::Yaml)]
        output: Text,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Text {
    /// A valid topology file
    Yaml,
    /// JSON for programs
    Json,
}

const CNI_VARIABLES: &str = "\
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

#[derive(Debug, Args)]
pub(crate) struct PingallArgs {
    /// Seconds to wait for answers
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) timeout: f64,
}

#[derive(Debug, Args)]
pub(crate) struct IperfArgs {
    /// The sending node; without, the first
    pub(crate) client: Option<String>,
    /// The receiving node; without, the last
    #[arg(requires = "client")]
    pub(crate) server: Option<String>,
    /// For how many seconds
    #[arg(short, long, default_value_t = 2.0, value_name = "SECONDS")]
    pub(crate) time: f64,
}

/// `topo echo` alone, without the other verbs.
#[derive(Debug, Parser)]
#[command(name = "topo", bin_name = "topo echo", version)]
pub(crate) struct EchoCli {
    #[command(flatten)]
    pub(crate) echo: EchoArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// TCP port; 0 for a free one
    #[arg(short, long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// HTTP status of every answer
    #[arg(long, default_value_t = 200, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..600))]
    pub(crate) status: u16,
    /// Print a line for each request
    #[arg(long)]
    pub(crate) log: bool,
    /// The answer; without, who answers whom: the pod's name and addresses, and the client's
    pub(crate) text: Vec<String>,
}

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
