//! `topo api-resources` and `topo version`: what can be said without a lab.

use std::process::ExitCode;

use anyhow::Result;
use kubectl::format;
use kubectl::resources::{self, Order, Wanted};
use kubectl::table::Widths;
use serde_json::json;

use crate::cli::verbs::{ApiResourcesArgs, SortBy, VersionArgs};
use crate::output::{line, raw};

pub(crate) fn resources(args: &ApiResourcesArgs) -> Result<ExitCode> {
    let kinds = resources::kinds(&Wanted {
        namespaced: args.namespaced,
        group: args.api_group.clone(),
        order: match args.sort_by {
            None => Order::Group,
            Some(SortBy::Name) => Order::Name,
            Some(SortBy::Kind) => Order::Kind,
        },
    });
    if args.output.is_some() {
        kinds.iter().for_each(|info| line(info.resource()));
    } else {
        let table = resources::table(&kinds);
        raw(table.text_as(&mut Widths::default(), !args.no_headers).as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn version(args: &VersionArgs) -> Result<ExitCode> {
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    let value = json!({"clientVersion": {
        "major": env!("CARGO_PKG_VERSION_MAJOR"),
        "minor": env!("CARGO_PKG_VERSION_MINOR"),
        "gitVersion": version,
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    }});
    match args.output.as_deref() {
        Some("json") => raw(format::json(&value).as_bytes()),
        Some(_) => raw(format::yaml(&value).as_bytes()),
        None => line(format_args!("Client Version: {version}")),
    }
    Ok(ExitCode::SUCCESS)
}
