//! Logs of pods that are not named with their cluster.

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "Options for pods")]
pub(crate) struct SelectedArgs {
    /// Of all pods with these labels; the last 10 lines of each, unless --tail says otherwise
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with_all = ["target", "component"])]
    pub(crate) selector: Option<String>,
    /// Of all containers of the pods
    #[arg(long, requires = "selector", conflicts_with = "container")]
    pub(crate) all_containers: bool,
    /// Print before each line where it is from
    #[arg(long, requires = "selector")]
    pub(crate) prefix: bool,
    /// With -f, no more logs at once
    #[arg(long, requires = "selector", value_name = "N", default_value_t = 5)]
    pub(crate) max_log_requests: usize,
    /// Where the pods are; without, the first of the lab
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// The pods' namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
}
