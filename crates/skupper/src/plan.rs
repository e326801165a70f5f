//! What the router of each site is to be told, from the cluster's objects; and what is wrong with each of them.
//!
//! Pure: the same objects give the same configuration. What a router would refuse is left out and told of the
//! object that it came from; the rest goes on.

mod base;
mod connectors;
mod listeners;
mod ports;
mod refusals;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::router_config::Config;
use api::skupper::{Endpoint, Link, PodDetails, Site, State};
use api::time;
use store::ObjectName;

use crate::inputs::{Inputs, Place, in_namespace};
use crate::network::{Metadata, Network};

pub use base::{Access, base};
pub(crate) use listeners::slice_name;
pub use listeners::{MANAGED, WantedPort, WantedService};
pub use ports::{PORTS_ANNOTATION, Ports};
pub use tls::{CA, Profile, SERVER};

/// What the names of a router's entities begin with, for they share one space: then the object's name follows.
pub const LINK: &str = "link/";
/// As [`LINK`], of listeners.
pub const LISTENER: &str = "listener/";
/// As [`LINK`], of connectors; the server follows.
pub const CONNECTOR: &str = "connector/";

/// What is to be done for the sites of a cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The active site of each namespace.
    pub sites: BTreeMap<String, SitePlan>,
    /// Sites that are not active, and why.
    pub idle: BTreeMap<ObjectName, String>,
}

/// What is to be done for one site.
#[derive(Debug, Clone, PartialEq)]
pub struct SitePlan {
    /// The Site.
    pub site: Arc<Site>,
    /// Its router's id.
    pub router_id: String,
    /// The router's ports.
    pub ports: Ports,
    /// Everything that the router is to have.
    pub config: Config,
    /// Certificates that the router needs as files.
    pub profiles: Vec<Profile>,
    /// What is wrong with the site itself.
    pub state: State,
    /// Where other sites can link to.
    pub endpoints: Vec<Endpoint>,
    /// Services for clients.
    pub services: Vec<WantedService>,
    /// How each link of the namespace is, as far as the objects say.
    pub links: BTreeMap<String, State>,
    /// Of each listener the state and the address between the routers.
    pub listeners: BTreeMap<String, Judged>,
    /// Of each connector.
    pub connectors: BTreeMap<String, JudgedConnector>,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Whether the router is told of it.
    pub state: State,
    /// The address between the routers.
    pub address: String,
}

/// A connector.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedConnector {
    /// Whether the router is told of it.
    pub state: State,
    /// The addresses between the routers: one, or one for each site that may consume it.
    pub addresses: Vec<String>,
    /// The pods that serve.
    pub pods: Vec<PodDetails>,
}

/// Plans for all sites of a cluster. `networks` has what each site's router, by namespace, knows of others.
#[must_use]
pub fn plan(place: &Place, inputs: &Inputs, networks: &BTreeMap<String, Network>) -> Plan {
    let mut plan = Plan::default();
    let mut active: BTreeMap<String, Arc<Site>> = BTreeMap::new();
    for (name, site) in oldest_first(inputs) {
        if let Some(other) = active.get(&name.namespace) {
            let other = other.metadata.name.clone().unwrap_or_default();
            // skupper `internal/kube/site/site.go`
            plan.idle.insert(name, format!("An active site already exists in the namespace ({other})"));
        } else {
            active.insert(name.namespace, site);
        }
    }
    let none = Network::default();
    let ports = ports::of_routers(&active);
    let targets = ports::of_listeners(inputs, &active, &ports);
    for (namespace, site) in active {
        let Some(&own) = ports.get(&namespace) else { continue };
        let context = Context {
            place,
            inputs,
            network: networks.get(&namespace).unwrap_or(&none),
            namespace: &namespace,
            router_id: router_id(&place.cluster, &namespace),
            site: &site,
            targets: &targets,
        };
        let planned = one(&context, own);
        plan.sites.insert(namespace, planned);
    }
    plan
}

/// What the planning of a site looks at.
pub(crate) struct Context<'a> {
    pub(crate) place: &'a Place,
    pub(crate) inputs: &'a Inputs,
    pub(crate) network: &'a Network,
    pub(crate) namespace: &'a str,
    pub(crate) router_id: String,
    pub(crate) site: &'a Arc<Site>,
    pub(crate) targets: &'a BTreeMap<ObjectName, u16>,
}

/// A router is called as its cluster; in another namespace than `default`, with that behind.
#[must_use]
pub fn router_id(cluster: &str, namespace: &str) -> String {
    if namespace == "default" { cluster.into() } else { format!("{cluster}-{namespace}") }
}

fn oldest_first(inputs: &Inputs) -> Vec<(ObjectName, Arc<Site>)> {
    let mut sites: Vec<_> = inputs.sites.iter().map(|(name, site)| (name.clone(), site.clone())).collect();
    let age = |site: &Site| site.metadata.creation_timestamp.clone().unwrap_or_else(time::now);
    sites.sort_by_key(|(name, site)| (age(site), name.clone()));
    sites
}

fn one(context: &Context<'_>, ports: Ports) -> SitePlan {
    let site = context.site;
    let (namespace, name) = (context.namespace, site.metadata.name.clone().unwrap_or_default());
    let metadata = Metadata {
        id: site.metadata.uid.clone().unwrap_or_default(),
        name,
        namespace: namespace.into(),
        platform: context.place.cluster.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let mut tls = tls::Profiles::new(context);
    let server = tls.need(SERVER);
    let access = match (site.spec.takes_links(), &server) {
        (false, _) | (true, Err(_)) => Access::None,
        (true, Ok(())) => Access::Tls(tls::profile_name(SERVER)),
    };
    let mut config = base(&context.router_id, &metadata.to_text(), ports, &access, site.spec.edge);
    let state = match (site.spec.takes_links(), server) {
        (true, Err(message)) => State::Pending(message),
        _ => State::Ready,
    };
    let mut links = BTreeMap::new();
    for (name, link) in in_namespace(&context.inputs.links, namespace) {
        links.insert(name.to_owned(), self::link(name, link, site, &mut tls, &mut config));
    }
    let mut listeners = listeners::plan(context, &mut tls, &mut config);
    let mut connectors = connectors::plan(context, &mut tls, &mut config);
    config.ssl_profiles = tls.entities();
    // What it logs goes to a file that nobody shortens.
    let level = site.spec.settings.get("router-logging").map_or("warning", String::as_str);
    config.others.extend(base::log(&format!("{level}+")));
    for refused in refusals::take_out(&mut config) {
        let error = State::Error(refused.message);
        match refused.kind {
            "connector" => drop(links.insert(refused.object, error)),
            "tcpListener" => {
                listeners.entry(refused.object).and_modify(|one| one.state = error);
            }
            "tcpConnector" => {
                connectors.entry(refused.object).and_modify(|one| one.state = error);
            }
            _ => {}
        }
    }
    let endpoints = if access == Access::None { Vec::new() } else { endpoints(context, ports) };
    SitePlan {
        services: listeners::services(context, &listeners),
        site: site.clone(),
        router_id: context.router_id.clone(),
        ports,
        config,
        profiles: tls.files(),
        state,
        endpoints,
        links,
        listeners,
        connectors,
    }
}

/// As upstream's, of one router.
fn endpoints(context: &Context<'_>, ports: Ports) -> Vec<Endpoint> {
    let endpoint = |name: &str, port: u16| Endpoint {
        name: name.into(),
        host: context.place.address.to_string(),
        port: port.to_string(),
        group: "skupper-router".into(),
    };
    vec![endpoint("inter-router", ports.inter_router), endpoint("edge", ports.edge)]
}

fn link(name: &str, link: &Link, site: &Site, tls: &mut tls::Profiles<'_>, config: &mut Config) -> State {
    use api::router_config::{Connector, Role};
    let role = if site.spec.edge { Role::Edge } else { Role::InterRouter };
    let Some(endpoint) = link.spec.endpoint(role.word()) else {
        return State::Error(format!("no endpoint named {role}: the other site does not take in such links"));
    };
    if link.spec.tls_credentials.is_empty() {
        return State::Error("no tlsCredentials: sites are linked by mutual TLS only".into());
    }
    if let Err(message) = tls.need(&link.spec.tls_credentials) {
        return State::Pending(message);
    }
    let Ok(port) = endpoint.port.parse() else {
        return State::Error(format!("port \"{}\" is none", endpoint.port));
    };
    config.connectors.push(Connector {
        name: format!("{LINK}{name}"),
        host: endpoint.host.clone(),
        port,
        role,
        cost: u32::try_from(link.spec.cost).unwrap_or(1).max(1),
        ssl_profile: Some(tls::profile_name(&link.spec.tls_credentials)),
        sasl_mechanisms: vec!["EXTERNAL".into()],
        max_session_frames: Some(base::SESSION_FRAMES),
        ..Connector::default()
    });
    State::Ready
}

#[cfg(test)]
mod tests;
