//! Listeners of gateways.

use std::collections::BTreeMap;

use api::gateway::{GROUP, Gateway, Listener, ObjectRef};
use api::names;

use super::status::Found;
use super::{Entry, GATEWAY, ROUTE, fails, holds};
use crate::model::{Host, Owner, Tls};
use crate::plan::draft::Draft;
use crate::plan::{Cluster, Settings, tls};

/// A listener, and what attaches to it.
#[derive(Debug)]
pub(super) struct Open<'a> {
    pub(super) listener: &'a Listener,
    pub(super) port: u16,
    pub(super) host: Host,
    pub(super) tls: Option<Tls>,
    /// Kinds of routes that may attach.
    pub(super) kinds: Vec<&'static str>,
    pub(super) conditions: Vec<Found>,
    pub(super) attached: usize,
    pub(super) entries: Vec<Entry>,
}

impl Open<'_> {
    /// Whether it is served.
    pub(super) fn is_open(&self) -> bool {
        self.conditions.iter().all(|one| one.kind != "Programmed" || one.holds)
    }
}

/// Which ports speak TLS, and whose a host of a port is.
#[derive(Debug)]
pub(super) struct Ports(BTreeMap<u16, bool>);

impl Ports {
    pub(super) fn new(settings: &Settings) -> Self {
        Self([(settings.http_port, false), (settings.https_port, true)].into())
    }

    /// Whether the port can speak so.
    fn take(&mut self, port: u16, tls: bool) -> bool {
        *self.0.entry(port).or_insert(tls) == tls
    }
}

/// Opens the listeners of a gateway as far as they can be.
pub(super) fn open<'a>(
    cluster: &Cluster,
    gateway: &'a Gateway,
    owner: &Owner,
    ports: &mut Ports,
    draft: &mut Draft<'_>,
) -> Vec<Open<'a>> {
    let all = &gateway.spec.listeners;
    let mut opened = Vec::new();
    for (i, listener) in all.iter().enumerate() {
        let earlier = &all[..i];
        opened.push(open_one(cluster, listener, earlier, owner, ports, draft));
    }
    opened
}

fn open_one<'a>(
    cluster: &Cluster,
    listener: &'a Listener,
    earlier: &[Listener],
    owner: &Owner,
    ports: &mut Ports,
    draft: &mut Draft<'_>,
) -> Open<'a> {
    let name = &listener.name;
    let is_tls = listener.protocol == "HTTPS";
    let port = u16::try_from(listener.port).unwrap_or_default();
    let (host, host_is_good) = host(listener.hostname.as_deref().unwrap_or_default());
    let (kinds, kinds_are_good) = kinds(listener);
    let passthrough = listener.tls.as_ref().is_some_and(|tls| tls.mode.as_deref() == Some("Passthrough"));

    let conflict = earlier.iter().find_map(|other| conflict(listener, other));
    let conflicted = match conflict {
        Some(reason) => {
            let message = format!("listener {name}: another of the gateway has its port and host");
            Found { kind: "Conflicted", holds: true, reason, message, good: false }
        }
        None => Found { holds: false, good: false, ..holds("Conflicted", "NoConflicts") },
    };
    let accepted = if !["HTTP", "HTTPS"].contains(&listener.protocol.as_str()) {
        let message = format!("listener {name}: protocol {} is not supported", listener.protocol);
        fails("Accepted", "UnsupportedProtocol", message)
    } else if port == 0 || !host_is_good || is_tls && passthrough {
        let message = format!("listener {name}: its port, host or mode of TLS cannot be served");
        fails("Accepted", "UnsupportedValue", message)
    } else if conflict.is_none() && !ports.take(port, is_tls) {
        let message = format!("listener {name}: port {port} speaks another protocol already");
        fails("Accepted", "PortUnavailable", message)
    } else {
        holds("Accepted", "Accepted")
    };
    let certificate =
        if is_tls && accepted.holds { Some(certificate(cluster, listener, owner, draft)) } else { None };
    let (tls, resolved) = match certificate {
        _ if !kinds_are_good => {
            let message = format!("listener {name}: it allows kinds of routes that are not supported");
            (certificate.and_then(Result::ok), fails("ResolvedRefs", "InvalidRouteKinds", message))
        }
        Some(Ok(tls)) => (Some(tls), holds("ResolvedRefs", "ResolvedRefs")),
        Some(Err((reason, message))) => {
            (None, fails("ResolvedRefs", reason, format!("listener {name}: {message}")))
        }
        None => (None, holds("ResolvedRefs", "ResolvedRefs")),
    };
    let is_open = accepted.holds && conflict.is_none() && (!is_tls || tls.is_some());
    let programmed = if is_open {
        holds("Programmed", "Programmed")
    } else {
        fails("Programmed", "Invalid", format!("listener {name} is not served"))
    };
    Open {
        listener,
        port,
        host,
        tls,
        kinds,
        conditions: vec![accepted, conflicted, resolved, programmed],
        attached: 0,
        entries: Vec::new(),
    }
}

fn conflict(one: &Listener, other: &Listener) -> Option<&'static str> {
    if one.port != other.port {
        return None;
    }
    if (one.protocol == "HTTPS") != (other.protocol == "HTTPS") {
        return Some("ProtocolConflict");
    }
    let host = |listener: &Listener| listener.hostname.clone().unwrap_or_default();
    (host(one) == host(other)).then_some("HostnameConflict")
}

/// The host of a listener or a route, and whether there can be one of that name.
pub(super) fn host(name: &str) -> (Host, bool) {
    match name.strip_prefix("*.") {
        _ if name.is_empty() => (Host::Any, true),
        Some(rest) => (Host::Suffix(rest.into()), names::wildcard(name).is_empty()),
        None => (Host::Name(name.into()), names::dns_subdomain(name).is_empty()),
    }
}

/// The kinds of routes that may attach, and whether all that it allows are known.
fn kinds(listener: &Listener) -> (Vec<&'static str>, bool) {
    let allowed = listener.allowed_routes.as_ref().map(|routes| routes.kinds.as_slice()).unwrap_or_default();
    let is_known = |kind: &api::gateway::GroupKind| {
        kind.kind == ROUTE && kind.group.as_deref().is_none_or(|group| group == GROUP)
    };
    let known = allowed.is_empty() || allowed.iter().any(is_known);
    (if known { vec![ROUTE] } else { Vec::new() }, allowed.iter().all(is_known))
}

fn certificate(
    cluster: &Cluster,
    listener: &Listener,
    owner: &Owner,
    draft: &mut Draft<'_>,
) -> Result<Tls, (&'static str, String)> {
    const INVALID: &str = "InvalidCertificateRef";
    let references = listener.tls.as_ref().map(|tls| tls.certificate_refs.as_slice()).unwrap_or_default();
    let Some(reference) = references.first() else { return Err((INVALID, "it names no certificate".into())) };
    let ObjectRef { group, kind, namespace, name } = reference;
    let is_secret =
        group.as_deref().is_none_or(str::is_empty) && kind.as_deref().is_none_or(|kind| kind == "Secret");
    if !is_secret {
        return Err((INVALID, "its certificate is no secret".into()));
    }
    let namespace = namespace.as_deref().unwrap_or(&owner.namespace);
    if !granted(cluster, (GATEWAY, &owner.namespace), "Secret", namespace, name) {
        let message =
            format!("secret {namespace}/{name} is of another namespace, and no ReferenceGrant allows it");
        return Err(("RefNotPermitted", message));
    }
    tls::certificate(cluster, namespace, name, draft).map_err(|why| (INVALID, why))
}

/// Whether objects of a kind and namespace may refer to an object, of the core group, of another namespace.
pub(super) fn granted(
    cluster: &Cluster,
    from: (&str, &str),
    kind: &str,
    namespace: &str,
    name: &str,
) -> bool {
    let (from_kind, from_namespace) = from;
    if from_namespace == namespace {
        return true;
    }
    let grants = cluster.grants.iter().filter(|(grant, _)| grant.namespace == namespace);
    grants.map(|(_, grant)| &grant.spec).any(|grant| {
        let from = grant
            .from
            .iter()
            .any(|from| from.group == GROUP && from.kind == from_kind && from.namespace == from_namespace);
        let to = grant.to.iter().any(|to| {
            to.group.is_empty() && to.kind == kind && to.name.as_deref().is_none_or(|only| only == name)
        });
        from && to
    })
}
