//! `topo dns`: what a look-up of a name costs.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use dns::trace::{End, Settings, Trace};
use lab::LabName;
use serde_json::{Value, json};

use crate::enter::{client, enter, join};
use crate::output::{self, NO, line};

/// Looks `name` up from a node or a pod as its programs would, and tells each query. Ends with 1 if there is
/// no such name.
pub(crate) fn trace(lab: &LabName, place: &str, name: &str, as_json: bool) -> Result<ExitCode> {
    let (entry, fds) = enter(&client(lab)?, place)?;
    join(&entry.namespaces, &fds)?;
    let trace = match dns::trace::in_hosts(&read("/etc/hosts")?, name) {
        Some(trace) => trace,
        None => {
            let settings = Settings::parse(&resolv_conf(place)?);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(dns::trace::trace(&settings, name)).context("dns trace")?
        }
    };
    if as_json {
        output::json(&document(&trace))?;
    } else {
        show(&trace);
    }
    let found = matches!(trace.end, End::Found(_) | End::Address(_) | End::Hosts(_));
    Ok(if found { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// The file that programs read there: a pod has its own in place; a node's is where `ip-netns(8)` looks.
fn resolv_conf(place: &str) -> Result<String> {
    let nodes = Path::new("/etc/netns").join(place).join("resolv.conf");
    // Without one the resolver asks its own machine.
    read(if nodes.exists() { nodes } else { "/etc/resolv.conf".into() })
}

/// A file; one that is not there is empty.
fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.with_context(|| format!("read {}", path.display())),
    }
}

fn show(trace: &Trace) {
    let rows = trace.rows();
    if !rows.is_empty() {
        let mut table = output::table(&["", "NAME", "TYPE", "ASKED", "ANSWER", "TIME", "WHY THIS NAME"]);
        table.add_rows(rows);
        output::print_table(&table);
    }
    line(trace.sentence());
    if let Some(advice) = trace.advice() {
        line(advice);
    }
}

fn document(trace: &Trace) -> Value {
    let tries = trace.tries.iter().map(|one| {
        let queries = one.queries.iter().map(|query| {
            json!({
                "type": query.kind.to_string(),
                "server": query.server.to_string(),
                "protocol": if query.tcp { "tcp" } else { "udp" },
                "answer": query.words(),
                "microseconds": query.took.as_micros() as u64,
            })
        });
        json!({"name": one.name, "why": one.why, "queries": queries.collect::<Vec<_>>()})
    });
    let addresses: Vec<String> = match &trace.end {
        End::Found(addresses) | End::Hosts(addresses) => addresses.iter().map(ToString::to_string).collect(),
        End::Address(address) => vec![address.to_string()],
        _ => vec![],
    };
    json!({
        "name": trace.name,
        "addresses": addresses,
        "result": trace.sentence(),
        "tries": tries.collect::<Vec<_>>(),
    })
}
