//! Verbs for nodes, and the pods on them.

use std::time::Duration;

use clap::Args;

use super::objects::{DryRun, Kinds, duration};

#[derive(Debug, Args)]
pub(crate) struct TaintArgs {
    /// nodes NAME…, then KEY=VALUE:EFFECT to set, KEY:EFFECT- or KEY- to take away; an effect is NoSchedule,
    /// PreferNoSchedule or NoExecute
    #[arg(value_name = "nodes NAME KEY=VALUE:EFFECT", value_parser = Kinds, hide_possible_values = true, required = true)]
    pub(crate) words: Vec<String>,
    /// Also where there is a taint of that key and effect
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// All nodes
    #[arg(long, conflicts_with = "selector")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CordonArgs {
    /// Nodes, by name
    #[arg(value_name = "NODE", required_unless_present = "selector", conflicts_with = "selector")]
    pub(crate) nodes: Vec<String>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Which nodes, and whether it is done.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Cluster, as C0; without, the first of the lab
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// Nodes with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Do not do it
    #[arg(long, value_enum, default_value_t = DryRun::None, default_missing_value = "client", num_args = 0..=1, require_equals = true, value_name = "HOW")]
    pub(crate) dry_run: DryRun,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) nodes: CordonArgs,
    /// Go on though there are pods of DaemonSets: they stay
    #[arg(long)]
    pub(crate) ignore_daemonsets: bool,
    /// Go on though there are pods with an emptyDir: what is in it is lost
    #[arg(long, alias = "delete-local-data")]
    pub(crate) delete_emptydir_data: bool,
    /// Go on though there are pods that no controller makes anew: they are lost
    #[arg(long)]
    pub(crate) force: bool,
    /// Seconds that each pod has to end; without, what the pod says
    #[arg(long, value_name = "SECONDS", default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
    pub(crate) grace_period: i64,
    /// How long to wait, as 30s; without, as long as it takes
    #[arg(long, value_name = "TIME", default_value = "0s", hide_default_value = true, value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Of the nodes' pods only those with these labels
    #[arg(long, value_name = "LABELS", default_value = "", hide_default_value = true)]
    pub(crate) pod_selector: String,
    /// Taken for kubectl's sake: there are no PodDisruptionBudgets that it would pass over
    #[arg(long, hide = true)]
    pub(crate) disable_eviction: bool,
}
