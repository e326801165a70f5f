//! Which routes attach to which listeners.

use api::Selector;
use api::gateway::{GROUP, HTTPRoute, Listener, ParentRef};
use store::ObjectName;

use super::listener::{self, Open};
use super::rule::{self, Rules};
use super::status::Parent;
use super::{GATEWAY, Ours, ROUTE, fails, holds};
use crate::model::{Host, Owner};
use crate::plan::Cluster;
use crate::plan::backend::Backends;
use crate::plan::draft::Draft;

/// Attaches a route to the listeners of this controller's gateways; says how that went at each parent. One that
/// names no parent, as those of the guide on traffic splitting, has all gateways of its namespace.
pub(super) fn attach(
    cluster: &Cluster,
    backends: &Backends<'_>,
    gateways: &mut [Ours<'_>],
    route: &HTTPRoute,
    owner: &Owner,
    age: usize,
    draft: &mut Draft<'_>,
) -> Vec<Parent> {
    let mut parents = Vec::new();
    let mut rules = None;
    let of_namespace: Vec<ParentRef> = if route.spec.parent_refs.is_empty() {
        let same = gateways.iter().filter(|gateway| gateway.owner.namespace == owner.namespace);
        same.map(|gateway| ParentRef { name: gateway.owner.name.clone(), ..ParentRef::default() }).collect()
    } else {
        Vec::new()
    };
    for reference in route.spec.parent_refs.iter().chain(&of_namespace) {
        let Some(gateway) = gateways.iter_mut().find(|gateway| is_meant(reference, owner, gateway)) else {
            continue;
        };
        // What the rules mean does not depend on the parent; problems are told once.
        let rules = rules.get_or_insert_with(|| rule::read(cluster, backends, route, owner, age, draft));
        let accepted = to_gateway(cluster, gateway, reference, route, owner, rules, draft);
        let mut conditions = vec![accepted, rules.resolved.clone()];
        conditions.extend(rules.partial.clone());
        let reference = serde_json::to_value(reference).unwrap_or_default();
        parents.push(Parent { reference, controller: gateway.controller.into(), conditions });
    }
    parents
}

fn is_meant(reference: &ParentRef, owner: &Owner, gateway: &Ours<'_>) -> bool {
    reference.group.as_deref().is_none_or(|group| group == GROUP)
        && reference.kind.as_deref().is_none_or(|kind| kind == GATEWAY)
        && reference.namespace.as_deref().unwrap_or(&owner.namespace) == gateway.owner.namespace
        && reference.name == gateway.owner.name
}

fn to_gateway(
    cluster: &Cluster,
    gateway: &mut Ours<'_>,
    reference: &ParentRef,
    route: &HTTPRoute,
    owner: &Owner,
    rules: &Rules,
    draft: &Draft<'_>,
) -> super::status::Found {
    let namespace = gateway.owner.namespace.clone();
    let is_section = |open: &&mut Open<'_>| {
        reference.section_name.as_ref().is_none_or(|name| *name == open.listener.name)
            && reference.port.is_none_or(|port| port == open.listener.port)
    };
    let (mut found, mut allowed, mut attached) = (false, false, false);
    for open in gateway.listeners.iter_mut().filter(is_section) {
        found = true;
        if !open.kinds.contains(&ROUTE) || !is_allowed(cluster, open.listener, &namespace, &owner.namespace) {
            continue;
        }
        allowed = true;
        let hosts = hosts(&open.host, &route.spec.hostnames);
        if hosts.is_empty() {
            continue;
        }
        attached = true;
        open.attached += 1;
        if draft.is_excepted(owner) {
            continue;
        }
        for host in hosts {
            open.entries
                .extend(rules.entries.iter().map(|one| super::Entry { host: host.clone(), ..one.clone() }));
        }
    }
    if attached {
        return holds("Accepted", "Accepted");
    }
    let (reason, message) = match (found, allowed) {
        (false, _) => ("NoMatchingParent", "has no such listener"),
        (_, false) => ("NotAllowedByListeners", "has no listener that allows this route"),
        _ => ("NoMatchingListenerHostname", "has no listener for its hosts"),
    };
    fails("Accepted", reason, format!("{} {message}", gateway.owner))
}

/// Whether routes of a namespace may attach to a listener of a gateway.
fn is_allowed(cluster: &Cluster, listener: &Listener, gateway: &str, route: &str) -> bool {
    let namespaces = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    match namespaces.and_then(|namespaces| namespaces.from.as_deref()).unwrap_or("Same") {
        "All" => true,
        "Same" => gateway == route,
        "Selector" => {
            let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
            let labels = cluster.namespaces.get(&ObjectName::new("", route));
            let labels = labels.and_then(|namespace| namespace.metadata.labels.as_ref());
            let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
            selector.is_some_and(|selector| selector.matches(labels))
        }
        _ => false,
    }
}

/// The hosts that a route has at a listener: where both have hosts, those that both take.
fn hosts(listener: &Host, names: &[String]) -> Vec<Host> {
    if names.is_empty() {
        return vec![listener.clone()];
    }
    let good = names.iter().map(|name| listener::host(name)).filter(|(_, is_good)| *is_good);
    good.filter_map(|(host, _)| both(listener, &host)).collect()
}

/// The more special of two hosts, if the other takes all of it.
pub(super) fn both(one: &Host, other: &Host) -> Option<Host> {
    if covers(one, other) {
        Some(other.clone())
    } else if covers(other, one) {
        Some(one.clone())
    } else {
        None
    }
}

/// Whether one takes every name that the other takes.
pub(super) fn covers(one: &Host, other: &Host) -> bool {
    match (one, other) {
        (Host::Any, _) => true,
        (Host::Suffix(rest), Host::Suffix(longer)) => {
            rest == longer || longer.strip_suffix(rest.as_str()).is_some_and(|front| front.ends_with('.'))
        }
        (one, Host::Name(name)) => one.takes(name),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples in the specification of `HTTPRouteSpec.hostnames`.
    #[test]
    fn hosts_of_both() {
        let table = [
            ("test.example.com", "test.example.com", Some("test.example.com")),
            ("test.example.com", "*.example.com", Some("test.example.com")),
            ("*.example.com", "test.example.com", Some("test.example.com")),
            ("*.example.com", "foo.test.example.com", Some("foo.test.example.com")),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "*.foo.example.com", Some("*.foo.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "test.example.net", None),
            ("test.example.com", "other.example.com", None),
            ("", "*.example.com", Some("*.example.com")),
            ("*.ample.com", "*.example.com", None),
        ];
        for (listener, route, expected) in table {
            let found = both(&listener::host(listener).0, &listener::host(route).0);
            assert_eq!(found.map(|host| host.to_string()).as_deref(), expected, "{listener} {route}");
        }
        assert_eq!(hosts(&Host::Name("a.b".into()), &[]), [Host::Name("a.b".into())]);
    }
}
