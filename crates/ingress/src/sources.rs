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

/// Copies of a cluster's objects that stay true. A node on which nothing is to be served copies only what
/// says so: every kind is a watch, and there are many nodes.
#[derive(Debug)]
pub(crate) struct Sources {
    store: Store,
    ingresses: Reflector<Ingress>,
    node_ingresses: Reflector<NodeIngress>,
    gateway_classes: Reflector<GatewayClass>,
    gateways: Reflector<Gateway>,
    /// Once there are Ingresses or gateways.
    behind: Option<Behind>,
    /// Once there are gateways.
    gateway: Option<GatewayApi>,
    /// Told when any of them has changed.
    changed: Arc<Notify>,
    tasks: JoinSet<()>,
}

/// What Ingresses and routes refer to.
#[derive(Debug)]
struct Behind {
    classes: Reflector<IngressClass>,
    services: Reflector<Service>,
    slices: Reflector<EndpointSlice>,
    secrets: Reflector<Secret>,
}

/// Gateway API beside gateways and their classes.
#[derive(Debug)]
struct GatewayApi {
    http_routes: Reflector<HTTPRoute>,
    grants: Reflector<ReferenceGrant>,
    namespaces: Reflector<Namespace>,
}

impl Sources {
    /// Begins to copy. Of the ingresses by hand only those of this node. `changed` is told of every change.
    pub(crate) fn start(store: &Store, node: &str, changed: Arc<Notify>) -> Self {
        let node = node.to_owned();
        let own = move |one: &NodeIngress| one.spec.node == node;
        let mut this = Self {
            store: store.clone(),
            ingresses: Reflector::start(store, None),
            node_ingresses: Reflector::start_where(store, None, own),
            gateway_classes: Reflector::start(store, None),
            gateways: Reflector::start(store, None),
            behind: None,
            gateway: None,
            changed,
            tasks: JoinSet::new(),
        };
        follow(&this.ingresses, &this.changed, &mut this.tasks);
        follow(&this.node_ingresses, &this.changed, &mut this.tasks);
        follow(&this.gateway_classes, &this.changed, &mut this.tasks);
        follow(&this.gateways, &this.changed, &mut this.tasks);
        this
    }

    /// Waits until all that is needed has been read for the first time.
    pub(crate) async fn complete(&mut self) {
        self.ingresses.wait_synced().await;
        self.node_ingresses.wait_synced().await;
        self.gateway_classes.wait_synced().await;
        self.gateways.wait_synced().await;
        let has_gateways = !self.gateways.snapshot().is_empty();
        if has_gateways || !self.ingresses.snapshot().is_empty() {
            let behind = self.behind.get_or_insert_with(|| Behind {
                classes: of(&self.store, &self.changed, &mut self.tasks),
                services: of(&self.store, &self.changed, &mut self.tasks),
                slices: of(&self.store, &self.changed, &mut self.tasks),
                secrets: of(&self.store, &self.changed, &mut self.tasks),
            });
            behind.classes.wait_synced().await;
            behind.services.wait_synced().await;
            behind.slices.wait_synced().await;
            behind.secrets.wait_synced().await;
        }
        if has_gateways {
            let gateway = self.gateway.get_or_insert_with(|| GatewayApi {
                http_routes: of(&self.store, &self.changed, &mut self.tasks),
                grants: of(&self.store, &self.changed, &mut self.tasks),
                namespaces: of(&self.store, &self.changed, &mut self.tasks),
            });
            gateway.http_routes.wait_synced().await;
            gateway.grants.wait_synced().await;
            gateway.namespaces.wait_synced().await;
        }
    }

    /// Waits until something has changed since it was last waited for.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// All of them, as they are now.
    pub(crate) fn snapshot(&self) -> Cluster {
        let mut cluster = Cluster {
            ingresses: self.ingresses.snapshot(),
            node_ingresses: self.node_ingresses.snapshot(),
            gateway_classes: self.gateway_classes.snapshot(),
            gateways: self.gateways.snapshot(),
            ..Cluster::default()
        };
        if let Some(behind) = &self.behind {
            cluster.classes = behind.classes.snapshot();
            cluster.services = behind.services.snapshot();
            cluster.slices = behind.slices.snapshot();
            cluster.secrets = behind.secrets.snapshot();
        }
        if let Some(gateway) = &self.gateway {
            cluster.http_routes = gateway.http_routes.snapshot();
            cluster.grants = gateway.grants.snapshot();
            cluster.namespaces = gateway.namespaces.snapshot();
        }
        cluster
    }

    /// What is stored under these keys is no object of its kind.
    pub(crate) fn invalid(&self) -> Vec<String> {
        let mut all = vec![
            self.ingresses.status(),
            self.node_ingresses.status(),
            self.gateway_classes.status(),
            self.gateways.status(),
        ];
        if let Some(gateway) = &self.gateway {
            all.extend([gateway.http_routes.status(), gateway.grants.status()]);
        }
        let invalid = all.iter().flat_map(|status| status.borrow().invalid.clone());
        invalid.map(|(key, why)| format!("{key}: {why}")).collect()
    }
}

fn of<K: Object + PartialEq + Send + Sync + 'static>(
    store: &Store,
    changed: &Arc<Notify>,
    tasks: &mut JoinSet<()>,
) -> Reflector<K> {
    let reflector = Reflector::start(store, None);
    follow(&reflector, changed, tasks);
    reflector
}

fn follow<K: Object + PartialEq>(reflector: &Reflector<K>, changed: &Arc<Notify>, tasks: &mut JoinSet<()>) {
    let (mut wake, changed) = (reflector.subscribe(), changed.clone());
    tasks.spawn(async move {
        while wake.changed().await.is_ok() {
            changed.notify_one();
        }
    });
}
