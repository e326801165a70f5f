//! What the routers of a network say of themselves: each is asked, through the nearest one, by its management
//! address `_topo/0/<id>/$management`, as upstream's `skstat -r` does it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The routers of a network by their ids, this one too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// By id.
    pub routers: BTreeMap<String, RouterView>,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterView {
    /// Whose it is.
    pub site: Metadata,
    /// Its TCP listeners.
    pub listeners: Vec<TcpEnd>,
    /// Its TCP connectors.
    pub connectors: Vec<TcpEnd>,
    /// Its connectors to other routers.
    pub links: Vec<LinkEnd>,
    /// Routers that have come to it, by their ids.
    pub incoming: Vec<String>,
}

/// What a site's router has as its `metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// The Site's UID.
    pub id: String,
    /// The Site's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where it is: the cluster.
    pub platform: String,
    /// The version of what made the configuration.
    pub version: String,
}

impl Metadata {
    /// As the router's attribute.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From the router's attribute; empty where it is of another form.
    #[must_use]
    pub fn of(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

/// Where TCP goes in or out.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TcpEnd {
    /// The entity's name.
    pub name: String,
    /// The address between the routers.
    pub address: String,
    /// Of a listener whether it listens, which it does as soon as there is a connector anywhere.
    pub up: bool,
}

/// A connector to another router.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkEnd {
    /// The entity's name: the Link's.
    pub name: String,
    /// The other router's id; empty while it does not answer.
    pub peer: String,
    /// Whether it answers.
    pub operational: bool,
    /// What is wrong, in the router's words.
    pub message: String,
    /// What it costs.
    pub cost: i64,
}

impl Network {
    /// Whether anybody offers what a listener with this address asks for.
    #[must_use]
    pub fn has_connector(&self, address: &str) -> bool {
        self.routers.values().any(|router| router.connectors.iter().any(|end| end.address == address))
    }

    /// The ids of routers that offer `key` to chosen sites only, with the sites' router ids.
    #[must_use]
    pub fn chosen(&self, key: &str) -> Vec<&str> {
        let ends = self.routers.values().flat_map(|router| &router.connectors);
        let chosen = ends.filter_map(|end| end.address.split_once('@').filter(|(of, _)| *of == key));
        let mut sites: Vec<_> = chosen.map(|(_, site)| site).collect();
        sites.sort_unstable();
        sites.dedup();
        sites
    }

    /// Whether anybody listens for one of these addresses.
    #[must_use]
    pub fn has_listener(&self, addresses: &[String]) -> bool {
        self.routers
            .values()
            .any(|router| router.listeners.iter().any(|end| addresses.contains(&end.address)))
    }
}
