//! kubectl's verbs that need no more than a line here, and where the others' words are.

use clap::{Args, Subcommand, ValueEnum};

use super::nodes::{CordonArgs, DrainArgs, TaintArgs};
use super::patch::PatchArgs;
use super::run::RunArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make one pod in a few words: `run web --image nginx`
    Run(RunArgs),
    /// Change a few fields of objects
    Patch(PatchArgs),
    /// Keep pods off nodes, or drive them away: KEY=VALUE:EFFECT, KEY-
    Taint(TaintArgs),
    /// Let no new pods come to nodes
    Cordon(CordonArgs),
    /// Let new pods come to nodes again
    Uncordon(CordonArgs),
    /// Let no new pods come to nodes, and move those away that are there
    Drain(DrainArgs),
    /// Which kinds there are, and what one calls them
    ApiResources(ApiResourcesArgs),
    /// Which version this is
    Version(VersionArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ApiResourcesArgs {
    /// Only kinds of this group, as apps; '' for the core group
    #[arg(long, value_name = "GROUP")]
    pub(crate) api_group: Option<String>,
    /// Only kinds whose objects are in namespaces; --namespaced=false for the others
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) namespaced: Option<bool>,
    /// name or kind, instead of by group
    #[arg(long, value_enum, value_name = "COLUMN")]
    pub(crate) sort_by: Option<SortBy>,
    /// Print names only
    #[arg(short, long, value_name = "FORM", value_parser = ["name"])]
    pub(crate) output: Option<String>,
    /// Without the columns' names
    #[arg(long)]
    pub(crate) no_headers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    Name,
    Kind,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Taken for kubectl's sake: there is no API server that would have another
    #[arg(long)]
    pub(crate) client: bool,
    /// json or yaml
    #[arg(short, long, value_name = "FORM", value_parser = ["json", "yaml"])]
    pub(crate) output: Option<String>,
}
