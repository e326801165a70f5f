//! `topo get`.

mod watch;

use std::process::ExitCode;

use anyhow::Result;
use api::{KindInfo, time};
use kubectl::printers::{self, Options};
use kubectl::query::{Found, Scope, find};
use kubectl::table::Widths;
use kubectl::targets::{Target, Targets};
use kubectl::{Error, columns, format};
use lab::LabName;
use serde_json::Value;

use super::{Report, fatal, from_files, interrupted, reader_gone, scope, show, with_store};
use crate::cli::objects::{Form, GetArgs};
use crate::output::{line, note, raw};

const VERB: &str = "get";

/// What is to be shown, and from where.
struct Wanted {
    each: Vec<(Target, Scope)>,
    /// One object, by its name: it is shown as itself.
    single: bool,
    /// Where all of them are looked for; none for those of files.
    scope: Option<Scope>,
}

impl Wanted {
    fn of(targets: Targets, scope: Scope) -> Self {
        let single = targets.single;
        let each = targets.each.into_iter().map(|target| (target, scope.clone())).collect();
        Self { each, single, scope: Some(scope) }
    }

    fn options(&self, args: &GetArgs) -> Options {
        let first = self.each.first().map(|(target, _)| target.info);
        Options {
            wide: args.output == Some(Form::Wide),
            namespace: self.scope.as_ref().is_some_and(|scope| scope.namespace.is_none()),
            kind: args.show_kind || self.each.iter().any(|(target, _)| Some(target.info) != first),
            show_labels: args.show_labels,
            label_columns: args.label_columns.clone(),
        }
    }
}

pub(crate) fn run(lab: &LabName, args: &GetArgs) -> Result<ExitCode> {
    let mut report = Report::new(VERB);
    let wanted = if args.files.files.is_empty() {
        asked(args)
    } else {
        let each = from_files(&args.files, &args.place, &mut report);
        Ok(Wanted { single: each.len() == 1, each, scope: None })
    };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    if wanted.each.is_empty() {
        return Ok(report.code());
    }
    let watch = args.watch || args.watch_only;
    if watch && wanted.each.len() > 1 {
        let why = "you may only specify a single resource type to watch";
        return Ok(fatal(VERB, &Error::Usage(why.into())));
    }
    with_store(lab, args.place.cluster.as_deref(), async |store| {
        if watch {
            return tokio::select! {
                code = watch::run(&store, args, &wanted) => code,
                code = interrupted() => code,
                () = reader_gone() => Ok(ExitCode::SUCCESS),
            };
        }
        let mut found = Vec::new();
        for (target, scope) in &wanted.each {
            let mut one = find(&store, target, scope).await;
            if let Some(path) = &args.sort_by {
                columns::sort_by(&mut one.objects, path);
            }
            found.push(one);
        }
        print(args, &wanted, &found, &mut report);
        Ok(report.code())
    })
}

fn asked(args: &GetArgs) -> kubectl::Result<Wanted> {
    let targets = Targets::parse(&args.what)?;
    let scope = scope(&args.place, &args.selectors)?;
    scope.check(&targets)?;
    Ok(Wanted::of(targets, scope))
}

fn print(args: &GetArgs, wanted: &Wanted, found: &[Found], report: &mut Report) {
    let nothing = found.iter().all(|found| found.objects.is_empty());
    match &args.output {
        None | Some(Form::Wide) => tables(args, wanted, found),
        Some(Form::Name) => {
            for found in found {
                for object in &found.objects {
                    line(format::reference_of(found.info, object));
                }
            }
        }
        Some(Form::Columns(columns)) => {
            let objects: Vec<_> = found.iter().flat_map(|found| found.objects.clone()).collect();
            let table = columns.table(&objects);
            raw(table.text_as(&mut Widths::default(), !args.no_headers).as_bytes());
        }
        Some(form) => document(form, wanted, found),
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
        let namespaced = wanted.each.iter().all(|(target, _)| target.info.namespaced);
        match wanted.scope.as_ref().and_then(|scope| scope.namespace.as_ref()) {
            Some(namespace) if namespaced => {
                note(format_args!("No resources found in {namespace} namespace."));
            }
            _ => note("No resources found"),
        }
    }
}

/// A table for each kind, a blank line between them.
fn tables(args: &GetArgs, wanted: &Wanted, found: &[Found]) {
    let options = wanted.options(args);
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

fn document(form: &Form, wanted: &Wanted, found: &[Found]) {
    let mut objects: Vec<Value> = found.iter().flat_map(|found| found.objects.clone()).collect();
    objects.iter_mut().for_each(format::hide_managed_fields);
    let value = match objects.pop() {
        Some(object) if wanted.single => object,
        None if wanted.single => return,
        last => {
            objects.extend(last);
            format::list(objects)
        }
    };
    show(form, &value);
}
