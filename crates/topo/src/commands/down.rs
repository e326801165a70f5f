//! `topo down`.

use std::process::ExitCode;

use anyhow::Result;
use lab::start::{Ended, stop};
use lab::{LabName, StateDir};

use crate::cli::labs::DownArgs;
use crate::output::line;

pub(crate) fn run(lab: &LabName, args: &DownArgs) -> Result<ExitCode> {
    if !args.all {
        end(&StateDir::of(lab))?;
        return Ok(ExitCode::SUCCESS);
    }
    let labs = StateDir::all()?;
    let labs: Vec<_> = labs.iter().filter(|state| state.life().is_some()).collect();
    if labs.is_empty() {
        line("no labs");
    }
    // Each is tried, and the first failure told at the end.
    let outcomes: Vec<_> = labs.into_iter().map(end).collect();
    outcomes.into_iter().collect::<Result<Vec<()>>>()?;
    Ok(ExitCode::SUCCESS)
}

fn end(state: &StateDir) -> Result<()> {
    match stop(state)? {
        Ended::Running => line(format_args!("lab {} ended", state.name())),
        Ended::Remains => {
            line(format_args!("lab {}: removed what it left behind when it was killed", state.name()))
        }
    }
    Ok(())
}
