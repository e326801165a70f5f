//! Gateway API: GatewayClass, Gateway, HTTPRoute, ReferenceGrant.
//!
//! Source: <https://gateway-api.sigs.k8s.io/reference/spec/>, gateway-api `apis/v1`. All gateways of a node
//! share its address, and with it its ports: those of Ingresses too.

mod attach;
mod backend;
mod filter;
mod listener;
mod merge;
mod rule;
mod status;

use std::collections::BTreeMap;

use api::gateway::{Gateway, HTTPRoute};

use super::Cluster;
use super::backend::Backends;
use super::draft::Draft;
use crate::model::{Action, Condition, Host, Owner, Path, Policy};

use listener::Open;
use status::{Found, class_status, gateway_status, route_status};

const CLASS: &str = "GatewayClass";
pub(super) const GATEWAY: &str = "Gateway";
pub(super) const ROUTE: &str = "HTTPRoute";

/// What a route asks for on a listener: one of its matches.
#[derive(Debug, Clone)]
struct Entry {
    host: Host,
    path: Path,
    when: Vec<Condition>,
    action: Action,
    policy: Policy,
    owner: Owner,
    /// Of routes by their age, of rules and matches by their place.
    order: (usize, usize, usize),
}

/// A gateway of this controller.
#[derive(Debug)]
struct Ours<'a> {
    gateway: &'a Gateway,
    owner: Owner,
    controller: &'a str,
    listeners: Vec<Open<'a>>,
}

pub(super) fn plan(cluster: &Cluster, backends: &Backends<'_>, draft: &mut Draft<'_>) {
    let classes = classes(cluster, draft);
    let mut gateways = ours(cluster, &classes, draft);
    let mut routes: Vec<&HTTPRoute> = cluster.http_routes.values().map(AsRef::as_ref).collect();
    routes.sort_by_key(|route| route.metadata.creation_timestamp.as_ref().map(|time| time.0));
    for (age, route) in routes.into_iter().enumerate() {
        let meta = &route.metadata;
        let owner = Owner::new(
            ROUTE,
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        );
        let parents = attach::attach(cluster, backends, &mut gateways, route, &owner, age, draft);
        if parents.is_empty() {
            continue;
        }
        for found in parents.iter().flat_map(|parent| parent.conditions.iter().filter(|one| one.is_bad())) {
            draft.problem(&owner, found.reason, found.message.clone());
        }
        draft.gateway_status(&owner, route_status(&parents, meta.generation));
    }
    for gateway in &gateways {
        for listener in &gateway.listeners {
            merge::serve(listener, &gateway.owner, draft);
        }
        for found in gateway.listeners.iter().flat_map(|one| one.conditions.iter().filter(|one| one.is_bad()))
        {
            draft.problem(&gateway.owner, found.reason, found.message.clone());
        }
        draft.gateway_status(
            &gateway.owner,
            gateway_status(&gateway.listeners, gateway.gateway.metadata.generation),
        );
    }
}

/// The classes of this controller, and how it is called in them.
fn classes<'a>(cluster: &'a Cluster, draft: &mut Draft<'_>) -> BTreeMap<&'a str, &'a str> {
    let mut ours = BTreeMap::new();
    for (name, class) in cluster.gateway_classes.iter() {
        if draft.settings.gateway_controllers.contains(&class.spec.controller_name) {
            ours.insert(name.name.as_str(), class.spec.controller_name.as_str());
            let owner = Owner::new(CLASS, "", &name.name);
            draft.gateway_status(&owner, class_status(class.metadata.generation));
        }
    }
    ours
}

/// The gateways of these classes, the oldest first, with their listeners opened.
fn ours<'a>(cluster: &'a Cluster, classes: &BTreeMap<&str, &'a str>, draft: &mut Draft<'_>) -> Vec<Ours<'a>> {
    let mut gateways: Vec<_> = cluster.gateways.iter().collect();
    gateways.sort_by_key(|(_, gateway)| gateway.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let mut ours = Vec::new();
    let mut ports = listener::Ports::new(draft.settings);
    for (name, gateway) in gateways {
        let Some(controller) = classes.get(gateway.spec.gateway_class_name.as_str()) else { continue };
        let owner = Owner::new(GATEWAY, &name.namespace, &name.name);
        draft.claim(&owner);
        let listeners = listener::open(cluster, gateway, &owner, &mut ports, draft);
        ours.push(Ours { gateway, owner, controller, listeners });
    }
    ours
}

/// What holds, and if not, why.
fn holds(kind: &'static str, reason: &'static str) -> Found {
    Found { kind, holds: true, reason, message: String::new(), good: true }
}

/// What does not hold although it should.
fn fails(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Found {
    Found { kind, holds: false, reason, message: message.into(), good: true }
}
