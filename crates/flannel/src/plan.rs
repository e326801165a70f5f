//! From what should be and what is to what is to be done. Pure.
//!
//! Sources: flannel `pkg/backend/vxlan/device.go` (`ensureLink`, `vxlanLinksIncompat`, `Configure`),
//! `pkg/backend/vxlan/vxlan_network.go` (`handleSubnetEvents`: neighbour, forwarding entry, then route, so
//! that a packet never finds a route and no neighbour), `pkg/backend/hostgw/hostgw.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use net::Mac;
use net::batch::Change;
use net::neighbours::{Forwarding, GatewayRoute, Neighbour};
use net::vxlan::{Vxlan, VxlanInfo};

use crate::config::{Backend, NetworkConfig};
use crate::lease::{BackendData, Lease};

mod show;

/// What is in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The interface that has the worker's address.
    pub(crate) external: Option<External>,
    /// Links that flannel could have made.
    pub(crate) devices: Vec<Device>,
    pub(crate) neighbours: BTreeSet<Neighbour>,
    pub(crate) forwarding: BTreeSet<Forwarding>,
    pub(crate) routes: BTreeSet<GatewayRoute>,
}

/// The interface to the other workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct External {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    /// The networks of its addresses.
    pub(crate) networks: Vec<Ipv4Network>,
}

/// A link named `flannel.<number>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) mac: Option<Mac>,
    /// None when it is of another kind.
    pub(crate) vxlan: Option<VxlanInfo>,
    pub(crate) addresses: Vec<Ipv4Network>,
}

/// One change of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    DeleteDevice { name: String },
    AddDevice(Vxlan),
    SetMtu { name: String, mtu: u32 },
    DeleteAddress { index: u32, address: Ipv4Network },
    AddAddress { index: u32, address: Ipv4Network },
    SetUp { name: String },
    Entry(Change),
}

/// Another worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) subnet: Ipv4Network,
    /// Its underlay address.
    pub(crate) host: Ipv4Addr,
    pub(crate) way: Way,
}

/// How one gets to another worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through VXLAN device `index` to the other one's.
    Overlay { index: u32, mac: Mac },
    /// By a route, through interface `index`.
    Direct { index: u32 },
}

/// Which entries are flannel's, be they right or left over: all that are on its device, and routes out of
/// the external interface that look like those of a backend that makes such. Whatever else stands in the
/// tables is somebody else's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Index of the device.
    pub(crate) device: Option<u32>,
    /// Index of the external interface.
    pub(crate) external: Option<u32>,
    /// Network and prefix length of the routes that are made there.
    pub(crate) direct: Vec<(Ipv4Network, u8)>,
}

/// Whether a link's name is one that flannel gives.
pub(crate) fn is_device_name(name: &str) -> bool {
    let number = name.strip_prefix("flannel.");
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The device that is wanted, and no other. One that is there and compatible stays, with its Ethernet
/// address; it keeps its entries, and packets their way.
pub(crate) fn device(wanted: Option<&Vxlan>, seen: &Observed) -> Vec<Op> {
    let mut ops = Vec::new();
    for device in &seen.devices {
        if wanted.is_none_or(|wanted| wanted.name != device.name || !compatible(wanted, device)) {
            ops.push(Op::DeleteDevice { name: device.name.clone() });
        }
    }
    if let Some(wanted) = wanted {
        match seen.device(&wanted.name).filter(|device| compatible(wanted, device)) {
            None => ops.push(Op::AddDevice(wanted.clone())),
            Some(device) if device.mtu != wanted.mtu => {
                ops.push(Op::SetMtu { name: wanted.name.clone(), mtu: wanted.mtu });
            }
            Some(_) => {}
        }
    }
    ops
}

/// Whether a device does what is wanted, whatever its Ethernet address and MTU.
pub(crate) fn compatible(wanted: &Vxlan, device: &Device) -> bool {
    device.vxlan.as_ref().is_some_and(|info| {
        info.vni == wanted.vni
            && info.underlay.is_none_or(|index| index == wanted.underlay)
            && info.local.is_none_or(|local| local == wanted.local)
            && info.group.is_none()
            && wanted.port.is_none_or(|port| port == info.port)
            && info.gbp == wanted.gbp
            && info.learning == wanted.learning
    })
}

/// The device's one address, the base of the worker's subnet (of 32 bits, so that there is no broadcast
/// route), and the device up.
pub(crate) fn address(device: &Device, subnet: Ipv4Network) -> Vec<Op> {
    let index = device.index;
    let wanted = Ipv4Network::from(subnet.network());
    let mut ops: Vec<Op> = device
        .addresses
        .iter()
        .filter(|address| **address != wanted)
        .map(|&address| Op::DeleteAddress { index, address })
        .collect();
    if !device.addresses.contains(&wanted) {
        ops.push(Op::AddAddress { index, address: wanted });
    }
    if !device.up {
        ops.push(Op::SetUp { name: device.name.clone() });
    }
    ops
}

/// The other workers that can be reached, in the order of their subnets. `device` is the index of the
/// VXLAN device, if there is one.
pub(crate) fn peers<'a>(
    config: &NetworkConfig,
    leases: impl IntoIterator<Item = &'a Lease>,
    own: (Ipv4Addr, Ipv4Network),
    external: &External,
    device: Option<u32>,
) -> Vec<Peer> {
    let (address, subnet) = own;
    let mut peers = BTreeMap::new();
    for lease in leases {
        let Some(attributes) = &lease.attributes else { continue };
        let host = attributes.public_ip;
        if host == address || lease.subnet == subnet {
            continue;
        }
        let way = match (&config.backend, &attributes.backend) {
            (Backend::Vxlan(vxlan), BackendData::Vxlan { mac, .. }) => {
                let on_link = external.networks.iter().any(|network| network.contains(host));
                match device {
                    _ if vxlan.direct_routing && on_link => Way::Direct { index: external.index },
                    Some(index) => Way::Overlay { index, mac: *mac },
                    None => continue,
                }
            }
            (Backend::HostGw, BackendData::HostGw) => Way::Direct { index: external.index },
            // A worker that speaks otherwise cannot be reached; the real one passes over it, too.
            _ => continue,
        };
        peers.insert(lease.subnet, Peer { subnet: lease.subnet, host, way });
    }
    peers.into_values().collect()
}

/// What brings the entries in `scope` to what `peers` need: first what is new, peer after peer and each
/// peer's route last, then what is left over, each peer's neighbour first.
pub(crate) fn entries(peers: &[Peer], scope: &Scope, seen: &Observed) -> Vec<Op> {
    let wanted = Wanted::of(peers);
    let missing = wanted.in_order.iter().filter(|change| !seen.has(change)).copied();
    missing.chain(left_over(&wanted, scope, seen)).map(Op::Entry).collect()
}

#[derive(Default)]
struct Wanted {
    in_order: Vec<Change>,
    neighbours: BTreeSet<Neighbour>,
    forwarding: BTreeMap<(u32, Mac), Ipv4Addr>,
    routes: BTreeMap<Ipv4Network, Change>,
}

impl Wanted {
    fn of(peers: &[Peer]) -> Self {
        let mut wanted = Self::default();
        for peer in peers {
            // Should two have the same Ethernet address, the last one counts, as with the real flannel.
            if let Way::Overlay { index, mac } = peer.way {
                wanted.forwarding.insert((index, mac), peer.host);
            }
        }
        for peer in peers {
            let to = peer.subnet;
            let route = match peer.way {
                Way::Overlay { index, mac } => {
                    let address = to.network();
                    wanted.neighbours.insert(Neighbour { index, address, mac });
                    wanted.in_order.push(Change::SetNeighbour { index, address, mac });
                    if wanted.forwarding.get(&(index, mac)) == Some(&peer.host) {
                        wanted.in_order.push(Change::SetForwarding { index, mac, to: peer.host });
                    }
                    Change::SetRoute { to, gateway: address, index, onlink: true }
                }
                Way::Direct { index } => Change::SetRoute { to, gateway: peer.host, index, onlink: false },
            };
            wanted.routes.insert(to, route);
            wanted.in_order.push(route);
        }
        wanted
    }
}

/// Entries of flannel's that no peer needs. What a new one takes the place of is not among them.
fn left_over(wanted: &Wanted, scope: &Scope, seen: &Observed) -> Vec<Change> {
    let ours = |index: u32| scope.device == Some(index);
    let addresses: BTreeSet<(u32, Ipv4Addr)> =
        wanted.neighbours.iter().map(|neighbour| (neighbour.index, neighbour.address)).collect();
    let mut changes = Vec::new();
    for &Neighbour { index, address, .. } in &seen.neighbours {
        if ours(index) && !addresses.contains(&(index, address)) {
            changes.push(Change::DeleteNeighbour { index, address });
        }
    }
    for &Forwarding { index, mac, to } in &seen.forwarding {
        if ours(index) && wanted.forwarding.get(&(index, mac)) != Some(&to) {
            changes.push(Change::DeleteForwarding { index, mac, to });
        }
    }
    for route in &seen.routes {
        let GatewayRoute { to, gateway, index, .. } = *route;
        // One that is wanted instead takes its place. Of another metric it may stand beside it, though,
        // and then goes the next time.
        let stays = wanted.routes.get(&to).is_some_and(|w| !seen.has(w) || same_route(w, route));
        if scope.has(route) && !stays {
            changes.push(Change::DeleteRoute { to, gateway, index });
        }
    }
    changes
}

fn same_route(change: &Change, route: &GatewayRoute) -> bool {
    let GatewayRoute { to, gateway, index, onlink, .. } = *route;
    *change == Change::SetRoute { to, gateway, index, onlink }
}

impl Scope {
    fn has(&self, route: &GatewayRoute) -> bool {
        self.device == Some(route.index)
            || (self.external == Some(route.index)
                && route.boot
                && self.direct.iter().any(|(network, length)| {
                    network.contains(route.to.network()) && route.to.prefix() == *length
                }))
    }
}

impl Observed {
    /// The link of that name.
    pub(crate) fn device(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// Whether a change to set something would change nothing.
    fn has(&self, change: &Change) -> bool {
        match *change {
            Change::SetNeighbour { index, address, mac } => {
                self.neighbours.contains(&Neighbour { index, address, mac })
            }
            Change::SetForwarding { index, mac, to } => {
                self.forwarding.contains(&Forwarding { index, mac, to })
            }
            Change::SetRoute { .. } => self.routes.iter().any(|route| same_route(change, route)),
            _ => false,
        }
    }

    /// What it is like after a change that the kernel made.
    pub(crate) fn absorb(&mut self, change: &Change) {
        match *change {
            Change::SetNeighbour { index, address, mac } => {
                self.neighbours.retain(|n| (n.index, n.address) != (index, address));
                self.neighbours.insert(Neighbour { index, address, mac });
            }
            Change::DeleteNeighbour { index, address } => {
                self.neighbours.retain(|n| (n.index, n.address) != (index, address));
            }
            Change::SetForwarding { index, mac, to } => {
                self.forwarding.retain(|f| (f.index, f.mac) != (index, mac));
                self.forwarding.insert(Forwarding { index, mac, to });
            }
            Change::DeleteForwarding { index, mac, to } => {
                self.forwarding.remove(&Forwarding { index, mac, to });
            }
            Change::SetRoute { to, gateway, index, onlink } => {
                self.routes.retain(|route| route.to != to);
                self.routes.insert(GatewayRoute { to, gateway, index, onlink, boot: true });
            }
            Change::DeleteRoute { to, gateway, index } => {
                self.routes.retain(|r| (r.to, r.gateway, r.index) != (to, gateway, index));
            }
        }
    }
}

#[cfg(test)]
mod tests;
