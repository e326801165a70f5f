//! What is said of whole labs: `up`, `down`, `exec`, `shell`, `topology`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

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
