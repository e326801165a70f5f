//! Completions and manual pages, from the definition that parses the command line.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

pub(crate) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut visible(), "topo", &mut text);
    output::raw(&text);
    Ok(ExitCode::SUCCESS)
}

/// The command line without the verbs that nobody types: completions would offer them.
fn visible() -> clap::Command {
    let whole = Cli::command();
    let verbs = whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    clap::Command::new("topo")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(whole.get_arguments().cloned())
        .subcommands(verbs)
}

pub(crate) fn pages(folder: Option<&Path>) -> Result<ExitCode> {
    let Some(folder) = folder else {
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text)?;
        output::raw(&text);
        return Ok(ExitCode::SUCCESS);
    };
    fs::create_dir_all(folder).with_context(|| format!("make folder {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("write to {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
