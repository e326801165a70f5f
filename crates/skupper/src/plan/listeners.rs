//! Listeners: a port of the router each, and the Service by which clients find it.

use std::collections::BTreeMap;

use api::router_config::{Config, TcpListener};
use api::skupper::{Listener, MAY_CONSUME, State};
use api::types::api::core::v1::Service;
use store::ObjectName;

use super::tls::{Profiles, profile_name};
use super::{Context, Judged, LISTENER};
use crate::inputs::in_namespace;

/// The label of Services and slices that are made for listeners (skupper
/// `internal/kube/site/bindings.go`).
pub const MANAGED: &str = "internal.skupper.io/listener";

/// A Service for the listeners with one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedService {
    /// Its namespace.
    pub namespace: String,
    /// Its name: the listeners' host.
    pub name: String,
    /// By listener.
    pub ports: BTreeMap<String, WantedPort>,
}

/// One of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedPort {
    /// For clients.
    pub port: u16,
    /// The router's.
    pub target: u16,
}

/// The slice of a listener's Service.
pub(crate) fn slice_name(host: &str) -> String {
    format!("{host}-skupper")
}

/// Tells the router of each listener of the namespace.
pub(super) fn plan(
    context: &Context<'_>,
    tls: &mut Profiles<'_>,
    config: &mut Config,
) -> BTreeMap<String, Judged> {
    let mut judged = BTreeMap::new();
    for (name, listener) in in_namespace(&context.inputs.listeners, context.namespace) {
        let address = address(context, &listener.spec.routing_key);
        let state = match entity(context, name, listener, &address, tls) {
            Ok(entity) => {
                config.tcp_listeners.push(entity);
                State::Ready
            }
            Err(state) => state,
        };
        judged.insert(name.to_owned(), Judged { state, address });
    }
    judged
}

/// A key that is offered to this site by name has an address of this site's own.
fn address(context: &Context<'_>, key: &str) -> String {
    let own = format!("{key}@{}", context.router_id);
    if context.network.has_connector(&own) { own } else { key.into() }
}

fn entity(
    context: &Context<'_>,
    name: &str,
    listener: &Listener,
    address: &str,
    tls: &mut Profiles<'_>,
) -> Result<TcpListener, State> {
    let spec = &listener.spec;
    if let Some(allowed) = annotation(context, MAY_CONSUME)
        && !allows(&allowed, &spec.routing_key)
    {
        let key = &spec.routing_key;
        return Err(State::Error(format!(
            "the site may not consume \"{key}\": its annotation {MAY_CONSUME} is \"{allowed}\""
        )));
    }
    if let Some(service) = context.inputs.services.get(&ObjectName::new(context.namespace, &spec.host))
        && !is_ours(service)
    {
        return Err(State::Error(format!(
            "service \"{}\" is there already and not of a listener: choose another host",
            spec.host
        )));
    }
    if let Some(other) = same_port(context, name, listener) {
        return Err(State::Error(format!(
            "listener \"{other}\" has host \"{}\" and port {} already",
            spec.host, spec.port
        )));
    }
    let Some(&port) = context.targets.get(&ObjectName::new(context.namespace, name)) else {
        return Err(State::Error("the worker has no port left for it".into()));
    };
    let ssl_profile = Some(spec.tls_credentials.clone()).filter(|name| !name.is_empty());
    if let Some(profile) = &ssl_profile {
        tls.need(profile).map_err(State::Pending)?;
    }
    let mut entity = TcpListener {
        name: format!("{LISTENER}{name}"),
        address: address.into(),
        port,
        ssl_profile: ssl_profile.map(|secret| profile_name(&secret)),
        ..TcpListener::default()
    };
    if !spec.observer.is_empty() && spec.observer != "auto" {
        entity.more.insert("observer".into(), spec.observer.clone().into());
    }
    Ok(entity)
}

/// Of two listeners with the same host and port the first by name has it.
fn same_port<'a>(context: &'a Context<'_>, name: &str, listener: &Listener) -> Option<&'a str> {
    let before =
        in_namespace(&context.inputs.listeners, context.namespace).take_while(|(other, _)| *other < name);
    let same =
        |other: &Listener| (&other.spec.host, other.spec.port) == (&listener.spec.host, listener.spec.port);
    before.filter(|(_, other)| same(other)).map(|(other, _)| other).next()
}

fn annotation(context: &Context<'_>, key: &str) -> Option<String> {
    context.site.metadata.annotations.as_ref()?.get(key).cloned()
}

/// Whether a list as `svc1, db-*` has a key.
pub(super) fn allows(list: &str, key: &str) -> bool {
    list.split(',').map(str::trim).any(|pattern| match pattern.strip_suffix('*') {
        Some(begin) => key.starts_with(begin),
        None => key == pattern,
    })
}

pub(crate) fn is_ours(service: &Service) -> bool {
    service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(MANAGED))
}

/// The Services for the listeners that the router is told of.
pub(super) fn services(context: &Context<'_>, judged: &BTreeMap<String, Judged>) -> Vec<WantedService> {
    let mut services: BTreeMap<String, WantedService> = BTreeMap::new();
    for (name, listener) in in_namespace(&context.inputs.listeners, context.namespace) {
        let told = judged.get(name).is_some_and(|one| one.state == State::Ready);
        let target = context.targets.get(&ObjectName::new(context.namespace, name));
        let (true, Some(&target), Ok(port)) = (told, target, u16::try_from(listener.spec.port)) else {
            continue;
        };
        let host = &listener.spec.host;
        let service = services.entry(host.clone()).or_insert_with(|| WantedService {
            namespace: context.namespace.into(),
            name: host.clone(),
            ports: BTreeMap::new(),
        });
        service.ports.insert(name.into(), WantedPort { port, target });
    }
    services.into_values().collect()
}
