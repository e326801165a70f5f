//! The command line, as clap reads it, as `topo man` prints it and as the prompt completes it.

pub(crate) mod changes;
pub(crate) mod cni;
pub(crate) mod ingress;
pub(crate) mod labs;
pub(crate) mod links;
pub(crate) mod logs;
pub(crate) mod names;
pub(crate) mod nodes;
pub(crate) mod objects;
pub(crate) mod parts;
pub(crate) mod patch;
pub(crate) mod pods;
pub(crate) mod run;
pub(crate) mod services;
pub(crate) mod skupper;
pub(crate) mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use lab::LabName;

/// Whole Kubernetes clusters' networks on one Linux machine: instant, harmless to the host, real.
#[derive(Debug, Parser)]
#[command(name = "topo", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Which lab; without, that of KNETSIM_LAB, else knetsim
    // The variable is read by `lab`: to clap it would be an argument, which spoils what it says where others are
    // missing.
    #[arg(long, global = true, value_name = "NAME", value_parser = lab_name)]
    lab: Option<LabName>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The lab that is meant.
    pub(crate) fn lab(&self) -> anyhow::Result<LabName> {
        if let Some(lab) = &self.lab {
            return Ok(lab.clone());
        }
        let variable = lab::state::LAB_VARIABLE;
        let name = std::env::var_os(variable).unwrap_or_default();
        lab_name(&name.to_string_lossy()).context(variable)
    }
}

/// An empty name, as of an empty variable, is the default.
fn lab_name(text: &str) -> Result<LabName, lab::Error> {
    if text.is_empty() { lab::state::DEFAULT_LAB.parse() } else { text.parse() }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a lab; return when it is ready
    Up(labs::UpArgs),
    /// End a lab, and everything in it
    Down(labs::DownArgs),
    /// Labs on this machine
    List(OutputArgs),
    /// Clusters, workers and their components
    Status(OutputArgs),
    /// What this machine and kernel can do, what is missing and how to get it
    Doctor(OutputArgs),
    /// Run a command in a node; its exit status is passed on
    Exec(labs::ExecArgs),
    /// A shell in a node; without a node the prompt, where `C0w1 ping C0w2` works
    Shell(labs::ShellArgs),
    /// What the processes of a node, or the containers of a pod, have printed
    Logs(pods::LogsArgs),
    /// One pod by hand: `pod create C0w1 c10`
    #[command(subcommand, arg_required_else_help = true)]
    Pod(pods::PodCommand),
    /// An address that stands for pods: `vip add C0 100.64.10.1 c2 c3`
    #[command(subcommand, arg_required_else_help = true)]
    Vip(services::VipCommand),
    /// The rules of services on a worker: `proxy show web`
    #[command(subcommand, arg_required_else_help = true)]
    Proxy(services::ProxyCommand),
    /// nginx by hand, and what all ingresses lead to: `ingress create C0w1 grp1 --port 8001 --path …`
    #[command(subcommand, arg_required_else_help = true)]
    Ingress(ingress::IngressCommand),
    /// Services across clusters: sites, links, and what crosses
    #[command(subcommand, arg_required_else_help = true)]
    Skupper(skupper::SkupperCommand),
    /// Names of a cluster: what a look-up costs
    #[command(subcommand, arg_required_else_help = true)]
    Dns(names::DnsCommand),
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
    Link(links::LinkCommand),
    /// Topology files
    #[command(subcommand)]
    Topology(labs::TopologyCommand),
    /// Call CNI plugins by hand, with cnitool's words and environment
    #[command(subcommand, arg_required_else_help = true, after_help = cni::CNI_VARIABLES)]
    Cni(cni::CniCommand),
    /// A little web server that answers TEXT
    Echo(pods::EchoArgs),
    /// Names of all nodes and switches
    Nodes,
    /// Which interface is plugged into which
    Net,
    /// Every link, whether it is up, and what impairs it
    Links(OutputArgs),
    /// Nodes with addresses and process ids
    Dump,
    /// Every node pings every other
    Pingall(links::PingallArgs),
    /// TCP throughput between two nodes
    Iperf(links::IperfArgs),
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
    Lab(parts::LabArgs),
    /// The agent of a worker (started by the lab)
    #[command(hide = true)]
    Agent(parts::AgentArgs),
    /// The control plane of a cluster (started by the lab)
    #[command(hide = true)]
    ControlPlane(parts::ControlPlaneArgs),
    /// A router between sites, by the configuration of skrouterd (started by the lab)
    #[command(hide = true)]
    Router(parts::RouterArgs),
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
    DelayLine(parts::DelayLineArgs),
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
