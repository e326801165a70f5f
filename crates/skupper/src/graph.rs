//! Sites, links and addresses of several clusters, from what their objects say: as rows, as text, and as a
//! picture. Pure.

mod svg;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use api::skupper::{Connector, Link, Listener, Site};
use serde::Serialize;

pub use svg::svg;

/// The objects of one cluster.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its sites.
    pub sites: Vec<Site>,
    /// Its links.
    pub links: Vec<Link>,
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// Its connectors.
    pub connectors: Vec<Connector>,
}

/// What is to be seen of a lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Graph {
    /// Sites, by cluster and namespace.
    pub sites: Vec<SiteRow>,
    /// Links, as both ends see them.
    pub links: Vec<LinkRow>,
    /// Routing keys.
    pub addresses: Vec<AddressRow>,
}

/// A site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteRow {
    /// Its cluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `Ready`, `Pending` or `Error`.
    pub status: String,
    /// Why.
    pub message: String,
    /// How many sites it sees, itself too.
    pub sites_in_network: i32,
    /// Where others link to; empty where they may not.
    pub endpoint: String,
}

/// A link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkRow {
    /// The cluster that has made it.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The other site's cluster; empty while nobody answers.
    pub remote_cluster: String,
    /// The other site.
    pub remote_site: String,
    /// What it costs.
    pub cost: i32,
    /// As this end sees it: `Ready`, `Pending` or `Error`.
    pub status: String,
    /// As the other end sees it: `up`, `down`, or `unknown` where the other end is in no cluster of this lab.
    pub other_end: String,
    /// Why.
    pub message: String,
}

/// A routing key, and who has to do with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressRow {
    /// The key.
    pub address: String,
    /// Servers, as `C0 c4:80`.
    pub connectors: Vec<String>,
    /// Where clients reach them, as `C1 svc1:1028`; with what is wrong with it behind.
    pub listeners: Vec<String>,
    /// Clusters that talk to clusters, as `C1 -> C0`: those with a listener that works, to those with servers.
    pub flows: Vec<(String, String)>,
}

/// What is to be seen of the clusters of a lab.
#[must_use]
pub fn graph(clusters: &[Cluster]) -> Graph {
    Graph { sites: sites(clusters), links: links(clusters), addresses: addresses(clusters) }
}

fn sites(clusters: &[Cluster]) -> Vec<SiteRow> {
    let row = |cluster: &Cluster, site: &Site| {
        let status = site.status.clone().unwrap_or_default();
        let endpoint = status.endpoints.iter().find(|one| one.name == "inter-router");
        SiteRow {
            cluster: cluster.name.clone(),
            namespace: site.metadata.namespace.clone().unwrap_or_default(),
            name: site.metadata.name.clone().unwrap_or_default(),
            status: pending(&status.common.status),
            message: status.common.message,
            sites_in_network: status.sites_in_network,
            endpoint: endpoint.map(|one| format!("{}:{}", one.host, one.port)).unwrap_or_default(),
        }
    };
    clusters.iter().flat_map(|cluster| cluster.sites.iter().map(move |site| row(cluster, site))).collect()
}

/// Who has not been looked at yet waits.
fn pending(status: &str) -> String {
    if status.is_empty() { "Pending".into() } else { status.into() }
}

fn links(clusters: &[Cluster]) -> Vec<LinkRow> {
    let all: Vec<(&Cluster, &Site)> =
        clusters.iter().flat_map(|cluster| cluster.sites.iter().map(move |site| (cluster, site))).collect();
    let mut rows = Vec::new();
    for cluster in clusters {
        for link in &cluster.links {
            let status = link.status.clone().unwrap_or_default();
            let namespace = link.metadata.namespace.clone().unwrap_or_default();
            let own = all.iter().find(|(of, site)| {
                of.name == cluster.name && site.metadata.namespace.as_deref() == Some(namespace.as_str())
            });
            let own = own.and_then(|(_, site)| site.metadata.uid.clone()).unwrap_or_default();
            let to = &status.remote_site_id;
            let other = all.iter().find(|(_, site)| !to.is_empty() && site.metadata.uid.as_ref() == Some(to));
            let sees = |site: &Site| {
                let network =
                    site.status.as_ref().map(|status| status.network.as_slice()).unwrap_or_default();
                let record = network.iter().find(|record| Some(&record.id) == site.metadata.uid.as_ref());
                let from = |name: &str| name.starts_with("from ");
                record.is_some_and(|record| {
                    record
                        .links
                        .iter()
                        .any(|one| one.operational && from(&one.name) && one.remote_site_id == own)
                })
            };
            let other_end = match other {
                None => "unknown",
                Some((_, site)) if sees(site) => "up",
                Some(_) => "down",
            };
            rows.push(LinkRow {
                cluster: cluster.name.clone(),
                namespace,
                name: link.metadata.name.clone().unwrap_or_default(),
                remote_cluster: other.map(|(of, _)| of.name.clone()).unwrap_or_default(),
                remote_site: status.remote_site_name,
                cost: link.spec.cost.max(1),
                status: pending(&status.common.status),
                other_end: other_end.into(),
                message: status.common.message,
            });
        }
    }
    rows
}

fn addresses(clusters: &[Cluster]) -> Vec<AddressRow> {
    #[derive(Default)]
    struct Ends {
        connectors: Vec<String>,
        listeners: Vec<String>,
        serving: BTreeSet<String>,
        asking: BTreeSet<String>,
    }
    let mut rows: BTreeMap<&str, Ends> = BTreeMap::new();
    for cluster in clusters {
        let name = &cluster.name;
        for connector in &cluster.connectors {
            let (spec, status) = (&connector.spec, connector.status.clone().unwrap_or_default());
            let ends = rows.entry(&spec.routing_key).or_default();
            let servers: Vec<String> = if spec.selector.is_empty() {
                vec![format!("{name} {}:{}", spec.host, spec.port)]
            } else {
                status.selected_pods.iter().map(|pod| format!("{name} {}:{}", pod.name, spec.port)).collect()
            };
            if status.common.is("Configured") && !servers.is_empty() {
                ends.serving.insert(name.clone());
                ends.connectors.extend(servers);
            } else {
                ends.connectors
                    .push(format!("{name} {}", why(&connector.spec.selector, &status.common.message)));
            }
        }
        for listener in &cluster.listeners {
            let (spec, status) = (&listener.spec, listener.status.clone().unwrap_or_default());
            let ends = rows.entry(&spec.routing_key).or_default();
            let place = format!("{name} {}:{}", spec.host, spec.port);
            if status.has_matching_connector {
                ends.asking.insert(name.clone());
                ends.listeners.push(place);
            } else {
                ends.listeners.push(why(&place, &status.common.message));
            }
        }
    }
    let row = |(address, ends): (&str, Ends)| {
        let flows =
            ends.asking.iter().flat_map(|from| ends.serving.iter().map(|to| (from.clone(), to.clone())));
        AddressRow {
            address: address.into(),
            flows: flows.collect(),
            connectors: ends.connectors,
            listeners: ends.listeners,
        }
    };
    rows.into_iter().map(row).collect()
}

fn why(what: &str, message: &str) -> String {
    if message.is_empty() { format!("{what} (pending)") } else { format!("{what} ({message})") }
}

/// As text.
#[must_use]
pub fn text(graph: &Graph) -> String {
    let mut text = String::from("Sites\n");
    // Writing to a String does not fail.
    for site in &graph.sites {
        let access = if site.endpoint.is_empty() { "takes in no links" } else { &site.endpoint };
        let _ = writeln!(
            text,
            "  {}  {}  {}  {access}",
            of(&site.cluster, &site.namespace),
            site.name,
            site.status
        );
    }
    text.push_str("Links\n");
    for link in &graph.links {
        let to = if link.remote_cluster.is_empty() { "?" } else { &link.remote_cluster };
        let from = of(&link.cluster, &link.namespace);
        let state = if link.status == "Ready" { "up".to_owned() } else { link.message.clone() };
        let _ = writeln!(text, "  {from} ── {} (cost {}, {state}) ─▶ {to}", link.name, link.cost);
    }
    text.push_str("Addresses\n");
    for address in &graph.addresses {
        let _ = writeln!(text, "  {}", address.address);
        for listener in &address.listeners {
            let _ = writeln!(text, "    clients  {listener}");
        }
        for connector in &address.connectors {
            let _ = writeln!(text, "    servers  {connector}");
        }
        for (from, to) in &address.flows {
            let _ = writeln!(text, "    {from} ─▶ {to}");
        }
    }
    text
}

fn of(cluster: &str, namespace: &str) -> String {
    if namespace == "default" { cluster.into() } else { format!("{cluster}/{namespace}") }
}

#[cfg(test)]
mod tests;
