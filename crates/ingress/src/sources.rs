//! The objects from which plans are made, as etcd has them now.

use std::sync::Arc;

use api::NodeIngress;
use api::gateway::{Gateway, GatewayClass, HTTPRoute, ReferenceGrant};
use api::types::api::core::v1::{Namespace, Secret, Service};
use api::types::api::discovery::v1::EndpointSlice;
use api::types::api::networking::v1::{Ingress, IngressClass};
use store::{Object, Reflector, Store};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::plan::Cluster;

/// Copies of a cluster's objects that stay true.
#[derive(Debug)]
pub(crate) struct Sources {
    ingresses: Reflector<Ingress>,
    classes: Reflector<IngressClass>,
    node_ingresses: Reflector<NodeIngress>,
    services: Reflector<Service>,
    slices: Reflector<EndpointSlice>,
    secrets: Reflector<Secret>,
    gateway_classes: Reflector<GatewayClass>,
    gateways: Reflector<Gateway>,
    http_routes: Reflector<HTTPRoute>,
    grants: Reflector<ReferenceGrant>,
    namespaces: Reflector<Namespace>,
    /// Told when any of them has changed.
    changed: Arc<Notify>,
    tasks: JoinSet<()>,
}

impl Sources {
    /// Begins to copy. Of the ingresses by hand only those of this node.
    pub(crate) fn start(store: &Store, node: &str) -> Self {
        let node = node.to_owned();
        let mut this = Self {
            ingresses: Reflector::start(store, None),
            classes: Reflector::start(store, None),
            node_ingresses: Reflector::start_where(store, None, move |one: &NodeIngress| {
                one.spec.node == node
            }),
            services: Reflector::start(store, None),
            slices: Reflector::start(store, None),
            secrets: Reflector::start(store, None),
            gateway_classes: Reflector::start(store, None),
            gateways: Reflector::start(store, None),
            http_routes: Reflector::start(store, None),
            grants: Reflector::start(store, None),
            namespaces: Reflector::start(store, None),
            changed: Arc::default(),
            tasks: JoinSet::new(),
        };
        follow(&this.ingresses, &this.changed, &mut this.tasks);
        follow(&this.classes, &this.changed, &mut this.tasks);
        follow(&this.node_ingresses, &this.changed, &mut this.tasks);
        follow(&this.services, &this.changed, &mut this.tasks);
        follow(&this.slices, &this.changed, &mut this.tasks);
        follow(&this.secrets, &this.changed, &mut this.tasks);
        follow(&this.gateway_classes, &this.changed, &mut this.tasks);
        follow(&this.gateways, &this.changed, &mut this.tasks);
        follow(&this.http_routes, &this.changed, &mut this.tasks);
        follow(&this.grants, &this.changed, &mut this.tasks);
        follow(&this.namespaces, &this.changed, &mut this.tasks);
        this
    }

    /// Waits until all have been read for the first time.
    pub(crate) async fn wait_synced(&self) {
        self.ingresses.wait_synced().await;
        self.classes.wait_synced().await;
        self.node_ingresses.wait_synced().await;
        self.services.wait_synced().await;
        self.slices.wait_synced().await;
        self.secrets.wait_synced().await;
        self.gateway_classes.wait_synced().await;
        self.gateways.wait_synced().await;
        self.http_routes.wait_synced().await;
        self.grants.wait_synced().await;
        self.namespaces.wait_synced().await;
    }

    /// Waits until something has changed since it was last waited for.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// All of them, as they are now.
    pub(crate) fn snapshot(&self) -> Cluster {
        Cluster {
            ingresses: self.ingresses.snapshot(),
            classes: self.classes.snapshot(),
            node_ingresses: self.node_ingresses.snapshot(),
            services: self.services.snapshot(),
            slices: self.slices.snapshot(),
            secrets: self.secrets.snapshot(),
            gateway_classes: self.gateway_classes.snapshot(),
            gateways: self.gateways.snapshot(),
            http_routes: self.http_routes.snapshot(),
            grants: self.grants.snapshot(),
            namespaces: self.namespaces.snapshot(),
        }
    }

    /// What is stored under these keys is no object of its kind.
    pub(crate) fn invalid(&self) -> Vec<String> {
        let all = [
            self.ingresses.status(),
            self.node_ingresses.status(),
            self.gateways.status(),
            self.http_routes.status(),
        ];
        let invalid = all.iter().flat_map(|status| status.borrow().invalid.clone());
        invalid.map(|(key, why)| format!("{key}: {why}")).collect()
    }
}

fn follow<K: Object + PartialEq>(reflector: &Reflector<K>, changed: &Arc<Notify>, tasks: &mut JoinSet<()>) {
    let (mut wake, changed) = (reflector.subscribe(), changed.clone());
    tasks.spawn(async move {
        while wake.changed().await.is_ok() {
            changed.notify_one();
        }
    });
}
