//! `topo rollout`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use api::kinds::DEPLOYMENTS;
use kubectl::query::Scope;
use kubectl::targets::Targets;
use kubectl::{Error, format, rollout};
use lab::LabName;
use serde_json::Value;
use store::Store;

use super::{Report, fatal, interrupted, meant, with_store};
use crate::cli::changes::RolloutCommand;
use crate::output::{line, raw};

const VERB: &str = "rollout";

pub(crate) fn run(lab: &LabName, command: &RolloutCommand) -> Result<ExitCode> {
    let of = command.of();
    let targets = match Targets::parse(&of.what).and_then(deployments) {
        Ok(targets) => targets,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    with_store(lab, of.place.cluster.as_deref(), async |store| {
        let mut report = Report::new(VERB);
        let scope = Scope::of(of.place.namespace());
        let all = async {
            for (_, object) in meant(&store, &targets, &scope, &mut report).await {
                if let Err(error) = one(&store, command, &object).await {
                    report.error(&error);
                }
            }
            report.code()
        };
        tokio::select! {
            code = all => Ok(code),
            code = interrupted() => code,
        }
    })
}

/// Other kinds have no rollouts here.
fn deployments(targets: Targets) -> kubectl::Result<Targets> {
    match targets.each.iter().find(|target| *target.info != DEPLOYMENTS) {
        Some(other) => Err(Error::Usage(format!(
            "{} \"{}\" have no rollouts: deployments have",
            other.info.resource(),
            other.names.as_deref().unwrap_or_default().join("\", \""),
        ))),
        None if !targets.named() => Err(Error::Usage("name the deployment, as deployment/web".into())),
        None => Ok(targets),
    }
}

async fn one(store: &Store, command: &RolloutCommand, object: &Value) -> kubectl::Result<()> {
    match command {
        RolloutCommand::Status { watch, timeout, .. } => status(store, object, *watch, *timeout).await?,
        RolloutCommand::History { revision: None, .. } => {
            raw(rollout::history(store, object).await?.as_bytes());
        }
        RolloutCommand::History { revision: Some(revision), .. } => {
            raw(format::yaml(&rollout::template_at(store, object, *revision).await?).as_bytes());
        }
        RolloutCommand::Undo { to_revision, .. } => line(rollout::undo(store, object, *to_revision).await?),
        RolloutCommand::Restart(_) => line(rollout::restart(store, object).await?),
        RolloutCommand::Pause(_) => line(rollout::pause(store, object, true).await?),
        RolloutCommand::Resume(_) => line(rollout::pause(store, object, false).await?),
    }
    Ok(())
}

async fn status(store: &Store, object: &Value, watch: bool, limit: Option<Duration>) -> kubectl::Result<()> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    if !watch {
        line(rollout::now(object)?);
        return Ok(());
    }
    let follow = rollout::follow(store, namespace, name, |text: &str| line(text));
    match limit {
        Some(limit) => tokio::time::timeout(limit, follow).await.unwrap_or_else(|_| {
            Err(Error::Timeout { what: format!("the rollout of deployment \"{name}\"") })
        }),
        None => follow.await,
    }
}
