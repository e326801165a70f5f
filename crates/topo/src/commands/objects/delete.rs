//! `topo delete`.

use std::process::ExitCode;

use anyhow::Result;
use api::KindInfo;
use kubectl::delete::{self, How};
use kubectl::query::{Scope, find};
use kubectl::targets::Targets;
use kubectl::{Error, apply, format};
use lab::LabName;
use serde_json::Value;
use store::Store;
use store::registry::Propagation;

use super::{Report, documents, fatal, interrupted, scope, with_store};
use crate::cli::objects::{Cascade, DeleteArgs, DryRun};
use crate::output::{line, note};

const VERB: &str = "delete";

pub(crate) fn run(lab: &LabName, args: &DeleteArgs) -> Result<ExitCode> {
    let how = How {
        grace: if args.now { Some(1) } else { args.grace_period },
        force: args.force,
        cascade: match args.cascade {
            Cascade::Background => Propagation::Background,
            Cascade::Foreground => Propagation::Foreground,
            Cascade::Orphan => Propagation::Orphan,
        },
    };
    if let Err(error) = how.options() {
        return Ok(fatal(VERB, &error));
    }
    let mut job = Job { args, how, report: Report::new(VERB), waiting: Vec::new(), any: false };
    if !args.files.files.is_empty() {
        let documents = documents(&args.files, &mut job.report);
        return with_store(lab, args.place.cluster.as_deref(), async |store| {
            for mut document in documents {
                let insisted = args.place.namespace.is_some();
                let settled = apply::settle(&mut document, args.place.namespace(), insisted);
                match settled {
                    Ok(()) => job.named(&store, document.info, &document.object).await,
                    Err(error) => job.report.error_at(&document.place, &error),
                }
            }
            job.end(&store).await
        });
    }
    let parsed =
        Targets::parse(&args.what).and_then(|targets| Ok((targets, scope(&args.place, &args.selectors)?)));
    let (targets, scope) = match parsed.and_then(|(targets, scope)| check(args, targets, scope)) {
        Ok(both) => both,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    with_store(lab, args.place.cluster.as_deref(), async |store| {
        job.targets(&store, &targets, &scope).await;
        if !job.any && !targets.named() && job.report.worst == 0 {
            line("No resources found");
        }
        job.end(&store).await
    })
}

/// Nothing is deleted by mistake: not without a name, a selector or --all.
fn check(args: &DeleteArgs, targets: Targets, scope: Scope) -> kubectl::Result<(Targets, Scope)> {
    scope.check(&targets)?;
    let selected = args.selectors.labels.is_some() || args.selectors.fields.is_some();
    if targets.named() && args.all {
        return Err(Error::Usage("name cannot be provided when --all is specified".into()));
    }
    if !targets.named() && !selected && !args.all {
        let why = "resource(s) were provided, but no name was specified: name them, or select them with -l, or \
                   delete all with --all";
        return Err(Error::Usage(why.into()));
    }
    Ok((targets, scope))
}

struct Job<'a> {
    args: &'a DeleteArgs,
    how: How,
    report: Report,
    /// What was deleted and may still be there.
    waiting: Vec<(&'static KindInfo, Value)>,
    /// Whether anything was found.
    any: bool,
}

impl Job<'_> {
    async fn targets(&mut self, store: &Store, targets: &Targets, scope: &Scope) {
        for target in &targets.each {
            let found = find(store, target, scope).await;
            for error in &found.errors {
                if !(self.args.ignore_not_found && error.is_not_found()) {
                    self.report.error(error);
                }
            }
            for object in &found.objects {
                self.found(store, found.info, object).await;
            }
        }
    }

    /// The object that a document names.
    async fn named(&mut self, store: &Store, info: &'static KindInfo, document: &Value) {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        match kubectl::query::one(store, info, namespace, name).await {
            Ok(object) => self.found(store, info, &object).await,
            Err(error) if self.args.ignore_not_found && error.is_not_found() => {}
            Err(error) => self.report.error(&error),
        }
    }

    async fn found(&mut self, store: &Store, info: &'static KindInfo, object: &Value) {
        self.any = true;
        if self.how.force && self.waiting.is_empty() && *info == api::kinds::PODS {
            note(format_args!("Warning: {}", delete::FORCE_WARNING));
        }
        if self.args.dry_run != DryRun::None {
            let suffix = apply::DryRun::from(self.args.dry_run).suffix();
            self.told(info, object, suffix);
            return;
        }
        match delete::delete_found(store, info, object, self.how).await {
            Ok(object) => {
                self.told(info, &object, "");
                self.waiting.push((info, object));
            }
            Err(error) if self.args.ignore_not_found && error.is_not_found() => {}
            Err(error) => self.report.error(&error),
        }
    }

    fn told(&self, info: &KindInfo, object: &Value, suffix: &str) {
        if self.args.output.is_some() {
            line(format::reference_of(info, object));
        } else {
            line(format_args!("{}{suffix}", self.how.text(info, object)));
        }
    }

    async fn end(mut self, store: &Store) -> Result<ExitCode> {
        if !self.args.wait {
            return Ok(self.report.code());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let all = async {
            for (info, object) in &waiting {
                if let Err(error) = delete::wait_gone(store, info, object, self.args.timeout).await {
                    self.report.error(&error);
                }
            }
        };
        tokio::select! {
            () = all => Ok(self.report.code()),
            code = interrupted() => code,
        }
    }
}
