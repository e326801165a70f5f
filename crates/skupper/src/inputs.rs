//! What the plan is made from: a cluster's objects as of one moment.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use api::skupper::{AccessGrant, AccessToken, Connector, Link, Listener, Site};
use api::types::api::core::v1::{Pod, Secret, Service};
use api::types::api::discovery::v1::EndpointSlice;
use store::{ObjectName, Objects};

/// Where a cluster's routers run.
#[derive(Debug, Clone)]
pub struct Place {
    /// The cluster, as `C0`.
    pub cluster: String,
    /// The worker, as `C0w1`.
    pub node: String,
    /// Its underlay address, by which other clusters and all pods reach the routers.
    pub address: Ipv4Addr,
    /// A folder for the sites' files, which outlives the agent.
    pub folder: PathBuf,
}

impl Place {
    /// The folder of the site of a namespace.
    #[must_use]
    pub fn site_folder(&self, namespace: &str) -> PathBuf {
        self.folder.join(namespace)
    }
}

/// A cluster's objects.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Sites.
    pub sites: Arc<Objects<Site>>,
    /// Links.
    pub links: Arc<Objects<Link>>,
    /// Grants.
    pub grants: Arc<Objects<AccessGrant>>,
    /// Tokens.
    pub tokens: Arc<Objects<AccessToken>>,
    /// Listeners.
    pub listeners: Arc<Objects<Listener>>,
    /// Connectors.
    pub connectors: Arc<Objects<Connector>>,
    /// Pods, for connectors' selectors.
    pub pods: Arc<Objects<Pod>>,
    /// Services: those of listeners, and those that connectors name.
    pub services: Arc<Objects<Service>>,
    /// Slices of listeners' services; they remember the ports.
    pub slices: Arc<Objects<EndpointSlice>>,
    /// Certificates.
    pub secrets: Arc<Objects<Secret>>,
}

impl Inputs {
    /// A secret's data by its key; none if there is no such secret or key.
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Arc<Secret>> {
        self.secrets.get(&ObjectName::new(namespace, name))
    }
}

/// The objects of a namespace, in the order of their names.
pub fn in_namespace<'a, K>(
    objects: &'a Objects<K>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a str, &'a Arc<K>)> {
    objects
        .iter()
        .filter(move |(name, _)| name.namespace == namespace)
        .map(|(name, object)| (name.name.as_str(), object))
}
