//! `topo get`.

mod watch;

use std::process::ExitCode;

use anyhow::Result;
use api::{KindInfo, time};
use kubectl::printers::{self, Options};
use kubectl::query::{Found, Scope, find};
use kubectl::table::Widths;
use kubectl::targets::{Target, Targets};
use kubectl::{Error, apply, format};
use lab::LabName;
use serde_json::Value;
use store::Store;

use super::{Report, documents, fatal, interrupted, scope, with_store};
use crate::cli::objects::{Form, GetArgs};
use crate::output::{line, note, raw};

const VERB: &str = "get";

pub(crate) fn run(lab: &LabName, args: &GetArgs) -> Result<ExitCode> {
    let mut report = Report::new(VERB);
    let asked = if args.files.files.is_empty() { asked(args) } else { Ok(from_files(args, &mut report)) };
    let (targets, scope) = match asked {
        Ok(asked) => asked,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    if targets.each.is_empty() {
        return Ok(report.code());
    }
    let watch = args.watch || args.watch_only;
    if watch && targets.each.len() > 1 {
        let why = "you may only specify a single resource type to watch";
        return Ok(fatal(VERB, &Error::Usage(why.into())));
    }
    with_store(lab, args.place.cluster.as_deref(), async |store| {
        if watch {
            return tokio::select! {
                code = watch::run(&store, args, &targets.each[0], &scope) => code,
                code = interrupted() => code,
            };
        }
        let mut found = Vec::new();
        for target in &targets.each {
            found.push(find_in(&store, target, &scope).await);
        }
        print(args, &targets, &scope, found, &mut report);
        Ok(report.code())
    })
}

fn asked(args: &GetArgs) -> kubectl::Result<(Targets, Scope)> {
    let targets = Targets::parse(&args.what)?;
    let scope = scope(&args.place, &args.selectors)?;
    scope.check(&targets)?;
    Ok((targets, scope))
}

/// The objects that files name, as words: a namespace that a file names stands before the name.
fn from_files(args: &GetArgs, report: &mut Report) -> (Targets, Scope) {
    let mut each = Vec::new();
    for mut document in documents(&args.files, report) {
        let insisted = args.place.namespace.is_some();
        if let Err(error) = apply::settle(&mut document, args.place.namespace(), insisted) {
            report.error_at(&document.place.to_string(), &error);
            continue;
        }
        let text =
            |pointer: &str| document.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let name = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        each.push(Target { info: document.info, names: Some(vec![name]) });
    }
    let single = each.len() == 1;
    (Targets { each, single }, Scope::default())
}

/// As [`find`]; a name from a file has its namespace before it.
async fn find_in(store: &Store, target: &Target, scope: &Scope) -> Found {
    if let Some([name]) = target.names.as_deref()
        && let Some((namespace, name)) = name.split_once('/')
    {
        let target = Target { info: target.info, names: Some(vec![name.into()]) };
        return find(store, &target, &Scope::of(namespace)).await;
    }
    find(store, target, scope).await
}

fn print(args: &GetArgs, targets: &Targets, scope: &Scope, found: Vec<Found>, report: &mut Report) {
    let nothing = found.iter().all(|found| found.objects.is_empty());
    match &args.output {
        None | Some(Form::Wide) => tables(args, targets, scope, &found),
        Some(Form::Name) => {
            for found in &found {
                for object in &found.objects {
                    line(format::reference_of(found.info, object));
                }
            }
        }
        Some(form) => document(form, targets, &found),
    }
    let mut failed = false;
    for error in found.iter().flat_map(|found| &found.errors) {
        if !(args.ignore_not_found && error.is_not_found()) {
            report.error(error);
            failed = true;
        }
    }
    let table = matches!(args.output, None | Some(Form::Wide));
    if nothing && table && !failed && !args.ignore_not_found {
        let namespaced = targets.each.iter().all(|target| target.info.namespaced);
        match &scope.namespace {
            Some(namespace) if namespaced => {
                note(format_args!("No resources found in {namespace} namespace."));
            }
            _ => note("No resources found"),
        }
    }
}

/// A table for each kind, a blank line between them.
fn tables(args: &GetArgs, targets: &Targets, scope: &Scope, found: &[Found]) {
    let options = options(args, targets, scope);
    let mut first = true;
    for (info, objects) in by_kind(found) {
        if objects.is_empty() {
            continue;
        }
        if !std::mem::take(&mut first) {
            line("");
        }
        let table = printers::table(info, &objects, &options, &time::now());
        raw(table.text_as(&mut Widths::default(), !args.no_headers).as_bytes());
    }
}

/// What stands together and is of one kind is in one table.
fn by_kind(found: &[Found]) -> Vec<(&'static KindInfo, Vec<Value>)> {
    let mut kinds: Vec<(&'static KindInfo, Vec<Value>)> = Vec::new();
    for found in found {
        match kinds.last_mut() {
            Some((info, objects)) if *info == found.info => objects.extend(found.objects.iter().cloned()),
            _ => kinds.push((found.info, found.objects.clone())),
        }
    }
    kinds
}

fn options(args: &GetArgs, targets: &Targets, scope: &Scope) -> Options {
    Options {
        wide: args.output == Some(Form::Wide),
        namespace: scope.namespace.is_none() && args.files.files.is_empty(),
        kind: targets.mixed(),
        show_labels: args.show_labels,
        label_columns: args.label_columns.clone(),
    }
}

fn document(form: &Form, targets: &Targets, found: &[Found]) {
    let mut objects: Vec<Value> = found.iter().flat_map(|found| found.objects.clone()).collect();
    objects.iter_mut().for_each(format::hide_managed_fields);
    let value = match objects.pop() {
        Some(object) if targets.single => object,
        None if targets.single => return,
        last => {
            objects.extend(last);
            format::list(objects)
        }
    };
    show(form, &value);
}

/// One value as JSON or YAML.
fn show(form: &Form, value: &Value) {
    match form {
        Form::Yaml => raw(format::yaml(value).as_bytes()),
        _ => raw(format::json(value).as_bytes()),
    }
}
