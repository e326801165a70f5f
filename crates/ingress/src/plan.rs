//! From objects to what nginx is to do. Pure: the same objects give the same plan, in the same order.
//!
//! A bad object affects itself alone: what cannot be served of it is left out, or answers with an error,
//! and a [`Problem`] says why. Of objects that want the same, the oldest has it.

mod annotations;
mod backend;
mod claim;
mod draft;
mod gateway;
mod ingress;
mod node;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use api::NodeIngress;
use api::gateway::{Gateway, GatewayClass, HTTPRoute, ReferenceGrant};
use api::types::api::core::v1::{Namespace, Secret, Service};
use api::types::api::discovery::v1::EndpointSlice;
use api::types::api::networking::v1::{Ingress, IngressClass};
use serde_json::Value;
use store::Objects;

use crate::model::{Model, Owner};

use backend::Backends;
pub(crate) use backend::service_behind;
use draft::Draft;

/// The objects from which a plan is made, as of one moment.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Ingresses.
    pub ingresses: Arc<Objects<Ingress>>,
    /// Their classes.
    pub classes: Arc<Objects<IngressClass>>,
    /// Ingresses by hand, of all nodes.
    pub node_ingresses: Arc<Objects<NodeIngress>>,
    /// Services.
    pub services: Arc<Objects<Service>>,
    /// Their endpoints.
    pub slices: Arc<Objects<EndpointSlice>>,
    /// Certificates and passwords.
    pub secrets: Arc<Objects<Secret>>,
    /// Classes of gateways.
    pub gateway_classes: Arc<Objects<GatewayClass>>,
    /// Gateways.
    pub gateways: Arc<Objects<Gateway>>,
    /// Their routes of HTTP.
    pub http_routes: Arc<Objects<HTTPRoute>>,
    /// Who may refer to objects of other namespaces.
    pub grants: Arc<Objects<ReferenceGrant>>,
    /// Namespaces, by whose labels gateways may choose.
    pub namespaces: Arc<Objects<Namespace>>,
}

/// What a plan depends on beside the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The node on which nginx runs, as `C0w1`.
    pub node: String,
    /// The names of controllers, as classes give them, whose Ingresses are served.
    pub controllers: BTreeSet<String>,
    /// The names of controllers, as GatewayClasses give them, whose gateways are served.
    pub gateway_controllers: BTreeSet<String>,
    /// Whether Ingresses that name no class are served where no class is the default one.
    pub classless: bool,
    /// The port of HTTP.
    pub http_port: u16,
    /// The port of HTTPS.
    pub https_port: u16,
    /// The cluster's DNS server, for services that are names elsewhere.
    pub resolver: Option<IpAddr>,
}

/// The name of this controller in an IngressClass.
pub const CONTROLLER: &str = "knetsim.dev/ingress";
/// The controller whose annotations are understood; its classes are served too.
pub const INGRESS_NGINX: &str = "k8s.io/ingress-nginx";
/// The name of this controller in a GatewayClass.
pub const GATEWAY_CONTROLLER: &str = "knetsim.dev/gateway-controller";
/// The names in the classes of the examples of Gateway API and of Kubernetes' documentation, which are served too.
pub const EXAMPLE_CONTROLLERS: [&str; 2] = ["acme.io/gateway-controller", "example.com/gateway-controller"];

impl Settings {
    /// What is usual on a node: ports 80 and 443, the classes of this controller and of ingress-nginx.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self {
            node: node.into(),
            controllers: [CONTROLLER, INGRESS_NGINX].map(str::to_owned).into(),
            gateway_controllers: [[GATEWAY_CONTROLLER].as_slice(), &EXAMPLE_CONTROLLERS]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            classless: true,
            http_port: 80,
            https_port: 443,
            resolver: None,
        }
    }
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The object.
    pub owner: Owner,
    /// One word for machines, as `ServiceNotFound`.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.owner, self.message)
    }
}

/// How many endpoints are behind a service's port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Behind {
    /// As `default/web:80`, or an address.
    pub backend: String,
    /// Endpoints that take requests.
    pub ready: usize,
    /// All of them; none where the address is taken as it is.
    pub total: Option<usize>,
}

/// A line for people: where requests go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The port.
    pub port: u16,
    /// The host, `*` for all others.
    pub host: String,
    /// The path and how it is compared.
    pub path: String,
    /// Who says so.
    pub owner: Owner,
    /// Where to, with the share of each in percent where there are several.
    pub to: Vec<(Option<u32>, Behind)>,
    /// What happens instead, as `redirect 308`; empty where requests are passed on.
    pub instead: String,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// By nginx.
    pub model: Model,
    /// What is wrong, by object.
    pub problems: BTreeSet<Problem>,
    /// The objects that are this controller's, with the ports on which they are served.
    pub served: BTreeMap<Owner, BTreeSet<u16>>,
    /// The statuses of Gateway API's objects, without the times of changes.
    pub gateway_statuses: BTreeMap<Owner, Value>,
    /// For people.
    pub routes: Vec<Route>,
}

impl Plan {
    /// Whether there is anything for nginx to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.served.is_empty()
    }
}

/// What is left out of a plan, because it cannot be served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Except {
    /// Objects that nginx has refused.
    pub objects: BTreeMap<Owner, Problem>,
    /// Ports that cannot be had, and why.
    pub ports: BTreeMap<u16, String>,
}

/// Plans what nginx on a node is to do, but for what is left out.
#[must_use]
pub fn plan(cluster: &Cluster, settings: &Settings, except: &Except) -> Plan {
    let backends = Backends::new(cluster, settings);
    let mut draft = Draft::new(settings, except);
    ingress::plan(cluster, &backends, &mut draft);
    gateway::plan(cluster, &backends, &mut draft);
    node::plan(cluster, &mut draft);
    draft.finish()
}

#[cfg(test)]
mod tests;
