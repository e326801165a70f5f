//! The objects, as the store tells of them, and what of them has changed.

mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::VirtualIP;
use store::{Change, Changes, Object, ObjectName, Reflector, Store};
use tokio::sync::watch;

use crate::announce::{self, Claims, Speakers};
use crate::objects::{EndpointSlice, Node, Service, ZONE};
use crate::plan::{self, Worker};
use crate::state::{Plan, Source};

use pods::Pods;

/// A kind's objects and their changes.
#[derive(Debug)]
struct Feed<K> {
    reflector: Reflector<K>,
    changes: Changes<K>,
    status: watch::Receiver<store::Status>,
}

impl<K: Object + PartialEq + Send + Sync + 'static> Feed<K> {
    fn new(reflector: Reflector<K>) -> Self {
        Self { changes: reflector.changes(), status: reflector.status(), reflector }
    }

    /// Why it is not being told of changes, if it is not.
    fn trouble(&self) -> Option<String> {
        let status = self.status.borrow();
        (!status.connected).then(|| status.error.clone().unwrap_or_else(|| "waiting for etcd".into()))
    }
}

/// A service with its slices.
#[derive(Debug, Default)]
struct Parts {
    service: Option<Arc<Service>>,
    /// Mostly one.
    slices: Vec<Arc<EndpointSlice>>,
}

/// Everything from which plans are made.
#[derive(Debug)]
pub(crate) struct Inputs {
    services: Feed<Service>,
    slices: Feed<EndpointSlice>,
    vips: Feed<VirtualIP>,
    /// The own one; all, once an address is to be announced.
    nodes: Feed<Node>,
    all_nodes: bool,
    store: Store,
    pods: Pods,
    worker: Worker,
    parts: BTreeMap<ObjectName, Parts>,
    virtual_ips: BTreeMap<ObjectName, Arc<VirtualIP>>,
    /// Nodes that may announce addresses.
    speakers: Speakers,
    /// Services that have an address to announce.
    balanced: BTreeSet<ObjectName>,
    /// Whether who announces what may be another since that was last asked.
    announce: bool,
    /// What has changed since plans were last made. It has no more than there are objects, however fast they change.
    dirty: BTreeSet<Source>,
}

impl Inputs {
    pub(crate) fn start(store: &Store, worker: Worker) -> Self {
        Self {
            services: Feed::new(Reflector::start(store, None)),
            slices: Feed::new(Reflector::start(store, None)),
            vips: Feed::new(Reflector::start(store, None)),
            // Those of all nodes, told to each, are as many as there are nodes, squared.
            nodes: Feed::new(Reflector::start_one(store, "", &worker.node)),
            all_nodes: false,
            store: store.clone(),
            pods: Pods::new(store, &worker.node),
            worker,
            parts: BTreeMap::new(),
            virtual_ips: BTreeMap::new(),
            speakers: Speakers::new(),
            balanced: BTreeSet::new(),
            announce: true,
            dirty: BTreeSet::new(),
        }
    }

    /// Waits until everything was read once.
    pub(crate) async fn synced(&mut self) {
        self.services.reflector.wait_synced().await;
        self.slices.reflector.wait_synced().await;
        self.vips.reflector.wait_synced().await;
        self.nodes.reflector.wait_synced().await;
        self.drain();
        self.pods.synced().await;
        self.drain();
    }

    /// Waits until something has changed, or the store has come or gone.
    pub(crate) async fn changed(&mut self) {
        if !self.dirty.is_empty() || (self.announce && self.knows_nodes()) {
            return;
        }
        // The reflectors are held here: their channels do not end.
        tokio::select! {
            Some(change) = self.services.changes.next() => self.service(change),
            Some(change) = self.slices.changes.next() => self.slice(change),
            Some(change) = self.vips.changes.next() => self.vip(change),
            Some(change) = self.nodes.changes.next() => self.node(change),
            change = self.pods.next() => self.pod(change),
            _ = self.services.status.changed() => {}
            _ = self.slices.status.changed() => {}
            _ = self.vips.status.changed() => {}
            _ = self.nodes.status.changed() => {}
        }
        self.drain();
    }

    /// Takes in all that is known already.
    fn drain(&mut self) {
        while let Some(change) = self.services.changes.try_next() {
            self.service(change);
        }
        while let Some(change) = self.slices.changes.try_next() {
            self.slice(change);
        }
        while let Some(change) = self.vips.changes.try_next() {
            self.vip(change);
        }
        while let Some(change) = self.nodes.changes.try_next() {
            self.node(change);
        }
        while let Some(change) = self.pods.try_next() {
            self.pod(change);
        }
    }

    /// Why it is not being told of changes, if it is not.
    pub(crate) fn trouble(&self) -> Option<String> {
        let feeds =
            [self.services.trouble(), self.slices.trouble(), self.vips.trouble(), self.nodes.trouble()];
        feeds.into_iter().flatten().next()
    }

    /// The virtual IPs.
    pub(crate) fn virtual_ips(&self) -> impl Iterator<Item = &VirtualIP> {
        self.virtual_ips.values().map(|vip| &**vip)
    }

    /// Tells where pods were when they were last seen.
    pub(crate) fn remember(&mut self, pods: BTreeMap<ObjectName, plan::PodAddress>) {
        self.pods.remember(pods);
    }

    /// Makes plans of everything again.
    pub(crate) fn all_dirty(&mut self) {
        self.dirty.extend(self.parts.keys().cloned().map(Source::Service));
        self.dirty.extend(self.virtual_ips.keys().cloned().map(Source::VirtualIp));
    }

    /// Whether the nodes were read: to know only some of them is to stand before others in the line.
    fn knows_nodes(&self) -> bool {
        self.nodes.status.borrow().synced
    }

    /// The addresses for which this worker stands in line, if they may be others than when this was last asked.
    pub(crate) fn claims(&mut self) -> Option<Claims> {
        if !self.knows_nodes() {
            return None;
        }
        // They may have been read since.
        self.drain();
        if !std::mem::take(&mut self.announce) {
            return None;
        }
        let mut claims = Claims::new();
        // Of several services with one address the first has it, for every node alike.
        let mut taken = BTreeSet::new();
        for name in &self.balanced {
            let Some(Parts { service: Some(service), slices }) = self.parts.get(name) else { continue };
            for address in announce::addresses(service) {
                let slices = slices.iter().map(|slice| &**slice);
                // A node's own address is nobody else's.
                if self.speakers.values().any(|own| *own == Some(address)) {
                    continue;
                }
                let line = announce::line(service, slices, &self.speakers, address);
                if line.is_empty() || !taken.insert(address) {
                    continue;
                }
                if let Some(claim) = announce::claim(name, &line, &self.worker.node, &self.speakers) {
                    claims.insert(address, claim);
                }
            }
        }
        Some(claims)
    }

    /// What has changed wants now; none for what has gone.
    pub(crate) fn plans(&mut self) -> Vec<(Source, Option<Plan>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|source| (source.clone(), self.plan(&source))).collect()
    }

    fn plan(&self, source: &Source) -> Option<Plan> {
        match source {
            Source::Service(name) => {
                let parts = self.parts.get(name)?;
                let slices = parts.slices.iter().map(|slice| &**slice);
                Some(plan::service(parts.service.as_ref()?, slices, &self.worker))
            }
            Source::VirtualIp(name) => {
                let vip = self.virtual_ips.get(name)?;
                Some(plan::virtual_ip(vip, self.pods.addresses(), &self.worker))
            }
        }
    }

    fn service(&mut self, change: Change<Service>) {
        let (name, service) = match change {
            Change::Added(new) | Change::Modified { new, .. } => (ObjectName::of(&new.metadata), Some(new)),
            Change::Deleted(old) => (ObjectName::of(&old.metadata), None),
        };
        let balanced = service.as_ref().is_some_and(|service| announce::addresses(service).next().is_some());
        let was = if balanced { !self.balanced.insert(name.clone()) } else { self.balanced.remove(&name) };
        self.announce |= balanced || was;
        if balanced && !self.all_nodes {
            self.nodes = Feed::new(Reflector::start(&self.store, None));
            self.all_nodes = true;
        }
        let parts = self.parts.entry(name.clone()).or_default();
        parts.service = service;
        if parts.service.is_none() && parts.slices.is_empty() {
            self.parts.remove(&name);
        }
        self.dirty.insert(Source::Service(name));
    }

    fn slice(&mut self, change: Change<EndpointSlice>) {
        match change {
            Change::Added(new) => self.put_slice(&new, Some(new.clone())),
            Change::Modified { old, new } => {
                // It may have changed hands.
                if service_of(&old) != service_of(&new) {
                    self.put_slice(&old, None);
                }
                self.put_slice(&new, Some(new.clone()));
            }
            Change::Deleted(old) => self.put_slice(&old, None),
        }
    }

    fn put_slice(&mut self, like: &EndpointSlice, slice: Option<Arc<EndpointSlice>>) {
        // One of no service is of no use.
        let Some(service) = service_of(like) else { return };
        let parts = self.parts.entry(service.clone()).or_default();
        parts.slices.retain(|other| other.metadata.name != like.metadata.name);
        if let Some(slice) = slice {
            parts.slices.reserve_exact(1);
            parts.slices.push(slice);
        }
        if parts.service.is_none() && parts.slices.is_empty() {
            self.parts.remove(&service);
        }
        self.announce |= self.balanced.contains(&service);
        self.dirty.insert(Source::Service(service));
    }

    fn vip(&mut self, change: Change<VirtualIP>) {
        let name = match change {
            Change::Added(new) | Change::Modified { new, .. } => {
                let name = ObjectName::of(&new.metadata);
                self.virtual_ips.insert(name.clone(), new);
                name
            }
            Change::Deleted(old) => {
                let name = ObjectName::of(&old.metadata);
                self.virtual_ips.remove(&name);
                name
            }
        };
        self.dirty.insert(Source::VirtualIp(name));
        let pods = self.virtual_ips.values().flat_map(|vip| {
            let namespace = vip.metadata.namespace.as_deref().unwrap_or_default();
            vip.spec.pods.iter().map(|pod| ObjectName::new(namespace, pod))
        });
        self.pods.want(pods.collect());
    }

    fn node(&mut self, change: Change<Node>) {
        let (node, there) = match &change {
            Change::Added(new) | Change::Modified { new, .. } => (new, true),
            Change::Deleted(old) => (old, false),
        };
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let other = match there && announce::may_announce(node) {
            true => self.speakers.insert(name.into(), node.address()) != Some(node.address()),
            false => self.speakers.remove(name).is_some(),
        };
        self.announce |= other && !self.balanced.is_empty();
        // The own one comes back with the next heartbeat; until then nothing of it has changed.
        if name != self.worker.node || !there {
            return;
        }
        let zone = node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE)).cloned();
        if self.worker.zone != zone {
            self.worker.zone = zone;
            self.dirty.extend(self.parts.keys().cloned().map(Source::Service));
        }
    }

    fn pod(&mut self, change: pods::Moved) {
        if !self.pods.take(change) {
            return;
        }
        // There are few virtual IPs.
        self.dirty.extend(self.virtual_ips.keys().cloned().map(Source::VirtualIp));
    }
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectName> {
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    (!slice.service.is_empty()).then(|| ObjectName::new(namespace, &slice.service))
}
