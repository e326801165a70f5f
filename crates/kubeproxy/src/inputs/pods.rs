//! Where the pods of virtual IPs are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use store::{Change, ObjectName, Store};

use super::Feed;
use crate::objects::Pod;
use crate::plan::PodAddress;

/// A change of a pod.
pub(super) type Moved = Change<Pod>;

/// Follows no pods but those that virtual IPs name.
#[derive(Debug)]
pub(super) struct Pods {
    store: Store,
    node: String,
    wanted: BTreeSet<ObjectName>,
    feed: Option<Feed<Pod>>,
    /// Where they are, or were when they were last seen.
    addresses: BTreeMap<ObjectName, PodAddress>,
}

impl Pods {
    pub(super) fn new(store: &Store, node: &str) -> Self {
        Self {
            store: store.clone(),
            node: node.into(),
            wanted: BTreeSet::new(),
            feed: None,
            addresses: BTreeMap::new(),
        }
    }

    /// Follows these from now on.
    pub(super) fn want(&mut self, wanted: BTreeSet<ObjectName>) {
        if self.wanted == wanted {
            return;
        }
        self.addresses.retain(|name, _| wanted.contains(name));
        self.wanted.clone_from(&wanted);
        self.feed = (!wanted.is_empty()).then(|| {
            Feed::start(&self.store, move |pod: &Pod| wanted.contains(&ObjectName::of(&pod.metadata)))
        });
    }

    /// Waits until those that are followed were read once.
    pub(super) async fn synced(&mut self) {
        if let Some(feed) = &self.feed {
            feed.reflector.wait_synced().await;
        }
    }

    /// The next change; never, if none is followed.
    pub(super) async fn next(&mut self) -> Moved {
        let next = match &mut self.feed {
            Some(feed) => feed.changes.next().await,
            None => None,
        };
        match next {
            Some(change) => change,
            None => std::future::pending().await,
        }
    }

    pub(super) fn try_next(&mut self) -> Option<Moved> {
        self.feed.as_mut()?.changes.try_next()
    }

    /// Takes note of a change; says whether an address has changed. A pod that has gone stays where it was.
    pub(super) fn take(&mut self, change: Moved) -> bool {
        let (Change::Added(pod) | Change::Modified { new: pod, .. }) = change else { return false };
        let address = pod.status.pod_ip.as_deref().or(pod.status.pod_ips.first().map(|ip| &*ip.ip));
        let Some(address) = address.and_then(|address| address.parse::<IpAddr>().ok()) else { return false };
        let found = PodAddress { address, local: pod.spec.node_name.as_deref() == Some(&self.node) };
        self.addresses.insert(ObjectName::of(&pod.metadata), found.clone()) != Some(found)
    }

    /// Where pods were when they were last seen, for those of which nothing else is known.
    pub(super) fn remember(&mut self, pods: BTreeMap<ObjectName, PodAddress>) {
        for (name, address) in pods {
            if self.wanted.contains(&name) {
                self.addresses.entry(name).or_insert(address);
            }
        }
    }

    pub(super) fn addresses(&self) -> &BTreeMap<ObjectName, PodAddress> {
        &self.addresses
    }
}
