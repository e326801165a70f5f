//! The multi-cluster verbs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use super::OutputArgs;
use super::objects::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum SkupperCommand {
    /// Make a site: a router on the cluster's first worker
    Init(SkupperInitArgs),
    /// Delete the site, with its links
    Delete(SkupperPlaceArgs),
    /// Permission to link to a site
    #[command(subcommand, arg_required_else_help = true)]
    Token(SkupperTokenCommand),
    /// Links between sites
    #[command(subcommand, arg_required_else_help = true)]
    Link(SkupperLinkCommand),
    /// Let all linked clusters reach something of this one: a Connector here, Listeners there
    Expose(SkupperExposeArgs),
    /// Take that back, everywhere
    Unexpose(SkupperUnexposeArgs),
    /// What crosses
    #[command(subcommand, arg_required_else_help = true)]
    Service(SkupperStatusCommand),
    /// All sites
    #[command(subcommand, arg_required_else_help = true)]
    Network(SkupperStatusCommand),
    /// Sites, links, addresses, and who talks to whom
    Graph(SkupperGraphArgs),
    /// New certificates for a site and its links; connections stay
    Rotate(SkupperPlaceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SkupperPlaceArgs {
    /// The cluster, as C1; without, the lab's first
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// The site's namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Debug, Args)]
pub(crate) struct SkupperInitArgs {
    /// The site's name; without, the cluster's
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) place: SkupperPlaceArgs,
    /// Whether other sites may link to it: default or none
    #[arg(long, default_value = "default", value_name = "HOW")]
    pub(crate) link_access: String,
    /// Seconds to wait until it is ready; 0 does not wait
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SkupperTokenCommand {
    /// Write a token for a link to this site into a file
    Create {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        place: SkupperPlaceArgs,
        /// Its name, and that of the link
        #[arg(long)]
        name: Option<String>,
        /// How long it is good
        #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
        expiry: Duration,
        /// How often it is good
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
        uses: i32,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SkupperLinkCommand {
    /// Link this site to the one that a token is from
    Create {
        /// The file with the token
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        place: SkupperPlaceArgs,
        /// What it costs to go this way
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
        cost: i32,
        /// Its name; without, the token's
        #[arg(long)]
        name: Option<String>,
        /// Seconds to wait until the token is redeemed
        #[arg(long, default_value_t = 30, value_name = "SECONDS")]
        timeout: u64,
    },
    /// Take a link away
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        place: SkupperPlaceArgs,
    },
    /// All links, as both ends see them
    Status(OutputArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SkupperTargetArgs {
    /// deployment, service or pod
    #[arg(value_parser = ["deployment", "service", "pod"])]
    pub(crate) kind: String,
    /// Its name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) place: SkupperPlaceArgs,
    /// The routing key, and the name that clients use; without, the name
    #[arg(long)]
    pub(crate) address: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SkupperExposeArgs {
    #[command(flatten)]
    pub(crate) target: SkupperTargetArgs,
    /// The port that clients use
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The server's port; without, the same
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) target_port: Option<u16>,
    /// Only these clusters; without, all that are linked
    #[arg(long = "to", value_name = "CLUSTER", value_delimiter = ',')]
    pub(crate) to: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SkupperUnexposeArgs {
    #[command(flatten)]
    pub(crate) target: SkupperTargetArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SkupperStatusCommand {
    /// Show them
    Status(OutputArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SkupperGraphArgs {
    /// A picture instead of text
    #[arg(long, conflicts_with = "output")]
    pub(crate) svg: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
