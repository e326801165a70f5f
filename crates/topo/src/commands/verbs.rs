//! kubectl's verbs, each to its own.

use std::process::ExitCode;

use anyhow::Result;
use lab::LabName;

use super::{kinds, objects};
use crate::cli::verbs::Verb;

pub(crate) fn run(lab: &LabName, verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Run(args) => objects::run(lab, args),
        Verb::Patch(args) => objects::patch(lab, args),
        Verb::Taint(args) => objects::taint(lab, args),
        Verb::Cordon(args) => objects::cordon(lab, args, true),
        Verb::Uncordon(args) => objects::cordon(lab, args, false),
        Verb::Drain(args) => objects::drain(lab, args),
        Verb::ApiResources(args) => kinds::resources(args),
        Verb::Version(args) => kinds::version(args),
    }
}
