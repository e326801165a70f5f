//! `topo run`.

use std::process::ExitCode;

use anyhow::Result;
use api::kinds::{PODS, SERVICES};
use kubectl::run::{self, NewPod};
use lab::LabName;

use super::apply::{How, each};
use super::generate::document;
use super::{Report, fatal};
use crate::cli::run::RunArgs;
use crate::output::Hinted;

const VERB: &str = "run";

pub(crate) fn run(lab: &LabName, args: &RunArgs) -> Result<ExitCode> {
    if let Some(flag) = args.attach.flag() {
        let cluster = args.place.cluster.as_deref().unwrap_or("C0");
        let namespace = args.place.namespace();
        let pod =
            if namespace == "default" { args.name.clone() } else { format!("{namespace}/{}", args.name) };
        return Err(Hinted {
            message: format!("run: {flag} is not there: nobody is attached to what a pod runs"),
            hint: format!(
                "without it the pod is made; then `topo exec {cluster}/{pod} -- sh` is a shell in it, and \
                 `topo delete pod {}` ends it",
                args.name
            ),
        }
        .into());
    }
    let new = NewPod {
        image: args.image.clone(),
        pull: args.image_pull_policy.clone().unwrap_or_default(),
        port: args.port,
        env: args.env.clone(),
        labels: args.labels.clone(),
        annotations: args.annotations.clone(),
        restart: args.restart.clone(),
        words: args.words.clone(),
        command: args.command,
    };
    let made = run::pod(&args.name, &new).and_then(|pod| {
        let service = args.expose.then(|| run::service(&pod)).transpose()?;
        Ok(service
            .map(|service| document(&SERVICES, service))
            .into_iter()
            .chain([document(&PODS, pod)])
            .collect())
    });
    match made {
        Ok(documents) => each(
            lab,
            How { place: &args.place, dry_run: args.dry_run, output: args.output.as_ref() },
            Report::new(VERB),
            documents,
            async |store, document, dry_run| kubectl::apply::create(store, document, false, dry_run).await,
        ),
        Err(error) => Ok(fatal(VERB, &error)),
    }
}
