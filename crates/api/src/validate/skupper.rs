//! Skupper's objects: what its CRDs refuse, and what its controller says of values that they let pass.
//!
//! Source: skupper 2 `config/crd/bases` and `internal/cmd/skupper/common/validator`.

use super::meta;
use crate::field::{Errors, Path};
use crate::skupper::{AccessGrant, AccessToken, Connector, Link, Listener, Site};
use crate::{Kind, Selector, kinds, names};

/// The kinds of link access that Skupper knows.
const LINK_ACCESS: &[&str] =
    &["", "default", "ingress", "ingress-nginx", "loadbalancer", "nodeport", "none", "route"];
const OBSERVERS: &[&str] = &["auto", "http1", "http2", "none"];

pub(crate) fn site(site: &Site, errors: &mut Errors) {
    meta::object_meta(&site.metadata, &kinds::SITES, errors);
    let spec = Path::new("spec");
    if !LINK_ACCESS.contains(&site.spec.link_access.as_str()) {
        errors.not_supported(&spec.child("linkAccess"), &site.spec.link_access, &LINK_ACCESS[1..]);
    }
    if site.spec.edge && site.spec.takes_links_but_for_edge() {
        errors.invalid(&spec.child("edge"), true, "an edge site takes in no links: leave linkAccess out");
    }
}

pub(crate) fn link(link: &Link, errors: &mut Errors) {
    meta::object_meta(&link.metadata, &kinds::LINKS, errors);
    let spec = Path::new("spec");
    if link.spec.endpoints.is_empty() {
        errors.required(&spec.child("endpoints"), "");
    }
    for (i, endpoint) in link.spec.endpoints.iter().enumerate() {
        let at = spec.child("endpoints").index(i);
        if endpoint.host.is_empty() {
            errors.required(&at.child("host"), "");
        }
        match endpoint.port.parse::<i32>() {
            Ok(number) => errors.invalid_each(&at.child("port"), &endpoint.port, names::port_number(number)),
            Err(_) => errors.invalid(&at.child("port"), &endpoint.port, "must be a number"),
        }
    }
    cost(link.spec.cost, &spec.child("cost"), errors);
}

pub(crate) fn access_grant(grant: &AccessGrant, errors: &mut Errors) {
    meta::object_meta(&grant.metadata, &kinds::ACCESS_GRANTS, errors);
    let spec = Path::new("spec");
    if grant.spec.redemptions_allowed < 0 {
        errors.negative(&spec.child("redemptionsAllowed"), grant.spec.redemptions_allowed);
    }
    let window = &grant.spec.expiration_window;
    if !window.is_empty() && crate::skupper::duration(window).is_none() {
        errors.invalid(&spec.child("expirationWindow"), window, "must be a duration, as 15m or 1h30m");
    }
}

pub(crate) fn access_token(token: &AccessToken, errors: &mut Errors) {
    meta::object_meta(&token.metadata, &kinds::ACCESS_TOKENS, errors);
    let spec = Path::new("spec");
    for (name, value) in [("url", &token.spec.url), ("code", &token.spec.code), ("ca", &token.spec.ca)] {
        if value.is_empty() {
            errors.required(&spec.child(name), "");
        }
    }
    let url = &token.spec.url;
    if !url.is_empty() && !url.starts_with("https://") {
        errors.invalid(&spec.child("url"), url, "must begin with https://");
    }
    cost(token.spec.link_cost, &spec.child("linkCost"), errors);
}

pub(crate) fn listener(listener: &Listener, errors: &mut Errors) {
    meta::object_meta(&listener.metadata, &kinds::LISTENERS, errors);
    let (spec, path) = (&listener.spec, Path::new("spec"));
    routing_key(&spec.routing_key, &path, errors);
    match spec.host.as_str() {
        "" => errors.required(&path.child("host"), ""),
        host => errors.invalid_each(&path.child("host"), host, names::dns_1035_label(host)),
    }
    port(spec.port, &path, errors);
    only_tcp(&spec.r#type, &path, errors);
    if !spec.observer.is_empty() && !OBSERVERS.contains(&spec.observer.as_str()) {
        errors.not_supported(&path.child("observer"), &spec.observer, OBSERVERS);
    }
}

pub(crate) fn connector(connector: &Connector, errors: &mut Errors) {
    meta::object_meta(&connector.metadata, <Connector as Kind>::INFO, errors);
    let (spec, path) = (&connector.spec, Path::new("spec"));
    routing_key(&spec.routing_key, &path, errors);
    port(spec.port, &path, errors);
    only_tcp(&spec.r#type, &path, errors);
    match (spec.host.is_empty(), spec.selector.is_empty()) {
        (true, true) => errors.required(&path.child("selector"), "one of `selector` or `host`"),
        (false, false) => errors.forbidden(&path.child("host"), "may not be set together with `selector`"),
        _ => {}
    }
    if let Err(error) = spec.selector.parse::<Selector>() {
        errors.invalid(&path.child("selector"), &spec.selector, &error.to_string());
    }
}

fn routing_key(key: &str, spec: &Path, errors: &mut Errors) {
    let path = spec.child("routingKey");
    // What a router takes for an address of its own, or for the begin of a multicast one.
    let reserved =
        key.starts_with(['_', '$']) || key == "mc" || key.starts_with("mc/") || key.starts_with("mc.");
    if key.is_empty() {
        errors.required(&path, "");
    } else if key.contains(|c: char| c.is_whitespace() || c.is_control()) {
        errors.invalid(&path, key, "may not have blanks in it");
    } else if reserved {
        errors.invalid(&path, key, "is one of the router's own addresses");
    } else if key.contains('@') {
        errors.invalid(&path, key, "may not have @ in it, which is kept for addresses of one site");
    }
}

fn port(port: i32, spec: &Path, errors: &mut Errors) {
    let path = spec.child("port");
    match port {
        0 => errors.required(&path, ""),
        port => errors.invalid_each(&path, port, names::port_number(port)),
    }
}

fn only_tcp(kind: &str, spec: &Path, errors: &mut Errors) {
    if !["", "tcp"].contains(&kind) {
        errors.not_supported(&spec.child("type"), kind, &["tcp"]);
    }
}

fn cost(cost: i32, path: &Path, errors: &mut Errors) {
    if cost < 0 {
        errors.negative(path, cost);
    }
}
