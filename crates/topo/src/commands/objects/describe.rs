//! `topo describe`.

use std::process::ExitCode;

use anyhow::Result;
use api::KindInfo;
use kubectl::describe;
use kubectl::query::{Scope, find, list};
use kubectl::targets::{Target, Targets};
use lab::LabName;
use serde_json::Value;
use store::Store;

use super::{Report, fatal, from_files, scope, with_store};
use crate::cli::changes::DescribeArgs;
use crate::output::{note, raw};

const VERB: &str = "describe";

pub(crate) fn run(lab: &LabName, args: &DescribeArgs) -> Result<ExitCode> {
    let mut report = Report::new(VERB);
    let asked = if args.files.files.is_empty() {
        asked(args)
    } else {
        Ok(from_files(&args.files, &args.place, &mut report))
    };
    let wanted = match asked {
        Ok(wanted) => wanted,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    with_store(lab, args.place.cluster.as_deref(), async |store| {
        let mut first = true;
        for (target, scope) in &wanted {
            for (info, object) in meant(&store, target, scope, &mut report).await {
                match describe::describe(&store, info, &object).await {
                    Ok(text) => {
                        let gap = if std::mem::take(&mut first) { "" } else { "\n\n" };
                        raw(format!("{gap}{text}").as_bytes());
                    }
                    Err(error) => report.error(&error),
                }
            }
        }
        if let (true, 0, Some((_, scope))) = (first, report.worst, wanted.first()) {
            match &scope.namespace {
                Some(namespace) => note(format_args!("No resources found in {namespace} namespace.")),
                None => note("No resources found"),
            }
        }
        Ok(report.code())
    })
}

fn asked(args: &DescribeArgs) -> kubectl::Result<Vec<(Target, Scope)>> {
    let targets = Targets::parse(&args.what)?;
    let scope = scope(&args.place, &args.selectors)?;
    scope.check(&targets)?;
    Ok(targets.each.into_iter().map(|target| (target, scope.clone())).collect())
}

/// The objects of those names; where there is none of a name, those whose names begin with it, as kubectl
/// has it.
async fn meant(
    store: &Store,
    target: &Target,
    scope: &Scope,
    report: &mut Report,
) -> Vec<(&'static KindInfo, Value)> {
    let info = target.info;
    let mut objects = Vec::new();
    let names = target.names.as_ref().map_or(vec![None], |names| names.iter().map(Some).collect());
    for name in names {
        let one = Target { info, names: name.map(|name| vec![name.clone()]) };
        let found = find(store, &one, scope).await;
        objects.extend(found.objects);
        for error in &found.errors {
            let near = match name {
                Some(name) if error.is_not_found() => beginning_with(store, info, name, scope).await,
                _ => Vec::new(),
            };
            if near.is_empty() {
                report.error(error);
            }
            objects.extend(near);
        }
    }
    objects.into_iter().map(|object| (info, object)).collect()
}

async fn beginning_with(store: &Store, info: &'static KindInfo, name: &str, scope: &Scope) -> Vec<Value> {
    let begins =
        |object: &Value| object["metadata"]["name"].as_str().is_some_and(|there| there.starts_with(name));
    // That it cannot be listed is told as that it is not there.
    let list = list(store, info, scope).await.map(|list| list.items).unwrap_or_default();
    list.into_iter().filter(begins).collect()
}
