//! What is said of links and what crosses them: `link`, `pingall`, `iperf`.

use clap::{Args, Subcommand};
use topology::{Delay, Loss, Rate};

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
