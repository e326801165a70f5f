//! `topo create deployment|service|namespace`, `topo expose`, `topo set image`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use api::KindInfo;
use api::kinds::{self, DEPLOYMENTS, NAMESPACES, SERVICES};
use kubectl::Error;
use kubectl::apply::{self, DryRun};
use kubectl::document::{Document, Place};
use kubectl::generate::{self, Exposure, NewDeployment, NewService};
use kubectl::query::Scope;
use kubectl::targets::Targets;
use lab::LabName;
use serde_json::{Value, json};

use super::{Report, fatal, meant, with_store};
use crate::cli::changes::{ExposeArgs, SetImageArgs};
use crate::cli::objects::NewArgs;
use crate::output::line;

/// Objects that need no file.
pub(super) fn new(kind: &str, words: &[String], args: &NewArgs) -> kubectl::Result<Vec<Document>> {
    let info = kinds::by_name(kind).map_err(|error| Error::Usage(error.to_string()))?;
    let objects = match (info, words) {
        (info, []) => return Err(usage(format!("a {} needs a name", info.kind.to_lowercase()))),
        (info, names) if *info == NAMESPACES => names.iter().map(|name| namespace(name)).collect(),
        (info, [name]) if *info == DEPLOYMENTS => vec![generate::deployment(name, &of_deployment(args))?],
        (info, [kind, name]) if *info == SERVICES => vec![generate::service(name, &of_service(kind, args))?],
        (info, _) if *info == SERVICES => {
            return Err(usage(
                "topo create service clusterip|nodeport|loadbalancer|externalname NAME --tcp 80".into(),
            ));
        }
        (info, _) if *info == DEPLOYMENTS => {
            return Err(usage("topo create deployment NAME --image IMAGE".into()));
        }
        (info, _) => {
            return Err(usage(format!("{} are created from files: topo create -f FILE", info.plural)));
        }
    };
    Ok(objects.into_iter().map(|object| document(info, object)).collect())
}

fn usage(text: String) -> Error {
    Error::Usage(text)
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub(super) fn document(info: &'static KindInfo, object: Value) -> Document {
    Document { place: Place { file: "command line".into(), document: 1, of: 1, line: 1 }, info, object }
}

fn of_deployment(args: &NewArgs) -> NewDeployment {
    NewDeployment {
        images: args.images.clone(),
        replicas: args.replicas,
        port: args.port,
        command: args.command.clone(),
    }
}

fn of_service(kind: &str, args: &NewArgs) -> NewService {
    NewService {
        kind: kind.into(),
        tcp: args.tcp.clone(),
        cluster_ip: args.cluster_ip.clone(),
        node_port: args.node_port,
        external_name: args.external_name.clone(),
    }
}

pub(crate) fn expose(lab: &LabName, args: &ExposeArgs) -> Result<ExitCode> {
    const VERB: &str = "expose";
    let targets = match named(&args.what, "name what is to be exposed, as deploy/web") {
        Ok(targets) => targets,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    let how = Exposure {
        name: args.name.clone(),
        port: args.port,
        target_port: args.target_port.clone(),
        protocol: args.protocol.clone(),
        kind: args.kind.clone(),
        cluster_ip: args.cluster_ip.clone(),
    };
    let scope = Scope::of(args.place.namespace());
    with_store(lab, args.place.cluster.as_deref(), async |store| {
        let mut report = Report::new(VERB);
        for (info, object) in meant(&store, &targets, &scope, &mut report).await {
            let made = match generate::expose(info, &object, &how) {
                Ok(service) => {
                    apply::create(&store, &document(&SERVICES, service), false, DryRun::None).await
                }
                Err(error) => Err(error),
            };
            match made {
                Ok(made) => {
                    let name = made.object.pointer("/metadata/name").and_then(Value::as_str);
                    line(format_args!("service/{} exposed", name.unwrap_or_default()));
                }
                Err(error) => report.error(&error),
            }
        }
        Ok(report.code())
    })
}

pub(crate) fn set_image(lab: &LabName, args: &SetImageArgs) -> Result<ExitCode> {
    const VERB: &str = "set image";
    let (words, images): (Vec<String>, Vec<String>) =
        args.words.iter().cloned().partition(|word| !word.contains('='));
    let images: BTreeMap<String, String> = images
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(container, image)| (container.to_owned(), image.to_owned()))
        .collect();
    let targets = match named(&words, "name whose image it is, as deployment/web nginx=nginx:1.16.1") {
        Ok(_) if images.is_empty() => {
            Err(usage("at least one image update is required, as nginx=nginx:1.16.1".into()))
        }
        targets => targets,
    };
    let targets = match targets {
        Ok(targets) => targets,
        Err(error) => return Ok(fatal(VERB, &error)),
    };
    let scope = Scope::of(args.place.namespace());
    with_store(lab, args.place.cluster.as_deref(), async |store| {
        let mut report = Report::new(VERB);
        for (info, object) in meant(&store, &targets, &scope, &mut report).await {
            match generate::set_image(&store, info, &object, &images).await {
                Ok(said) => said.into_iter().for_each(line),
                Err(error) => report.error(&error),
            }
        }
        Ok(report.code())
    })
}

fn named(words: &[String], otherwise: &str) -> kubectl::Result<Targets> {
    let targets = Targets::parse(words)?;
    if targets.named() { Ok(targets) } else { Err(usage(otherwise.into())) }
}
