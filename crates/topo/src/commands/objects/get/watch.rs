//! `topo get -w`: what there is, then what changes, until Ctrl-C.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use api::{KindInfo, time};
use kubectl::format;
use kubectl::printers::{self, Options};
use kubectl::query::{Scope, list};
use kubectl::table::Widths;
use kubectl::targets::Target;
use serde_json::Value;
use store::{Event, Store};

use super::super::show;
use super::{Report, VERB, Wanted};
use crate::cli::objects::{Form, GetArgs};
use crate::output::{line, note, raw};

/// After so long etcd is asked again when it was away.
const AGAIN: Duration = Duration::from_millis(500);

struct Watcher<'a> {
    args: &'a GetArgs,
    target: &'a Target,
    scope: &'a Scope,
    options: Options,
    widths: Widths,
    header: bool,
    /// What has been shown, by namespace and name.
    shown: BTreeMap<(String, String), Value>,
}

pub(super) async fn run(store: &Store, args: &GetArgs, wanted: &Wanted) -> Result<ExitCode> {
    let Some((target, scope)) = wanted.each.first() else { return Ok(ExitCode::SUCCESS) };
    let mut watcher = Watcher {
        args,
        target,
        scope,
        options: wanted.options(args),
        widths: Widths::default(),
        header: !args.no_headers,
        shown: BTreeMap::new(),
    };
    // The first time what is wrong ends it, and a name has to be there.
    let mut revision = match watcher.first(store).await {
        Ok(revision) => revision,
        Err(error) => {
            let mut report = Report::new(VERB);
            report.error(&error);
            return Ok(report.code());
        }
    };
    let mut told = false;
    loop {
        let Err(error) = watcher.follow(store, revision).await;
        // What has happened meanwhile is found by comparing.
        revision = loop {
            match watcher.compare(store).await {
                Ok(revision) => break revision,
                Err(error) if !told => {
                    note(format_args!("topo: {VERB}: {}: trying again", runtime::chain(&error)));
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN).await;
        };
        told &= !matches!(error, store::Error::Compacted { .. });
    }
}

impl Watcher<'_> {
    /// Shows what there is; gives the revision from which on changes are told.
    async fn first(&mut self, store: &Store) -> kubectl::Result<i64> {
        let list = list(store, self.target.info, self.scope).await?;
        let objects: Vec<_> = list.items.into_iter().filter(|object| self.wanted(object)).collect();
        for name in self.target.names.iter().flatten() {
            if !objects.iter().any(|object| key(object).1 == *name) {
                let resource = self.target.info.resource();
                return Err(store::Error::NotFound { resource, name: name.clone() }.into());
            }
        }
        if !self.args.watch_only {
            self.show(&objects);
        }
        self.shown = objects.into_iter().map(|object| (key(&object), object)).collect();
        Ok(list.revision)
    }

    /// Shows how it differs from what was shown.
    async fn compare(&mut self, store: &Store) -> kubectl::Result<i64> {
        let list = list(store, self.target.info, self.scope).await?;
        let now: BTreeMap<_, _> = list
            .items
            .into_iter()
            .filter(|object| self.wanted(object))
            .map(|object| (key(&object), object))
            .collect();
        let before = std::mem::replace(&mut self.shown, now);
        let gone = before.iter().filter(|(key, _)| !self.shown.contains_key(key)).map(|(_, object)| object);
        let news = self.shown.iter().filter(|(key, object)| before.get(key) != Some(object));
        let all: Vec<_> = gone.chain(news.map(|(_, object)| object)).cloned().collect();
        self.show(&all);
        Ok(list.revision)
    }

    /// Shows what changes, until the watch ends.
    async fn follow(&mut self, store: &Store, revision: i64) -> Result<Infallible, store::Error> {
        let info: &'static KindInfo = self.target.info;
        let namespace = self.scope.namespace.as_deref().filter(|_| info.namespaced);
        let mut watch = store.watch_raw(info, namespace, revision).await?;
        loop {
            let (object, gone) = match watch.next().await? {
                Event::Added(object) | Event::Modified(object) => (object, false),
                Event::Deleted { object, .. } => (object, true),
                Event::Bookmark(_) => continue,
            };
            let key = key(&object);
            // One that is no longer meant goes, as one that is deleted.
            let meant = self.wanted(&object) && self.scope.matches(&object);
            if !meant && !self.shown.contains_key(&key) {
                continue;
            }
            self.show(std::slice::from_ref(&object));
            if gone || !meant {
                self.shown.remove(&key);
            } else {
                self.shown.insert(key, object);
            }
        }
    }

    fn wanted(&self, object: &Value) -> bool {
        let name = key(object).1;
        self.target.names.as_ref().is_none_or(|names| names.contains(&name))
    }

    fn show(&mut self, objects: &[Value]) {
        if objects.is_empty() {
            return;
        }
        let info = self.target.info;
        match &self.args.output {
            None | Some(Form::Wide) => {
                let table = printers::table(info, objects, &self.options, &time::now());
                raw(table.text_as(&mut self.widths, std::mem::take(&mut self.header)).as_bytes());
            }
            Some(Form::Name) => {
                for object in objects {
                    line(format::reference_of(info, object));
                }
            }
            Some(Form::Columns(columns)) => {
                let table = columns.table(objects);
                raw(table.text_as(&mut self.widths, std::mem::take(&mut self.header)).as_bytes());
            }
            Some(form) => {
                for object in objects {
                    if *form == Form::Yaml {
                        line("---");
                    }
                    show(form, object);
                }
            }
        }
    }
}

fn key(object: &Value) -> (String, String) {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}
