//! `topo wait`.

use std::process::ExitCode;

use anyhow::Result;
use kubectl::query::Scope;
use kubectl::targets::{Target, Targets};
use kubectl::wait::{For, wait};
use kubectl::{Error, query};
use lab::LabName;
use serde_json::Value;
use store::Store;
use tokio::time::Instant;

use super::{Report, fatal, from_files, interrupted, scope, with_store};
use crate::cli::changes::WaitArgs;
use crate::output::line;

const VERB: &str = "wait";

pub(crate) fn run(lab: &LabName, args: &WaitArgs) -> Result<ExitCode> {
    let mut report = Report::new(VERB);
    let (wanted, targets) = match asked(args, &mut report) {
        Ok(asked) => asked,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    with_store(lab, args.place.cluster.as_deref(), async |store| {
        let all = async {
            // The time is for all of them together.
            let began = Instant::now();
            let mut any = false;
            for (target, scope) in &targets {
                let names = match names(&store, target, scope).await {
                    Ok(names) => names,
                    Err(error) => {
                        report.error(&error);
                        continue;
                    }
                };
                for (namespace, name) in names {
                    any = true;
                    let left = args.timeout.saturating_sub(began.elapsed());
                    match wait(&store, target.info, (&namespace, &name), &wanted, left).await {
                        Ok(text) => line(text),
                        Err(error) => report.error(&error),
                    }
                }
            }
            if !any && report.worst == 0 && wanted != For::Delete {
                report.error(&Error::Failed("no matching resources found".into()));
            }
            report.code()
        };
        tokio::select! {
            code = all => Ok(code),
            code = interrupted() => code,
        }
    })
}

fn asked(args: &WaitArgs, report: &mut Report) -> kubectl::Result<(For, Vec<(Target, Scope)>)> {
    let wanted: For = args.wanted.parse()?;
    if !args.files.files.is_empty() {
        return Ok((wanted, from_files(&args.files, &args.place, report)));
    }
    let targets = Targets::parse(&args.what)?;
    let scope = scope(&args.place, &args.selectors)?;
    scope.check(&targets)?;
    let selected = args.all || args.selectors.labels.is_some() || args.selectors.fields.is_some();
    if !targets.named() && !selected {
        let why = "name what to wait for, as pod/c1, or select it with -l or --all";
        return Err(Error::Usage(why.into()));
    }
    Ok((wanted, targets.each.into_iter().map(|target| (target, scope.clone())).collect()))
}

/// Namespaces and names of what is waited for.
async fn names(store: &Store, target: &Target, scope: &Scope) -> kubectl::Result<Vec<(String, String)>> {
    if let Some(names) = &target.names {
        let namespace = scope.namespace.clone().unwrap_or_default();
        return Ok(names.iter().map(|name| (namespace.clone(), name.clone())).collect());
    }
    let list = query::list(store, target.info, scope).await?;
    let text = |object: &Value, pointer| {
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let name = |object: &Value| (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    Ok(list.items.iter().map(name).collect())
}
