//! Which endpoints a port of a service has.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use nft::ruleset::Family;

use super::Worker;
use crate::frontend::{Backend, Protocol};
use crate::objects::{Endpoint, EndpointPort, EndpointSlice, Hints, Named, Service, ServicePort};

/// Endpoints for clients anywhere, and for those that want one on this worker.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) cluster: Vec<Backend>,
    pub(super) local: Vec<Backend>,
}

/// An endpoint of which its slice says how it is.
struct Candidate<'a> {
    backend: Backend,
    ready: bool,
    serving: bool,
    terminating: bool,
    endpoint: &'a Endpoint,
}

impl Candidate<'_> {
    /// Whether it may be used when nobody is ready (KEP-1669).
    fn last_resort(&self) -> bool {
        self.serving && self.terminating
    }

    /// The nodes that should use it.
    fn nodes(&self) -> &[Named] {
        self.endpoint.hints.as_ref().map(|hints: &Hints| &hints.for_nodes[..]).unwrap_or_default()
    }

    /// The zones that should use it.
    fn zones(&self) -> &[Named] {
        self.endpoint.hints.as_ref().map(|hints| &hints.for_zones[..]).unwrap_or_default()
    }

    fn zone(&self) -> Option<&str> {
        self.endpoint.zone.as_deref()
    }
}

/// The endpoints of a port (`CategorizeEndpoints` of `pkg/proxy/topology.go`).
pub(super) fn endpoints<'a>(
    service: &Service,
    port: &ServicePort,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    worker: &Worker,
) -> Found {
    let candidates = candidates(port, slices, worker);
    let ready: Vec<_> = candidates.iter().filter(|candidate| candidate.ready).collect();
    let near = near(service, &ready, worker);
    let pick = |ready: Vec<&Candidate<'_>>, local: bool| {
        let wanted = |candidate: &&Candidate<'_>| !local || candidate.backend.local;
        let picked: Vec<_> = ready.into_iter().filter(wanted).map(|c| c.backend.clone()).collect();
        if !picked.is_empty() {
            return picked;
        }
        let last = candidates.iter().filter(|candidate| candidate.last_resort()).filter(wanted);
        last.map(|candidate| candidate.backend.clone()).collect()
    };
    Found { cluster: pick(near, false), local: pick(ready, true) }
}

/// All that its slices have, in the order of their addresses.
fn candidates<'a>(
    port: &ServicePort,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    worker: &Worker,
) -> Vec<Candidate<'a>> {
    let family = match worker.family {
        Family::Ip => "IPv4",
        Family::Ip6 => "IPv6",
    };
    let protocol = Protocol::parse(&port.protocol);
    let mut found = BTreeMap::new();
    for slice in slices.into_iter().filter(|slice| &*slice.address_type == family) {
        let same = |other: &&EndpointPort| {
            other.name.as_deref().unwrap_or_default() == &*port.name
                && Protocol::parse(other.protocol.as_deref().unwrap_or_default()) == protocol
        };
        let number = slice.ports.iter().find(same).and_then(|port| u16::try_from(port.port?).ok());
        let Some(number) = number.filter(|number| *number > 0) else { continue };
        for endpoint in &slice.endpoints {
            let address = endpoint.addresses.first().and_then(|address| address.parse::<IpAddr>().ok());
            let Some(address) = address.filter(|address| Family::of(*address) == worker.family) else {
                continue;
            };
            let candidate = candidate(slice, endpoint, address, number, worker);
            // While an endpoint moves from one slice to another it is in both; the better word counts.
            let better =
                |other: &Candidate<'_>| (candidate.ready, candidate.serving) > (other.ready, other.serving);
            if found.get(&(address, number)).is_none_or(better) {
                found.insert((address, number), candidate);
            }
        }
    }
    found.into_values().collect()
}

fn candidate<'a>(
    slice: &EndpointSlice,
    endpoint: &'a Endpoint,
    address: IpAddr,
    port: u16,
    worker: &Worker,
) -> Candidate<'a> {
    // The pod's namespace is the slice's unless it says so (`addLabelsAndObjectMeta` leaves it out at times).
    let name: Arc<str> = match &endpoint.target_ref {
        Some(target) if !target.name.is_empty() => {
            let own = slice.metadata.namespace.as_deref().unwrap_or_default();
            let namespace = if target.namespace.is_empty() { own } else { &target.namespace };
            format!("{namespace}/{}", target.name).into()
        }
        _ => "".into(),
    };
    let conditions = &endpoint.conditions;
    // Nothing said is ready, and ready is serving (`endpointslicecache.go`).
    let ready = conditions.ready.unwrap_or(true);
    Candidate {
        backend: Backend { address, port, local: endpoint.node_name.as_deref() == Some(&worker.node), name },
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        endpoint,
    }
}

/// The endpoints that clients on this worker should use (`topologyModeFromHints`): those of its node or its zone, if
/// every endpoint says for whom it is and any is for us; else all.
fn near<'a, 'b>(service: &Service, ready: &[&'a Candidate<'b>], worker: &Worker) -> Vec<&'a Candidate<'b>> {
    let is = |name: Option<&str>, ours: Option<&str>| name.is_some() && name == ours;
    let (node, zone) = (Some(worker.node.as_str()), worker.zone.as_deref());
    let ours = |list: &[Named], name| list.iter().any(|named| is(Some(&named.name), name));
    // Before the controller has given hints, zones say the same.
    let close = service.spec.traffic_distribution.as_deref() == Some("PreferClose");
    let silent = |c: &Candidate<'_>| c.nodes().is_empty() && c.zones().is_empty();
    narrowed(ready, |c| !c.nodes().is_empty(), |c| ours(c.nodes(), node))
        .or_else(|| narrowed(ready, |c| !c.zones().is_empty(), |c| ours(c.zones(), zone)))
        .or_else(|| narrowed(ready, |c| close && silent(c) && c.zone().is_some(), |c| is(c.zone(), zone)))
        .unwrap_or_else(|| ready.to_vec())
}

/// Those that are ours, if there is any and if all say whose they are.
fn narrowed<'a, 'b>(
    ready: &[&'a Candidate<'b>],
    says: impl Fn(&Candidate<'_>) -> bool,
    ours: impl Fn(&Candidate<'_>) -> bool,
) -> Option<Vec<&'a Candidate<'b>>> {
    if !ready.iter().all(|candidate| says(candidate)) {
        return None;
    }
    let ours: Vec<_> = ready.iter().copied().filter(|candidate| ours(candidate)).collect();
    (!ours.is_empty()).then_some(ours)
}
