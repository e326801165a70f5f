//! The kernel: looked at, and changed.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use ipnetwork::Ipv4Network;
use net::batch::{Batcher, Change};
use net::events::LinkEvents;
use net::links::Link;
use net::vxlan::{Vxlan, VxlanInfo};
use net::{Links, Mac};

use crate::error::{Error, Result};
use crate::masquerade::Masquerade;
use crate::plan::{Device, External, Observed, Op, is_device_name};

/// A worker's network namespace.
pub(crate) trait Kernel: Send + 'static {
    /// What there is; `address` is the worker's.
    fn observe(&mut self, address: Ipv4Addr) -> impl Future<Output = Result<Observed>> + Send;

    /// Makes changes in their order; gives the entries that were refused. That something to delete is
    /// gone already is no refusal.
    fn apply(&mut self, ops: &[Op]) -> impl Future<Output = Result<Vec<Refusal>>> + Send;

    /// Makes these rules the only ones that masquerade, or has none.
    fn masquerade(&mut self, rules: Option<&Masquerade>) -> Result<()>;

    /// Ends when one of the links of these names may have come, changed or gone. Nothing is lost when it
    /// is dropped before.
    fn changed(&mut self, names: &[String]) -> impl Future<Output = ()> + Send;
}

/// An entry that the kernel did not take.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) op: Op,
    pub(crate) source: io::Error,
}

/// The network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Netlink {
    links: Links,
    events: LinkEvents,
    /// Away while a batch runs.
    batcher: Option<Batcher>,
    /// Kept open: to close it after deletions takes milliseconds.
    nft: Option<nft::Socket>,
}

impl Netlink {
    /// Must be called within a tokio runtime, on a thread that stays in its namespace.
    pub(crate) fn open() -> Result<Self> {
        Ok(Self {
            links: Links::open()?,
            events: LinkEvents::open()?,
            batcher: Some(Batcher::open()?),
            nft: None,
        })
    }

    /// On a thread of its own: the kernel's lock on routing may be held for long.
    async fn batch(&mut self, changes: Vec<Change>) -> Result<Vec<Refusal>> {
        let batcher = self.batcher.take();
        let run = move || {
            let mut batcher = match batcher {
                Some(batcher) => batcher,
                None => Batcher::open()?,
            };
            let refused = batcher.run(&changes);
            Ok::<_, net::Error>((batcher, refused, changes))
        };
        let stopped = |e| net::Error::sys("run a batch of netlink requests", io::Error::other(e));
        let (batcher, refused, changes) = tokio::task::spawn_blocking(run).await.map_err(stopped)??;
        self.batcher = Some(batcher);
        let refusals = refused?.into_iter().map(|refused| (changes[refused.position], refused.source));
        Ok(refusals
            .filter(|(change, source)| !is_gone(change, source))
            .map(|(change, source)| Refusal { op: Op::Entry(change), source })
            .collect())
    }
}

async fn change(links: &Links, op: &Op) -> Result<()> {
    match op {
        Op::DeleteDevice { name } => match links.delete(name).await {
            Err(net::Error::NoLink(_)) => Ok(()),
            other => Ok(other?),
        },
        Op::AddDevice(device) => add_device(links, device).await,
        Op::SetMtu { name, mtu } => Ok(links.set_mtu(name, *mtu).await?),
        Op::SetUp { name } => Ok(links.set_up(name, true).await?),
        Op::DeleteAddress { index, address } => Ok(links.delete_address(*index, *address).await?),
        Op::AddAddress { index, address } => Ok(links.add_address(*index, *address).await?),
        // They go by the batch.
        Op::Entry(_) => Ok(()),
    }
}

async fn add_device(links: &Links, device: &Vxlan) -> Result<()> {
    links.add_vxlan(device).await.map_err(|source| match source.errno() {
        // No such kind of device, or not in this user namespace.
        Some(libc::EOPNOTSUPP | libc::EPERM | libc::EACCES) => {
            Error::NoVxlan { device: device.name.clone(), source }
        }
        _ => source.into(),
    })?;
    // As the real one does, and like there, no matter if there is no IPv6.
    let accept_ra = Path::new("/proc/sys/net/ipv6/conf").join(&device.name).join("accept_ra");
    if let Err(error) = std::fs::write(&accept_ra, "0") {
        tracing::debug!(%error, path = %accept_ra.display(), "not set to 0");
    }
    Ok(())
}

fn is_gone(change: &Change, error: &io::Error) -> bool {
    let deletes = matches!(
        change,
        Change::DeleteNeighbour { .. } | Change::DeleteForwarding { .. } | Change::DeleteRoute { .. }
    );
    deletes && matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::ENODEV))
}

impl Kernel for Netlink {
    async fn observe(&mut self, address: Ipv4Addr) -> Result<Observed> {
        let links = self.links.list_with_vxlan().await?;
        let addresses = self.links.all_addresses().await?;
        let of = |index: u32| addresses.iter().filter(move |(i, _)| *i == index).map(|(_, a)| *a);
        let owner = addresses.iter().find(|(_, a)| a.ip() == address).map(|(index, _)| *index);
        let external = links.iter().find(|(link, _)| owner == Some(link.index));
        let devices: Vec<Device> = links
            .iter()
            .filter(|(link, _)| is_device_name(&link.name))
            .map(|(link, info)| device_of(link, info.clone(), of(link.index).collect()))
            .collect();
        // The kernel walks through the neighbours of all namespaces; without a device none of them matters.
        let (neighbours, forwarding) = if devices.is_empty() {
            (BTreeSet::new(), BTreeSet::new())
        } else {
            let neighbours = self.links.neighbours().await?.into_iter().collect();
            (neighbours, self.links.forwarding().await?.into_iter().collect())
        };
        Ok(Observed {
            external: external.map(|(link, _)| external_of(link, of(link.index).collect())),
            devices,
            neighbours,
            forwarding,
            routes: self.links.gateway_routes().await?.into_iter().collect(),
        })
    }

    async fn apply(&mut self, ops: &[Op]) -> Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        for run in ops.chunk_by(|a, b| matches!((a, b), (Op::Entry(_), Op::Entry(_)))) {
            let entries: Vec<Change> = run
                .iter()
                .filter_map(|op| if let Op::Entry(change) = op { Some(*change) } else { None })
                .collect();
            if entries.is_empty() {
                for op in run {
                    change(&self.links, op).await?;
                }
            } else {
                refusals.extend(self.batch(entries).await?);
            }
        }
        Ok(refusals)
    }

    fn masquerade(&mut self, rules: Option<&Masquerade>) -> Result<()> {
        let batch = crate::masquerade::batch(rules).map_err(Error::Masquerade)?;
        let socket = match &mut self.nft {
            Some(socket) => socket,
            None => self.nft.insert(nft::Socket::open().map_err(Error::Masquerade)?),
        };
        socket.run(&batch).map_err(Error::Masquerade)
    }

    async fn changed(&mut self, names: &[String]) {
        while let Some(name) = self.events.next().await {
            if names.contains(&name) {
                // One change makes several events.
                self.events.pass_over();
                return;
            }
        }
        // The subscription broke. There is still the clock.
        std::future::pending().await
    }
}

fn external_of(link: &Link, networks: Vec<Ipv4Network>) -> External {
    External { name: link.name.clone(), index: link.index, mtu: link.mtu, networks }
}

fn device_of(link: &Link, vxlan: Option<VxlanInfo>, addresses: Vec<Ipv4Network>) -> Device {
    Device {
        name: link.name.clone(),
        index: link.index,
        mtu: link.mtu,
        up: link.admin_up,
        mac: Mac::try_from(link.mac.as_slice()).ok(),
        vxlan,
        addresses,
    }
}
