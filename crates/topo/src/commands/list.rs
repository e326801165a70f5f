//! `topo list`.

use std::process::ExitCode;

use anyhow::Result;
use lab::state::Life;
use lab::{Client, StateDir};
use serde::Serialize;

use crate::cli::Output;
use crate::output::{self, line};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    lab: String,
    state: &'static str,
    pid: Option<i32>,
    clusters: Option<usize>,
    workers: Option<usize>,
    folder: String,
}

pub(crate) fn run(form: Output) -> Result<ExitCode> {
    let rows: Vec<Row> = StateDir::all()?.into_iter().filter_map(row).collect();
    if form == Output::Json {
        output::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        line("no labs; `topo up` starts one");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["LAB", "STATE", "PID", "CLUSTERS", "WORKERS", "FOLDER"]);
    let number = |n: Option<usize>| n.map_or("-".into(), |n| n.to_string());
    for row in rows {
        let pid = row.pid.map_or("-".into(), |pid| pid.to_string());
        table.add_row([
            row.lab,
            row.state.into(),
            pid,
            number(row.clusters),
            number(row.workers),
            row.folder,
        ]);
    }
    output::print_table(&table);
    Ok(ExitCode::SUCCESS)
}

fn row(state: StateDir) -> Option<Row> {
    let (word, pid) = match state.life()? {
        Life::Running(pid) => ("running", Some(pid)),
        Life::Changing(pid) => ("changing", Some(pid)),
        Life::Dead if state.topology().exists() => ("dead", None),
        Life::Dead if state.path().join(lab::state::KEPT).exists() => ("kept", None),
        Life::Dead => return None,
    };
    let lab = state.name().to_string();
    let folder = state.path().display().to_string();
    // A lab that ends just now still has a row.
    let status = pid.and_then(|_| Client::of(state).ok()?.status().ok());
    let word = match &status {
        Some(status) if !status.ready => "not ready",
        _ => word,
    };
    Some(Row {
        lab,
        state: word,
        pid,
        clusters: status.as_ref().map(|s| s.clusters.len()),
        workers: status.as_ref().map(|s| s.clusters.iter().map(|c| c.workers.len()).sum()),
        folder,
    })
}
