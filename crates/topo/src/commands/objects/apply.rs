//! `topo apply` and `topo create`.

use std::process::ExitCode;

use anyhow::Result;
use kubectl::apply::{self, Applied, DryRun};
use kubectl::document::Document;
use kubectl::format;
use lab::LabName;
use serde_json::Value;
use store::Store;

use super::{Report, documents, generate, show, with_store};
use crate::cli::objects::{self, ApplyArgs, CreateArgs, Form, PlaceArgs};
use crate::output::{line, note};

/// Where objects are made, whether they are, and how they are told of.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub(super) place: &'a PlaceArgs,
    pub(super) dry_run: objects::DryRun,
    pub(super) output: Option<&'a Form>,
}

impl<'a> How<'a> {
    fn of(args: &'a ApplyArgs) -> Self {
        Self { place: &args.place, dry_run: args.dry_run, output: args.output.as_ref() }
    }
}

pub(crate) fn run(lab: &LabName, args: &ApplyArgs) -> Result<ExitCode> {
    let mut report = Report::new("apply");
    let documents = from_files(args, &mut report);
    each(lab, How::of(args), report, documents, async |store, document, dry_run| {
        apply::apply(store, document, dry_run).await
    })
}

pub(crate) fn create(lab: &LabName, args: &CreateArgs) -> Result<ExitCode> {
    let mut report = Report::new("create");
    let documents = match args.what.split_first() {
        Some((kind, names)) => match generate::new(kind, names, &args.new) {
            Ok(documents) => documents,
            Err(error) => {
                report.failed(&error);
                Vec::new()
            }
        },
        None => from_files(&args.apply, &mut report),
    };
    each(lab, How::of(&args.apply), report, documents, async |store, document, dry_run| {
        apply::create(store, document, args.save_config, dry_run).await
    })
}

fn from_files(args: &ApplyArgs, report: &mut Report) -> Vec<Document> {
    if args.files.files.is_empty() {
        report.failed(&"must specify -f FILE: a file, a folder, or - for standard input");
        return Vec::new();
    }
    let documents = documents(&args.files, report);
    if documents.is_empty() && report.worst == 0 {
        report.failed(&"there are no objects in what was given with -f");
    }
    documents
}

/// Does it to every document; a bad one does not keep the others back.
pub(super) fn each(
    lab: &LabName,
    how: How<'_>,
    mut report: Report,
    documents: Vec<Document>,
    act: impl AsyncFn(&Store, &Document, DryRun) -> kubectl::Result<Applied>,
) -> Result<ExitCode> {
    if let Some(Form::Wide | Form::Columns(_)) = how.output {
        report.failed(&"tables are for `topo get`; here json, yaml, name or jsonpath=…");
        return Ok(report.code());
    }
    if documents.is_empty() {
        return Ok(report.code());
    }
    with_store(lab, how.place.cluster.as_deref(), async |store| {
        let dry_run = how.dry_run.into();
        let mut objects = Vec::new();
        let insisted = how.place.namespace.is_some();
        for mut document in documents {
            let done = match apply::settle(&mut document, how.place.namespace(), insisted) {
                Ok(()) => act(&store, &document, dry_run).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(applied) => told(&applied, how.output, dry_run, &mut objects),
                Err(error) => report.error_at(&document.place, &error),
            }
        }
        print(objects, how.output);
        Ok(report.code())
    })
}

/// Prints what has been done at once; objects are kept for later.
fn told(applied: &Applied, form: Option<&Form>, dry_run: DryRun, objects: &mut Vec<Value>) {
    if let Some(warning) = &applied.warning {
        note(format_args!("Warning: {warning}"));
    }
    match form {
        None | Some(Form::Wide | Form::Columns(_)) => line(applied.text(dry_run)),
        Some(Form::Name) => line(format::reference_of(applied.info, &applied.object)),
        Some(Form::Json | Form::Yaml | Form::JsonPath(_)) => objects.push(applied.object.clone()),
    }
}

fn print(mut objects: Vec<Value>, form: Option<&Form>) {
    let all = match objects.len() {
        0 => return,
        1 => objects.remove(0),
        _ => format::list(objects),
    };
    if let Some(form) = form {
        show(form, &all);
    }
}
