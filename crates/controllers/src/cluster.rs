//! What all controllers of a cluster share: the store, a reflector of each kind, and the clock.

use api::VirtualIP;
use api::types::api::apps::v1::{Deployment, ReplicaSet};
use api::types::api::coordination::v1::Lease;
use api::types::api::core::v1::{Namespace, Node, Pod, Service};
use api::types::api::discovery::v1::EndpointSlice;
use api::types::api::networking::v1::IPAddress;
use store::events::Recorder;
use store::{Object, Reflector, Store};

use crate::clock::Clock;

/// One copy of each kind, whoever looks at it.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) namespaces: Reflector<Namespace>,
    pub(crate) nodes: Reflector<Node>,
    pub(crate) node_leases: Reflector<Lease>,
    pub(crate) pods: Reflector<Pod>,
    pub(crate) services: Reflector<Service>,
    pub(crate) endpoint_slices: Reflector<EndpointSlice>,
    pub(crate) ip_addresses: Reflector<IPAddress>,
    pub(crate) virtual_ips: Reflector<VirtualIP>,
    pub(crate) replica_sets: Reflector<ReplicaSet>,
    pub(crate) deployments: Reflector<Deployment>,
}

impl Cluster {
    pub(crate) fn new(store: &Store, clock: Clock) -> Self {
        fn start<K: Object + PartialEq + Send + Sync + 'static>(store: &Store) -> Reflector<K> {
            Reflector::start(store, None)
        }
        Self {
            store: store.clone(),
            clock,
            namespaces: start(store),
            nodes: start(store),
            node_leases: Reflector::start(store, Some(crate::nodes::LEASES)),
            pods: start(store),
            services: start(store),
            endpoint_slices: start(store),
            ip_addresses: start(store),
            virtual_ips: start(store),
            replica_sets: start(store),
            deployments: start(store),
        }
    }

    /// Tells events as this component.
    pub(crate) fn recorder(&self, component: &str) -> Recorder {
        Recorder::new(&self.store, component, "")
    }
}
