//! Exposing: a Connector in one cluster, and a Listener with the same routing key in each that may reach it.
//! Skupper 2 asks for both, for who offers and who consumes are often not the same people; here one verb writes
//! both, as `skupper expose` of version 1 did.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::Result;
use api::skupper::{Connector, ConnectorSpec, Link, Listener, ListenerSpec, Site};
use api::types::api::apps::v1::Deployment;
use api::types::api::core::v1::{Pod, Service};
use lab::LabName;
use store::{Object, Store, registry};

use super::super::objects::{cluster_name, in_clusters};
use crate::cli::skupper::{SkupperExposeArgs, SkupperTargetArgs};
use crate::output::{Hinted, Negative, line};

/// The label of what `expose` has made, so that `unexpose` takes that and nothing else.
const MADE: &str = "knetsim.dev/exposed";

pub(super) fn expose(lab: &LabName, args: &SkupperExposeArgs) -> Result<ExitCode> {
    let target = &args.target;
    let namespace = &target.place.namespace;
    let cluster = cluster_name(lab, target.place.cluster.as_deref())?;
    let address = target.address.clone().unwrap_or_else(|| target.name.clone());
    let network = linked(lab, &cluster, namespace)?;
    let found = in_clusters(lab, Some(std::slice::from_ref(&cluster)), async |_, store| {
        let mut connector = connector(&store, target).await?;
        connector.routing_key.clone_from(&address);
        connector.port = args.target_port.unwrap_or(args.port).into();
        Ok(connector)
    })?;
    let mut spec = ConnectorSpec::default();
    for (_, outcome) in found {
        spec = outcome?;
    }
    let chosen = |name: &String| args.to.is_empty() || args.to.contains(name);
    if let Some(stranger) = args.to.iter().find(|name| !network.iter().any(|(cluster, _)| cluster == *name)) {
        let known: Vec<_> = network.iter().map(|(cluster, _)| cluster.as_str()).collect();
        let message = format!("{stranger} is not linked with {cluster}");
        let hint = format!(
            "linked are {}; `topo skupper token create` and `link create` link others",
            known.join(", ")
        );
        return Err(Hinted { message, hint }.into());
    }
    // The one who serves comes first, so that nobody finds the name and no server.
    in_one(lab, &cluster, async |store| {
        let mut connector = Connector::new(namespace, &address, spec.clone());
        connector.metadata.labels = Some([(MADE.to_owned(), address.clone())].into());
        if !args.to.is_empty() {
            let annotations = [(api::skupper::CONSUMERS.to_owned(), args.to.join(","))];
            connector.metadata.annotations = Some(annotations.into());
        }
        put(&store, &connector).await?;
        line(format!("connector.skupper.io/{address} in {cluster}"));
        Ok(())
    })?;
    let listener = ListenerSpec {
        routing_key: address.clone(),
        host: address.clone(),
        port: args.port.into(),
        ..ListenerSpec::default()
    };
    for (other, namespace) in network.iter().filter(|(name, _)| chosen(name)) {
        in_one(lab, other, async |store| {
            let mut listener = Listener::new(namespace, &address, listener.clone());
            listener.metadata.labels = Some([(MADE.to_owned(), address.clone())].into());
            put(&store, &listener).await?;
            line(format!("listener.skupper.io/{address} in {other}: http://{address}:{}", args.port));
            Ok(())
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Clusters and namespaces whose sites are linked with this one, over however many others, and itself: by the
/// objects, so that a link that has just been made or is down counts, too.
fn linked(lab: &LabName, cluster: &str, namespace: &str) -> Result<BTreeSet<(String, String)>> {
    let all = in_clusters(lab, None, async |_, store| {
        Ok((store.list::<Site>(None).await?, store.list::<Link>(None).await?))
    })?;
    let place = |cluster: &str, namespace: Option<&String>| {
        (cluster.to_owned(), namespace.cloned().unwrap_or_default())
    };
    let mut ends = BTreeMap::new();
    let mut pairs = Vec::new();
    for (name, objects) in &all {
        let Ok((sites, _)) = objects else { continue };
        for site in sites {
            let own = place(name, site.metadata.namespace.as_ref());
            let status = site.status.clone().unwrap_or_default();
            for end in status.endpoints {
                ends.insert((end.host, end.port), own.clone());
            }
            pairs.extend(
                status.network.into_iter().map(|other| (own.clone(), (other.platform, other.namespace))),
            );
        }
    }
    for (name, objects) in &all {
        let Ok((_, links)) = objects else { continue };
        for link in links {
            let own = place(name, link.metadata.namespace.as_ref());
            let to =
                link.spec.endpoints.iter().filter_map(|end| ends.get(&(end.host.clone(), end.port.clone())));
            pairs.extend(to.map(|other| (own.clone(), other.clone())));
        }
    }
    let here = (cluster.to_owned(), namespace.to_owned());
    let has_site = all.iter().any(|(name, objects)| {
        let sites = objects.as_ref().map(|(sites, _)| sites.as_slice()).unwrap_or_default();
        name == cluster && sites.iter().any(|site| site.metadata.namespace.as_deref() == Some(namespace))
    });
    if !has_site {
        let message = format!("there is no site in namespace {namespace} of {cluster}");
        return Err(Hinted { message, hint: format!("`topo skupper init --cluster {cluster}`") }.into());
    }
    let mut network = BTreeSet::from([here]);
    loop {
        let before = network.len();
        for (a, b) in &pairs {
            if network.contains(a) || network.contains(b) {
                network.extend([a.clone(), b.clone()]);
            }
        }
        if network.len() == before {
            return Ok(network);
        }
    }
}

/// Does something in one cluster.
fn in_one(lab: &LabName, cluster: &str, ask: impl AsyncFn(Store) -> Result<()> + Sync) -> Result<()> {
    for (_, outcome) in in_clusters(lab, Some(&[cluster.to_owned()]), async |_, store| ask(store).await)? {
        outcome?;
    }
    Ok(())
}

/// Makes an object, or changes what `expose` has made before.
async fn put<K: Object + api::Rules>(store: &Store, object: &K) -> Result<()> {
    let meta = object.metadata();
    let (namespace, name) =
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    let old: Option<K> = store.get(&namespace, &name).await?;
    match old {
        None => drop(registry::create(store, object).await?),
        Some(old) if is_made(&old) => drop(registry::update(store, object).await?),
        Some(_) => {
            let message = format!("{} \"{name}\" is there already, and not by `expose`", K::INFO.singular());
            let hint = "choose another --address, or delete it".into();
            return Err(Hinted { message, hint }.into());
        }
    }
    Ok(())
}

fn is_made<K: Object>(object: &K) -> bool {
    object.metadata().labels.as_ref().is_some_and(|labels| labels.contains_key(MADE))
}

/// What serves: a deployment's or a pod's pods by their labels, a service by its name.
async fn connector(store: &Store, target: &SkupperTargetArgs) -> Result<ConnectorSpec> {
    let (namespace, name) = (&target.place.namespace, &target.name);
    let missing = || Negative(format!("{} \"{name}\" not found in namespace {namespace}", target.kind));
    let labels = match target.kind.as_str() {
        "service" => {
            store.get::<Service>(namespace, name).await?.ok_or_else(missing)?;
            return Ok(ConnectorSpec { host: name.clone(), ..ConnectorSpec::default() });
        }
        "deployment" => {
            let deployment = store.get::<Deployment>(namespace, name).await?.ok_or_else(missing)?;
            deployment.spec.and_then(|spec| spec.selector.match_labels)
        }
        _ => store.get::<Pod>(namespace, name).await?.ok_or_else(missing)?.metadata.labels,
    };
    let pairs: Vec<_> = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() {
        let message = format!("{} \"{name}\" has no labels to find its pods by", target.kind);
        return Err(
            Hinted { message, hint: format!("`topo label {} {name} app={name}`", target.kind) }.into()
        );
    }
    Ok(ConnectorSpec { selector: pairs.join(","), ..ConnectorSpec::default() })
}

pub(super) fn unexpose(lab: &LabName, target: &SkupperTargetArgs) -> Result<ExitCode> {
    let address = target.address.clone().unwrap_or_else(|| target.name.clone());
    let mut count = 0;
    let outcomes = in_clusters(lab, None, async |cluster, store| {
        let gone = [
            take::<Listener>(&store, &address, &cluster).await?,
            take::<Connector>(&store, &address, &cluster).await?,
        ];
        Ok(gone.concat())
    })?;
    for (cluster, outcome) in outcomes {
        for what in outcome.map_err(|error| error.context(format!("unexpose in {cluster}")))? {
            line(what);
            count += 1;
        }
    }
    if count == 0 {
        return Err(Negative(format!("nothing is exposed as {address}")).into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Deletes what `expose` has made for an address, in all namespaces.
async fn take<K: Object>(store: &Store, address: &str, cluster: &str) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    for object in store.list::<K>(None).await? {
        let meta = object.metadata();
        let of = meta.labels.as_ref().and_then(|labels| labels.get(MADE));
        if of.map(String::as_str) != Some(address) {
            continue;
        }
        let (namespace, name) =
            (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        registry::delete::<K>(store, &namespace, &name, &Default::default()).await?;
        gone.push(format!("{}.skupper.io \"{name}\" in {cluster} deleted", K::INFO.singular()));
    }
    Ok(gone)
}
