//! Verbs that look closely, change a little, or wait.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::objects::{FileArgs, Kinds, PlaceArgs, SelectorArgs, duration};

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// KIND[,KIND…] [NAME or its begin…], or KIND/NAME…
    #[arg(value_name = "KIND [NAME]", value_parser = Kinds, hide_possible_values = true, required_unless_present = "files", conflicts_with = "files")]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) selectors: SelectorArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// KIND/NAME…, or KIND NAME…
    #[arg(value_name = "KIND/NAME", value_parser = Kinds, hide_possible_values = true, required = true)]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// How many pods
    #[arg(long, value_name = "N")]
    pub(crate) replicas: u32,
    /// Only if there shall be so many now
    #[arg(long, value_name = "N")]
    pub(crate) current_replicas: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ExposeArgs {
    /// KIND/NAME…, or KIND NAME…: deployments, replica sets, pods, services
    #[arg(value_name = "KIND/NAME", value_parser = Kinds, hide_possible_values = true, required = true)]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The service's name; without, that of what is exposed
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The service's port; without, those of the containers
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Where it leads: a container's port, by number or name
    #[arg(long, value_name = "PORT|NAME")]
    pub(crate) target_port: Option<String>,
    /// TCP or UDP
    #[arg(long)]
    pub(crate) protocol: Option<String>,
    /// ClusterIP, NodePort or LoadBalancer
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// The service's address, or None
    #[arg(long = "cluster-ip", value_name = "ADDRESS")]
    pub(crate) cluster_ip: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SetCommand {
    /// New images for containers: `set image deployment/web nginx=nginx:1.16.1`
    Image(SetImageArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SetImageArgs {
    /// KIND/NAME… or KIND NAME…, then CONTAINER=IMAGE; * for all containers
    #[arg(value_name = "WHAT CONTAINER=IMAGE", value_parser = Kinds, hide_possible_values = true, required = true)]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MarkArgs {
    /// KIND/NAME… or KIND NAME…, then KEY=VALUE to set or KEY- to take away
    #[arg(value_name = "WHAT KEY=VALUE", value_parser = Kinds, hide_possible_values = true, required = true)]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) selectors: SelectorArgs,
    /// All objects of the kind
    #[arg(long)]
    pub(crate) all: bool,
    /// Also where the key has another value
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// How far it is; return when it is done
    Status {
        #[command(flatten)]
        of: RolloutArgs,
        /// Return when it is done; --watch=false tells how it is now
        #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
        watch: bool,
        /// How long to wait, as 30s; without, as long as it takes
        #[arg(long, value_name = "TIME", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Its revisions
    History {
        #[command(flatten)]
        of: RolloutArgs,
        /// The pod template of this one
        #[arg(long, value_name = "N")]
        revision: Option<i64>,
    },
    /// Go back to the revision before
    Undo {
        #[command(flatten)]
        of: RolloutArgs,
        /// To this one
        #[arg(long, value_name = "N", default_value_t = 0)]
        to_revision: i64,
    },
    /// Make all pods anew, a few at a time
    Restart(RolloutArgs),
    /// Hold it
    Pause(RolloutArgs),
    /// Let it go on
    Resume(RolloutArgs),
}

impl RolloutCommand {
    pub(crate) fn of(&self) -> &RolloutArgs {
        match self {
            Self::Status { of, .. } | Self::History { of, .. } | Self::Undo { of, .. } => of,
            Self::Restart(of) | Self::Pause(of) | Self::Resume(of) => of,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RolloutArgs {
    /// deployment/NAME, or deployment NAME
    #[arg(value_name = "deployment/NAME", required = true)]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// KIND/NAME…, KIND NAME…, or KIND with -l or --all
    #[arg(value_name = "KIND/NAME", value_parser = Kinds, hide_possible_values = true, required_unless_present = "files", conflicts_with = "files")]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) selectors: SelectorArgs,
    /// All objects of the kind
    #[arg(long)]
    pub(crate) all: bool,
    /// condition=Ready, condition=Ready=False, delete, create, jsonpath='{.status.phase}'=Running
    #[arg(long = "for", value_name = "WHAT")]
    pub(crate) wanted: String,
    /// How long, as 30s; 0 looks once
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
}
