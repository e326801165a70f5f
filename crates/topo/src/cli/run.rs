//! `topo run`.

use clap::Args;

use super::objects::{DryRun, Form, PlaceArgs};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The pod's name
    pub(crate) name: String,
    /// The image, see docs/images.md
    #[arg(long)]
    pub(crate) image: String,
    /// Always, IfNotPresent or Never
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub(crate) image_pull_policy: Option<String>,
    /// The port that the container answers on
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// A service in front of it, at the same port
    #[arg(long, requires = "port")]
    pub(crate) expose: bool,
    /// An environment variable; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Labels, as app=web,tier=front, instead of run=NAME
    #[arg(short, long, value_name = "LABELS", default_value = "", hide_default_value = true)]
    pub(crate) labels: String,
    /// An annotation; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotations: Vec<String>,
    /// When it is started again
    #[arg(long, value_name = "POLICY", default_value = "Always", value_parser = ["Always", "OnFailure", "Never"])]
    pub(crate) restart: String,
    /// ARGS are the command itself, instead of its arguments
    #[arg(long)]
    pub(crate) command: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Do not do it
    #[arg(long, value_enum, default_value_t = DryRun::None, default_missing_value = "client", num_args = 0..=1, require_equals = true, value_name = "HOW")]
    pub(crate) dry_run: DryRun,
    /// Print the objects as json, yaml or name
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Form>,
    /// Arguments for what the image runs
    #[arg(value_name = "ARGS")]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) attach: AttachArgs,
}

/// What kubectl attaches by; here it is refused with a word of what to do.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    #[arg(short = 'i', long, hide = true)]
    pub(crate) stdin: bool,
    #[arg(short = 't', long, hide = true)]
    pub(crate) tty: bool,
    #[arg(long, hide = true)]
    pub(crate) rm: bool,
    #[arg(long, hide = true)]
    pub(crate) attach: bool,
}

impl AttachArgs {
    /// The first flag that asks for it.
    pub(crate) fn flag(&self) -> Option<&'static str> {
        let flags = [(self.rm, "--rm"), (self.stdin, "-i"), (self.tty, "-t"), (self.attach, "--attach")];
        flags.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }
}
