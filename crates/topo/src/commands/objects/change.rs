//! `topo scale`, `topo label`, `topo annotate`.

use std::process::ExitCode;

use anyhow::Result;
use kubectl::Error;
use kubectl::change::{self, Pairs, What};
use kubectl::query::Scope;
use kubectl::targets::Targets;
use lab::LabName;

use super::{Report, fatal, meant, scope, with_store};
use crate::cli::changes::{MarkArgs, ScaleArgs};
use crate::output::line;

pub(crate) fn scale(lab: &LabName, args: &ScaleArgs) -> Result<ExitCode> {
    const VERB: &str = "scale";
    let scope = Scope::of(args.place.namespace());
    let named = Targets::parse(&args.what).and_then(|targets| {
        if targets.named() {
            Ok(targets)
        } else {
            Err(Error::Usage("name what is to be scaled, as deploy/web".into()))
        }
    });
    let targets = match named {
        Ok(targets) => targets,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    with_store(lab, args.place.cluster.as_deref(), async |store| {
        let mut report = Report::new(VERB);
        for (info, object) in meant(&store, &targets, &scope, &mut report).await {
            match change::scale(&store, info, &object, args.replicas, args.current_replicas).await {
                Ok(text) => line(text),
                Err(error) => report.error(&error),
            }
        }
        Ok(report.code())
    })
}

pub(crate) fn mark(lab: &LabName, args: &MarkArgs, what: What) -> Result<ExitCode> {
    let verb = if what == What::Labels { "label" } else { "annotate" };
    let (targets, scope, pairs) = match asked(args, what) {
        Ok(asked) => asked,
        Err(error) => return Ok(fatal(verb, &error)),
    };
    with_store(lab, args.place.cluster.as_deref(), async |store| {
        let mut report = Report::new(verb);
        for (info, object) in meant(&store, &targets, &scope, &mut report).await {
            match change::mark(&store, info, &object, what, &pairs, args.overwrite).await {
                Ok(lines) => lines.into_iter().for_each(line),
                Err(error) => report.error(&error),
            }
        }
        Ok(report.code())
    })
}

fn asked(args: &MarkArgs, what: What) -> kubectl::Result<(Targets, Scope, Pairs)> {
    let (words, pairs) = Pairs::split(&args.words, what)?;
    let targets = Targets::parse(&words)?;
    let scope = scope(&args.place, &args.selectors)?;
    scope.check(&targets)?;
    let selected = args.all || args.selectors.labels.is_some() || args.selectors.fields.is_some();
    if !targets.named() && !selected {
        let why = "one or more resources must be specified as <resource> <name> or <resource>/<name>, or select \
                   them with -l or --all";
        return Err(Error::Usage(why.into()));
    }
    Ok((targets, scope, pairs))
}
