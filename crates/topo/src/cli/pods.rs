//! What is said of pods by hand, and what they print: `pod`, `logs`, `echo`.

use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

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
    pub(crate) selected: super::logs::SelectedArgs,
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
