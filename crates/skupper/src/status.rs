//! How the objects say they are: from the plan, and from what the routers say. Pure.

use std::collections::BTreeMap;

use api::skupper::{
    Common, Connector, ConnectorStatus, Controller, Link, LinkRecord, LinkStatus, Listener, ListenerStatus,
    ServiceRecord, Site, SiteRecord, SiteStatus, State, configured, matched, operational, resolved, running,
};
use api::types::apimachinery::pkg::apis::meta::v1::Time;

use crate::network::{LinkEnd, Network, RouterView};
use crate::plan::{CONNECTOR, Judged, JudgedConnector, LINK, LISTENER, SitePlan};
use crate::site;

/// What a site's status is to be.
#[must_use]
pub fn of_site(site: &Site, plan: &SitePlan, router: &site::State, now: &Time) -> SiteStatus {
    let mut status = site.status.clone().unwrap_or_default();
    let takes_links = site.spec.takes_links();
    let runs = match (router.running, router.message.as_str()) {
        (true, _) => State::Ready,
        (false, "") => State::Pending("the router is starting".into()),
        (false, message) => State::Error(message.into()),
    };
    let told = match router.refused.first() {
        Some(refusal) if plan.state == State::Ready && router.running => State::Error(refusal.clone()),
        _ => plan.state.clone(),
    };
    let mut states = vec![configured(told), running(runs)];
    let mut required = vec!["Configured", "Running"];
    if takes_links {
        states.push(resolved(State::waiting(!plan.endpoints.is_empty(), "Pending")));
        required.push("Resolved");
    }
    status.common.set(states, &required, site.metadata.generation, now);
    status.endpoints.clone_from(&plan.endpoints);
    status.default_issuer = if takes_links { site.spec.issuer().into() } else { String::new() };
    status.network = records(&router.seen.network);
    status.sites_in_network = i32::try_from(status.network.len()).unwrap_or(i32::MAX);
    status.controller = Controller {
        name: "knetsim".into(),
        namespace: String::new(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    status
}

/// What the status of one is that is not the active one of its namespace.
#[must_use]
pub fn of_idle(site: &Site, why: &str, now: &Time) -> SiteStatus {
    let mut status = site.status.clone().unwrap_or_default();
    let state = State::Error(why.into());
    status.common.set(vec![configured(state)], &["Configured", "Running"], site.metadata.generation, now);
    status.endpoints.clear();
    status.network.clear();
    status.sites_in_network = 0;
    status
}

/// Of a link.
#[must_use]
pub fn of_link(link: &Link, name: &str, told: &State, router: &site::State, now: &Time) -> LinkStatus {
    let mut status = link.status.clone().unwrap_or_default();
    let own = router.seen.network.routers.get(&router.seen.id);
    let end = own.and_then(|own| own.links.iter().find(|end| end.name.strip_prefix(LINK) == Some(name)));
    let works = end.is_some_and(|end| end.operational) && router.running;
    let message = match end {
        Some(end) if !end.message.is_empty() => end.message.as_str(),
        _ => "Not operational",
    };
    if let Some(peer) = end.filter(|_| works).and_then(|end| router.seen.network.routers.get(&end.peer)) {
        status.remote_site_id.clone_from(&peer.site.id);
        status.remote_site_name.clone_from(&peer.site.name);
    }
    let states = vec![configured(told.clone()), operational(State::waiting(works, message))];
    status.common.set(states, &["Configured", "Operational"], link.metadata.generation, now);
    status
}

/// Of a listener.
#[must_use]
pub fn of_listener(listener: &Listener, judged: &Judged, network: &Network, now: &Time) -> ListenerStatus {
    let mut status = listener.status.clone().unwrap_or_default();
    let key = &listener.spec.routing_key;
    let has = judged.state == State::Ready && network.has_connector(&judged.address);
    let chosen = network.chosen(key);
    let message = if chosen.is_empty() {
        // skupper `types.go`
        "No matching connectors".into()
    } else {
        format!("No matching connectors: \"{key}\" is for {} only", chosen.join(", "))
    };
    status.has_matching_connector = has;
    let states = vec![configured(judged.state.clone()), matched(State::waiting(has, &message))];
    status.common.set(states, &["Configured", "Matched"], listener.metadata.generation, now);
    status
}

/// Of a connector.
#[must_use]
pub fn of_connector(
    connector: &Connector,
    judged: &JudgedConnector,
    network: &Network,
    now: &Time,
) -> ConnectorStatus {
    let mut status = connector.status.clone().unwrap_or_default();
    let has = judged.state == State::Ready && network.has_listener(&judged.addresses);
    status.has_matching_listener = has;
    status.selected_pods.clone_from(&judged.pods);
    let states =
        vec![configured(judged.state.clone()), matched(State::waiting(has, "No matching listeners"))];
    status.common.set(states, &["Configured", "Matched"], connector.metadata.generation, now);
    status
}

/// Of whatever is in a namespace without an active site (skupper `internal/kube/site`).
pub fn without_site(common: &mut Common, generation: Option<i64>, now: &Time) {
    let state = State::Pending("No active site in namespace".into());
    common.set(vec![configured(state)], &["Configured"], generation, now);
}

/// A network as a site's status shows it: each site, with its links and what crosses.
fn records(network: &Network) -> Vec<SiteRecord> {
    network
        .routers
        .values()
        .filter(|router| !router.site.id.is_empty())
        .map(|router| record(network, router))
        .collect()
}

fn record(network: &Network, router: &RouterView) -> SiteRecord {
    let known = |id: &str| network.routers.get(id).map(|peer| peer.site.clone()).unwrap_or_default();
    let link = |end: &LinkEnd| {
        let peer = known(&end.peer);
        LinkRecord {
            name: end.name.strip_prefix(LINK).unwrap_or(&end.name).into(),
            remote_site_id: peer.id,
            remote_site_name: peer.name,
            operational: end.operational,
        }
    };
    let from = |id: &String| {
        let peer = known(id);
        LinkRecord {
            name: format!("from {}", if peer.name.is_empty() { id } else { &peer.name }),
            remote_site_id: peer.id,
            remote_site_name: peer.name,
            operational: true,
        }
    };
    let mut services: BTreeMap<String, ServiceRecord> = BTreeMap::new();
    for end in &router.connectors {
        let name = end.name.strip_prefix(CONNECTOR).unwrap_or(&end.name);
        service(&mut services, &end.address).connectors.push(name.into());
    }
    for end in &router.listeners {
        let name = end.name.strip_prefix(LISTENER).unwrap_or(&end.name);
        service(&mut services, &end.address).listeners.push(name.into());
    }
    SiteRecord {
        id: router.site.id.clone(),
        name: router.site.name.clone(),
        namespace: router.site.namespace.clone(),
        platform: router.site.platform.clone(),
        version: router.site.version.clone(),
        links: router.links.iter().map(link).chain(router.incoming.iter().map(from)).collect(),
        services: services.into_values().collect(),
    }
}

/// The record for an address; addresses of one site are told together with the key that they are made of.
fn service<'a>(services: &'a mut BTreeMap<String, ServiceRecord>, address: &str) -> &'a mut ServiceRecord {
    let key = address.split('@').next().unwrap_or_default().to_owned();
    let new = ServiceRecord { routing_key: key.clone(), ..ServiceRecord::default() };
    services.entry(key).or_insert(new)
}
