//! Takes addresses, tells the network of them, and gives them up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use api::types::api::core::v1::Service;
use net::{Links, arp};
use runtime::chain;
use store::events::{NORMAL, Recorder, reference};
use store::{ObjectName, Store};
use tokio::sync::watch;

use super::Addresses;

/// Who tells events of it.
const SPEAKER: &str = "load-balancer-speaker";
/// How often the link is looked at while nothing changes.
const RESYNC: Duration = Duration::from_secs(10);
/// A new place is told several times, for a frame may get lost.
const TIMES: u32 = 4;
/// Between two of them.
const AGAIN: Duration = Duration::from_secs(1);

/// The worker's link to the others.
struct Uplink {
    links: Links,
    index: u32,
    mac: [u8; 6],
    /// Under which its addresses of load balancers are known again.
    label: String,
}

impl Uplink {
    /// The link with an address.
    async fn find(address: IpAddr) -> net::Result<Option<Self>> {
        let links = Links::open()?;
        let all = links.all_addresses().await?;
        let Some((index, _)) = all.into_iter().find(|(_, own)| IpAddr::from(own.ip()) == address) else {
            return Ok(None);
        };
        let link = links.list().await?.into_iter().find(|link| link.index == index);
        Ok(link.and_then(|link| {
            let mac = link.mac.try_into().ok()?;
            // The kernel has 15 bytes for it.
            let label = format!("{}:lb", link.name).chars().take(15).collect();
            Some(Self { links, index, mac, label })
        }))
    }

    async fn held(&self) -> net::Result<BTreeSet<Ipv4Addr>> {
        let held = self.links.labelled_addresses(self.index, &self.label).await?;
        Ok(held.into_iter().map(|address| address.ip()).collect())
    }
}

/// What one worker announces.
struct Announcer {
    node: String,
    address: IpAddr,
    store: Store,
    events: Recorder,
    /// How often new ones are still to be told.
    telling: BTreeMap<Ipv4Addr, u32>,
    trouble: Option<String>,
}

/// Announces what is wanted on the link that has the worker's own `address`, until dropped. Nothing is given up at the
/// end: the kernel goes on answering, and the next one takes over what it finds.
pub(crate) async fn run(
    node: String,
    address: IpAddr,
    store: Store,
    mut wanted: watch::Receiver<Option<Addresses>>,
) {
    let events = Recorder::new(&store, SPEAKER, &node);
    let mut announcer = Announcer { node, address, store, events, telling: BTreeMap::new(), trouble: None };
    loop {
        let now = wanted.borrow_and_update().clone();
        if let Some(now) = now {
            announcer.look(&now).await;
        }
        let period = if announcer.telling.is_empty() { RESYNC } else { AGAIN };
        if let Ok(Err(_)) = tokio::time::timeout(period, wanted.changed()).await {
            return;
        }
    }
}

impl Announcer {
    async fn look(&mut self, wanted: &Addresses) {
        let trouble = self.sync(wanted).await.err().map(|error| chain(&error));
        if let Some(why) = trouble.as_ref().filter(|why| self.trouble.as_ref() != Some(why)) {
            tracing::warn!(node = self.node, "addresses of load balancers: {why}");
        }
        self.trouble = trouble;
    }

    async fn sync(&mut self, wanted: &Addresses) -> net::Result<()> {
        let Some(link) = Uplink::find(self.address).await? else {
            if wanted.is_empty() {
                return Ok(());
            }
            return Err(net::Error::Other(format!("no link has the worker's own address {}", self.address)));
        };
        let held = link.held().await?;
        // By ARP only IPv4 can be announced; the worker's own address is nobody's to take.
        let wanted: BTreeMap<Ipv4Addr, &ObjectName> = wanted
            .iter()
            .filter_map(|(address, service)| match address {
                IpAddr::V4(ip) if *address != self.address => Some((*ip, service)),
                _ => None,
            })
            .collect();
        self.telling.retain(|address, _| wanted.contains_key(address));
        for address in held.iter().filter(|address| !wanted.contains_key(address)) {
            link.links.delete_address(link.index, (*address).into()).await?;
            tracing::info!(node = self.node, %address, "another node announces it from now on, or nobody");
        }
        for (address, service) in wanted.iter().filter(|(address, _)| !held.contains(address)) {
            link.links.add_labelled_address(link.index, (*address).into(), &link.label).await?;
            tracing::info!(node = self.node, %address, %service, "announcing");
            self.telling.insert(*address, TIMES);
            self.tell(service).await;
        }
        for (address, left) in &mut self.telling {
            arp::announce(link.index, link.mac, *address)?;
            *left -= 1;
        }
        self.telling.retain(|_, left| *left > 0);
        Ok(())
    }

    /// Says in an event of the service who has its address.
    async fn tell(&self, service: &ObjectName) {
        // Without the store there is nobody to tell it.
        let Ok(Some(service)) = self.store.get::<Service>(&service.namespace, &service.name).await else {
            return;
        };
        let message = format!("announcing from node \"{}\" with protocol \"layer2\"", self.node);
        self.events.event(&reference(&service), NORMAL, "nodeAssigned", &message);
    }
}
