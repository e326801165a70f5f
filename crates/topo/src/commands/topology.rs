//! `topo topology print`, and loading files.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use topology::{Problems, Topology};

use crate::cli::labs::{Text, TopologyCommand};
use crate::output::{self, line};

/// The file of that name, or the default lab.
pub(crate) fn load(file: Option<&Path>) -> Result<Topology, Problems> {
    match file {
        Some(path) => topology::load(path),
        None => topology::load_default(),
    }
}

pub(crate) fn run(command: &TopologyCommand) -> Result<ExitCode> {
    let TopologyCommand::Print { file, output } = command;
    let topology = load(file.as_deref())?;
    match output {
        Text::Yaml => line(serde_yaml::to_string(&topology)?.trim_end()),
        Text::Json => output::json(&topology)?,
    }
    Ok(ExitCode::SUCCESS)
}
