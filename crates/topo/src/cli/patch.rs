//! `topo patch`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use kubectl::patch::Type;

use super::objects::{DryRun, FileArgs, Form, Kinds, PlaceArgs};

#[derive(Debug, Args)]
pub(crate) struct PatchArgs {
    /// KIND NAME, or KIND/NAME
    #[arg(value_name = "KIND NAME", value_parser = Kinds, hide_possible_values = true, required_unless_present = "files", conflicts_with = "files")]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The patch, JSON or YAML, as '{"spec": {"replicas": 2}}'
    #[arg(
        short,
        long,
        value_name = "PATCH",
        required_unless_present = "patch_file",
        conflicts_with = "patch_file",
        allow_hyphen_values = true
    )]
    pub(crate) patch: Option<String>,
    /// A file with the patch; `-` for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) patch_file: Option<PathBuf>,
    /// strategic: lists of containers, ports and the like item by item; merge: lists as a whole (RFC 7386); json:
    /// a list of operations (RFC 6902)
    #[arg(long = "type", value_name = "TYPE", default_value = "strategic")]
    pub(crate) how: Type,
    /// Do not do it
    #[arg(long, value_enum, default_value_t = DryRun::None, default_missing_value = "client", num_args = 0..=1, require_equals = true, value_name = "HOW")]
    pub(crate) dry_run: DryRun,
    /// Print the objects as json, yaml or name
    #[arg(short, long, value_name = "FORM")]
    pub(crate) output: Option<Form>,
}
