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
use tokio::time::Instant;

use super::Claims;
use super::watch::{Watch, version_4};

/// Who tells events of it.
const SPEAKER: &str = "load-balancer-speaker";
/// How often the link is looked at while nothing changes.
const RESYNC: Duration = Duration::from_secs(10);
/// A new place is told several times, for a frame may get lost.
const TIMES: u32 = 4;
/// Between two of them, and until what did not go well is tried again.
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
            // The kernel has 15 bytes for it, and calls the link's own addresses as the link.
            let label = format!("{}:lb", link.name.chars().take(12).collect::<String>());
            Some(Self { links, index, mac, label })
        }))
    }

    async fn held(&self) -> net::Result<BTreeSet<Ipv4Addr>> {
        let held = self.links.labelled_addresses(self.index, &self.label).await?;
        Ok(held.into_iter().map(|address| address.ip()).collect())
    }
}

/// Addresses with the services that have them.
type Addresses = BTreeMap<IpAddr, ObjectName>;

/// What one worker announces.
struct Announcer {
    node: String,
    address: IpAddr,
    store: Store,
    events: Recorder,
    /// Who before this one is silent.
    watch: Watch,
    /// How often new ones are still to be told.
    telling: BTreeMap<Ipv4Addr, u32>,
    told: Instant,
    trouble: Option<String>,
    /// When the link was last looked at, and for which addresses.
    looked: Option<(Instant, Addresses)>,
}

/// Announces on the link that has the worker's own `address` what falls to it of its claims, until dropped. Nothing is given
/// up at the end: the kernel goes on answering, and the next one takes over what it finds.
pub(crate) async fn run(
    node: String,
    address: IpAddr,
    store: Store,
    mut claims: watch::Receiver<Option<Claims>>,
) {
    let mut announcer = Announcer::new(node, address, store);
    loop {
        let now = claims.borrow_and_update().clone();
        let next = match now {
            Some(now) => announcer.turn(&now).await,
            None => Instant::now() + RESYNC,
        };
        if let Ok(Err(_)) = tokio::time::timeout_at(next, claims.changed()).await {
            return;
        }
    }
}

impl Announcer {
    fn new(node: String, address: IpAddr, store: Store) -> Self {
        let (events, watch) = (Recorder::new(&store, SPEAKER, &node), Watch::new(&node));
        let (telling, told) = (BTreeMap::new(), Instant::now());
        Self { node, address, store, events, watch, telling, told, trouble: None, looked: None }
    }

    /// Does what is to be done now; says when to do it again, if claims do not change before.
    async fn turn(&mut self, claims: &Claims) -> Instant {
        self.watch.round(claims).await;
        let due = self.due(claims);
        let now = Instant::now();
        // To look at the link is to list addresses: only where something is to be done there, or from time to time.
        let wanted = |(_, before): &(Instant, Addresses)| *before != due || self.look_at() <= Some(now);
        if self.looked.as_ref().is_none_or(wanted) {
            self.look(&due).await;
            self.looked = Some((now, due));
        }
        let next = [self.look_at(), self.watch.next(claims)].into_iter().flatten().min();
        next.unwrap_or_else(|| now + RESYNC)
    }

    /// When the link is to be looked at, whatever the claims; none if it never was.
    fn look_at(&self) -> Option<Instant> {
        let busy = !self.telling.is_empty() || self.trouble.is_some();
        let (looked, _) = self.looked.as_ref()?;
        Some(*looked + if busy { AGAIN } else { RESYNC })
    }

    /// The claims that are to be fulfilled.
    fn due(&self, claims: &Claims) -> Addresses {
        let silent = |address: &IpAddr| self.watch.is_silent(*address);
        let due = claims.iter().filter(|(_, claim)| claim.before.iter().all(silent));
        due.map(|(address, claim)| (*address, claim.service.clone())).collect()
    }

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
            .filter(|(address, _)| **address != self.address)
            .filter_map(|(address, service)| Some((version_4(*address)?, service)))
            .collect();
        self.telling.retain(|address, _| wanted.contains_key(address));
        // One that the kernel refuses is no reason to leave out the others.
        let mut done = Ok(());
        for address in held.iter().filter(|address| !wanted.contains_key(address)) {
            if let Err(error) = link.links.delete_address(link.index, (*address).into()).await {
                done = done.and(Err(error));
                continue;
            }
            tracing::info!(node = self.node, %address, "another node announces it from now on, or nobody");
        }
        for (address, service) in wanted.iter().filter(|(address, _)| !held.contains(address)) {
            if let Err(error) =
                link.links.add_labelled_address(link.index, (*address).into(), &link.label).await
            {
                done = done.and(Err(error));
                continue;
            }
            tracing::info!(node = self.node, %address, %service, "announcing");
            self.telling.insert(*address, TIMES);
            self.tell(service).await;
        }
        if self.told.elapsed() >= RESYNC {
            // Somebody may have had it too, who thought that this node was dead.
            self.told = Instant::now();
            for address in wanted.keys() {
                self.telling.entry(*address).or_insert(1);
            }
        }
        for (address, left) in &mut self.telling {
            arp::announce(link.index, link.mac, *address)?;
            *left -= 1;
        }
        self.telling.retain(|_, left| *left > 0);
        done
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
