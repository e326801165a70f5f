//! `topo patch`.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use kubectl::patch::{self, Patch};
use kubectl::query::{Scope, find};
use kubectl::targets::{Target, Targets};
use kubectl::{Error, format};
use lab::LabName;

use super::{Report, fatal, from_files, show, with_store};
use crate::cli::objects::Form;
use crate::cli::patch::PatchArgs;
use crate::output::line;

const VERB: &str = "patch";

pub(crate) fn run(lab: &LabName, args: &PatchArgs) -> Result<ExitCode> {
    let mut report = Report::new(VERB);
    let asked = if args.files.files.is_empty() {
        named(args)
    } else {
        Ok(from_files(&args.files, &args.place, &mut report))
    };
    let (each, patch) = match asked.and_then(|each| Ok((each, read(args)?))) {
        Ok(asked) => asked,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    if let Some(Form::Wide | Form::Columns(_)) = args.output {
        report.failed(&"tables are for `topo get`; here json, yaml, name or jsonpath=…");
        return Ok(report.code());
    }
    if each.is_empty() {
        return Ok(report.code());
    }
    with_store(lab, args.place.cluster.as_deref(), async |store| {
        let dry_run = args.dry_run.into();
        for (target, scope) in &each {
            let found = find(&store, target, scope).await;
            found.errors.iter().for_each(|error| report.error(error));
            for object in &found.objects {
                let patched = match patch::patch(&store, found.info, object, &patch, dry_run).await {
                    Ok(patched) => patched,
                    Err(error) => {
                        report.error(&error);
                        continue;
                    }
                };
                match &args.output {
                    None => line(patch::text(found.info, &patched, dry_run)),
                    Some(Form::Name) => line(format::reference_of(found.info, &patched.new)),
                    Some(form) => show(form, &patched.new),
                }
            }
        }
        Ok(report.code())
    })
}

fn named(args: &PatchArgs) -> kubectl::Result<Vec<(Target, Scope)>> {
    let targets = Targets::parse(&args.what)?;
    if !targets.named() {
        return Err(Error::Usage("name what is to be patched, as deploy/web".into()));
    }
    let scope = Scope::of(args.place.namespace());
    Ok(targets.each.into_iter().map(|target| (target, scope.clone())).collect())
}

fn read(args: &PatchArgs) -> kubectl::Result<Patch> {
    let Some(file) = &args.patch_file else {
        return Patch::parse(args.how, "-p", args.patch.as_deref().unwrap_or_default());
    };
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let place = file.display().to_string();
    let text = text.map_err(|error| Error::Usage(format!("unable to read patch file {place}: {error}")))?;
    Patch::parse(args.how, &place, &text)
}
