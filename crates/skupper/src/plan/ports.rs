//! Which ports routers and their TCP listeners have. Several sites of a cluster share its worker 1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::skupper::Site;
use store::ObjectName;

use super::listeners::slice_name;
use crate::inputs::{Inputs, in_namespace};

/// Of a slice of a listener's Service: the routers' port by the listener's name, JSON. So a restarted controller
/// gives each listener the port that it had.
pub const PORTS_ANNOTATION: &str = "knetsim.dev/ports";

/// The first port for TCP listeners, as upstream.
const FIRST: u16 = 1024;
/// One above the last: node ports begin there.
const END: u16 = 30_000;

/// The ports of a router. The first site of a cluster has upstream's, the second each one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Management, on the worker's loopback.
    pub amqp: u16,
    /// Other routers.
    pub inter_router: u16,
    /// Edge routers.
    pub edge: u16,
    /// `/healthz` and `/metrics`.
    pub http: u16,
    /// Where tokens are redeemed; the controller's, not the router's.
    pub grants: u16,
}

impl Ports {
    /// Those of the site with this number, from 0.
    #[must_use]
    pub fn of(number: u16) -> Self {
        Self {
            amqp: 5672 + number,
            inter_router: 55_671 + number,
            edge: 45_671 + number,
            http: 9090 + number,
            grants: 9443 + number,
        }
    }

    fn all(self) -> [u16; 5] {
        [self.amqp, self.inter_router, self.edge, self.http, self.grants]
    }
}

/// Of the active site of each namespace. A site that has told others its ports keeps them.
pub(super) fn of_routers(active: &BTreeMap<String, Arc<Site>>) -> BTreeMap<String, Ports> {
    let told = |site: &Site| {
        let endpoints = &site.status.as_ref()?.endpoints;
        let port: u16 = endpoints.iter().find(|one| one.name == "inter-router")?.port.parse().ok()?;
        port.checked_sub(Ports::of(0).inter_router).filter(|number| *number < 256)
    };
    let mut taken = BTreeMap::new();
    for (namespace, site) in active {
        if let Some(number) = told(site) {
            taken.entry(number).or_insert_with(|| namespace.clone());
        }
    }
    let kept: BTreeSet<_> = taken.values().cloned().collect();
    for namespace in active.keys().filter(|namespace| !kept.contains(*namespace)) {
        if let Some(number) = (0..256).find(|number| !taken.contains_key(number)) {
            taken.insert(number, namespace.clone());
        }
    }
    taken.into_iter().map(|(number, namespace)| (namespace, Ports::of(number))).collect()
}

/// The port of each listener of a namespace with a site: the one that it has, else its own, else the lowest
/// that is free.
pub(super) fn of_listeners(
    inputs: &Inputs,
    active: &BTreeMap<String, Arc<Site>>,
    routers: &BTreeMap<String, Ports>,
) -> BTreeMap<ObjectName, u16> {
    // etcd's, the kubelet's and the ingress proxy's are not on this worker or below; a tcpListener whose port
    // somebody else has says so and tries again.
    let mut taken: BTreeSet<u16> = routers.values().flat_map(|ports| ports.all()).collect();
    let mut ports = BTreeMap::new();
    let mut new = Vec::new();
    for namespace in active.keys() {
        for (name, listener) in in_namespace(&inputs.listeners, namespace) {
            let object = ObjectName::new(namespace, name);
            match remembered(inputs, namespace, &listener.spec.host, name).filter(|port| taken.insert(*port))
            {
                Some(port) => drop(ports.insert(object, port)),
                None => new.push((object, u16::try_from(listener.spec.port).unwrap_or_default())),
            }
        }
    }
    for (object, own) in new {
        let own = Some(own).filter(|port| (FIRST..END).contains(port) && !taken.contains(port));
        if let Some(port) = own.or_else(|| (FIRST..END).find(|port| !taken.contains(port))) {
            taken.insert(port);
            ports.insert(object, port);
        }
    }
    ports
}

fn remembered(inputs: &Inputs, namespace: &str, host: &str, listener: &str) -> Option<u16> {
    let slice = inputs.slices.get(&ObjectName::new(namespace, &slice_name(host)))?;
    let text = slice.metadata.annotations.as_ref()?.get(PORTS_ANNOTATION)?;
    let ports: BTreeMap<String, u16> = serde_json::from_str(text).ok()?;
    ports.get(listener).copied().filter(|port| (FIRST..END).contains(port))
}
