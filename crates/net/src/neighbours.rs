//! Neighbours, the forwarding entries of VXLAN devices, and routes by way of a gateway: what an
//! overlay is made of. Here they are read; [`crate::batch`] writes them.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use ipnetwork::Ipv4Network;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::RouteMessageBuilder;

use crate::error::{Error, Result};
use crate::links::Links;
use crate::mac::Mac;

/// A permanent neighbour (`ip neigh`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// Index of the interface.
    pub index: u32,
    /// Its address.
    pub address: Ipv4Addr,
    /// The station.
    pub mac: Mac,
}

/// A permanent entry of a VXLAN device's own forwarding table (`bridge fdb`, `self permanent`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forwarding {
    /// Index of the device.
    pub index: u32,
    /// The station.
    pub mac: Mac,
    /// The host behind which it is.
    pub to: Ipv4Addr,
}

/// A route by way of a gateway, of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GatewayRoute {
    /// Where to.
    pub to: Ipv4Network,
    /// By whom.
    pub gateway: Ipv4Addr,
    /// Index of the interface.
    pub index: u32,
    /// Whether the gateway counts as being on the link, whatever the addresses say.
    pub onlink: bool,
    /// Whether `ip route` or a daemon like it made it (`proto boot`), and not the kernel, DHCP or a
    /// routing daemon.
    pub boot: bool,
}

impl Links {
    /// The IPv4 addresses of all links, as pairs of index and address.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn all_addresses(&self) -> Result<Vec<(u32, Ipv4Network)>> {
        let messages: Vec<_> = self
            .handle()
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|e| Error::netlink("list addresses", e))?;
        let address = |attribute: &AddressAttribute, prefix| match attribute {
            AddressAttribute::Local(IpAddr::V4(ip)) => Ipv4Network::new(*ip, prefix).ok(),
            _ => None,
        };
        let of = |m: &netlink_packet_route::address::AddressMessage| {
            let local = m.attributes.iter().find_map(|a| address(a, m.header.prefix_len))?;
            Some((m.header.index, local))
        };
        Ok(messages.iter().filter_map(of).collect())
    }

    /// Takes an IPv4 address away.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` when it is not there.
    pub async fn delete_address(&self, index: u32, address: Ipv4Network) -> Result<()> {
        let message = rtnetlink::AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(address.ip(), address.prefix())
            .build();
        self.handle()
            .address()
            .del(message)
            .execute()
            .await
            .map_err(|e| Error::netlink(format!("delete address {address}"), e))
    }

    /// The permanent IPv4 neighbours of all links.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>> {
        let messages = self.neighbour_messages(AddressFamily::Inet, "list neighbours").await?;
        Ok(messages
            .iter()
            .filter_map(|m| {
                let NeighbourAddress::Inet(address) = destination(m)? else { return None };
                Some(Neighbour { index: m.header.ifindex, address: *address, mac: station(m)? })
            })
            .collect())
    }

    /// The permanent forwarding entries of all VXLAN devices that lead to an IPv4 host.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn forwarding(&self) -> Result<Vec<Forwarding>> {
        let messages = self.neighbour_messages(AddressFamily::Bridge, "list forwarding entries").await?;
        Ok(messages
            .iter()
            .filter(|m| m.header.flags.contains(NeighbourFlags::Own))
            .filter_map(|m| {
                // Within this family nothing tells IPv4 from IPv6 but the length.
                let NeighbourAddress::Other(bytes) = destination(m)? else { return None };
                let to = <[u8; 4]>::try_from(bytes.as_slice()).ok()?;
                Some(Forwarding { index: m.header.ifindex, mac: station(m)?, to: to.into() })
            })
            .collect())
    }

    async fn neighbour_messages(&self, family: AddressFamily, what: &str) -> Result<Vec<NeighbourMessage>> {
        let messages: Vec<NeighbourMessage> = self
            .handle()
            .neighbours()
            .get()
            .set_address_family(family)
            .execute()
            .try_collect()
            .await
            .map_err(|e| Error::netlink(what, e))?;
        Ok(messages.into_iter().filter(|m| m.header.state == NeighbourState::Permanent).collect())
    }

    /// The IPv4 unicast routes of the main table that have one gateway.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn gateway_routes(&self) -> Result<Vec<GatewayRoute>> {
        let request = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let messages: Vec<RouteMessage> = self
            .handle()
            .route()
            .get(request)
            .execute()
            .try_collect()
            .await
            .map_err(|e| Error::netlink("list routes", e))?;
        Ok(messages.iter().filter_map(gateway_route).collect())
    }
}

fn destination(message: &NeighbourMessage) -> Option<&NeighbourAddress> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(address) => Some(address),
        _ => None,
    })
}

fn station(message: &NeighbourMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Mac::try_from(bytes.as_slice()).ok(),
        _ => None,
    })
}

fn gateway_route(message: &RouteMessage) -> Option<GatewayRoute> {
    let header = &message.header;
    let main = header.table == RouteHeader::RT_TABLE_MAIN && header.kind == RouteType::Unicast;
    if !main || header.address_family != AddressFamily::Inet {
        return None;
    }
    let (mut to, mut gateway, mut index) = (Ipv4Addr::UNSPECIFIED, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = *address,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::Oif(oif) => index = Some(*oif),
            _ => {}
        }
    }
    Some(GatewayRoute {
        to: Ipv4Network::new(to, header.destination_prefix_length).ok()?,
        gateway: gateway?,
        index: index?,
        onlink: header.flags.contains(RouteFlags::Onlink),
        boot: header.protocol == RouteProtocol::Boot,
    })
}
